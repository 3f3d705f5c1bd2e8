"""
Gate: how many loads of a cache run at once.

A load that finds it full waits, first come, first served, as a thread or as a task.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from flushmesh.flight import Flight, enclosing
from flushmesh.guard import LATER, Guard
from flushmesh.waiter import Waiter, running_loop

# A loader that shares its work out to threads, and waits for them, holds the place that they
# wait for.  After so many seconds in which no place came back, one load goes on without; a slow
# source gets one load more each second, and no stampede.
PATIENCE: Final = 1.0


class Place(Waiter):
    """One load that waits at a gate."""

    __slots__ = ("_gate", "flight")

    def __init__(self, gate: Gate, flight: Flight[Any]) -> None:
        super().__init__()
        self._gate = gate
        self.flight = flight

    def over(self) -> bool:
        """Return whether it may go on."""
        return self._gate.admits(self)


class Gate:
    """
    Lets at most *most* loads through at once.

    A load inside another load does not wait, nor does a blocking load on a thread that runs an
    event loop: they would hold up the very ones that they wait for.  For the same reason
    neither of them waits for the load of another that is still waiting here.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._guard = Guard(self._let_in)  # Protects everything else.
        self._holders: dict[Flight[Any], None] = {}
        self._lent: dict[Flight[Any], None] = {}  # Those among the holders that did not wait for a place.
        self._queue: OrderedDict[Flight[Any], Place] = OrderedDict()
        self._moved_at = clock()

    def enter(self, flight: Flight[Any]) -> bool:
        """Wait for a place, to be given back by `leave` even if this raises; return False if none is needed."""
        if running_loop() is not None or enclosing() is not None:
            return False
        Place(self, flight).block()
        return True

    async def aenter(self, flight: Flight[Any]) -> bool:
        """As `enter`, without blocking."""
        if enclosing() is not None:
            return False
        await Place(self, flight).pause()
        return True

    def leave(self, flight: Flight[Any]) -> None:
        """Give the place of *flight* back, if it has one, or wait for it no longer."""
        if flight.has_place:
            self._guard.run(self._leave_locked, flight)
            flight.has_place = False

    def admits(self, place: Place) -> bool:
        """Return whether *place* is free now; queue it otherwise."""
        place.flight.has_place = True
        # A signal handler or a finalizer that loads in the middle of this must not wait for it.
        return self._guard.run(self._admits_locked, place) in (True, LATER)

    def _admits_locked(self, place: Place) -> bool:
        flight = place.flight
        if flight in self._holders:
            return True
        self._queue.setdefault(flight, place)
        for stranded in [holder for holder in self._holders if holder.stranded]:
            self._leave_locked(stranded)
        self._let_in()
        if flight not in self._holders and self._clock() - self._moved_at >= PATIENCE:
            self._lent[flight] = None
            self._admit(flight)
        return flight in self._holders

    def _leave_locked(self, flight: Flight[Any]) -> None:
        self._queue.pop(flight, None)
        if flight in self._holders:
            del self._holders[flight]
            self._moved_at = self._clock()
            if flight in self._lent:
                # The holders of the other places still wait, perhaps for the next in the queue.
                del self._lent[flight]
                if self._queue:
                    following = next(iter(self._queue))
                    self._lent[following] = None
                    self._admit(following)
        self._let_in()

    def _let_in(self) -> None:
        while self._queue and len(self._holders) < self._most:
            self._admit(next(iter(self._queue)))

    def _admit(self, flight: Flight[Any]) -> None:
        self._holders[flight] = None
        self._moved_at = self._clock()
        self._queue.pop(flight).wake()
