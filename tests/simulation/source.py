"""
The source of truth of a simulation: rows that grow a version with every write, and a replica that lags behind.

A row carries the tags that it has at the moment, as one of a user carries the team: which
they are is known only to whoever has read it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.simulation.world import World

# How often a write moves a row to other tags.
MOVES = 0.3


@dataclass(frozen=True)
class Row:
    """What the source holds of a key: how often it was written, and its tags now."""

    version: int
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Value:
    """
    What a load returned: a row; the load began at the stamp *began*, at the time *at*.

    One that *lagged* came from the replica and is older than what the source held when the
    load began.
    """

    key: str
    version: int
    tags: tuple[str, ...]
    began: int
    at: float = field(compare=False)
    lagged: bool = False


class Source:
    """The rows, with what they were."""

    def __init__(self, world: World, keys: Sequence[str], tags: Sequence[str], lag: float) -> None:
        self.keys = keys
        self.tags = tags
        self._world = world
        self._lag = lag
        self._rows = {key: [Row(0, self._draw())] for key in keys}
        self._written = {key: [0.0] for key in keys}

    def _draw(self) -> tuple[str, ...]:
        random = self._world.random
        return tuple(random.sample(self.tags, min(len(self.tags), random.choice((0, 1, 1, 2)))))

    def row(self, key: str) -> Row:
        return self._rows[key][-1]

    def versions(self) -> dict[str, int]:
        return {key: rows[-1].version for key, rows in self._rows.items()}

    def replica(self, key: str) -> Row:
        """Return the row of *key* as it was a moment ago, at most `lag` seconds."""
        at = self._world.now - self._lag * self._world.random.random()
        return self._rows[key][max(0, bisect_right(self._written[key], at) - 1)]

    def write(self, key: str) -> Row:
        """Write *key*; return its row, which may have moved to other tags."""
        tags = self._draw() if self._world.chance(MOVES) else self.row(key).tags
        return self._append(key, tags)

    def write_all_with(self, tag: str) -> None:
        """Write every row that carries *tag* now."""
        for key in self.keys:
            if tag in self.row(key).tags:
                self._append(key, self.row(key).tags)

    def _append(self, key: str, tags: tuple[str, ...]) -> Row:
        row = Row(self.row(key).version + 1, tags)
        self._rows[key].append(row)
        self._written[key].append(self._world.now)
        return row
