"""
Loading: how a value comes from the source of truth into the store.

The loader runs outside every lock: in the thread of the first caller that missed, or in a
task of its own, which goes on when that caller is cancelled.  What it returns is settled
(which ttl, which tags, whether it is kept at all) before the store hears of it, so that
whatever is wrong with it reaches the callers as the loader's error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from functools import partial
from sys import exception
from typing import Any, Generic, TypeVar, cast

from flushmesh.ahead import start_task, start_thread
from flushmesh.duration import seconds
from flushmesh.entry import Entry
from flushmesh.failure import Failure
from flushmesh.flight import ABANDONED, Flight, Landing, Passenger
from flushmesh.fresh import Fresh, check_tags
from flushmesh.gate import Gate
from flushmesh.hooks import CacheHooks
from flushmesh.store import Store

V = TypeVar("V")


class Load(Generic[V]):
    """What a call says of its value: how to get it, and how to keep it."""

    __slots__ = ("cache_if", "loader", "tags", "ttl")

    def __init__(
        self,
        loader: Callable[[], Any],
        ttl: float | timedelta | None = None,
        tags: Iterable[str] = (),
        cache_if: Callable[[V], bool] | None = None,
    ) -> None:
        # What the call says wrong is found before the loader runs, and is not the loader's error.
        self.loader = loader
        self.ttl = None if ttl is None else seconds("ttl", ttl)
        self.tags = check_tags(tags) if tags else ()
        self.cache_if = cache_if

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
    """
    The loads of one cache, at most *max_loads* at once.

    Each ends exactly once whatever interrupts it: `_abandon` is the last word, for a load that
    was interrupted before, or while, its end was reported.
    """

    def __init__(
        self,
        store: Store[V],
        clock: Callable[[], float],
        size_of: Callable[[V], float],
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

    def run(self, key: str, load: Load[V]) -> V:
        """Return the value of *key*, loading it unless another caller does."""
        while True:
            flight: Flight[V] = Flight(key, True, self._gate is not None)
            try:
                found = self._store.take_off(flight)
                if isinstance(found, Flight):
                    old = flight.ahead
                    if old is None:
                        return self._fly(flight, load)
                    start_thread(partial(self._fly_ahead, flight, load))
                    return old.value
                if isinstance(found, Entry):
                    return found.value
            except BaseException:
                self._abandon(flight)
                raise
            landing = found.wait()
            if found.takes(landing):
                return landing.unpack()

    def _fly_ahead(self, flight: Flight[V], load: Load[V]) -> None:
        flight.take_over()
        try:
            if not flight.ended:
                self._fly(flight, load)
        except Exception as error:
            self._hooks.refresh_failed(flight.key, error)
        finally:
            self._abandon(flight)

    def _fly(self, flight: Flight[V], load: Load[V]) -> V:
        gate, handled = self._gate, exception()
        try:
            try:
                if gate is not None and gate.enter(flight):
                    flight.began = self._clock()
                flight.queued = False
                with flight:
                    fresh, keep = load.settle(load.loader())
            finally:
                if gate is not None:
                    gate.leave(flight)
            size = self._size_of(fresh.value)
        except BaseException as error:
            landing = self._failed(flight, error, handled)
            if landing.graced is not None:
                return landing.unpack()
            # The error refers to this frame.
            del landing
            raise
        self._store.end(flight, fresh, size, keep)
        return fresh.value

    def _failed(self, flight: Flight[V], error: BaseException, handled: BaseException | None) -> Landing[V]:
        landing = self._store.end(flight, failure=Failure(error, handled))
        if isinstance(error, Exception):
            self._hooks.load_failed(flight.key, error)
        return landing

    def _abandon(self, flight: Flight[V]) -> None:
        """End *flight* if anything of it is left."""
        if not flight.over:
            if self._gate is not None:
                self._gate.leave(flight)
            self._store.end(flight)

    # The same with a task for each load.

    async def arun(self, key: str, load: Load[V]) -> V:
        """Return the value of *key*, awaiting the loader unless another caller does."""
        while True:
            flight: Flight[V] = Flight(key, False, self._gate is not None)
            old = task = None
            try:
                found = self._store.take_off(flight)
                if isinstance(found, Flight):
                    old = flight.ahead
                    task = self._start(flight, load)
            except BaseException:
                self._abandon(flight)
                raise
            if isinstance(found, Entry):
                return found.value
            if isinstance(found, Passenger):
                landing = await found.arrive()
                if found.takes(landing):
                    return landing.unpack()
            elif old is not None and not flight.retried:
                return old.value
            elif task is not None:
                return await self._landed(task, old)

    def _start(self, flight: Flight[V], load: Load[V]) -> asyncio.Task[Landing[V]]:
        """Run the load in a task of its own, which outlives the caller."""
        coroutine = self._afly(flight, load)
        task = asyncio.get_running_loop().create_task(coroutine) if flight.ahead is None else start_task(coroutine)
        # It may be cancelled before its first step.
        task.add_done_callback(lambda _: self._abandon(flight))
        return task

    async def _landed(self, task: asyncio.Task[Landing[V]], old: Entry[V] | None) -> V:
        await asyncio.wait((task,))
        if old is not None and (task.cancelled() or task.result().failure is not None):
            return old.value
        landing = task.result()
        try:
            return landing.unpack()
        finally:
            # An error that cannot be copied refers to this frame.
            del landing, task

    async def _afly(self, flight: Flight[V], load: Load[V]) -> Landing[V]:
        if flight.ended:
            return ABANDONED
        gate, ahead = self._gate, flight.ahead is not None
        try:
            try:
                if gate is not None and await gate.aenter(flight):
                    flight.began = self._clock()
                flight.queued = False
                with flight:
                    fresh, keep = load.settle(await cast(Awaitable[V | Fresh[V]], load.loader()))
            finally:
                if gate is not None:
                    gate.leave(flight)
            size = self._size_of(fresh.value)
        except BaseException as error:
            if not isinstance(error, Exception):
                self._abandon(flight)
                raise
            if ahead:
                self._hooks.refresh_failed(flight.key, error)
            # Not by way of a name: the error refers to this frame.
            return self._failed(flight, error, None)
        return self._store.end(flight, fresh, size, keep)
