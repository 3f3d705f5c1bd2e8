"""
World: one cache before an operation, the operations, and what must hold after each, whatever came in between.

Before each operation the cache holds "a", "b" and "c"; "c" carries the tag "t".  Values are
numbered: a read of a key may give the value from before the operation, the value from after it,
or nothing.
"""

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import cachetools

from flushmesh.fresh import Fresh
from flushmesh.receipt import Receipt
from tests.unit.caches import InThread, cache_of
from tests.unit.stress import Desk

KEYS = ("a", "b", "c", "k")
WITHIN = 1.0


class Peers:
    """Stands for the mesh: remembers what was broadcast."""

    def __init__(self) -> None:
        self.sent: list[tuple] = []

    def ensure_started(self) -> None:
        pass

    def broadcast(self, cache, key=None, tag=None, version=None):
        self.sent.append((key, tag))
        return Receipt(0.0, Desk(), len(self.sent))


@dataclass
class World:
    """One cache, and what else an operation needs."""

    options: dict = field(default_factory=dict)
    hooks: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.peers = Peers()
        self.evicted: list = []
        self.waiters: list[InThread] = []
        self.committed: list[str] = []
        self.over = threading.Event()
        self.reads = 0
        self.read_at: dict[str, int] = {}
        options = {"maxsize": 4, "ttl": 60.0} | self.options
        self.cache = cache_of(self.peers, time.monotonic, self.hooks, **options)
        for key in "ab":
            self.cache.get_or_load(key, lambda key=key: f"{key} before")
        self.cache.get_or_load("c", lambda: Fresh("c before", tags=["t"]))
        self.peers.sent.clear()

    @property
    def store(self):
        return self.cache._store

    def read(self, value: str) -> str:
        """Read *value* from the source of truth, now."""
        self.reads += 1
        self.read_at[value] = self.reads
        return value

    def joined(self, key: str) -> None:
        """Have another thread wait for the load of *key* that runs now."""
        flight = self.store._flights.get(key)
        self.waiters.append(InThread(self.cache.get_or_load, key, lambda: f"{key} of a waiter"))
        deadline = time.monotonic() + 5
        while flight is not None and not flight.passengers and not flight.ended and time.monotonic() < deadline:
            time.sleep(0.0005)

    # What must hold.

    def check(self) -> None:
        """Check every invariant; the operation has ended, by itself or not."""
        self.over.set()
        served = dict(self.cache.items())
        for key, value in served.items():
            assert value.startswith(key), f"{key} gives {value}"
        for waiter in self.waiters:
            # An Exception that comes while a loader runs is its error, and reaches all who wait.
            with suppress(TimeoutError):
                assert waiter.result(WITHIN)
        InThread(self._probe).result(WITHIN)
        gc.collect()
        for key in self.committed:
            assert (key, None) in self.peers.sent, f"the write of {key} was committed and not broadcast"
        self._check_rest()

    def _probe(self) -> None:
        """Use the cache as another thread does; nothing of it may hang, and nothing be kept that was flushed."""
        cache = self.cache
        cache.flush_tag("t")
        assert "c" not in cache
        for key in KEYS:
            assert cache.get_or_load(key, lambda key=key: f"{key} probed")
        for key in KEYS:
            cache.flush(key)
            assert cache.get(key) is None
        asyncio.run(cache.aget_or_load("k", self._aload))
        cache["a"] = "a written"
        cache.pop("a")

    async def _aload(self) -> str:
        return "k probed"

    def _check_rest(self) -> None:
        """Look for anything left: a flight without a loader, a write without an end, an index that does not fit."""
        store, contents = self.store, self.store.contents
        deadline = time.monotonic() + WITHIN
        # A load that has stopped with its loop is swept away when the room is needed.
        while any(not flight.stranded for flight in store._ahead) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert not [flight for flight in store._ahead if not flight.stranded]
        assert not store._flights
        assert not store._writes
        assert (store._guard._busy, list(store._guard._late)) == (False, [])
        held = {key: entry for key, entry in contents.entries.items() if time.monotonic() < entry.expires}
        assert set(contents._policy) == set(contents.entries)
        sizes = [self.cache.options.size_of(entry.value) for entry in contents.entries.values()]
        assert contents.currsize == sum(sizes)
        index = {(tag, key) for tag, keys in store._tags._keys.items() for key in keys}
        assert {(tag, key) for key, entry in held.items() for tag in entry.tags} <= index
        gate = self.cache._loading._gate
        if gate is not None:
            assert not [flight for flight in gate._holders if not flight.stranded]
            assert (gate._queue, gate._lent) == ({}, {})
        for key in KEYS[:2]:
            self.cache.get_or_load(key, lambda key=key: f"{key} kept")
            assert key in self.cache, f"{key} is never kept again"


Operation = Callable[[World], object]
OPERATIONS: dict[str, tuple[dict, Operation]] = {}


def operation(**options) -> Callable[[Operation], Operation]:
    """Register an operation on a cache with *options*."""

    def register(function: Operation) -> Operation:
        OPERATIONS[function.__name__] = (options, function)
        return function

    return register


@operation()
def hit(world):
    world.cache.get("a")
    world.cache.get_or_load("a", lambda: "a loaded")


@operation()
def miss(world):
    world.cache.get("k")


@operation()
def load(world):
    world.cache.get_or_load("k", lambda: world.read("k loaded"), tags=["t"])


@operation()
def load_for_others(world):
    def loader():
        value = world.read("k loaded")
        world.joined("k")
        return value

    world.cache.get_or_load("k", loader)


