"""Writing: one write to the source of truth, as an application sees it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar, cast
from weakref import finalize

from flushmesh.fresh import Fresh
from flushmesh.keys import plain_key
from flushmesh.options import CacheOptions
from flushmesh.receipt import Receipt
from flushmesh.store import Store
from flushmesh.write import Untold, Write

V = TypeVar("V")


class BroadcastOne(Protocol):
    """Tells every peer what to forget of one cache."""

    def __call__(self, key: str | None = None, tag: str | None = None, version: int | None = None) -> Receipt:
        """Tell every peer to forget *key* or *tag*."""


class Writing(Generic[V]):
    """
    One write to the source of truth, between its beginning and its flush.

    `receipt` is there once it has ended; it is for all of its keys and tags.  Each time around
    is a write of its own, also when several threads enter the same object, or one enters it
    twice: then the writes overlap, and neither keeps its value.

    An exception that a signal handler raises may come just before the end.  Then the write is
    ended, and its flush broadcast, when this object is collected or the mesh is closed; until
    then its keys are not kept here.
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
        self._open: list[tuple[Write, finalize[..., Writing[V]]]] = []

    def __enter__(self) -> Writing[V]:
        write = Write(self._keys, self._tags)
        # Not by `__del__`, which would run after each write and swallow what a signal handler raises in it.
        ending = finalize(self, _end_quietly, self._store, self._broadcast, write)
        ending.atexit = False
        try:
            self._store.begin_write(write)
            self._open.append((write, ending))
        except BaseException:
            # The body does not run, so nothing is written.
            ending.detach()
            self._store.end_write(write)
            raise
        return self

    def set(self, value: V | Fresh[V], key: str | None = None) -> None:
        """
        Keep *value* on this node once the write has ended, unless another flush came in the meantime.

        *key* names the key of the value, where there are several.  The version of a `Fresh` is
        flushed with the key.  Raises ValueError if it is larger than the cache; the key is
        flushed all the same.
        """
        if not self._open:
            raise RuntimeError("set: call it inside the block; this write has ended")
        write, _ = self._open[-1]
        if key is None:
            if len(write.keys) != 1:
                raise TypeError(f"set: say of which key it is the value; the write has {len(write.keys)}")
            key = write.keys[0]
        elif (key := plain_key(key)) not in write.keys:
            raise ValueError(f'set: "{key}" is not being written here; name it in writing(...)')
        fresh = value if isinstance(value, Fresh) else Fresh(value)
        write.kept[key] = fresh, size_kept(self._options, key, fresh.value)

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        # Which one of several that overlap does not matter: they name the same keys, and keep nothing.
        opened = next(opened for opened in reversed(self._open) if opened[0].claim())
        write, ending = opened
        try:
            self.receipt = _end(self._store, self._broadcast, write, write.kept if kind is None else {})
        finally:
            if write.ended and write.untold == []:
                ending.detach()
                self._open.remove(opened)


def _end(
    store: Store[Any], broadcast: BroadcastOne, write: Write, kept: Mapping[str, tuple[Fresh[Any], float]]
) -> Receipt:
    untold: Untold = [(key, None, kept[key][0].version if key in kept else None) for key in write.keys]
    untold += [(None, tag, None) for tag in write.tags]
    write.untold = untold
    try:
        store.end_write(write, kept)
    finally:
        try:
            if not write.ended:
                store.end_write(write)
            receipt = _tell(broadcast, untold)
        finally:
            # What an interruption has left; nothing as a rule.
            _tell(broadcast, untold)
    return cast(Receipt, receipt)


def _tell(broadcast: BroadcastOne, untold: Untold) -> Receipt | None:
    """Broadcast what is left of *untold*; return the last receipt, which is for all: a peer applies in order."""
    receipt = None
    while untold:
        receipt = broadcast(*untold[0])
        del untold[0]
    return receipt


def _end_quietly(store: Store[Any], broadcast: BroadcastOne, write: Write) -> None:
    # The mesh may be closed by now.
    with suppress(Exception):
        _end(store, broadcast, write, {})


def size_kept(options: CacheOptions, key: str, value: object) -> int:
    """Return the size of *value*; raise ValueError if it is larger than the cache."""
    size = options.size_of(value)
    if size > options.maxsize:
        raise ValueError(f'the value of "{key}" is too large: {size} of a maxsize of {options.maxsize}')
    return size
