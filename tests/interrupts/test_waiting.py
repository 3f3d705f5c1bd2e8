"""No caller waits for a load that nobody runs, or that waits for the caller."""

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import greenlet
import pytest

from flushmesh import gate as gate_module
from flushmesh.flight import lineage
from flushmesh.ledger import AHEAD_MAX
from tests.unit.caches import InThread, cache_of, never, until


@pytest.fixture
def due(mesh, clock):
    """A cache that holds a key which is due, and refreshes ahead."""
    cache = cache_of(mesh, clock, ttl=100.0, refresh_ahead=0.5, maxsize=500)
    cache["k"] = "old"
    clock.now += 60
    return cache


# Loops that stop.


def test_a_load_left_in_a_loop_that_is_paused_holds_up_nobody(due, clock):
    """The very thread that would have to run the loop reads the key, and another one does."""

    async def load():
        await asyncio.sleep(0)
        return "new"

    def program():
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(due.aget_or_load("k", load)) == "old"
        clock.now += 50
        value = due.get_or_load("k", lambda: "loaded here")
        other = InThread(due.get_or_load, "k", never).result()
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()
        return value, other

    assert InThread(program).result() == ("loaded here", "loaded here")


def test_a_place_that_was_taken_in_a_closed_loop_comes_back(mesh):
    """With one load at a time, another key can be loaded although the task is kept."""
    cache, kept = cache_of(mesh, max_loads=1), []

    async def hang():
        await asyncio.Event().wait()

    async def main():
        kept.append(asyncio.ensure_future(cache.aget_or_load("k", hang)))
        while not cache._loading._gate._holders:
            await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    loop.run_until_complete(main())
    loop.close()

    assert InThread(cache.get_or_load, "other", lambda: "v").result() == "v"


# Loads that wait for each other.


def test_two_threads_that_warm_each_others_keys_both_return(cache):
    """Each loader asks for the key that the other one loads; one of them loads it for itself."""
    both = threading.Barrier(2)

    def by(key, other):
        def load():
            both.wait(5)
            return cache.get_or_load(other, lambda: "row")

        return cache.get_or_load(key, load)

    calls = [InThread(by, "id:1", "name:ada"), InThread(by, "name:ada", "id:1")]

    assert [call.result() for call in calls] == ["row", "row"]
    assert not cache._store._flights


def test_tasks_of_three_caches_that_warm_each_other_all_return(mesh):
    """A cycle may go through several caches, and through loads inside loads."""
    caches = [cache_of(mesh) for _ in range(3)]

    async def by(place):
        async def load():
            await asyncio.sleep(0)
            return await caches[place].aget_or_load("inner", inner)

        async def inner():
            await asyncio.sleep(0)
            following = caches[(place + 1) % 3]
            return await following.aget_or_load("k", row)

        async def row():
            return "row"

        return await caches[place].aget_or_load("k", load)

    async def main():
        return await asyncio.wait_for(asyncio.gather(*map(by, range(3))), 5)

    assert asyncio.run(main()) == ["row"] * 3


def test_two_greenlets_of_one_thread_do_not_wait_for_each_other(cache):
    """The second asks for the key that the first one loads, which needs the thread."""
    pytest.importorskip("greenlet")

    def program():
        main = greenlet.getcurrent()

        def load():
            main.switch()
            return "first"

        first = greenlet.greenlet(lambda: cache.get_or_load("k", load))
        second = greenlet.greenlet(lambda: cache.get_or_load("k", lambda: "second"))
        first.switch()
        values = [second.switch()]
        return [*values, first.switch()]

    assert InThread(program).result() == ["second", "first"]


def test_a_blocking_read_on_a_loops_thread_joins_no_load(cache):
    """It would keep its loop from whatever the other load needs of it."""
    begun, go_on = threading.Event(), threading.Event()

    def slow():
        begun.set()
        assert go_on.wait(5)
        return "thread"

    other = InThread(cache.get_or_load, "k", slow)
    assert begun.wait(5)

    async def main():
        return cache.get_or_load("k", lambda: "here")

    assert InThread(asyncio.run, main()).result() == "here"
    go_on.set()
    assert other.result() == "thread"


def test_a_loader_that_shares_its_work_out_to_a_pool_under_max_loads_returns(mesh, monkeypatch):
    """The threads of the pool wait for the place that their own loader holds, but not without end."""
    monkeypatch.setattr(gate_module, "PATIENCE", 0.05)
    cache = cache_of(mesh, max_loads=1)

    def outer():
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda number: cache.get_or_load(f"part{number}", lambda: number), range(8)))

    assert InThread(cache.get_or_load, "all", outer).result() == list(range(8))
    gate = cache._loading._gate
    assert (gate._holders, gate._lent, gate._queue) == ({}, {}, {})


# Refresh ahead.


def test_sixteen_loads_run_ahead_and_no_more_however_many_are_due(mesh, clock):
    """They are counted when they are begun, and not when they first run."""
    cache = cache_of(mesh, clock, ttl=100.0, refresh_ahead=0.5, maxsize=500)
    for number in range(200):
        cache[f"k{number}"] = "old"
    clock.now += 60
    go_on, lock = threading.Event(), threading.Lock()
    running = most = 0

    def load():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        assert go_on.wait(5)
        return "new"

    async def aload():
        return await asyncio.to_thread(load)

    async def main():
        for number in range(100):
            assert await cache.aget_or_load(f"k{number}", aload) == "old"
        count = len(asyncio.all_tasks()) - 1
        for number in range(100, 200):
            assert cache.get_or_load(f"k{number}", load) == "old"
        go_on.set()
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.001)
        return count

    assert asyncio.run(main()) == AHEAD_MAX
    assert most <= AHEAD_MAX


