"""
Flight: one load that a flush can revoke.

The first caller that misses a key loads it, outside every lock; callers that come while it
runs wait for the same result, as threads or as tasks (single-flight).
"""

from __future__ import annotations

from contextvars import ContextVar
from threading import get_ident
from typing import Any, Final, Generic, TypeVar, cast

from flushmesh.entry import Entry
from flushmesh.failure import Failure
from flushmesh.grace import Graced, note_graced
from flushmesh.waiter import Waiter, running_loop

V = TypeVar("V")


class Landing(Generic[V]):
    """
    How a flight ended: with a value, with a failure, or abandoned.

    An abandoned one was cancelled or interrupted before it had either; its waiters load for
    themselves.  With *graced* the load failed, and the value is an old one.  *flushed* is the
    number of the first flush, during the load, that may have been of a tag of the value; 0 if
    none was.  *stored* tells whether the value is in the store now.
    """

    # Most have a value alone, and each load makes one.
    failure: Failure | None = None
    abandoned = False
    graced: Graced | None = None
    flushed = 0
    stored = False

    def __init__(self, value: V | None = None) -> None:
        self.value = value

    def unpack(self) -> V:
        """Return the value, or raise an error of the caller's own; record an old value for `graced()`."""
        if self.failure is not None:
            error = self.failure.again()
            try:
                raise error
            finally:
                # The error refers to this frame.
                del error, self
        if self.graced is not None:
            note_graced(self.graced)
        return cast(V, self.value)


ABANDONED: Final[Landing[Any]] = Landing()
ABANDONED.abandoned = True


class Passenger(Waiter, Generic[V]):
    """
    One caller that waits for the load of another.

    *boarded* is the store's count of tag flushes when the waiting began.
    """

    __slots__ = ("_flight", "_loads", "boarded", "landing")

    def __init__(self, flight: Flight[V], boarded: int, loads: list[Flight[Any]]) -> None:
        super().__init__()
        self.boarded = boarded
        self.landing: Landing[V] | None = None
        self._flight = flight
        self._loads = loads  # Those that the caller is part of, which wait with it.

    def over(self) -> bool:
        """Return whether the load has ended, or never will."""
        return self.landing is not None or self._flight.ended or self._flight.stranded

    def wait(self) -> Landing[V]:
        """Return how the load ended; block until then."""
        try:
            self.block()
        finally:
            self.leave()
        return self.landing or ABANDONED

    async def arrive(self) -> Landing[V]:
        """As `wait`, without blocking."""
        try:
            await self.pause()
        finally:
            self.leave()
        return self.landing or ABANDONED

    def deliver(self, landing: Landing[V]) -> None:
        """Report *landing*, the first time."""
        if self.landing is None:
            self.landing = landing
            self.wake()

    def leave(self) -> None:
        """Wait no longer."""
        self._flight.passengers.pop(self, None)
        for flight in self._loads:
            flight.waits_for.pop(self, None)

    def takes(self, landing: Landing[V]) -> bool:
        """
        Return whether *landing* is for this caller too; if not, it loads for itself.

        A caller that joined after a flush must not receive a value loaded before it.  Only now
        is it known that the value carries the flushed tag.
        """
        return not landing.abandoned and not 0 < landing.flushed <= self.boarded


