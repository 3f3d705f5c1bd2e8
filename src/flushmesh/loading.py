"""
Loading: how a value comes from the source of truth into the store.

The loader runs outside every lock, in the thread or task of the first who missed.  What
it returns is settled (which ttl, which tags, whether it is kept at all) before the store
hears of it, so that whatever is wrong with it reaches the callers as the loader's error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Generic, TypeVar, cast

from flushmesh.ahead import Ahead
from flushmesh.duration import seconds
from flushmesh.entry import Entry
from flushmesh.flight import Flight, Landing
from flushmesh.fresh import Fresh, check_tags
from flushmesh.gate import Gate
from flushmesh.hooks import CacheHooks
from flushmesh.store import Store

V = TypeVar("V")


@dataclass(slots=True)
class Load(Generic[V]):
    """What a call says of its value: how to get it, and how to keep it."""

    loader: Callable[[], Any]
    ttl: float | timedelta | None = None
    tags: Iterable[str] = ()
    cache_if: Callable[[V], bool] | None = None

    def __post_init__(self) -> None:
        # What the call says wrong is found before the loader runs, and is not the loader's error.
        if self.ttl is not None:
            self.ttl = seconds("ttl", self.ttl)
        if self.tags:
            self.tags = check_tags(self.tags)

    def settle(self, result: V | Fresh[V]) -> tuple[Fresh[V], bool]:
        """Return *result* with its ttl and tags, and whether it is to be kept."""
        plain = not self.tags and self.ttl is None
        if not isinstance(result, Fresh):
            fresh = Fresh(result) if plain else Fresh(result, ttl=self.ttl, tags=self.tags)
        elif not plain:
            ttl = self.ttl if result.ttl is None else result.ttl
            fresh = Fresh(result.value, ttl=ttl, tags=(*self.tags, *result.tags), version=result.version)
        else:
            fresh = result
        return fresh, self.cache_if is None or bool(self.cache_if(fresh.value))


class Loading(Generic[V]):
    """The loads of one cache, at most *max_loads* at once."""

    def __init__(
        self,
        store: Store[V],
        clock: Callable[[], float],
        size_of: Callable[[V], int],
        hooks: CacheHooks,
        max_loads: int | None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._size_of = size_of
        self._hooks = hooks
        self._max_loads = max_loads
        self.reset()

    def reset(self) -> None:
        """Be as new; in a forked child, where the loads of other threads never end."""
        self._gate = None if self._max_loads is None else Gate(self._max_loads)
        self._ahead = Ahead()

    def run(self, key: str, load: Load[V]) -> V:
        """Return the value of *key*, loading it unless somebody else does."""
        while True:
            found = self._store.take_off(key, blocking=True, ahead=self._ahead.has_room, queued=self._gate is not None)
            if isinstance(found, Entry):
                return found.value
            if isinstance(found, Flight):
                if found.ahead is None:
                    return self._fly(found, load)
                self._ahead.start(partial(self._fly, found, load))
                return found.ahead.value
            landing = found.landing.result()
            if found.takes(landing):
                return landing.unpack()

    async def arun(self, key: str, load: Load[V]) -> V:
        """Return the value of *key*, awaiting the loader unless somebody else does."""
        while True:
            found = self._store.take_off(key, ahead=self._ahead.has_room, queued=self._gate is not None)
            if isinstance(found, Entry):
                return found.value
            if isinstance(found, Flight):
                if found.ahead is None:
                    return await self._afly(found, load)
                abandon = partial(self._store.fail, found, asyncio.CancelledError())
                self._ahead.start_task(partial(self._afly, found, load), abandon)
                return found.ahead.value
            landing = await asyncio.wrap_future(found.landing)
            if found.takes(landing):
                return landing.unpack()

    def _fly(self, flight: Flight[V], load: Load[V]) -> V:
        try:
            passed = self._gate is not None and self._gate.enter()
            flight.queued = False
            try:
                if passed:
                    flight.began = self._clock()
                with flight:
                    fresh, keep = load.settle(load.loader())
            finally:
                if passed:
                    cast(Gate, self._gate).leave()
            size = self._size_of(fresh.value)
        except BaseException as error:
            return self._failed(flight, error).unpack()
        self._store.fill(flight, fresh, size, keep=keep)
        return fresh.value

    async def _afly(self, flight: Flight[V], load: Load[V]) -> V:
        try:
            passed = self._gate is not None and await self._gate.aenter()
            flight.queued = False
            try:
                if passed:
                    flight.began = self._clock()
                with flight:
                    fresh, keep = load.settle(await cast(Awaitable[V | Fresh[V]], load.loader()))
            finally:
                if passed:
                    cast(Gate, self._gate).leave()
            size = self._size_of(fresh.value)
        except BaseException as error:
            return self._failed(flight, error).unpack()
        self._store.fill(flight, fresh, size, keep=keep)
        return fresh.value

    def _failed(self, flight: Flight[V], error: BaseException) -> Landing[V]:
        landing = self._store.fail(flight, error)
        if isinstance(error, Exception):
            self._hooks.load_failed(flight.key, error)
        return landing
