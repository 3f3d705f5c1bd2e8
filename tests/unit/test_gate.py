"""The gate: how many loads run at once, and who waits for a place."""

import asyncio
import contextlib
import signal
import threading

import pytest

from flushmesh.flight import Flight
from flushmesh.gate import Gate
from tests.unit.caches import InThread, cache_of, never, until


@pytest.fixture
def cache(mesh, clock):
    """A cache that loads two at a time."""
    return cache_of(mesh, clock, max_loads=2)


def gate_of(cache):
    return cache._loading._gate


def idle(gate, most):
    """Tell whether all places are free and nobody waits."""
    return (gate._most - len(gate._holders), len(gate._queue)) == (most, 0)


async def enter(gate, flight):
    """Enter as a load does, which leaves in any case."""
    try:
        return await gate.aenter(flight)
    except BaseException:
        gate.leave(flight)
        raise


class Crowd:
    """Loaders that count how many of them run at once."""

    def __init__(self):
        self.lock = threading.Lock()
        self.running = 0
        self.most = 0
        self.go_on = threading.Event()

    def __call__(self):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        assert self.go_on.wait(5)
        with self.lock:
            self.running -= 1
        return "v"


def test_no_more_loads_run_at_once_than_there_are_places(cache):
    """Threads that miss different keys wait for a place; all of them load in the end."""
    crowd = Crowd()
    calls = [InThread(cache.get_or_load, f"k{number}", crowd) for number in range(6)]
    until(lambda: crowd.running == 2 and len(gate_of(cache)._queue) == 4)
    crowd.go_on.set()

    assert [call.result() for call in calls] == ["v"] * 6
    assert crowd.most == 2
    assert idle(gate_of(cache), 2)


def test_threads_and_tasks_share_the_places(cache):
    """A place that a thread gives back goes to a task, and the other way round."""
    crowd = Crowd()
    threads = [InThread(cache.get_or_load, f"k{number}", crowd) for number in range(2)]
    until(lambda: crowd.running == 2)

    async def load():
        return "task"

    async def main():
        tasks = [asyncio.create_task(cache.aget_or_load(f"t{number}", load)) for number in range(3)]
        while len(gate_of(cache)._queue) < 3:
            await asyncio.sleep(0)
        crowd.go_on.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == ["task"] * 3
    assert [thread.result() for thread in threads] == ["v"] * 2
    assert idle(gate_of(cache), 2)


def test_places_are_given_first_come_first_served():
    """Who has waited longest is next."""
    gate = Gate(1)
    first = Flight("first")
    assert gate.enter(first)
    order = []

    def wait(number):
        flight = Flight(f"k{number}")
        gate.enter(flight)
        order.append(number)
        gate.leave(flight)

    calls = []
    for number in range(4):
        calls.append(InThread(wait, number))
        until(lambda queued=number + 1: len(gate._queue) == queued)
    gate.leave(first)
    for call in calls:
        call.result()

    assert order == [0, 1, 2, 3]
    assert idle(gate, 1)


def test_hits_and_waiters_need_no_place(cache):
    """Only loads are bounded: a full gate holds up no hit, and nobody who waits for a load takes a place."""
    cache.get_or_load("held", lambda: "v")
    crowd = Crowd()
    calls = [InThread(cache.get_or_load, key, crowd) for key in ("a", "a", "a", "b", "b")]
    until(lambda: crowd.running == 2 and cache.info().misses == 6)

    assert cache.get_or_load("held", never) == "v"
    assert len(gate_of(cache)._queue) == 0
    crowd.go_on.set()
    assert [call.result() for call in calls] == ["v"] * 5


def test_a_load_that_fails_gives_its_place_back(cache):
    """Whatever a loader raises."""

    def fail():
        raise LookupError

    for _ in range(5):
        with pytest.raises(LookupError):
            cache.get_or_load("k", fail)

    assert idle(gate_of(cache), 2)


def test_the_age_of_a_value_counts_from_when_it_had_its_place(mesh, clock):
    """What has waited for a place has read nothing yet."""
    cache = cache_of(mesh, clock, max_loads=1, ttl=10.0)
    crowd = Crowd()
    first = InThread(cache.get_or_load, "a", crowd)
    until(lambda: crowd.running == 1)
    second = InThread(cache.get_or_load, "b", lambda: "v")
    until(lambda: len(gate_of(cache)._queue) == 1)
    clock.now += 9
    crowd.go_on.set()
    assert (first.result(), second.result()) == ("v", "v")
    clock.now += 5

    assert list(cache) == ["b"]


def test_a_flush_while_waiting_for_a_place_refuses_the_fill(cache):
    """A load is revoked also before it has begun."""
    crowd = Crowd()
    calls = [InThread(cache.get_or_load, key, crowd) for key in "ab"]
    until(lambda: crowd.running == 2)
    waiting = InThread(cache.get_or_load, "k", lambda: "v")
    until(lambda: len(gate_of(cache)._queue) == 1)
    cache.flush("k")
    crowd.go_on.set()

    assert waiting.result() == "v"
    assert [call.result() for call in calls] == ["v"] * 2
    assert "k" not in cache