def test_a_task_factory_without_a_context_parameter_refreshes(due, clock):
    """Its signature before 3.11, and still usual; a hit of an entry that is due raises nothing."""

    async def load():
        return "new"

    async def main():
        asyncio.get_running_loop().set_task_factory(lambda loop, coroutine: asyncio.Task(coroutine, loop=loop))
        value = await due.aget_or_load("k", load)
        while due._store._ahead:
            await asyncio.sleep(0)
        return value, await due.aget_or_load("k", never)

    assert asyncio.run(main()) == ("old", "new")


@pytest.mark.parametrize("error", [MemoryError, RuntimeError])
def test_without_another_thread_the_loader_sees_nothing_of_the_request(due, monkeypatch, error):
    """It runs at once, in the thread of the hit, and in an empty context all the same."""
    user = contextvars.ContextVar("user", default="nobody")
    user.set("ada")
    seen = []

    def refuse(thread):
        raise error

    monkeypatch.setattr(threading.Thread, "start", refuse)

    assert due.get_or_load("k", lambda: seen.append(user.get())) == "old"
    assert seen == ["nobody"]


def test_with_a_loop_for_each_request_an_entry_is_refreshed(due, clock):
    """The first attempt ends with its loop; the next caller waits for its own."""
    loads = []

    async def load():
        await asyncio.sleep(0)
        loads.append(1)
        return "new"

    values = [asyncio.run(due.aget_or_load("k", load)) for _ in range(4)]

    assert values == ["old", "new", "new", "new"]
    assert len(loads) == 1


def test_with_a_loop_for_each_request_a_failing_refresh_leaves_the_old_value(due, clock):
    """The caller that waits for the second attempt is served what is still good."""

    async def fail():
        await asyncio.sleep(0)
        raise OSError("down")

    assert [asyncio.run(due.aget_or_load("k", fail)) for _ in range(3)] == ["old"] * 3


# Callers that give up, and what outlives a load.


def test_callers_that_give_up_too_soon_are_served_in_the_end(cache):
    """The load goes on without the caller that started it, so each of them finds it further on."""
    loads = []

    async def main():
        turns = asyncio.Semaphore(0)

        async def slow():
            loads.append(1)
            for _ in range(3):
                await turns.acquire()
            return "v"

        for _ in range(3):
            caller = asyncio.create_task(cache.aget_or_load("k", slow))
            await asyncio.sleep(0)
            turns.release()
            await asyncio.sleep(0)
            caller.cancel()
            await asyncio.wait([caller])
        return await asyncio.wait_for(cache.aget_or_load("k", slow), 5)

    assert asyncio.run(main()) == "v"
    assert len(loads) == 1


def test_callers_that_have_given_up_leave_nothing_behind(cache):
    """However many tasks wait for a load that hangs, and go."""
    begun, go_on = threading.Event(), threading.Event()

    def slow():
        begun.set()
        assert go_on.wait(5)
        return "v"

    loading = InThread(cache.get_or_load, "k", slow)
    assert begun.wait(5)

    async def main():
        for _ in range(100):
            caller = asyncio.create_task(cache.aget_or_load("k", never))
            await asyncio.sleep(0)
            caller.cancel()
            await asyncio.wait([caller])
        return len(cache._store._flights["k"].passengers)

    assert asyncio.run(main()) == 0
    go_on.set()
    assert loading.result() == "v"


def test_a_task_that_a_loader_has_started_is_inside_the_load_no_longer_than_that_lasts(mesh):
    """Afterwards it waits at the gate as any other, and keeps no chain of loads."""
    cache = cache_of(mesh, max_loads=2)
    running = most = 0
    started, depths = [], []

    async def source():
        nonlocal running, most
        running += 1
        most = max(most, running)
        depths.append(len(lineage()))
        await asyncio.sleep(0)
        running -= 1
        return "v"

    async def background(ended):
        await ended.wait()
        await asyncio.gather(*(cache.aget_or_load(f"k{number}", source) for number in range(20)))

    async def main():
        ended = asyncio.Event()

        async def connect():
            started.append(asyncio.create_task(background(ended)))
            return "connected"

        await cache.aget_or_load("client", connect)
        ended.set()
        await started[0]

    asyncio.run(main())
    assert most == 2
    assert set(depths) == {1}


def test_loads_that_each_plan_the_next_make_no_chain(cache):
    """A self-refreshing token is not deeper inside at the thousandth load than at the first."""
    depths = []

    async def main():
        done = asyncio.Event()

        async def token():
            depths.append(len(lineage()))
            asyncio.get_running_loop().call_soon(following)
            await asyncio.sleep(0)
            return "v"

        def following():
            if len(depths) < 300:
                tasks.append(asyncio.ensure_future(cache.aget_or_load(f"t{len(depths)}", token)))
            else:
                done.set()

        tasks = []
        following()
        await done.wait()
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert max(depths) <= 2


def test_the_end_of_a_thread_ahead_is_waited_for_by_who_has_none(due, clock):
    """Nobody waits for a load ahead but those who miss, and they get its value."""
    go_on = threading.Event()

    def slow():
        assert go_on.wait(5)
        return "new"

    assert due.get_or_load("k", slow) == "old"
    clock.now += 50
    waiting = InThread(due.get_or_load, "k", never)
    until(lambda: due.info().misses == 1)
    go_on.set()

    assert waiting.result() == "new"