@operation()
def load_that_fails(world):
    def loader():
        world.joined("k")
        raise LookupError("gone")

    world.waiters = Failing()
    with suppress(LookupError):
        world.cache.get_or_load("k", loader)


class Failing(list):
    """Waiters that may get the loader's error."""

    def append(self, waiter):
        class Either:
            def result(self, within):
                try:
                    return waiter.result(within)
                except LookupError:
                    return "the error"

        super().append(Either())


@operation()
def load_of_another(world):
    """Wait for the load of another thread, which ends when this one waits for it, or has been interrupted."""
    begun = threading.Event()

    def loader():
        begun.set()
        value = world.read("k loaded")
        flight = world.store._flights["k"]
        while not flight.passengers and not world.over.is_set():
            time.sleep(0.0005)
        return value

    world.waiters.append(InThread(world.cache.get_or_load, "k", loader))
    assert begun.wait(5)
    world.cache.get_or_load("k", lambda: world.read("k mine"))


@operation(maxsize=3)
def fill_that_evicts(world):
    for key in "abc":
        world.cache.get(key)
    world.cache.get_or_load("k", lambda: world.read("k loaded"), tags=["t"])


@operation(maxsize=3, policy=cachetools.LFUCache, getsizeof=lambda value: 0.75)
def fill_by_frequency_and_size(world):
    world.cache.get("a")
    world.cache.get_or_load("k", lambda: world.read("k loaded"))
    world.cache.get_or_load("a2", lambda: world.read("a2 loaded"))


@operation(maxsize=3, policy=cachetools.TLRUCache)
def fill_under_tlru(world):
    world.cache.get_or_load("k", lambda: world.read("k loaded"))


@operation()
def flush(world):
    world.cache.flush("a")


@operation()
def flush_with_version(world):
    world.cache.flush("a", version=7)


@operation()
def flush_tag(world):
    world.cache.flush_tag("t")


@operation()
def flush_all(world):
    world.cache.flush_all()


@operation(grace=30.0)
def flush_with_grace(world):
    world.cache.flush("a")
    world.cache.flush_tag("t")


@operation(grace=30.0)
def grace(world):
    world.cache.flush("a")

    def down():
        raise OSError("down")

    assert world.cache.get_or_load("a", down) == "a before"


@operation()
def write(world):
    with world.cache.writing("a", "b", tags=["t"]) as writing:
        writing.set(Fresh("a written", version=3, tags=["t"]), "a")
        world.committed += ["a", "b"]


@operation()
def mapping(world):
    world.cache["a"] = "a set"
    world.cache.setdefault("k", "k set")
    with suppress(KeyError):
        del world.cache["b"]


@operation()
def removal(world):
    world.cache.pop("a")
    with suppress(KeyError):
        world.cache.popitem()
    len(world.cache), list(world.cache), world.cache.entries(), world.cache.info()


@operation(maxsize=3)
def what_the_mesh_does(world):
    world.cache.apply("a", None, None, "peer", 1)
    world.cache.apply(None, "t", None, "peer", 2)
    world.cache.distrust(0.0)
    world.cache.trust(time.monotonic())
    world.cache.apply(None, None, None, "peer", 3)


@operation(max_loads=1)
def load_through_the_gate(world):
    def loader():
        world.waiters.append(InThread(world.cache.get_or_load, "b2", lambda: world.read("b2 loaded")))
        while not world.cache._loading._gate._queue:
            time.sleep(0.0005)
        return "k loaded"

    world.cache.get_or_load("k", loader)


@operation(max_loads=1)
def wait_at_the_gate(world):
    begun = threading.Event()
    gate = world.cache._loading._gate

    def loader():
        begun.set()
        while not gate._queue and not world.over.is_set():
            time.sleep(0.0005)
        return "b2 loaded"

    world.waiters.append(InThread(world.cache.get_or_load, "b2", loader))
    assert begun.wait(5)
    world.cache.get_or_load("k", lambda: world.read("k loaded"))


@operation(refresh_ahead=1e-9)
def refresh(world):
    world.cache.get_or_load("a", lambda: world.read("a refreshed"))


@operation()
def decorated(world):
    @world.cache.cached(key="{name}", tags=["t"])
    def cached(name):
        return world.read(f"{name} loaded")

    cached("k")
    cached("k")
    cached.refresh("k")
    cached.flush("k")


def in_loop(main):
    """Run the coroutine that *main* makes, as `asyncio.run` does, and let what is left of it end."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    try:
        loop.run_until_complete(main)
    finally:
        try:
            for _ in range(2):
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                loop.run_until_complete(asyncio.sleep(0))
        finally:
            loop.close()


@operation()
def async_load(world):
    async def loader():
        await asyncio.sleep(0)
        value = world.read("k loaded")
        world.joined("k")
        return value

    in_loop(world.cache.aget_or_load("k", loader))


@operation()
def async_load_of_another(world):
    begun = threading.Event()

    def loader():
        begun.set()
        flight = world.store._flights["k"]
        while not flight.passengers and not world.over.is_set():
            time.sleep(0.0005)
        return "k loaded"

    world.waiters.append(InThread(world.cache.get_or_load, "k", loader))
    assert begun.wait(5)

    async def mine():
        return "k mine"

    in_loop(world.cache.aget_or_load("k", mine))


@operation(max_loads=1, refresh_ahead=1e-9)
def async_refresh_through_the_gate(world):
    async def loader():
        return "a refreshed"

    async def main():
        await world.cache.aget_or_load("a", loader)
        for _ in range(4):
            await asyncio.sleep(0)

    in_loop(main())
