"""Writing: one write to the source of truth, as an application sees it."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from flushmesh.fresh import Fresh
from flushmesh.keys import plain_key
from flushmesh.options import CacheOptions
from flushmesh.receipt import Receipt
from flushmesh.store import Store
from flushmesh.write import Write

V = TypeVar("V")


class BroadcastOne(Protocol):
    """Tells every peer what to forget of one cache."""

    def __call__(self, key: str | None = None, tag: str | None = None, version: int | None = None) -> Receipt:
        """Tell every peer to forget *key* or *tag*."""


class Writing(Generic[V]):
    """
    One write to the source of truth, between its beginning and its flush.

    `receipt` is there once it has ended; it is for all of its keys and tags.
    """

    receipt: Receipt

    def __init__(
        self,
        keys: tuple[str, ...],
        tags: tuple[str, ...],
        store: Store[V],
        options: CacheOptions,
        broadcast: BroadcastOne,
    ) -> None:
        self._keys = keys
        self._tags = tags
        self._store = store
        self._options = options
        self._broadcast = broadcast
        self._kept: dict[str, tuple[Fresh[V], int]] = {}

    def __enter__(self) -> Writing[V]:
        self._kept = {}
        self._write: Write = self._store.begin_write(self._keys, self._tags)
        return self

    def set(self, value: V | Fresh[V], key: str | None = None) -> None:
        """
        Keep *value* on this node once the write has ended, unless another flush came meanwhile.

        *key* says of which key it is the value, where there are several.  The version of a
        `Fresh` is flushed with the key.  Raises ValueError if it is larger than the cache;
        the key is flushed all the same.
        """
        if key is None:
            if len(self._write.keys) != 1:
                raise TypeError(f"set: say of which key it is the value; the write has {len(self._write.keys)}")
            key = self._write.keys[0]
        elif (key := plain_key(key)) not in self._write.keys:
            raise ValueError(f'set: "{key}" is not being written here; name it in writing(...)')
        fresh = value if isinstance(value, Fresh) else Fresh(value)
        size = self._options.size_of(fresh.value)
        if size > self._options.maxsize:
            raise ValueError(f'the value of "{key}" is too large: {size} of a maxsize of {self._options.maxsize}')
        self._kept[key] = fresh, size

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        kept = self._kept if kind is None else {}
        self._store.end_write(self._write, kept)
        for key in self._write.keys:
            version = kept[key][0].version if key in kept else None
            self.receipt = self._broadcast(key, None, version)
        for tag in self._write.tags:
            # The last receipt is for all: what a peer applies, it applies in order.
            self.receipt = self._broadcast(None, tag)
