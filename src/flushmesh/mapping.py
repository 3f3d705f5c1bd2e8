"""
Mapping: a cache as a mapping of its local content.

Looking is local; storing or deleting an item is a write, and flushes its key on the peers.
Nothing here checks and then acts: of several callers that `pop` one item, one gets it.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, MutableMapping, ValuesView
from typing import Any, Final, Protocol, TypeVar, overload

from flushmesh.fresh import Fresh
from flushmesh.options import CacheOptions
from flushmesh.receipt import Receipt
from flushmesh.store import Store
from flushmesh.writing import Writing, size_kept

V = TypeVar("V")
D = TypeVar("D")

_ABSENT: Final = object()


class Broadcast(Protocol):
    """What a cache needs of its mesh."""

    def ensure_started(self) -> None:
        """Start the mesh if that has not happened yet; raise MeshClosed once it is closed."""

    def broadcast(
        self, cache: str, key: str | None = None, tag: str | None = None, version: int | None = None
    ) -> Receipt:
        """Broadcast to every peer to forget *key* or *tag* of *cache*, or all of it."""

    def run_hook(self, hook: Callable[[Any], None], event: object) -> None:
        """Have *hook* called with *event*, in order, and return at once."""


class LocalMapping(MutableMapping[str, V]):
    """The mapping face of `Cache`."""

    name: str
    options: CacheOptions
    _mesh: Broadcast
    _store: Store[V]
    _snapshot: Callable[[], dict[str, V]]

    def flush_all(self) -> Receipt:
        """Forget everything in this cache, here and on every node."""
        raise NotImplementedError

    def writing(self, *keys: str) -> Writing[V]:
        """Surround the writing of *keys*."""
        raise NotImplementedError

    def _check(self, key: object) -> str:
        raise NotImplementedError

    def __getitem__(self, key: str) -> V:
        value = self.get(key, _ABSENT)
        if value is _ABSENT:
            raise KeyError(key)
        return value  # type: ignore[return-value]

    def __setitem__(self, key: str, value: V | Fresh[V]) -> None:
        """Flush *key* everywhere and keep *value* here; ValueError if it is larger than the cache."""
        with self.writing(key) as write:
            write.set(value)

    def __delitem__(self, key: str) -> None:
        """Flush *key* everywhere, and raise KeyError if it was not held here."""
        key = self._check(key)
        taken = self._store.take(key, always=True)
        self._mesh.broadcast(self.name, key)
        if taken is None:
            raise KeyError(key)

    # A cache is one thing, and not the sum of what it holds at the moment.
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __bool__(self) -> bool:
        return True

    def __contains__(self, key: object) -> bool:
        return self._store.holds(key)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that would be hits now; the cache may change meanwhile."""
        return iter(self._store.snapshot())

    def __len__(self) -> int:
        """Count the keys that would be hits now; takes time proportional to the cache."""
        return self._store.count()

    def items(self) -> ItemsView[str, V]:
        """Return the keys that would be hits now with their values; a snapshot."""
        return self._snapshot().items()

    def values(self) -> ValuesView[V]:
        """Return the values that would be hits now; a snapshot."""
        return self._snapshot().values()

    @overload
    def pop(self, key: str) -> V: ...
    @overload
    def pop(self, key: str, default: V) -> V: ...
    @overload
    def pop(self, key: str, default: D) -> V | D: ...
    def pop(self, key: str, default: object = _ABSENT) -> object:
        """
        Return the local value of *key* and flush it everywhere; without one, *default* or KeyError.

        Of several callers in this process, one gets the value.
        """
        key = self._check(key)
        taken = self._store.take(key, always=False)
        if taken is not None:
            self._mesh.broadcast(self.name, key)
            return taken.value
        if default is _ABSENT:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[str, V]:
        """Return a local key with its value, and flush it everywhere; KeyError if there is none."""
        self._mesh.ensure_started()
        taken = self._store.take_any()
        if taken is None:
            raise KeyError(f'cache "{self.name}" is empty')
        key, entry = taken
        self._mesh.broadcast(self.name, key)
        return key, entry.value

    def setdefault(self, key: str, default: V | Fresh[V] = None) -> V:  # type: ignore[assignment]
        """
        Return the local value of *key*; without one, write *default* and return its value.

        Of several callers in this process, one writes.
        """
        value = self.get(key, _ABSENT)
        if value is not _ABSENT:
            return value  # type: ignore[return-value]
        key = self._check(key)
        fresh = default if isinstance(default, Fresh) else Fresh(default)
        size = size_kept(self.options, key, fresh.value)
        found = self._store.put_if_absent(key, fresh, size)
        if found is not None:
            return found.value
        self._mesh.broadcast(self.name, key, None, fresh.version)
        return fresh.value

    def clear(self) -> None:
        """Flush the whole cache everywhere."""
        self.flush_all()

    @property
    def maxsize(self) -> int:
        """How much fits in, in entries or as `getsizeof` counts."""
        return self.options.maxsize

    @property
    def currsize(self) -> float:
        """How much is held, in entries or as `getsizeof` counts, with what has run out and not gone yet."""
        return self._store.contents.currsize
