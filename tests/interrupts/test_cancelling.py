"""
A task that is cancelled at any await, and a loop that is stopped, paused or closed at any turn, break nothing.

The loads take several turns of their loop; another thread waits for one of them.
"""

import asyncio
import gc
import os
import threading

import pytest

from tests.interrupts.world import World
from tests.unit.caches import InThread

# The usual run takes some of the turns; `make interrupts` all of them.
TURNS = range(0, 14, 5 if int(os.environ.get("FLUSHMESH_STRIDE", "13")) > 1 else 1)
OPTIONS = {"plain": {}, "gate": {"max_loads": 1}, "ahead": {"refresh_ahead": 1e-9, "max_loads": 1}}


@pytest.fixture(params=OPTIONS)
def world(request):
    return World(OPTIONS[request.param])


def quiet_loop():
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    return loop


async def slow(text):
    for _ in range(3):
        await asyncio.sleep(0)
    return text


def readers(world, waiter):
    """Start two loads, one caller that waits for the first of them, and another thread that does."""
    cache = world.cache
    tasks = [asyncio.ensure_future(cache.aget_or_load(key, lambda key=key: slow(f"{key} loaded"))) for key in "kka"]

    async def later():
        await asyncio.sleep(0)
        waiter.append(InThread(cache.get_or_load, "k", lambda: "k of a thread"))

    return [*tasks, asyncio.ensure_future(later())]


def check(world, waiter):
    world.waiters += waiter
    world.check()


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("which", range(3))
def test_a_task_that_is_cancelled_at_any_await_breaks_nothing(world, turns, which):
    """The others get their value, and the key can be loaded by everyone."""
    waiter = []

    async def main():
        tasks = readers(world, waiter)
        for _ in range(turns):
            await asyncio.sleep(0)
        tasks[which].cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        for place, (key, result) in enumerate(zip("kka", results, strict=False)):
            assert place == which or result.startswith(key)
        # A load whose caller was cancelled goes on.
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)

    asyncio.run(main())
    check(world, waiter)


@pytest.mark.parametrize("turns", TURNS)
@pytest.mark.parametrize("how", ["closed", "paused", "abandoned", "ended"])
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_a_loop_that_stops_at_any_turn_breaks_nothing(world, turns, how):
    """Whether it is closed with its tasks kept, merely runs no more, is collected, or cancels what is left."""
    waiter, kept = [], []

    async def main():
        kept.extend(readers(world, waiter))
        for _ in range(turns):
            await asyncio.sleep(0)

    if how == "ended":
        asyncio.run(main())
    else:
        loop = quiet_loop()
        loop.run_until_complete(main())
        if how != "paused":
            loop.close()
        if how == "abandoned":
            kept.clear()
            gc.collect()
    check(world, waiter)
    if how == "paused":
        loop.run_until_complete(asyncio.gather(*kept, return_exceptions=True))
        loop.close()
        world.check()


@pytest.mark.parametrize("turns", TURNS)
def test_a_loop_that_waits_for_the_load_of_another_is_not_held_up(world, turns):
    """A task waits for the load of another loop, which stops at any turn; it loads for itself."""
    begun, stopped = threading.Event(), threading.Event()
    waiter, kept = [], []

    async def theirs():
        kept.extend(readers(world, waiter))
        for _ in range(turns):
            await asyncio.sleep(0)

    async def ours():
        task = asyncio.ensure_future(world.cache.aget_or_load("k", lambda: slow("k of the other loop")))
        await asyncio.sleep(0)
        begun.set()
        return await asyncio.wait_for(task, 5)

    loop = quiet_loop()
    thread = InThread(lambda: (loop.run_until_complete(theirs()), stopped.set()))
    other = InThread(asyncio.run, ours())
    assert begun.wait(5)
    thread.result()
    assert other.result().startswith("k")
    check(world, waiter)
    loop.run_until_complete(asyncio.gather(*kept, return_exceptions=True))
    loop.close()
