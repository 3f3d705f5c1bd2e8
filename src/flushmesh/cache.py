"""
Cache: what an application touches.

A read looks into the local store and runs the loader on a miss; what it loads is a
*fill* and stays here.  A write is told to every peer.  Confusing the two would make
instances flush each other for ever.

Values are shared, not copied: whoever changes one in place changes it for everybody in
this process, and for nobody else.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, ItemsView, Iterator, MutableMapping, ValuesView
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, overload

from flushmesh.cached import CachedDecorator, CachedFunction, cached, flushes
from flushmesh.flight import Flight, Landing
from flushmesh.hooks import Flushed, OnFlushed
from flushmesh.keys import Key, check_key
from flushmesh.options import CacheOptions
from flushmesh.receipt import Receipt
from flushmesh.store import MISS, Entry, Miss, Store, Write

log = logging.getLogger("flushmesh")

V = TypeVar("V")
D = TypeVar("D")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., object])
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """
    Counters of one cache since it was made.

    Hits are counted without a lock: threads that hit at the same moment may lose a count.
    The others are exact.
    """

    hits: int
    misses: int
    loads: int
    maxsize: int
    currsize: int


class Broadcast(Protocol):
    """What a cache needs of its mesh."""

    def ensure_started(self) -> None:
        """Start the mesh if that has not happened yet; raise MeshClosed once it is closed."""

    def broadcast(self, cache: str, key: str | None) -> Receipt:
        """Tell every peer to forget *key* of *cache*, or all of it."""


class Cache(MutableMapping[str, V], Generic[V]):
    """
    One named cache, coherent with the caches of that name on every other node.

    Made by `Mesh.cache`.  As a mapping it is the local content; storing or deleting an item
    is a write and flushes the key on the peers.  Any item may go at any moment: take
    `dict(cache.items())` for a copy, because `dict(cache)` looks each key up again.
    """

    def __init__(
        self, name: str, store: Store[V], mesh: Broadcast, options: CacheOptions, on_flushed: OnFlushed | None
    ) -> None:
        self.name = name
        self.options = options
        self.on_flushed = on_flushed
        self._store = store
        self._mesh = mesh

    def __repr__(self) -> str:
        return f"<Cache {self.name!r} maxsize={self.options.maxsize} ttl={self.options.ttl}>"

    # Reading.

    @overload
    def get(self, key: str) -> V | None: ...
    @overload
    def get(self, key: str, default: V) -> V: ...
    @overload
    def get(self, key: str, default: D) -> V | D: ...
    def get(self, key: str, default: object = None) -> object:
        """Return the local value of *key*, or *default*; never loads and never waits."""
        value = self._store.get(key)
        if not isinstance(value, Miss):
            return value
        self._check(key)
        return default

    def get_or_load(self, key: str, loader: Callable[[], V]) -> V:
        """
        Return the value of *key*; on a miss call *loader*, once however many threads and tasks wait.

        What *loader* raises reaches every caller that waits, and nothing is stored.  Raises
        RecursiveLoad if *loader* asks for *key* itself, MeshClosed after `Mesh.close`.
        """
        value = self._store.get(key)
        if not isinstance(value, Miss):
            return value
        self._check(key)
        while True:
            flight = self._store.take_off(key, blocking=True)
            if isinstance(flight, Flight):
                try:
                    with flight:
                        loaded = loader()
                except BaseException as error:
                    self._store.fail(flight, error)
                    raise
                self._store.fill(flight, loaded)
                return loaded
            landing = Landing(flight.value) if isinstance(flight, Entry) else flight.result()
            if not landing.abandoned:
                return landing.unpack()

    async def aget_or_load(self, key: str, loader: Callable[[], Awaitable[V]]) -> V:
        """
        Return the value of *key*; on a miss await *loader()*, once however many threads and tasks wait.

        A waiting task may be cancelled without harm to the others; when the loading task is,
        one of the waiting ones loads instead.  Errors are those of `get_or_load`.
        """
        value = self._store.get(key)
        if not isinstance(value, Miss):
            return value
        self._check(key)
        while True:
            flight = self._store.take_off(key)
            if isinstance(flight, Flight):
                try:
                    with flight:
                        loaded = await loader()
                except BaseException as error:
                    self._store.fail(flight, error)
                    raise
                self._store.fill(flight, loaded)
                return loaded
            landing = Landing(flight.value) if isinstance(flight, Entry) else await asyncio.wrap_future(flight)
            if not landing.abandoned:
                return landing.unpack()

    @overload
    def cached(self, function: Callable[P, R], /) -> CachedFunction[P, R]: ...
    @overload
    def cached(self, function: None = None, /, *, key: Key | None = None) -> CachedDecorator: ...
    def cached(self, function: Callable[..., Any] | None = None, /, *, key: Key | None = None) -> Any:
        """
        Decorate a function, `def` or `async def`, to keep its results here.

        *key* is a template over its parameters, as in `key="user:{user_id}"`, or a callable
        that takes its arguments and returns the key.  Arguments of the same text give the same
        key: 42 and "42" are one user.  Without *key*, and then without parentheses too, all
        arguments count and must be of plain types.  Raises TypeError when decorating if the
        template names what is no parameter.
        """
        if function is not None:
            return cached(self, key, function)
        return functools.partial(cached, self, key)

    def flushes(self, *keys: Key) -> Callable[[F], F]:
        """
        Decorate a function, `def` or `async def`, to flush *keys* each time it has returned.

        Keys are as in `cached`.  When the function raises, nothing is flushed; where a failed
        write may have been done all the same, use `writing`.
        """
        return functools.partial(flushes, self, keys)

    # Writing.

    def flush(self, key: str) -> Receipt:
        """
        Forget *key* here and on every node; return at once.

        After it has returned, no read that starts on this node returns a value whose load
        began before (G1).  The receipt tells which peers have applied it.
        """
        self._check(key)
        self._store.flush(key)
        return self._mesh.broadcast(self.name, key)

    def forget(self, key: str) -> None:
        """Forget *key* on this node alone, also what is being loaded for it now; no peer is told."""
        self._check(key)
        self._store.flush(key)

    def flush_all(self) -> Receipt:
        """Forget everything in this cache, here and on every node; return at once."""
        self._mesh.ensure_started()
        self._store.flush_all()
        return self._mesh.broadcast(self.name, None)

    def writing(self, key: str) -> Writing[V]:
        """
        Surround the writing of *key* to the source of truth.

        Inside, this node neither serves nor stores *key*; on the way out it is flushed
        everywhere, also when the body raises.
        """
        self._check(key)
        return Writing(key, self._store, functools.partial(self._mesh.broadcast, self.name, key))

    # The mapping: the local content, and writes.

    def __getitem__(self, key: str) -> V:
        value = self._store.get(key)
        if isinstance(value, Miss):
            self._check(key)
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: V) -> None:
        with self.writing(key) as write:
            write.set(value)

    def __delitem__(self, key: str) -> None:
        """Flush *key* everywhere, and raise KeyError if it was not held here."""
        self._check(key)
        held = self._store.flush(key)
        self._mesh.broadcast(self.name, key)
        if not held:
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return self._store.holds(key)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys that would be hits now; the cache may change meanwhile."""
        return iter(self._store.snapshot())

    def __len__(self) -> int:
        """Count the keys that would be hits now; takes time proportional to the cache."""
        return len(self._store.snapshot())

    def items(self) -> ItemsView[str, V]:
        """Return the keys that would be hits now with their values; a snapshot."""
        return self._store.snapshot().items()

    def values(self) -> ValuesView[V]:
        """Return the values that would be hits now; a snapshot."""
        return self._store.snapshot().values()

    @overload
    def pop(self, key: str) -> V: ...
    @overload
    def pop(self, key: str, default: V) -> V: ...
    @overload
    def pop(self, key: str, default: D) -> V | D: ...
    def pop(self, key: str, default: object = MISS) -> object:
        """Return the local value of *key* and flush it everywhere; without one, *default* or KeyError."""
        value = self._store.get(key)
        if not isinstance(value, Miss):
            self.flush(key)
            return value
        self._check(key)
        if isinstance(default, Miss):
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[str, V]:
        """Return a local key with its value, and flush it everywhere; KeyError if there is none."""
        for item in self.items():
            self.flush(item[0])
            return item
        raise KeyError(f'cache "{self.name}" is empty')

    def clear(self) -> None:
        """Flush the whole cache everywhere."""
        self.flush_all()

    # Looking inside.

    def info(self) -> CacheInfo:
        """Return the counters."""
        store = self._store
        return CacheInfo(store.hits, store.misses, store.loads, self.options.maxsize, len(self))

    # What the mesh does with it.

    def apply(self, key: str | None, tag: str | None, origin: str, sequence: int) -> None:
        """Apply a flush of the peer *origin*, on the mesh's thread."""
        held = self._store.flush(key) if key is not None else self._store.flush_all()
        if self.on_flushed is not None:
            try:
                self.on_flushed(Flushed(self.name, key, tag, origin, sequence, held))
            except BaseException:  # Whatever a hook raises would end the mesh's own thread.
                log.exception('on_flushed of cache "%s" failed', self.name)

    def trust(self, at: float) -> None:
        """Note that at the time *at* nothing was missing here."""
        self._store.trusted_at = at

    def distrust(self, since: float) -> None:
        """Let every entry run out, see `Store.distrust`."""
        self._store.distrust(since)

    def close(self) -> None:
        """Empty this cache for good, and tell nobody."""
        self._store.close()

    def _check(self, key: object) -> None:
        """Check what a hit need not: that *key* can be a key, and that the mesh is open."""
        check_key(key)
        self._mesh.ensure_started()


class Writing(Generic[V]):
    """
    One write to the source of truth, between its beginning and its flush.

    `receipt` is there once it has ended.
    """

    receipt: Receipt

    def __init__(self, key: str, store: Store[V], broadcast: Callable[[], Receipt]) -> None:
        self._key = key
        self._store = store
        self._broadcast = broadcast
        self._kept: V | Miss

    def __enter__(self) -> Writing[V]:
        self._kept = MISS
        self._write: Write = self._store.begin_write(self._key)
        return self

    def set(self, value: V) -> None:
        """Keep *value* on this node once the write has ended, unless another flush came meanwhile."""
        self._kept = value

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        self._store.end_write(self._write, self._kept if kind is None else MISS)
        self.receipt = self._broadcast()
