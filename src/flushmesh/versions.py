"""
Versions: how new a key's value must be, after a flush has said so.

A replica that lags behind returns what it has.  The version that a flush demands of a key
is remembered after the flush, so that a value older than that is not kept, whenever it was
loaded.

The memory is bounded.  When the oldest demand has to go while a replica might still lag,
no versioned value is kept until it no longer might, but of keys whose demand was never
lost: losing a demand errs towards loading.
"""

from __future__ import annotations

from math import inf
from typing import Final, NamedTuple

# A few megabytes; enough for two hundred versioned writes a second within LAG_MAX.
DEMANDS_MAX: Final = 65_536
# A replica that lags by more, in seconds, is broken.
LAG_MAX: Final = 300.0


class Demand(NamedTuple):
    """At least *version*, as *at* said; until *unsure_until* it may be more, because a demand was lost."""

    version: int
    at: float
    unsure_until: float


class Versions:
    """The versions that flushes demand."""

    def __init__(self, demands_max: int = DEMANDS_MAX) -> None:
        self._demands_max = demands_max
        self._demands: dict[str, Demand] = {}
        self._blind_until = -inf

    def demand(self, key: str, version: int, now: float) -> None:
        """Note that at *now* a flush has demanded *version* of *key*; one may not demand less than before."""
        former = self._demands.pop(key, None)
        if former is None:
            # It may be one that was lost, and come too late to be the newest of its key.
            self._demands[key] = Demand(version, now, self._blind_until)
        else:
            self._demands[key] = Demand(max(version, former.version), now, former.unsure_until)
        if len(self._demands) > self._demands_max:
            lost = self._demands.pop(next(iter(self._demands)))
            self._blind_until = max(self._blind_until, lost.at + LAG_MAX)

    def allow(self, key: str, version: int, now: float) -> bool:
        """Tell whether a value of *version* may be kept for *key*."""
        demand = self._demands.get(key)
        if demand is None:
            return now >= self._blind_until
        return version >= demand.version and now >= demand.unsure_until
