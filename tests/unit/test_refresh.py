"""Refresh ahead: an entry that is due is loaded anew while it is still served."""

import asyncio
import contextvars
import gc
import threading

import pytest

from flushmesh import ledger
from flushmesh.flight import Flight
from flushmesh.fresh import Fresh
from tests.unit.caches import InThread, cache_of, never, raising, until


@pytest.fixture
def cache(mesh, clock):
    """A cache with 100 seconds of life, due after 80, which holds k."""
    cache = cache_of(mesh, clock, ttl=100.0, refresh_ahead=0.8)
    cache.get_or_load("k", lambda: Fresh("old", tags=["t"]))
    return cache


class Held:
    """A loader that is held until it is let go on."""

    def __init__(self, result="new"):
        self.result = result
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.loads = 0

    def __call__(self):
        self.loads += 1
        self.begun.set()
        assert self.go_on.wait(5)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def idle(cache):
    """Tell whether no load runs ahead."""
    return not cache._store._flights and not threading_ahead()


def threading_ahead():
    return [thread for thread in threading.enumerate() if thread.name == "flushmesh ahead"]


def settle(cache):
    until(lambda: idle(cache))


def test_a_hit_before_the_time_loads_nothing(cache, clock):
    """Until 80 percent of its life an entry is a plain hit."""
    clock.now += 79.5

    assert cache.get_or_load("k", never) == "old"
    assert cache.info().loads == 1


def test_a_due_hit_returns_at_once_and_one_load_refreshes(cache, clock):
    """Hits are served the old value while one load runs, and the new one after it."""
    clock.now += 80
    loader = Held()
    assert [cache.get_or_load("k", loader) for _ in range(5)] == ["old"] * 5
    assert loader.begun.wait(5)
    loader.go_on.set()
    settle(cache)

    assert cache.get_or_load("k", never) == "new"
    assert loader.loads == 1
    assert (cache.info().hits, cache.info().misses, cache.info().loads) == (6, 1, 2)


def test_the_life_of_a_refreshed_entry_begins_with_its_load(cache, clock):
    """It is due and runs out counted from the load ahead."""
    clock.now += 90
    cache.get_or_load("k", lambda: "new")
    settle(cache)
    clock.now += 79.5
    assert cache.get_or_load("k", never) == "new"
    clock.now += 20.5

    assert "k" not in cache


def test_a_local_look_does_not_load(cache, clock):
    """`get` and the mapping have no loader; they serve what is due until it runs out."""
    clock.now += 99

    assert (cache.get("k"), cache["k"], "k" in cache) == ("old", "old", True)
    assert cache.info().loads == 1


def test_a_task_refreshes_by_a_task(cache, clock):
    """Where a task asked, the loader runs as a task of the same loop."""

    async def main():
        go_on = asyncio.Event()
        loops = []

        async def load():
            loops.append(asyncio.get_running_loop())
            await go_on.wait()
            return "new"

        clock.now += 80
        first = [await cache.aget_or_load("k", load) for _ in range(3)]
        go_on.set()
        while cache._store._flights:
            await asyncio.sleep(0)
        return first, await cache.aget_or_load("k", never), loops == [asyncio.get_running_loop()]

    assert asyncio.run(main()) == (["old"] * 3, "new", True)


@pytest.mark.parametrize("flush", ["flush", "flush_tag", "flush_all", "distrust"])
def test_a_flush_during_the_load_ahead_refuses_its_fill(cache, clock, flush):
    """G2 holds for a load that nobody waits for."""
    clock.now += 80
    loader = Held(Fresh("from before", tags=["t"]))
    cache.get_or_load("k", loader)
    assert loader.begun.wait(5)
    {
        "flush": lambda: cache.flush("k"),
        "flush_tag": lambda: cache.flush_tag("t"),
        "flush_all": cache.flush_all,
        "distrust": lambda: cache.distrust(clock.now),
    }[flush]()
    loader.go_on.set()
    until(lambda: not threading_ahead())

    assert cache.get_or_load("k", lambda: "after") == "after"
    assert cache.info().fills_refused == 1


def test_who_misses_while_the_load_ahead_runs_waits_for_it(cache, clock):
    """Once the old entry has run out, there is one load for all."""
    clock.now += 80
    loader = Held()
    cache.get_or_load("k", loader)
    assert loader.begun.wait(5)
    clock.now += 19.5
    assert cache.get_or_load("k", never) == "old"
    clock.now += 0.5
    waiting = InThread(cache.get_or_load, "k", never)
    until(lambda: cache.info().misses == 2)
    loader.go_on.set()

    assert waiting.result() == "new"
    settle(cache)


def test_a_load_ahead_that_fails_is_logged_and_the_entry_lives_out_its_life(mesh, clock, caplog):
    """There is one attempt for each entry; who hits it is told nothing."""
    errors = []
    cache = cache_of(
        mesh, clock, ttl=100.0, refresh_ahead=0.8, hooks={"on_load_error": lambda *told: errors.append(told)}
    )
    cache.get_or_load("k", lambda: "old")
    clock.now += 80
    down = OSError("down")
    with caplog.at_level("WARNING", "flushmesh"):
        assert cache.get_or_load("k", raising(down)) == "old"
        settle(cache)
    assert cache.get_or_load("k", never) == "old"
    clock.now += 20

    assert errors == [("k", down)]
    assert "background refresh of 'k' failed" in caplog.text
    assert cache.info().load_errors == 1
    assert cache.get_or_load("k", lambda: "new") == "new"