class Flight(Generic[V]):
    """
    One load in progress.

    Its caller makes it before the store hears of it, so that it can end it whatever happens in
    between.  A flush revokes it: callers that already wait still receive the value, the store
    never does.

    `ahead` is the entry that is still good while this load runs ahead of the need, `tags_seen`
    the store's count of tag flushes when it began, `inside` the flight whose loader asked for
    it.  While it is `queued` it waits for its place among the loads of its cache.  It is `retried` if
    an earlier load ahead of the same entry was abandoned.  It `took_off` while the store's tables
    may hold it, and `has_place` while the gate's may.
    """

    __slots__ = (
        "_token",
        "ahead",
        "began",
        "blocking",
        "ended",
        "has_place",
        "inside",
        "key",
        "loop",
        "passengers",
        "queued",
        "retried",
        "tags_seen",
        "thread",
        "took_off",
        "waits_for",
    )

    began: float
    tags_seen: int

    def __init__(self, key: str, blocking: bool = False, queued: bool = False) -> None:
        self.key = key
        self.blocking = blocking
        self.queued = queued
        self.ahead: Entry[V] | None = None
        self.inside: Flight[Any] | None = None
        self.retried = False
        self.took_off = False
        self.has_place = False
        self.ended = False
        self.thread = get_ident()
        self.loop = running_loop()
        self.passengers: dict[Passenger[V], None] = {}
        # The loads that this one waits for, by who waits: its loader, or a load inside it.
        self.waits_for: dict[Passenger[Any], Flight[Any]] = {}

    @property
    def stranded(self) -> bool:
        """Whether the event loop that ran the load has stopped, so that it may never end."""
        return self.loop is not None and not self.loop.is_running()

    @property
    def over(self) -> bool:
        """Whether nothing of it is left: in no table, without a place, and every waiter has heard of its end."""
        return not (self.took_off or self.has_place or self.passengers)

    def join_locked(self, caller: Flight[V], boarded: int) -> Passenger[V] | None:
        """Return a passenger for *caller*, or None if its waiting might never end; the store's lock is held."""
        if self._needs(caller):
            return None
        loads = lineage()
        passenger = Passenger(self, boarded, loads)
        # Two threads may do this at once, in two stores.  Each adds its own edge before it
        # looks, so that at least one of them sees the cycle.
        for flight in loads:
            flight.waits_for[passenger] = self
        if loads and self._waits_for_any(loads):
            passenger.leave()
            return None
        self.passengers[passenger] = None
        return passenger

    def _needs(self, caller: Flight[V]) -> bool:
        """Return whether this load cannot go on while *caller* waits."""
        if caller.blocking and caller.loop is not None:
            return True  # Whatever it waits for may need that loop.
        if self.thread == caller.thread and (caller.blocking or self.loop is not caller.loop):
            return True  # Lower on the same stack, or in another greenlet.
        # A load may hold the very place that a queued one waits for.
        return self.queued and enclosing() is not None

    def _waits_for_any(self, loads: list[Flight[Any]]) -> bool:
        left: list[Flight[Any]] = [self]
        seen: set[int] = set()
        while left:
            flight = left.pop()
            if flight in loads:
                return True
            if id(flight) not in seen and not flight.ended:
                seen.add(id(flight))
                left.extend(flight.waits_for.values())
        return False

    def land(self, landing: Landing[V]) -> None:
        """Report to every waiter how it ended; nobody can join any more."""
        self.ended = True
        self.ahead = None
        if self.inside is not None:
            # A task that the loader has started may live on; it must not keep a chain of loads.
            self.inside = _running(self.inside)
        if self.waits_for:
            self.waits_for.clear()
        if self.passengers:
            self.deliver(landing)

    def deliver(self, landing: Landing[V]) -> None:
        """Report *landing* to every waiter."""
        for passenger in list(self.passengers):
            passenger.deliver(landing)
        self.passengers.clear()

    def take_over(self) -> None:
        """Record that this thread or task runs the load, and not the one that began it."""
        self.thread = get_ident()
        self.loop = running_loop()

    def __enter__(self) -> None:
        """Mark what runs inside as this flight's loader, here and in the tasks it starts, not in threads."""
        inside = _aboard.get()
        if inside is not None:
            self.inside = _running(inside)
        self._token = _aboard.set(self)

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        try:  # noqa: SIM105 - suppress() would be a tenth of a fill
            _aboard.reset(self._token)
        except ValueError:
            # A coroutine that is thrown away is closed in another context than its own.
            pass


_aboard: ContextVar[Flight[Any] | None] = ContextVar("flushmesh_aboard", default=None)


def _running(flight: Flight[Any] | None) -> Flight[Any] | None:
    while flight is not None and flight.ended:
        flight = flight.inside
    return flight


def enclosing() -> Flight[Any] | None:
    """Return the innermost load that the caller is part of and that has not ended."""
    return _running(_aboard.get())


def lineage() -> list[Flight[Any]]:
    """Return every load that the caller is part of, from the innermost out."""
    loads, flight = [], enclosing()
    while flight is not None:
        loads.append(flight)
        flight = _running(flight.inside)
    return loads
