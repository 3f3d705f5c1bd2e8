"""
Cache: what an application touches.

A read looks into the local store and runs the loader on a miss; what it loads is a
*fill* and stays here.  A write is told to every peer.  Confusing the two would make
instances flush each other for ever.

Values are shared, not copied, unless the cache was made with `copy=`: whoever changes one
in place changes it for everybody in this process, and for nobody else.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any, ParamSpec, TypeVar, final, overload

from flushmesh.cached import CachedDecorator, CachedFunction, Keeping, cached
from flushmesh.copies import Copies
from flushmesh.entry import MISS
from flushmesh.errors import FlushmeshError
from flushmesh.flushing import flushes
from flushmesh.fresh import Fresh, check_tags, check_version
from flushmesh.hooks import CacheHooks, Flushed
from flushmesh.keys import Key, check_key, check_name, plain_key
from flushmesh.loading import Load, Loading
from flushmesh.mapping import Broadcast, LocalMapping
from flushmesh.options import CacheOptions
from flushmesh.receipt import Receipt
from flushmesh.status import CacheInfo, EntryInfo
from flushmesh.store import Store
from flushmesh.unique import Unique
from flushmesh.writing import Writing

V = TypeVar("V")
D = TypeVar("D")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., object])
P = ParamSpec("P")


@final
class Cache(Unique, LocalMapping[V]):
    """
    One named cache, coherent with the caches of that name on every other node.

    Made by `Mesh.cache`.  As a mapping it is the local content; storing or deleting an item
    is a write and flushes the key on the peers.  Any item may go at any moment: take
    `dict(cache.items())` for a copy, because `dict(cache)` looks each key up again.

    Wherever a value is given, `Fresh(value, ttl=..., tags=..., version=...)` may be.
    """

    def __init__(
        self,
        name: str,
        mesh: Broadcast,
        options: CacheOptions,
        hooks: CacheHooks,
        clock: Callable[[], float],
        max_staleness: float,
    ) -> None:
        self.name = check_name(name, "cache")
        self.options = options
        self.hooks = hooks
        self._mesh = mesh
        self._flushes_applied = 0
        self._store = store = Store[V](
            options.maxsize,
            options.lifetime,
            clock,
            max_staleness,
            jitter=options.jitter,
            grace=options.grace_seconds,
            refresh_ahead=options.refresh_ahead,
            policy=options.policy,
            sized=options.getsizeof is not None,
            check=self._check,
            on_evicted=hooks.evicted,
        )
        loading = Loading(store, clock, options.size_of, hooks, options.max_loads)
        copies = None if options.copy is None else Copies(options.copy, store, loading)
        self._loading = copies or loading
        self._snapshot = (copies or store).snapshot
        # The method of this name without the call between, which would cost half as much as a hit.
        self.get = self._get = (copies or store).get  # type: ignore[method-assign, assignment]

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
        return self._store.get(key, default)

    def get_or_load(
        self,
        key: str,
        loader: Callable[[], V | Fresh[V]],
        *,
        ttl: float | timedelta | None = None,
        tags: Iterable[str] = (),
        cache_if: Callable[[V], bool] | None = None,
    ) -> V:
        """
        Return the value of *key*; on a miss call *loader*, once however many threads and tasks wait.

        *ttl* in seconds goes before the cache's, *tags* are for `flush_tag`, and a value for
        which *cache_if* is false is returned and not stored.  What *loader* raises reaches
        every caller that waits, and nothing is stored.  Raises RecursiveLoad if *loader* asks
        for *key* itself, MeshClosed after `Mesh.close`.
        """
        get = self._get  # As self.get, or in one line with the call, it is looked up the slow way.
        value = get(key, MISS)
        if value is not MISS:
            return value  # type: ignore[return-value]
        return self._loading.run(key if type(key) is str else plain_key(key), Load(loader, ttl, tags, cache_if))

    async def aget_or_load(
        self,
        key: str,
        loader: Callable[[], Awaitable[V | Fresh[V]]],
        *,
        ttl: float | timedelta | None = None,
        tags: Iterable[str] = (),
        cache_if: Callable[[V], bool] | None = None,
    ) -> V:
        """
        Return the value of *key*; on a miss await *loader()*, once however many threads and tasks wait.

        A waiting task may be cancelled without harm to the others; when the loading task is,
        one of the waiting ones loads instead.  Everything else is as in `get_or_load`.
        """
        get = self._get  # As self.get, or in one line with the call, it is looked up the slow way.
        value = get(key, MISS)
        if value is not MISS:
            return value  # type: ignore[return-value]
        return await self._loading.arun(key if type(key) is str else plain_key(key), Load(loader, ttl, tags, cache_if))

    @overload
    def cached(self, function: Callable[P, R], /) -> CachedFunction[P, R]: ...
    @overload
    def cached(
        self,
        function: None = None,
        /,
        *,
        key: Key | None = None,
        ttl: float | timedelta | None = None,
        tags: Iterable[Key] = (),
        cache_if: Callable[[Any], bool] | None = None,
    ) -> CachedDecorator: ...
    def cached(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        key: Key | None = None,
        ttl: float | timedelta | None = None,
        tags: Iterable[Key] = (),
        cache_if: Callable[[Any], bool] | None = None,
    ) -> Any:
        """
        Decorate a function, `def` or `async def`, to keep its results here.

        *key* is a template over its parameters, as in `key="user:{user_id}"`, or a callable
        that takes its arguments and returns the key.  Arguments of the same text give the same
        key (42 and "42" are one user), and text has to identify them.  Without *key*, and then
        without parentheses too, all arguments count and must be of plain types.  *tags* are made
        as the key is; *ttl* and *cache_if* are as in `get_or_load`.  TypeErrors say what is wrong.
        """
        decorate = functools.partial(cached, self, self._loading, Keeping(key, ttl, tags, cache_if))
        return decorate if function is None else decorate(function)

    def flushes(self, *keys: Key, tags: Iterable[Key] = ()) -> Callable[[F], F]:
        """
        Decorate a function, `def` or `async def`, to flush *keys* and *tags* each time it has returned.

        Both are as in `cached`, made before it runs and again afterwards, and flushed as they were
        and as they are.  When it raises, nothing is flushed; where a failed write may have been
        done all the same, use `writing`.
        """
        return functools.partial(flushes, self, keys, tags if isinstance(tags, str) else tuple(tags))

    # Writing.

    def flush(self, key: str, *, version: int | None = None) -> Receipt:
        """
        Forget *key* here and on every node; return at once.

        After it has returned, no read that starts on this node returns a value whose load
        began before (G1).  The receipt tells which peers have applied it.  With *version*,
        entries of that version or a newer one stay, and values that are older are not stored,
        however late a lagging replica returns them.
        """
        key = self._check(key)
        if version is not None:
            check_version(version)
        self._store.flush(key, version)
        return self._mesh.broadcast(self.name, key, None, version)

    def flush_tag(self, tag: str) -> Receipt:
        """Forget every key with *tag* here and on every node, also what is being loaded; return at once."""
        tag = check_key(tag, "tag")
        self._mesh.ensure_started()
        self._store.flush_tag(tag)
        return self._mesh.broadcast(self.name, None, tag)

    def flush_all(self) -> Receipt:
        """Forget everything in this cache, here and on every node; return at once."""
        self._mesh.ensure_started()
        self._store.flush_all()
        return self._mesh.broadcast(self.name)

    def forget(self, key: str) -> None:
        """Forget *key* on this node alone, also what is being loaded for it now; no peer is told."""
        self._store.flush(self._check(key))

    def writing(self, *keys: str, tags: Iterable[str] = ()) -> Writing[V]:
        """
        Surround the writing of *keys*, and of what carries *tags*, to the source of truth.

        Inside, this node neither serves nor stores them; on the way out they are flushed
        everywhere, also when the body raises.
        """
        keys = tuple(map(self._check, keys))
        checked = check_tags(tags)
        if not keys and not checked:
            raise TypeError("writing: name at least one key or tag that is being written")
        self._mesh.ensure_started()
        broadcast = functools.partial(self._mesh.broadcast, self.name)
        return Writing(keys, checked, self._store, self.options, broadcast)

    # Looking inside.

    def info(self) -> CacheInfo:
        """Return the counters; takes time proportional to the cache."""
        store, contents = self._store, self._store.contents
        return CacheInfo(
            hits=contents.hits(),
            misses=store.misses,
            loads=store.loads,
            load_errors=store.load_errors,
            fills_refused=store.refused,
            flushes_applied=self._flushes_applied,
            evictions=contents.evictions,
            expiries=contents.expiries,
            demands_lost=store.demands_lost,
            maxsize=self.options.maxsize,
            currsize=contents.currsize,
        )

    def entries(self) -> list[EntryInfo]:
        """Return every entry here, with why it would not be served if so; takes time proportional to the cache."""
        return self._store.describe()

    # What the mesh does with it.

    def apply(self, key: str | None, tag: str | None, version: int | None, origin: str, sequence: int) -> None:
        """Apply a flush of the peer *origin*, on the mesh's thread."""
        if key is not None:
            held = self._store.flush(key, version)
        elif tag is not None:
            held = self._store.flush_tag(tag)
        else:
            held = self._store.flush_all()
        self._flushes_applied += 1
        if self.hooks.on_flushed is not None:
            self._mesh.run_hook(self.hooks.flushed, Flushed(self.name, key, tag, origin, sequence, held))

    def trust(self, at: float) -> None:
        """Note that at the time *at* nothing was missing here."""
        self._store.trusted_at = at

    def distrust(self, since: float) -> None:
        """Let every entry run out, see `Store.distrust`."""
        self._store.distrust(since)

    def empty(self) -> None:
        """Forget everything here, whatever state an error has left it in."""
        self._store.empty()

    def disable(self, *, by: int) -> None:
        """Serve and store nothing, see `Store.disable`."""
        self._store.disable(by=by)

    def reset(self) -> None:
        """Begin anew, in a forked child."""
        self._store.reset()
        self._loading.reset()

    def end_writes(self) -> None:
        """Broadcast the flush of every write in progress, before the mesh leaves: some may never reach their end."""
        # Another thread may be closing the mesh, too.
        with suppress(FlushmeshError):
            for write in self._store.open_writes():
                for key in write.keys:
                    self._mesh.broadcast(self.name, key)
                for tag in write.tags:
                    self._mesh.broadcast(self.name, None, tag)

    def close(self, patience: float = -1) -> bool:
        """Empty this cache for good, and tell no peer; return False if a thread kept it from that for so long."""
        return self._store.close(patience)

    def _check(self, key: object) -> str:
        """Return *key*, after what a hit need not check: that it can be a key, and that the mesh is open."""
        checked = check_key(key)
        self._mesh.ensure_started()
        return checked
