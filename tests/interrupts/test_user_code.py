"""Code of the application that raises, calls back, or runs where nobody expects it."""

import asyncio
import copy
import gc
import logging
import pickle
import random
import threading
import time
import weakref

import cachetools
import pytest

from flushmesh.errors import Isolated, MeshClosed, RecursiveLoad
from tests.interrupts.world import World
from tests.unit.caches import InThread, cache_of, raising


class Grumpy(cachetools.LRUCache):
    """A policy that raises once, where it is told to."""

    fails_in = ""

    def _fail(self, place):
        if Grumpy.fails_in == place:
            Grumpy.fails_in = ""
            raise MemoryError(place)

    def __setitem__(self, key, value, *more):
        self._fail("before set")
        super().__setitem__(key, value, *more)
        self._fail("after set")

    def __delitem__(self, key, *more):
        self._fail("before delete")
        super().__delitem__(key, *more)
        self._fail("after delete")

    def popitem(self):
        self._fail("popitem")
        return super().popitem()


@pytest.fixture
def grumpy():
    Grumpy.fails_in = ""
    return World({"policy": Grumpy, "maxsize": 3})


PLACES = ["before set", "after set", "before delete", "after delete", "popitem"]
DOES = {
    "load": lambda world: world.cache.get_or_load("k", lambda: "k loaded", tags=["t"]),
    "load for others": lambda world: world.cache.get_or_load("k", lambda: (world.joined("k"), "k loaded")[1]),
    "set": lambda world: (world.committed.append("k"), world.cache.__setitem__("k", "k set")),
    "flush": lambda world: world.cache.flush("a"),
    "flush_tag": lambda world: world.cache.flush_tag("t"),
    "apply": lambda world: world.cache.apply("a", None, None, "peer", 1),
    "pop": lambda world: world.cache.pop("a"),
    "setdefault": lambda world: world.cache.setdefault("k", "k set"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("does", DOES)
def test_a_policy_that_raises_once_costs_entries_and_nothing_else(grumpy, place, does):
    """Its error reaches the caller, no value is served that was to be forgotten, and the next call works."""
    Grumpy.fails_in = place
    try:
        DOES[does](grumpy)
    except MemoryError:
        assert len(grumpy.cache) == 0
    Grumpy.fails_in = ""

    if does in ("flush", "apply", "pop"):
        assert "a" not in grumpy.cache
    grumpy.check()


class Moody(cachetools.LRUCache):
    """A policy that lets go of what it likes, and takes nothing in whose value says so."""

    def __setitem__(self, key, value, *more):
        if value.value == "unwanted":
            return
        super().__setitem__(key, value, *more)
        if len(self) == 3:
            cachetools.Cache.__delitem__(self, next(iter(self)))


def test_a_policy_that_lets_go_by_itself_is_followed(mesh):
    """What it does not hold is not served, however it went."""
    cache = cache_of(mesh, maxsize=10, policy=Moody)
    for key in "abcdef":
        cache.get_or_load(key, lambda key=key: key)
        assert set(cache._store.contents._policy) == set(cache)
    assert cache.get_or_load("g", lambda: "unwanted") == "unwanted"

    assert "g" not in cache
    assert len(cache) < 4


def test_a_policy_that_uses_its_own_cache_is_served_later(mesh):
    """It runs in the middle of an action; what it asks for is done when that ends."""

    class Nosy(cachetools.LRUCache):
        def __setitem__(self, key, value, *more):
            super().__setitem__(key, value, *more)
            if key == "k":
                seen.append((cache.get("a"), cache.get_or_load("other", lambda: "loaded"), cache.flush("a")))

    seen = []
    cache = cache_of(mesh, policy=Nosy)
    cache["a"] = "a"
    assert InThread(cache.get_or_load, "k", lambda: "v").result() == "v"

    assert seen[0][:2] == ("a", "loaded")
    assert list(cache) == ["k"]
    assert cache.get_or_load("other", lambda: "again") == "again"


@pytest.mark.parametrize("seed", range(20))
def test_fractional_sizes_add_up(mesh, seed):
    """After any number of fills and flushes the sizes of nothing are nothing, and what just fits is kept."""
    lot = random.Random(seed)
    cache = cache_of(mesh, maxsize=lot.choice([1, 10, 100]), getsizeof=lambda value: value)
    for number in range(300):
        size = lot.choice([0.1, 0.2, 0.3, 0.7, lot.random() * cache.maxsize]) % cache.maxsize
        cache.get_or_load(f"k{number % 7}", lambda size=size: size)
        if number % 3 == 0:
            cache.flush(f"k{lot.randrange(7)}")
    held = sum(cache.values())
    assert cache.currsize == pytest.approx(held)
    for number in range(7):
        cache.flush(f"k{number}")

    assert cache.currsize == 0
    assert cache.get_or_load("whole", lambda: float(cache.maxsize)) == cache.maxsize
    assert "whole" in cache


@pytest.mark.parametrize("option", ["getsizeof", "copy", "cache_if", "on_evicted", "on_load_error"])
def test_what_the_application_hands_in_may_use_the_cache(mesh, option):
    """None of it runs while a lock is held."""
    calls = []

    def use(*arguments):
        if len(calls) < 3:
            calls.append(1)
            cache.flush("a")
            cache.get_or_load("inner", lambda: "v")
            cache["b"] = "b"
        return 1 if option == "getsizeof" else arguments[0]

    hooks = {option: use} if option.startswith("on_") else {}
    options = {option: use} if option in ("getsizeof", "copy") else {}
    cache = cache_of(mesh, hooks=hooks, maxsize=2, **options)

    def program():
        for key in "acd":
            cache.get_or_load(key, lambda: "v", cache_if=use if option == "cache_if" else None)
        with pytest.raises(LookupError):
            cache.get_or_load("k", raising(LookupError()))
        return "done"

    assert InThread(program).result() == "done"
    assert calls


@pytest.mark.parametrize("where", ["logger", "factory"])
def test_logging_that_raises_is_no_error_of_a_hook_or_a_refresh(mesh, clock, where, monkeypatch):
    """A filter that needs a request fails in a thread that has none."""
    if where == "logger":
        monkeypatch.setattr(logging.getLogger("flushmesh"), "filters", [raising(LookupError("no request"))])
    else:
        factory = logging.getLogRecordFactory()
        monkeypatch.setattr(logging, "_logRecordFactory", raising(LookupError("no request")))
        assert factory is not logging.getLogRecordFactory()
    cache = cache_of(mesh, clock, {"on_evicted": raising(ZeroDivisionError())}, maxsize=1, refresh_ahead=0.5)
    cache["a"] = 1
    assert cache.get_or_load("b", lambda: 2) == 2
    clock.now += 40
    assert cache.get_or_load("b", raising(OSError("down"))) == 2
    while cache._store._ahead:
        time.sleep(0.001)

    assert cache.get("b") == 2


# Collections.


def test_a_collection_in_the_middle_of_an_action_may_end_a_load(mesh):
    """A coroutine that was left in a closed loop ends its load while its thread is in the store."""
    collect = []

    def clock():
        if collect:
            collect.clear()
            gc.collect()
        return time.monotonic()

    cache = cache_of(mesh, clock)

    async def hang():
        await asyncio.Event().wait()

    async def main():
        asyncio.ensure_future(cache.aget_or_load("hung", hang))  # noqa: RUF006 - it is to be garbage
        for _ in range(3):
            await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    gc.disable()
    try:
        loop.run_until_complete(main())
        loop.close()

        def program():
            collect.append(1)
            cache.flush("other")
            return cache.get_or_load("hung", lambda: "mine")

        assert InThread(program).result() == "mine"
    finally:
        gc.enable()
    assert not cache._store._flights


def test_a_finalizer_may_flush_wherever_the_collector_runs_it(mesh):
    """Objects in cycles whose end flushes a key, thousands of them, while their thread loads."""
    cache = cache_of(mesh, time.monotonic, maxsize=50)

    class Session:
        def __init__(self, key):
            self.me = self
            weakref.finalize(self, cache.flush, key)

    def program():
        for number in range(5_000):
            Session(f"k{number % 50}")
            cache.get_or_load(f"k{number % 70}", lambda number=number: [number])
            if number % 3 == 0:
                cache.flush(f"k{number % 70}")
        return "done"

    before = gc.get_threshold()
    gc.set_threshold(7)
    try:
        assert InThread(program).result(30) == "done"
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert not cache._store._flights


# Errors.


def frames(error):
    count, traceback = 0, error.__traceback__
    while traceback is not None:
        count, traceback = count + 1, traceback.tb_next
    return count


def failing_requests(cache, requests=20):
    """Have as many callers wait for one load that fails, each in the middle of a matter of its own."""
    begun, go_on = threading.Event(), threading.Event()
    errors = {}

    def loader():
        begun.set()
        assert go_on.wait(5)
        try:
            raise KeyError("row")
        except KeyError as missing:
            raise OSError(5, "the database is down") from missing

    def request(number):
        secret = f"card of user {number}"
        try:
            try:
                raise ValueError(secret)
            except ValueError:
                cache.get_or_load("k", loader)
        except OSError as error:
            error.add_note(secret)
            errors[number] = error

    calls = [InThread(request, 0)]
    assert begun.wait(5)
    calls += [InThread(request, number) for number in range(1, requests)]
    while len(cache._store._flights["k"].passengers) < requests - 1:
        time.sleep(0.001)
    go_on.set()
    for call in calls:
        call.result()
    return errors


def test_every_waiter_gets_an_error_of_its_own(cache):
    """Nothing that one caller does with it is seen by another, and none shows the locals of another."""
    errors = failing_requests(cache)

    assert len({id(error) for error in errors.values()}) == len(errors)
    for number, error in errors.items():
        assert (error.errno, type(error.__cause__)) == (5, KeyError)
        assert str(error.__context__) == f"card of user {number}" or type(error.__context__) is KeyError
        assert error.__notes__ == [f"card of user {number}"]
        assert frames(error) < 10
        seen, traceback = set(), error.__traceback__
        while traceback is not None:
            seen.add(traceback.tb_frame.f_locals.get("secret"))
            traceback = traceback.tb_next
        assert seen <= {None, f"card of user {number}"}


class PeculiarError(Exception):
    """An error that cannot be made again from what it holds."""

    def __init__(self, code, *, hint):
        super().__init__(f"{code}: {hint}")


def test_an_error_that_cannot_be_copied_is_shared_and_does_not_grow(cache):
    """Its traceback begins where the loader failed, for each caller again."""
    errors = []
    begun, go_on = threading.Event(), threading.Event()

    def loader():
        begun.set()
        assert go_on.wait(5)
        raise PeculiarError(7, hint="none")

    def request():
        try:
            cache.get_or_load("k", loader)
        except PeculiarError as error:
            errors.append(frames(error))

    calls = [InThread(request)]
    assert begun.wait(5)
    calls += [InThread(request) for _ in range(20)]
    while len(cache._store._flights["k"].passengers) < 20:
        time.sleep(0.001)
    go_on.set()
    for call in calls:
        call.result()

    assert max(errors) < 12


@pytest.mark.parametrize("kind", ["thread", "task"])
def test_a_failed_load_keeps_nothing_of_its_request(cache, kind):
    """No cycle holds the locals of its frames until a collection."""

    class Big:
        pass

    def request():
        big = Big()
        with pytest.raises(ZeroDivisionError):
            cache.get_or_load("k", lambda: 1 / 0)
        return weakref.ref(big)

    async def arequest():
        big = Big()

        async def fail():
            return 1 / 0

        with pytest.raises(ZeroDivisionError):
            await cache.aget_or_load("k", fail)
        return weakref.ref(big)

    gc.collect()
    gc.disable()
    try:
        alive = request() if kind == "thread" else asyncio.run(arequest())
        assert alive() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("error", [MeshClosed("shop"), Isolated(), RecursiveLoad("k")])
def test_an_error_survives_pickling_and_copying(error):
    """A pool of processes hands it to the parent as it was raised."""
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(again), str(again), again.args) == (type(error), str(error), error.args)


# Writes and the mapping.


def test_a_write_object_that_two_threads_or_two_blocks_share_leaves_its_key_free(cache, mesh):
    """Each time around is a write of its own; none keeps its value, and all are flushed."""
    shared = cache.writing("k")
    inside, go_on = threading.Event(), threading.Event()

    def other():
        with shared as write:
            write.set("theirs")
            inside.set()
            assert go_on.wait(5)

    thread = InThread(other)
    assert inside.wait(5)
    with shared as write, shared:
        write.set("ours")
    go_on.set()
    thread.result()

    assert len(mesh.sent) == 3
    assert "k" not in cache
    cache.get_or_load("k", lambda: "v")
    assert "k" in cache


def test_a_write_whose_end_never_began_is_ended_when_it_is_collected(cache, mesh):
    """Until then its key is not kept here; then its flush is broadcast."""
    write = cache.writing("k", tags=["t"])
    write.__enter__()
    cache.get_or_load("k", lambda: "old")
    assert "k" not in cache
    del write
    gc.collect()

    assert mesh.sent == [("c", "k"), ("c", None, {"tag": "t"})]
    cache.get_or_load("k", lambda: "new")
    assert "k" in cache


def test_what_is_being_written_is_broadcast_before_the_mesh_leaves(cache, mesh):
    """A write that may never reach its end is flushed by then."""
    with cache.writing("k", tags=["t"]):
        cache.end_writes()
        assert mesh.sent == [("c", "k"), ("c", None, {"tag": "t"})]


def test_every_flush_of_a_write_is_broadcast_although_one_is_interrupted(cache, mesh):
    """An exception in the middle of the broadcasts reaches the caller after the last of them."""
    broadcast, failures = mesh.broadcast, [KeyboardInterrupt()]

    def interrupted(cache, key=None, tag=None, version=None):
        if key == "b" and failures:
            raise failures.pop()
        return broadcast(cache, key, tag, version)

    mesh.broadcast = interrupted
    with pytest.raises(KeyboardInterrupt), cache.writing("a", "b", "c"):
        pass

    assert [sent[1] for sent in mesh.sent] == ["a", "b", "c"]


def race(calls):
    """Return what *calls* return that do not raise KeyError, all at once."""
    gate = threading.Barrier(len(calls))

    def run(call):
        gate.wait(5)
        try:
            return [call()]
        except KeyError:
            return []

    return [value for thread in [InThread(run, call) for call in calls] for value in thread.result()]


def test_of_several_callers_at_once_one_gets_an_item(mesh):
    """A token is redeemed once, a job is given out once, and the first default wins."""
    cache = cache_of(mesh)
    for turn in range(100):
        cache["token"] = turn
        assert race([lambda: cache.pop("token")] * 4) == [turn]
        cache["token"] = turn
        assert len(race([lambda: cache.__delitem__("token")] * 4)) == 1
        cache.update({key: key for key in "abc"})
        assert len(set(race([cache.popitem] * 4))) == 3
        assert len(set(race([lambda value=value: cache.setdefault("s", value) for value in range(4)]))) == 1
        cache.clear()


@pytest.mark.parametrize("grace", [0.0, 30.0])
def test_deleting_what_has_expired_is_a_key_error(mesh, clock, grace):
    """It is in no view any more, so `del` and `pop` agree with them."""
    cache = cache_of(mesh, clock, ttl=1.0, grace=grace)
    cache["k"] = 1
    clock.now += 2

    with pytest.raises(KeyError):
        cache.pop("k")
    with pytest.raises(KeyError):
        del cache["k"]


def test_counters_may_be_read_under_every_policy_while_others_fill(mesh, monkeypatch):
    """The size of all is no look into a policy that changes when it is looked at."""
    plain = cachetools.TLRUCache._Item.__lt__
    monkeypatch.setattr(cachetools.TLRUCache._Item, "__lt__", lambda one, other: (time.sleep(0), plain(one, other))[1])
    cache, over = cache_of(mesh, maxsize=16, policy=cachetools.TLRUCache), threading.Event()

    def look():
        while not over.is_set():
            cache.info()
        return True

    looking = InThread(look)
    for number in range(200):
        cache[f"k{number * 7 % 20}"] = number
    over.set()

    assert looking.result()
