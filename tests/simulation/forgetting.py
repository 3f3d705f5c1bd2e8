"""
Forgetting: what each process was told to forget, and when, as the checkers saw it.

A target is a key or a tag.  A flush forgets what carries its target and began to be loaded
before it; a versioned one spares what is as new as it demands, and forbids what is older
from then on, whenever that was loaded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flushmesh.write import Write
    from tests.simulation.process import Process
    from tests.simulation.source import Value


class Forgetting:
    """Tells why a process may not give a value to somebody; an empty reason means that it may."""

    def __init__(self) -> None:
        # By process and target, in the order of their stamps: what a flush leaves alone is as
        # new as the second number says, and what is demanded of all that come later.
        self._flushes: dict[tuple[Process, str], list[tuple[int, float]]] = defaultdict(list)
        self._demands: dict[tuple[Process, str], list[tuple[int, int]]] = defaultdict(list)
        self._writes: dict[Process, dict[Write, int]] = defaultdict(dict)

    def flushed(self, process: Process, targets: Iterable[str], version: int | None, stamp: int) -> None:
        """Note that at *stamp* a flush of *targets* was applied."""
        for target in targets:
            self._flushes[process, target].append((stamp, inf if version is None else version))
            if version is not None:
                demands = self._demands[process, target]
                demands.append((stamp, max(version, demands[-1][1]) if demands else version))

    def write_began(self, process: Process, write: Write, stamp: int) -> None:
        self.flushed(process, (*write.keys, *write.tags), None, stamp)
        self._writes[process][write] = stamp

    def write_ended(self, process: Process, write: Write) -> None:
        del self._writes[process][write]

    def too_early(self, process: Process, value: Value, asked: int) -> str:
        """Tell of a flush that came after the load of *value* began, and not after *asked*."""
        for target in (value.key, *value.tags):
            flushes = self._flushes.get((process, target), ())
            for place in range(bisect_right(flushes, (asked, inf)) - 1, -1, -1):
                stamp, spared = flushes[place]
                if stamp <= value.began:
                    break
                if value.version < spared:
                    return f"a flush of {target} came after its load began"
        return ""

    def too_old(self, process: Process, value: Value, asked: int) -> str:
        """Tell of a version above that of *value* that was demanded by *asked*."""
        demands = self._demands.get((process, value.key), ())
        place = bisect_right(demands, (asked, inf))
        if place and value.version < demands[place - 1][1]:
            return f"a flush had demanded version {demands[place - 1][1]}"
        return ""

    def inside(self, process: Process, value: Value, asked: int) -> str:
        """Tell of a write of *value* that began by *asked* and goes on."""
        for write, began in self._writes[process].items():
            targets = {value.key, *value.tags}.intersection((*write.keys, *write.tags))
            if targets and began <= asked:
                return f"{', '.join(sorted(targets))} is being written"
        return ""

    def meanwhile(self, process: Process, value: Value, write: Write, now: int) -> str:
        """Tell of a flush that came after *write*, which wants to keep *value*, had begun."""
        began = self._writes[process][write]
        for target in (value.key, *value.tags):
            for stamp, spared in self._flushes.get((process, target), ()):
                if began < stamp <= now and value.version < spared:
                    return f"a flush of {target} came while it was written"
        return ""
