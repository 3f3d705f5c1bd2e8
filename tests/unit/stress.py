"""
One cache under many threads and tasks, with the interpreter switching between them as often as it can.

    python -m tests.unit.stress --operations 10000000

Every value carries the stamp at which its load began, and every flush takes a stamp before it
begins that becomes the floor of what it covers once it has returned.  Whoever reads looks
at the floors first: a value from below one is a broken promise, wherever it comes from.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from math import inf
from random import Random
from threading import Lock, Thread
from typing import Any

from flushmesh.cache import Cache
from flushmesh.entry import Entry
from flushmesh.fresh import Fresh
from flushmesh.hooks import CacheHooks
from flushmesh.options import CacheOptions
from flushmesh.receipt import Delivery, Receipt

KEYS = [f"k{number}" for number in range(24)]
TAGS = ["t0", "t1", "t2"]
# Smaller than the keys are many, so that some are evicted all the time.
OPTIONS = {"maxsize": 16, "ttl": 0.02, "refresh_ahead": 0.5}
TASKS = 4


@dataclass(frozen=True, slots=True)
class Stamped:
    """A value: which key and tag it is of, and when its load began."""

    key: str
    tag: str
    began: int


class Desk:
    """Answers receipts at once: there is no peer to wait for."""

    def watch(self, _receipt: Receipt) -> Future[Delivery]:
        """Return what is known."""
        answered: Future[Delivery] = Future()
        answered.set_result(Delivery())
        return answered

    def look(self, _receipt: Receipt) -> Delivery:
        """Return what is known."""
        return Delivery()

    def forget(self, _waiter: Future[Delivery]) -> None:
        """Forget nothing."""


class Nobody:
    """Stands for a mesh without peers."""

    def __init__(self) -> None:
        self._receipt = Receipt(0.0, Desk())

    def ensure_started(self) -> None:
        """Be started always."""

    def broadcast(
        self, cache: str, key: str | None = None, tag: str | None = None, version: int | None = None
    ) -> Receipt:
        """Tell nobody."""
        return self._receipt


class Stress:
    """The cache, with *options* beside the usual, what is known of it, and what was seen."""

    def __init__(self, operations: int, **options: Any) -> None:
        self.operations = operations
        self.cache: Cache[Stamped] = Cache(
            "c", Nobody(), CacheOptions(**(OPTIONS | options)), CacheHooks("c"), time.monotonic, inf
        )
        self.stamp = count(1).__next__
        self.floors = dict.fromkeys((*KEYS, *TAGS), 0)
        self.violations: list[str] = []
        self.hits = 0
        self.flushes = 0
        self.loads = 0
        self._lock = Lock()  # Protects the floors from each other, and the counters.

    @property
    def over(self) -> bool:
        return bool(self.violations) or self.hits + self.flushes >= self.operations

    def check(self, value: Stamped, floors: dict[str, int], promise: str) -> None:
        """Note a violation if *value* is from below the *floors* of before it was asked for."""
        floor = max(floors[value.key], floors[value.tag])
        if value.began < floor:
            self.violations.append(f"{promise}: {value} is from before the flush {floor}")

    def raise_floors(self, targets: list[str], stamp: int) -> None:
        """Note that a flush of *targets*, which began at *stamp*, has returned."""
        with self._lock:
            for target in targets:
                self.floors[target] = max(self.floors[target], stamp)

    def add(self, hits: int, flushes: int, loads: int) -> None:
        with self._lock:
            self.hits += hits
            self.flushes += flushes
            self.loads += loads

    def run(self, threads: int) -> None:
        """Run *threads* and one event loop with tasks until there were enough operations."""
        actors = [Actor(self, seed) for seed in range(threads + TASKS)]
        doings = [actor.run for actor in actors[TASKS:]] + [lambda: asyncio.run(_tasks(actors[:TASKS]))]
        running = [Thread(target=self._watch, args=(doing,), daemon=True) for doing in doings]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            for thread in running:
                thread.start()
            for thread in running:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        while self.cache._store._ahead:
            time.sleep(0.001)
        self.check_rest()

    def _watch(self, doing: Callable[[], None]) -> None:
        try:
            doing()
        except Exception as error:
            self.violations.append(f"error: {error!r}")
            raise

    def check_rest(self) -> None:
        """Look at what is left: nothing old, nothing open, and an index that fits the entries."""
        store, entries = self.cache._store, self.cache._store.contents.entries
        # What was flushed may lie there for its grace, but is found by its tags no more.
        now = time.monotonic()
        live = {key: entry for key, entry in entries.items() if now < entry.expires}
        for entry in live.values():
            self.check(entry.value, self.floors, "G2")
        index = {(tag, key) for tag, keys in store._tags._keys.items() for key in keys}
        left = {
            "open": store._flights or store._writes,
            "index without entry": index - _tagged(entries),
            "entry without index": _tagged(live) - index,
            "size": len(entries) - self.cache.currsize,
            # A task that is cancelled while it waits for its place counts as a load, but never ran.
            "loads": self.cache.options.max_loads is None and store.loads - self.loads,
        }
        self.violations += [f"left: {what} {rest}" for what, rest in left.items() if rest]


class Actor:
    """A thread or a task of the application, which does everything that one can do."""

    def __init__(self, stress: Stress, seed: int) -> None:
        self.stress = stress
        self.cache = stress.cache
        self.random = Random(seed)
        self.doings: list[tuple[float, Callable[[str], None]]] = [
            (0.06, self.load),
            (0.02, self.flush_key),
            (0.01, self.flush_tag),
            (0.01, self.write),
            (0.002, self.scan),
            (0.001, self.flush_all),
        ]
        self.hits = self.flushes = self.loads = 0

    def run(self) -> None:
        while not self.stress.over:
            for _ in range(100):
                self.act()
            self.report()

    async def arun(self) -> None:
        while not self.stress.over:
            for _ in range(100):
                if self.random.random() < 0.1:
                    await self.aload(self.random.choice(KEYS))
                else:
                    self.act()
            self.report()
            await asyncio.sleep(0)

    def report(self) -> None:
        self.stress.add(self.hits, self.flushes, self.loads)
        self.hits = self.flushes = self.loads = 0

    def act(self) -> None:
        """Do something, mostly look."""
        key, chance = self.random.choice(KEYS), self.random.random()
        for share, do in self.doings:
            chance -= share
            if chance < 0:
                return do(key)
        return self.look(key)

    # Reading.

    def look(self, key: str) -> None:
        floors = self.stress.floors.copy()
        value = self.cache.get(key)
        if value is not None:
            self.hits += 1
            self.stress.check(value, floors, "G1")

    def load(self, key: str) -> None:
        floors = self.stress.floors.copy()
        self.stress.check(self.cache.get_or_load(key, lambda: self.fresh(key)), floors, "G1")

    async def aload(self, key: str) -> None:
        """Load in a task, which is cancelled now and then."""

        async def loader() -> Fresh[Stamped]:
            fresh = self.fresh(key)
            for _ in range(self.random.randrange(3)):
                await asyncio.sleep(0)
            return fresh

        floors = self.stress.floors.copy()
        task = asyncio.create_task(self.cache.aget_or_load(key, loader))
        if self.random.random() < 0.1:
            await asyncio.sleep(0)
            task.cancel()
        with suppress(asyncio.CancelledError):
            self.stress.check(await task, floors, "G1")

    def fresh(self, key: str) -> Fresh[Stamped]:
        """Load: the stamp is of the beginning, and then others may run."""
        began = self.stress.stamp()
        self.stress.add(0, 0, 1)
        if self.random.random() < 0.3:
            time.sleep(0)
        tag = self.random.choice(TAGS)
        return Fresh(Stamped(key, tag, began), tags=[tag], version=began)

    def scan(self, _: str) -> None:
        floors = self.stress.floors.copy()
        for value in self.cache.values():
            self.stress.check(value, floors, "G2")

    # Flushing.

    def flush_key(self, key: str) -> None:
        """Flush as an application does, with a version or not, or as a peer does."""
        stamp, kind = self.stress.stamp(), self.random.randrange(3)
        if kind:
            self.cache.flush(key, version=stamp if kind == 1 else None)
        else:
            self.cache.apply(key, None, None, "peer", stamp)
        self.flushed([key], stamp)

    def flush_tag(self, _: str) -> None:
        tag, stamp = self.random.choice(TAGS), self.stress.stamp()
        self.cache.flush_tag(tag)
        self.flushed([tag], stamp)

    def flush_all(self, _: str) -> None:
        stamp = self.stress.stamp()
        self.cache.flush_all()
        self.flushed(KEYS, stamp)

    def write(self, key: str) -> None:
        """Write a key and perhaps a tag, and keep the value, which is not older than the flush at the end."""
        tags = self.random.choice(([], [], TAGS[:1]))
        with self.cache.writing(key, tags=tags) as write:
            stamp, tag = self.stress.stamp(), self.random.choice(TAGS)
            if self.random.random() < 0.5:
                write.set(Fresh(Stamped(key, tag, stamp), tags=[tag], version=stamp))
            time.sleep(0)
        self.flushed([key, *tags], stamp)

    def flushed(self, targets: list[str], stamp: int) -> None:
        self.flushes += 1
        self.stress.raise_floors(targets, stamp)


def _tagged(entries: dict[str, Entry[Stamped]]) -> set[tuple[str, str]]:
    return {(tag, key) for key, entry in entries.items() for tag in entry.tags}


async def _tasks(actors: list[Actor]) -> None:
    await asyncio.gather(*(actor.arun() for actor in actors))
    # What runs ahead of the need belongs to nobody.
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        await task


def main() -> int:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m tests.unit.stress", description="Stress one cache with threads.")
    parser.add_argument("--operations", type=int, default=10_000_000, help="hits and flushes")
    parser.add_argument("--threads", type=int, default=4, help="beside the one with the event loop")
    chosen = parser.parse_args()
    stress, began = Stress(chosen.operations), time.monotonic()
    stress.run(chosen.threads)
    took, info = time.monotonic() - began, stress.cache.info()
    print(f"hits         {stress.hits:,}\nflushes      {stress.flushes:,}\nloads        {stress.loads:,}")
    print(f"refused      {info.fills_refused:,}\nevictions    {info.evictions:,}\nexpiries     {info.expiries:,}")
    print(f"seconds      {took:.0f}\nviolations   {len(stress.violations)}")
    print("\n".join(stress.violations[:10]))
    return 1 if stress.violations else 0


if __name__ == "__main__":
    sys.exit(main())
