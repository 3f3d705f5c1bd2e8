"""The application of a simulation: what the processes do all day."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flushmesh.protocol.messages import Flush
from tests.simulation.cache import CACHE

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.run import Run

# How often a writer that knows the version flushes without it all the same.
PLAIN = 0.2


class Application:
    """Reads, writes of a row or of all rows with a tag, flushes of everything, receipts that are waited for."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.world = run.world

    def begin(self, process: Process, *, writes: bool = True) -> None:
        self._again(process, self.run.plan.reads, self.read)
        if writes:
            self._again(process, self.run.plan.writes, self.write)

    def _again(self, process: Process, rate: float, action: Callable[[Process], None]) -> None:
        def act() -> None:
            if process.alive:
                if not self.run.quiet or action == self.read:
                    process.thread(lambda: action(process))
                self.world.after(self.world.random.expovariate(rate), act)

        self.world.after(self.world.random.expovariate(rate), act)

    def read(self, process: Process) -> None:
        process.cache.read(self.world.random.choice(self.run.keys))

    def glance(self, process: Process) -> None:
        """Another thread reads, in the middle of what the driver does."""
        if self.world.chance(0.3):
            for key in self.run.keys:
                process.cache.look(key)

    def write(self, process: Process) -> None:
        """Commit, and flush a moment later; who dies in between has told nobody."""
        if self.world.chance(0.3):
            self._write_inside(process)
            return
        flush = self._commit()
        watch = self.world.chance(0.5)
        delay = self.world.random.choice((0.0, 0.001, 0.2))
        self.world.after(delay, lambda: process.thread(lambda: process.cache.flush(flush, watch=watch)))

    def _commit(self) -> Flush:
        """Write a row, or all rows with a tag; return the flush that this asks for."""
        kind = self.world.random.random()
        if kind < 0.15:
            tag = self.world.random.choice(self.run.tags)
            self.run.source.write_all_with(tag)
            return Flush(CACHE, None, tag)
        key = self.world.random.choice(self.run.keys)
        row = self.run.source.write(key)
        if kind > 0.93:
            return Flush(CACHE)
        told = key in self.run.versioned and not self.world.chance(PLAIN)
        return Flush(CACHE, key, None, row.version if told else None)

    def _write_inside(self, process: Process) -> None:
        """Write as `Cache.writing` does, and keep the values."""
        random, source = self.world.random, self.run.source
        keys = random.sample(self.run.keys, min(len(self.run.keys), random.choice((1, 1, 2))))
        tags = random.sample(self.run.tags, random.choice((0, 0, 1)))
        kept = [key for key in keys if random.random() < 0.8]
        took = random.choice((0.001, 0.1, 1.0))
        at = self.world.now
        write = process.cache.begin_write(keys, tags)

        def commit() -> None:
            for tag in tags:
                source.write_all_with(tag)
            rows = {key: source.write(key) for key in keys}
            self.world.after(took / 2, lambda: process.thread(lambda: process.cache.end_write(write, rows, kept, at)))

        self.world.after(took / 2, lambda: process.thread(commit))