@pytest.mark.parametrize("kind", ["thread", "task"])
def test_a_loader_ahead_runs_in_an_empty_context(cache, clock, kind):
    """Nothing of the request that happened to come at that moment reaches it."""
    user = contextvars.ContextVar("user", default="nobody")
    seen = []
    clock.now += 80
    user.set("ada")

    async def load():
        seen.append(user.get())
        return "new"

    async def main():
        await cache.aget_or_load("k", load)
        while cache._store._flights:
            await asyncio.sleep(0)

    if kind == "task":
        asyncio.run(main())
    else:
        cache.get_or_load("k", lambda: seen.append(user.get()))
        settle(cache)

    assert seen == ["nobody"]


def test_a_loader_ahead_that_asks_for_its_own_key_is_served_the_old_value(cache, clock):
    """What is still good is no recursion."""
    clock.now += 80
    seen = []
    cache.get_or_load("k", lambda: seen.append(cache.get_or_load("k", never)))
    settle(cache)

    assert seen == ["old"]


def test_only_so_many_loads_run_ahead_at_once(mesh, clock, monkeypatch):
    """Beyond the bound entries stay due, and are loaded by a later hit."""
    monkeypatch.setattr(ledger, "AHEAD_MAX", 1)
    cache = cache_of(mesh, clock, ttl=100.0, refresh_ahead=0.8)
    for key in "ab":
        cache.get_or_load(key, lambda: "old")
    clock.now += 80
    loader = Held()
    cache.get_or_load("a", loader)
    assert loader.begun.wait(5)
    assert cache.get_or_load("b", never) == "old"
    loader.go_on.set()
    settle(cache)
    cache.get_or_load("b", lambda: "new")
    settle(cache)

    assert cache.get("b") == "new"


def test_without_another_thread_the_load_ahead_runs_at_once(cache, clock, monkeypatch):
    """Where no thread can be started, the hit waits for the load, and returns what it would have."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    clock.now += 80

    assert cache.get_or_load("k", lambda: "new") == "old"
    assert cache.get_or_load("k", never) == "new"


def test_a_loop_that_ends_before_the_load_ahead_begins_leaves_the_key_free(cache, clock):
    """The task is cancelled before its first step; nobody waits for it afterwards."""

    async def load():
        raise AssertionError("its loop has ended")

    clock.now += 80
    assert asyncio.run(cache.aget_or_load("k", load)) == "old"
    clock.now += 20

    assert InThread(cache.get_or_load, "k", lambda: "new").result() == "new"


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_a_loop_that_is_closed_under_the_load_ahead_leaves_the_key_free(cache, clock, steps):
    """A loop that is closed with its tasks pending holds no key, and no place among the loads ahead."""

    async def hang():
        await asyncio.Event().wait()

    async def main():
        value = await cache.aget_or_load("k", hang)
        for _ in range(steps):
            await asyncio.sleep(0)
        return value

    clock.now += 80
    loop = asyncio.new_event_loop()
    # What asyncio says of a task that is thrown away is not the point here.
    loop.set_exception_handler(lambda *_: None)
    assert loop.run_until_complete(main()) == "old"
    loop.close()
    clock.now += 20

    assert InThread(cache.get_or_load, "k", lambda: "new").result() == "new"
    gc.collect()
    assert not cache._store._ahead


def test_a_load_ahead_that_is_cancelled_before_it_begins_leaves_the_key_free(cache, clock):
    """In a loop that goes on, too."""

    async def load():
        return "new"

    async def main():
        await cache.aget_or_load("k", load)
        (ahead,) = asyncio.all_tasks() - {asyncio.current_task()}
        ahead.cancel()
        await asyncio.wait([ahead])
        clock.now += 20
        return await asyncio.wait_for(cache.aget_or_load("k", load), 5)

    clock.now += 80
    assert asyncio.run(main()) == "new"
    assert cache.info().loads == 3


def test_a_load_ahead_that_is_cancelled_passes_on_to_who_waits(cache, clock):
    """Cancelling the task that loads ahead is no error of those who have come to wait for it."""

    async def hang():
        await asyncio.Event().wait()

    async def load():
        return "new"

    async def main():
        await cache.aget_or_load("k", hang)
        (ahead,) = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.sleep(0)
        clock.now += 20
        waiting = asyncio.create_task(cache.aget_or_load("k", load))
        await asyncio.sleep(0)
        ahead.cancel()
        return await waiting

    clock.now += 80
    assert asyncio.run(main()) == "new"


def test_a_due_hit_beside_a_running_load_begins_no_other(mesh, clock):
    """A load that began while the entry was not proven will refresh it too, once it is proven again."""
    cache = cache_of(mesh, clock, staleness=8.0, ttl=100.0, refresh_ahead=0.8)
    cache.get_or_load("k", lambda: "old")
    clock.now += 90
    flight = cache._store.take_off(Flight("k"))
    cache.trust(clock.now)
    assert cache.get_or_load("k", never) == "old"
    assert cache.info().loads == 2
    cache._store.end(flight, Fresh("new"))

    assert cache.get_or_load("k", never) == "new"


def test_a_refreshed_value_that_is_too_large_ends_the_old_one(mesh, clock):
    """What is known to be old is not served on because the new one does not fit."""
    cache = cache_of(mesh, clock, ttl=100.0, refresh_ahead=0.8, maxsize=3, getsizeof=len)
    cache.get_or_load("k", lambda: "old")
    clock.now += 80
    cache.get_or_load("k", lambda: "a new one")
    settle(cache)

    assert "k" not in cache
    assert cache.currsize == 0
