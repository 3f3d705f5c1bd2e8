"""The cache, as an application uses it; the mesh is replaced by a list of what was broadcast."""

import asyncio
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flushmesh.errors import MeshClosed, RecursiveLoad
from tests.unit.caches import InThread, never, raising


def test_a_miss_loads_and_a_hit_does_not(cache, mesh):
    """The loader runs once; a fill is told to nobody."""
    assert cache.get_or_load("k", lambda: "v") == "v"
    assert cache.get_or_load("k", never) == "v"

    assert cache.get("k") == "v"
    assert cache.get("other", "default") == "default"
    assert mesh.sent == []


def test_an_error_is_raised_and_the_next_call_loads_again(cache):
    """A loader that raises stores nothing."""
    with pytest.raises(LookupError, match="gone"):
        cache.get_or_load("k", raising(LookupError("gone")))

    assert cache.get_or_load("k", lambda: "v") == "v"


def test_flush_forgets_here_and_is_broadcast(cache, mesh):
    """A flush is local at once and goes to every peer."""
    cache.get_or_load("k", lambda: "old")
    receipt = cache.flush("k")

    assert cache.get_or_load("k", lambda: "new") == "new"
    assert mesh.sent == [("c", "k")]
    assert receipt.sequence == 1


def test_flush_all_forgets_everything(cache, mesh):
    """A flush of the whole cache has no key."""
    cache.get_or_load("k", lambda: "old")
    cache.flush_all()

    assert "k" not in cache
    assert mesh.sent == [("c", None)]


@pytest.mark.parametrize(
    ("key", "error", "words"),
    [
        (42, TypeError, "a key is a str, not int"),
        (None, TypeError, "a key is a str, not NoneType"),
        (b"k", TypeError, "a key is a str, not bytes"),
        ([], TypeError, 'a key is a str, not list; build one, as in f"user:{user_id}"'),
        ({}, TypeError, "a key is a str, not dict"),
        ("", ValueError, "cannot be empty"),
        ("k" * 1025, ValueError, "at most 1024 bytes, this one has 1025"),
        ("ü" * 513, ValueError, "at most 1024 bytes, this one has 1026"),
        ("\ud800", ValueError, "encodable as UTF-8"),
    ],
)
def test_a_wrong_key_is_refused_before_anything_changes(cache, mesh, key, error, words):
    """Every entry point checks its key; nothing is loaded, stored or sent."""
    calls = [
        lambda: cache.get(key),
        lambda: cache.get_or_load(key, never),
        lambda: asyncio.run(cache.aget_or_load(key, never)),
        lambda: cache.flush(key),
        lambda: cache.writing(key),
        lambda: cache[key],
        lambda: cache.pop(key, None),
        lambda: cache.__setitem__(key, "v"),
        lambda: cache.__delitem__(key),
    ]
    for call in calls:
        with pytest.raises(error, match=re.escape(words)):
            call()

    assert key not in cache
    assert (len(cache), mesh.sent) == (0, [])


def test_fifty_threads_load_once(cache):
    """However many threads miss together, one loads and all get its value."""
    started, release = threading.Event(), threading.Event()
    loads = []

    def loader():
        loads.append(1)
        started.set()
        release.wait(5)
        return "v"

    with ThreadPoolExecutor(50) as pool:
        results = [pool.submit(cache.get_or_load, "k", loader)]
        started.wait(5)
        results += [pool.submit(cache.get_or_load, "k", loader) for _ in range(49)]
        while cache.info().misses < 50:
            threading.Event().wait(0.001)
        release.set()
        assert {result.result(5) for result in results} == {"v"}

    assert len(loads) == 1


def test_fifty_threads_and_fifty_tasks_share_one_load(cache):
    """Threads and tasks wait for the same load."""
    loads = []

    async def main():
        release = asyncio.Event()

        async def loader():
            loads.append(1)
            await release.wait()
            return "v"

        tasks = [asyncio.create_task(cache.aget_or_load("k", loader)) for _ in range(50)]
        await asyncio.sleep(0)
        with ThreadPoolExecutor(50) as pool:
            threads = [asyncio.wrap_future(pool.submit(cache.get_or_load, "k", never)) for _ in range(50)]
            while cache.info().misses < 100:
                await asyncio.sleep(0.001)
            release.set()
            return await asyncio.gather(*tasks, *threads)

    assert asyncio.run(main()) == ["v"] * 100
    assert len(loads) == 1


