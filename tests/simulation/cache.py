"""
The cache of a simulated process: the shipped store and flights, driven as `flushmesh.Cache` does.

What a real one does in one breath happens here in steps, between which the rest of the
world goes on: a loader runs for a while, a write has a beginning and an end, and a reader
may be stopped in the middle of a hit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from flushmesh.entry import MISS, Entry, Miss
from flushmesh.failure import Failure
from flushmesh.flight import Flight, Landing, Passenger
from flushmesh.fresh import Fresh
from flushmesh.protocol.messages import Flush
from flushmesh.store import Store
from flushmesh.versions import Versions
from flushmesh.write import Write
from tests.simulation.source import Row, Value

if TYPE_CHECKING:
    from tests.simulation.process import Process

CACHE = "c"

# How often a load of a key with versions asks the replica, and how often one forgets to tell the version.
REPLICA = 0.3
UNTOLD = 0.1


class Glimpsed(dict[str, Entry[Value]]):
    """
    A store's own dict, in which a reader may be stopped before and after it has looked.

    Other threads go on meanwhile, which is what makes a lock-free hit hard.
    """

    cache: Cache

    def __getitem__(self, key):
        self.cache.stumble()
        try:
            return super().__getitem__(key)
        finally:
            self.cache.stumble()


class Cache:
    """What the application of *process* touches."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.run = process.run
        self.world = process.world
        self.reading = False
        plan = self.run.plan
        self.store: Store[Value] = Store(
            plan.maxsize, plan.ttl, process.clock, plan.max_staleness, self._draw, refresh_ahead=plan.ahead
        )
        self.store._versions = Versions(plan.demands)
        entries = Glimpsed()
        entries.cache = self
        self.store.entries = self.store.contents.shown = self.store.contents.entries = entries
        self.store.get = self.store._reader()

    def _draw(self) -> float:
        """Draw an entry's bound; the longest shows most."""
        return 1.0 if self.world.chance(0.5) else self.world.random.random()

    def stumble(self) -> None:
        """The reading thread is stopped for a moment, while the others go on."""
        if self.reading and not (self.run.peace or self.run.calm) and self.world.chance(0.02):
            self.reading = False
            self.run.let_pass(self.world.random.choice((0.01, 0.3, 2.0)) * self.run.plan.max_staleness)
            self.reading = True

    # Reading.

    def look(self, key: str) -> Value | Miss:
        """Look into the store, as the first line of every read does."""
        asked = self.world.stamp()
        self.reading = True
        value = self.store.get(key, MISS)
        self.reading = False
        if isinstance(value, Value):
            self.run.checkers.hit(self.process, key, value, asked)
        return value

    def read(self, key: str) -> None:
        """Read through the cache, loading on a miss."""
        hit = isinstance(self.look(key), Value)
        self.run.checkers.looked(self.process, hit=hit)
        if hit:
            return
        asked = self.world.stamp()
        found = self.store.take_off(Flight(key))
        if isinstance(found, Passenger):
            found._wake = lambda: self._landed(key, found, found.landing, asked)
            return
        entry = found.ahead if isinstance(found, Flight) else found
        if entry is not None:
            self.run.checkers.hit(self.process, key, entry.value, asked)
        if isinstance(found, Flight):
            self._load(found)

    def _landed(self, key: str, passenger: Passenger[Value], landing: Landing[Value], asked: int) -> None:
        if not passenger.takes(landing):
            self.world.after(0.0, lambda: self.process.thread(lambda: self.read(key)))
        elif landing.value is not None:
            self.run.checkers.joined(self.process, landing.value, asked)

    def _load(self, flight: Flight[Value]) -> None:
        """Run a loader: it reads the source of truth, or a replica, somewhere in between."""
        key, source = flight.key, self.run.source
        began, at, newest = self.world.stamp(), self.world.now, source.row(key).version
        took = self.run.plan.load_time * self.world.random.expovariate(1.0)
        when = took * self.world.random.random()

        def look() -> None:
            replica = key in self.run.versioned and self.world.chance(REPLICA)
            row = source.replica(key) if replica else source.row(key)
            value = Value(key, row.version, row.tags, began, at, lagged=row.version < newest)
            self.world.after(took - when, lambda: self.process.thread(lambda: self._loaded(flight, value)))

        self.world.after(when, lambda: self.process.thread(look))

    def _loaded(self, flight: Flight[Value], value: Value) -> None:
        if self.world.chance(self.run.plan.loads_fail):
            self.store.end(flight, failure=Failure(OSError("the source is gone")))
        elif self.store.end(flight, self._fresh(value)).stored:
            if self.world.loud:
                self.world.note(f"{self.process} stores {value}")
            self.run.checkers.filled(self.process, value)

    def _fresh(self, value: Value) -> Fresh[Value]:
        told = value.key in self.run.versioned and (value.lagged or not self.world.chance(UNTOLD))
        return Fresh(value, tags=value.tags, version=value.version if told else None)

    # Flushing.

    def apply(self, flush: Flush) -> None:
        """Apply *flush* to the store, as `flushmesh.Cache.apply` does."""
        if flush.key is not None:
            self.store.flush(flush.key, flush.version)
        elif flush.tag is not None:
            self.store.flush_tag(flush.tag)
        else:
            self.store.flush_all()
        self.run.checkers.forgot(self.process, flush)
        if self.world.loud:
            self.world.note(f"{self.process} forgets {flush}")

    def flush(self, flush: Flush, *, watch: bool) -> None:
        """Flush here, number the flush, and wake the driver, in the order of `flushmesh.Cache.flush`."""
        self.apply(flush)
        self.process.broadcast(flush, watch=watch)

    # Writing.

    def begin_write(self, keys: Sequence[str], tags: Sequence[str]) -> Write:
        write = self.store.begin_write(Write(keys, tags))
        self.run.checkers.write_began(self.process, write)
        return write

    def end_write(self, write: Write, rows: dict[str, Row], kept: Collection[str], at: float) -> None:
        """
        End a write that began *at*, as `Writing` does.

        Flush here, keep the values of *kept* unless they may be old, and tell the peers.
        """
        stamp = self.world.stamp()
        values = {key: Value(key, rows[key].version, rows[key].tags, stamp, at) for key in kept}
        fresh = {key: self._fresh(value) for key, value in values.items()}
        self.store.end_write(write, {key: (each, 1) for key, each in fresh.items()})
        for key, value in values.items():
            entry = self.store.contents.entries.get(key)
            if entry is not None and entry.value is value:
                self.run.checkers.kept(self.process, write, value)
        flushes = [Flush(CACHE, key, None, fresh[key].version if key in fresh else None) for key in write.keys]
        flushes += [Flush(CACHE, None, tag) for tag in write.tags]
        self.run.checkers.write_ended(self.process, write, flushes, stamp)
        for flush in flushes:
            self.process.broadcast(flush, watch=False)

    def size(self) -> int:
        """Count what is held, served or not."""
        return len(self.store.contents.entries)
