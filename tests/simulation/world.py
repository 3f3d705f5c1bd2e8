"""
The world of a simulation: real time, chance, and what happens next.

Everything that happens is an event at a point of real time, which no simulated process can
see.  One seed makes the world: the same seed gives the same run, event by event.
"""

import heapq
from collections import deque
from collections.abc import Callable
from random import Random

# A run of the largest plan takes a tenth of this; more is a stream that is opened and dropped for ever.
EVENTS_MAX = 1_000_000


class Violation(AssertionError):  # noqa: N818  The word of every report.
    """A promise was broken; the message says which, when and by whom."""


class World:
    """Time, chance and the queue of events."""

    def __init__(self, seed: int, *, loud: bool = False) -> None:
        self.loud = loud
        self.random = Random(seed)
        self.now = 0.0
        self.events = 0
        self.history: deque[str] = deque(maxlen=100_000 if loud else 400)
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._count = 0

    def after(self, delay: float, action: Callable[[], object]) -> None:
        """Have *action* happen *delay* seconds from now."""
        self._count += 1
        heapq.heappush(self._queue, (self.now + delay, self._count, action))

    def run(self, until: float) -> None:
        """Let time pass up to *until*."""
        while self._queue and self._queue[0][0] <= until:
            at, _, action = heapq.heappop(self._queue)
            # Time that was let pass inside of an event does not come back.
            self.now = max(self.now, at)
            self.events += 1
            if self.events > EVENTS_MAX:
                raise Violation(f"calm at {self.now:.3f}: no end of events")
            action()
        self.now = max(self.now, until)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def stamp(self) -> int:
        """Return a number that tells the order of things that happen at the same time."""
        self._count += 1
        return self._count

    def note(self, text: str) -> None:
        """Remember *text* for whoever must understand a failure."""
        self.history.append(f"{self.now:9.3f}  {text}")