def test_every_waiter_gets_the_error(cache):
    """A load that fails fails for all who wait, threads and tasks."""

    async def main():
        release = asyncio.Event()

        async def loader():
            await release.wait()
            raise LookupError("gone")

        waiting = [asyncio.create_task(cache.aget_or_load("k", loader)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(asyncio.to_thread(cache.get_or_load, "k", never)))
        while cache.info().misses < 4:
            await asyncio.sleep(0.001)
        release.set()
        return await asyncio.gather(*waiting, return_exceptions=True)

    errors = asyncio.run(main())
    assert [type(error) for error in errors] == [LookupError] * 4
    assert cache.get("k") is None


def test_cancelling_a_waiting_task_harms_nobody(cache):
    """The load goes on for the others."""

    async def main():
        release = asyncio.Event()

        async def loader():
            await release.wait()
            return "v"

        first, second, third = [asyncio.create_task(cache.aget_or_load("k", loader)) for _ in range(3)]
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.wait([second])
        release.set()
        return await first, await third

    assert asyncio.run(main()) == ("v", "v")


def test_a_load_outlives_the_task_that_started_it(cache):
    """The caller is cancelled and gets no value; its load goes on, for those who wait and for those who come later."""

    async def main():
        release = asyncio.Event()

        async def loader():
            await release.wait()
            return "v"

        first = asyncio.create_task(cache.aget_or_load("k", loader))
        await asyncio.sleep(0)
        second = asyncio.create_task(cache.aget_or_load("k", never))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        third = asyncio.create_task(cache.aget_or_load("k", never))
        await asyncio.sleep(0)
        release.set()
        return first.cancelled(), await second, await third

    assert asyncio.run(main()) == (True, "v", "v")
    assert cache.info().loads == 1


def test_a_load_whose_own_task_is_cancelled_passes_on(cache):
    """One of those who wait loads instead."""

    async def main():
        async def hang():
            asyncio.current_task().set_name("load")
            await asyncio.Event().wait()

        async def loader():
            return "v"

        first = asyncio.create_task(cache.aget_or_load("k", hang))
        await asyncio.sleep(0.001)
        second = asyncio.create_task(cache.aget_or_load("k", loader))
        await asyncio.sleep(0)
        (load,) = [task for task in asyncio.all_tasks() if task.get_name() == "load"]
        load.cancel()
        value = await second
        return value, await asyncio.gather(first, return_exceptions=True)

    value, (first,) = asyncio.run(main())
    assert value == "v"
    assert isinstance(first, asyncio.CancelledError)


def test_a_sync_call_beside_its_own_loops_load_does_not_deadlock(cache):
    """A blocking read in the loop that runs the key's load loads for itself, and stores nothing."""

    async def main():
        async def hang():
            await asyncio.Event().wait()

        task = asyncio.create_task(cache.aget_or_load("k", hang))
        await asyncio.sleep(0)
        value = cache.get_or_load("k", lambda: "v")
        task.cancel()
        return value

    assert asyncio.run(main()) == "v"
    assert "k" not in cache


def test_a_loader_that_asks_for_its_own_key_is_told(cache):
    """Waiting for oneself raises instead of hanging."""
    with pytest.raises(RecursiveLoad, match='loader of "k"'):
        cache.get_or_load("k", lambda: cache.get_or_load("k", never))

    async def ask():
        return await asyncio.gather(cache.aget_or_load("k", ask))

    with pytest.raises(RecursiveLoad, match='loader of "k"'):
        asyncio.run(cache.aget_or_load("k", ask))


def test_a_loader_that_asks_for_its_own_key_is_told_inside_a_running_loop_too(cache):
    """A blocking loader that a coroutine calls recurses no deeper than anywhere else."""
    loads = []

    def ask():
        loads.append(1)
        return cache.get_or_load("k", ask)

    async def main():
        return cache.get_or_load("k", ask)

    with pytest.raises(RecursiveLoad, match='loader of "k"'):
        asyncio.run(main())

    assert len(loads) == 1
    assert cache.get_or_load("k", lambda: "v") == "v"


def test_a_coroutine_that_asks_for_its_own_key_without_awaiting_is_told(cache):
    """An async loader that calls the blocking read for its own key is no other caller."""

    async def ask():
        return cache.get_or_load("k", never)

    with pytest.raises(RecursiveLoad, match='loader of "k"'):
        asyncio.run(cache.aget_or_load("k", ask))

    assert "k" not in cache


def test_a_load_whose_loop_is_closed_passes_on(cache):
    """A thread that waits for a load in a loop that was closed under it loads instead, although its task is kept."""
    kept, waiting = [], []

    async def hang():
        await asyncio.Event().wait()

    async def main():
        kept.append(asyncio.ensure_future(cache.aget_or_load("k", hang)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.append(InThread(cache.get_or_load, "k", lambda: "mine"))
        while cache.info().misses < 2:
            await asyncio.sleep(0.001)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    loop.run_until_complete(main())
    loop.close()

    assert waiting[0].result() == "mine"
    assert cache.get("k") == "mine"


def test_a_loader_may_ask_for_another_key(cache):
    """Loads nest."""
    assert cache.get_or_load("a", lambda: cache.get_or_load("b", lambda: 1) + 1) == 2


def test_a_closed_mesh_serves_nobody(cache, mesh):
    """After close, whatever would touch the mesh raises."""
    mesh.closed = True
    for call in (
        lambda: cache.get("k"),
        lambda: cache.get_or_load("k", never),
        lambda: cache.flush("k"),
        lambda: cache.flush_all(),
        lambda: cache.writing("k"),
    ):
        with pytest.raises(MeshClosed, match='mesh "m" is closed'):
            call()
