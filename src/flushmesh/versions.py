"""
Versions: how new a key's value must be, after a flush has said so.

A replica that lags behind returns what it has.  The version that a flush demands of a key
is remembered after the flush, so that a value older than that is not kept, whenever it was
loaded.

The memory is bounded.  A demand that has to go while a replica might still lag leaves marks in
a table of fixed size: until the replica no longer might, no versioned value of that key is
kept, nor of the few other keys that have the same marks (a Bloom filter).  Losing a demand
errs towards loading.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterator
from math import ceil, inf
from typing import Final, NamedTuple

# A few megabytes; enough for two hundred versioned writes a second within LAG_MAX.
DEMANDS_MAX: Final = 65_536
# A replica that lags by more, in seconds, is broken.
LAG_MAX: Final = 300.0
# Marks for each demand that can be remembered: eight megabytes, made when the first one is lost.
# With as many lost as remembered, one other key in two hundred has marks that are all taken.
MARKS_PER_DEMAND: Final = 16
MARKS_EACH: Final = 3


class Demand(NamedTuple):
    """At least *version*, as *at* said; until *unsure_until* it may be more, because a demand was lost."""

    version: int
    at: float
    unsure_until: float


class Versions:
    """The versions that flushes demand; `lost` counts the demands that had to go too early."""

    def __init__(self, demands_max: int = DEMANDS_MAX) -> None:
        self.lost = 0
        self._demands_max = demands_max
        self._demands: OrderedDict[str, Demand] = OrderedDict()
        # For each mark, the second until which a lost demand may matter.
        self._lost_until: array[int] = array("q")

    def demand(self, key: str, version: int, now: float) -> None:
        """Record that at *now* a flush has demanded *version* of *key*; one may not demand less than before."""
        # An interruption may come between any two of these: nothing is taken away before its successor is there.
        former = self._demands.get(key)
        if former is None:
            # It may be one that was lost, and come too late to be the newest of its key.
            self._demands[key] = Demand(version, now, self._unsure_until(key))
        else:
            self._demands[key] = Demand(max(version, former.version), now, former.unsure_until)
            self._demands.move_to_end(key)
        if len(self._demands) > self._demands_max:
            oldest = next(iter(self._demands))
            self._lose(oldest, self._demands[oldest], now)
            del self._demands[oldest]

    def allow(self, key: str, version: int, now: float) -> bool:
        """Return whether a value of *version* may be kept for *key*."""
        demand = self._demands.get(key)
        if demand is None:
            return now >= self._unsure_until(key)
        return version >= demand.version and now >= demand.unsure_until

    def _lose(self, key: str, demand: Demand, now: float) -> None:
        until = demand.at + LAG_MAX
        if until <= now:
            return
        self.lost += 1
        if not self._lost_until:
            self._lost_until = array("q", bytes(8 * MARKS_PER_DEMAND * self._demands_max))
        for mark in self._marks(key):
            self._lost_until[mark] = max(self._lost_until[mark], ceil(until))

    def _unsure_until(self, key: str) -> float:
        if not self._lost_until:
            return -inf
        return min(self._lost_until[mark] for mark in self._marks(key))

    def _marks(self, key: str) -> Iterator[int]:
        text = hash(key)
        for number in range(MARKS_EACH):
            yield (text >> 20 * number) % len(self._lost_until)