def test_a_load_inside_a_load_does_not_wait(mesh, clock):
    """It would wait for the place that its own outer load holds."""
    cache = cache_of(mesh, clock, max_loads=1)

    def outer():
        return cache.get_or_load("inner", lambda: "v")

    async def ainner():
        return "v"

    async def aouter():
        return await asyncio.gather(cache.aget_or_load("b", ainner), asyncio.to_thread(cache.get_or_load, "c", str))

    assert InThread(cache.get_or_load, "outer", outer).result() == "v"
    assert InThread(asyncio.run, cache.aget_or_load("a", aouter)).result() == ["v", ""]
    assert idle(gate_of(cache), 1)


def test_a_blocking_load_on_a_loops_thread_does_not_wait_for_that_loops_loads(cache):
    """Async loads hold all places, and only the thread that now blocks could bring them on."""

    async def main():
        go_on = asyncio.Event()

        async def load():
            await go_on.wait()
            return "async"

        tasks = [asyncio.create_task(cache.aget_or_load(key, load)) for key in "ab"]
        while len(gate_of(cache)._holders) < 2:
            await asyncio.sleep(0)
        value = cache.get_or_load("k", lambda: "sync")
        go_on.set()
        return [value, *await asyncio.gather(*tasks)]

    assert InThread(asyncio.run, main()).result() == ["sync", "async", "async"]
    assert idle(gate_of(cache), 2)
    assert "k" in cache


def test_a_task_that_is_cancelled_while_it_waits_leaves_the_queue():
    """Its turn goes to the next one."""

    async def main():
        gate = Gate(1)
        flights = [Flight(key) for key in "abc"]
        assert await gate.aenter(flights[0])
        first, second = [asyncio.create_task(enter(gate, flight)) for flight in flights[1:]]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        gate.leave(flights[0])
        assert await asyncio.wait_for(second, 5)
        gate.leave(flights[2])
        return gate, first.cancelled()

    gate, cancelled = asyncio.run(main())
    assert cancelled
    assert idle(gate, 1)


@pytest.mark.parametrize("turns", range(4))
def test_a_place_that_is_granted_to_a_task_at_the_moment_it_is_cancelled_is_not_lost(turns):
    """Whichever of the two comes first, and however many turns of the loop lie between."""

    async def main():
        gate = Gate(1)
        flights = [Flight(key) for key in "abc"]
        assert await gate.aenter(flights[0])
        first, second = [asyncio.create_task(enter(gate, flight)) for flight in flights[1:]]
        await asyncio.sleep(0)
        gate.leave(flights[0])
        for _ in range(turns):
            await asyncio.sleep(0)
        got = first.done()
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        if got:
            gate.leave(flights[1])
        assert await asyncio.wait_for(second, 5)
        gate.leave(flights[2])
        return gate

    assert idle(asyncio.run(main()), 1)


def test_a_place_that_is_granted_by_another_thread_at_the_moment_of_a_cancellation_is_not_lost():
    """Many times over, a thread gives the place while the loop cancels the task that waits for it."""

    async def main():
        gate = Gate(1)
        for _ in range(300):
            holder, waiter = Flight("holder"), Flight("waiter")
            assert await gate.aenter(holder)
            waiting = asyncio.create_task(enter(gate, waiter))
            await asyncio.sleep(0)
            together = threading.Barrier(2)
            giving = InThread(lambda meet=together, it=holder: (meet.wait(5), gate.leave(it)))
            together.wait(5)
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
                gate.leave(waiter)
            giving.result()
            while gate._queue or gate._holders:
                await asyncio.sleep(0)
        return gate

    assert idle(asyncio.run(asyncio.wait_for(main(), 20)), 1)


def test_an_interrupt_while_waiting_gives_up_the_turn(cache):
    """Ctrl-C in a thread that waits for a place: it is raised, the place goes on, and the key is free."""
    crowd = Crowd()
    calls = [InThread(cache.get_or_load, key, crowd) for key in "ab"]
    until(lambda: crowd.running == 2)
    waiter = []

    def interrupt():
        until(lambda: len(gate_of(cache)._queue) == 1)
        # Somebody waits for the load that is about to be given up.
        waiter.append(InThread(cache.get_or_load, "k", lambda: "mine"))
        until(lambda: cache.info().misses == 4)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    interrupting = InThread(interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.get_or_load("k", never)
    interrupting.result()
    crowd.go_on.set()

    assert waiter[0].result() == "mine"
    assert [call.result() for call in calls] == ["v"] * 2
    assert idle(gate_of(cache), 2)


def test_a_loader_that_is_interrupted_gives_its_place_back(cache):
    """An interrupt inside the loader is no different from an error."""

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.get_or_load("k", interrupt)
    assert idle(gate_of(cache), 2)


def test_a_due_hit_does_not_wait_for_a_place(mesh, clock):
    """The load ahead waits in its own thread; the hit returns at once."""
    cache = cache_of(mesh, clock, max_loads=1, ttl=100.0, refresh_ahead=0.8)
    cache.get_or_load("due", lambda: "old")
    clock.now += 80
    crowd = Crowd()
    call = InThread(cache.get_or_load, "k", crowd)
    until(lambda: crowd.running == 1)

    assert InThread(cache.get_or_load, "due", lambda: "new").result() == "old"
    crowd.go_on.set()
    call.result()
    until(lambda: cache.get("due") == "new")
    until(lambda: idle(gate_of(cache), 1))


@pytest.mark.parametrize(("most", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_wrong_number_of_loads_is_refused(mesh, most, error):
    """At least one load has to run."""
    with pytest.raises(error, match="max_loads: "):
        cache_of(mesh, max_loads=most)
