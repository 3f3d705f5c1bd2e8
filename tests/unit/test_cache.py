"""The cache, as an application uses it; the mesh is replaced by a list of what was broadcast."""

import asyncio
import contextvars
import re
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from flushmesh.errors import MeshClosed, RecursiveLoad
from tests.unit.caches import cache_of, never, raising


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


def test_cancelling_the_loading_task_passes_the_load_on(cache):
    """One of those who wait loads instead."""

    async def main():
        async def hang():
            await asyncio.Event().wait()

        async def loader():
            return "v"

        first = asyncio.create_task(cache.aget_or_load("k", hang))
        await asyncio.sleep(0)
        second = asyncio.create_task(cache.aget_or_load("k", loader))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(main()) == "v"


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


def test_a_load_that_is_thrown_away_passes_the_load_on(cache):
    """Who waits for a coroutine that is never finished, but closed in another context, loads instead."""

    @types.coroutine
    def hang():
        yield

    loading = cache.aget_or_load("k", hang)
    contextvars.copy_context().run(loading.send, None)
    results = []
    # A daemon, so that a wait without end fails this test and no more.
    waiting = threading.Thread(target=lambda: results.append(cache.get_or_load("k", lambda: "mine")), daemon=True)
    waiting.start()
    while cache.info().misses < 2:
        threading.Event().wait(0.001)
    loading.close()
    waiting.join(5)

    assert results == ["mine"]
    assert cache.get("k") == "mine"


def test_a_loader_may_ask_for_another_key(cache):
    """Loads nest."""
    assert cache.get_or_load("a", lambda: cache.get_or_load("b", lambda: 1) + 1) == 2


def test_writing_flushes_on_the_way_out(cache, mesh):
    """The flush comes after the body, and the receipt is there then."""
    cache.get_or_load("k", lambda: "old")
    with cache.writing("k") as write:
        assert mesh.sent == []
        assert "k" not in cache
        write.set("new")

    assert mesh.sent == [("c", "k")]
    assert write.receipt.sequence == 1
    assert cache.get_or_load("k", never) == "new"


def test_writing_flushes_also_when_the_body_raises(cache, mesh):
    """A write that failed may have been done all the same: it is flushed, and its value not kept."""
    with pytest.raises(LookupError), cache.writing("k") as write:
        write.set("new")
        raise LookupError

    assert mesh.sent == [("c", "k")]
    assert "k" not in cache


def test_a_write_that_is_used_twice_keeps_nothing_of_the_first(cache, mesh):
    """Each time around is a write of its own, and keeps only what was set in it."""
    write = cache.writing("k")
    with write:
        write.set("first")
    with write:
        pass

    assert "k" not in cache
    assert (len(mesh.sent), write.receipt.sequence) == (2, 2)


def test_the_mapping_writes(cache, mesh):
    """Storing and deleting an item flush its key on the peers; reading does not."""
    cache["k"] = "v"
    assert (cache["k"], len(cache), list(cache), "k" in cache) == ("v", 1, ["k"], True)
    del cache["k"]
    assert (len(cache), mesh.sent) == (0, [("c", "k"), ("c", "k")])
    with pytest.raises(KeyError):
        cache["k"]


def test_deleting_what_is_not_held_flushes_and_raises(cache, mesh):
    """The peers may hold it all the same."""
    with pytest.raises(KeyError):
        del cache["k"]

    assert mesh.sent == [("c", "k")]


def test_the_mapping_has_everything_a_mapping_has(cache):
    """pop, setdefault, update, items and clear come with MutableMapping."""
    cache.update({"a": 1, "b": 2})
    assert cache.setdefault("a", 9) == 1
    assert cache.pop("a") == 1
    assert dict(cache.items()) == {"b": 2}
    cache.clear()
    assert list(cache) == []


class Fleeting:
    """A clock by which everything that was held expires while somebody looks: each reading is a minute later."""

    def __init__(self):
        self.now = 0.0
        self.step = 0.0

    def __call__(self):
        self.now += self.step
        return self.now


def items(cache):
    return list(cache.items())


def values(cache):
    return list(cache.values())


def pop(cache):
    return cache.pop("k0", "default")


def popitem(cache):
    try:
        return cache.popitem()
    except KeyError as error:
        # The one error that it has: there is nothing.
        assert "is empty" in str(error)  # noqa: PT017
        return None


def equals(cache):
    return cache == {"k0": 0}


@pytest.mark.parametrize("look", [list, len, items, values, pop, popitem, equals], ids=lambda look: look.__name__)
def test_what_expires_meanwhile_is_no_error(mesh, look):
    """No look at the whole mapping, and no removal, raises because an entry expires during it."""
    clock = Fleeting()
    cache = cache_of(mesh, clock)
    for number in range(5):
        cache[f"k{number}"] = number

    clock.step = 15.0
    for _ in range(5):
        look(cache)


def test_what_is_flushed_meanwhile_is_no_error(cache):
    """An iteration goes through what was held when it began."""
    for looks in (cache.items, cache.values, cache.keys):
        cache.update(a=1, b=2, c=3)
        seen = []
        for item in looks():
            cache.flush_all()
            seen.append(item)

        assert len(seen) == 3


def test_cached_functions_keep_their_results(cache):
    """The wrapper loads once for each key, and looks like the function."""
    calls = []

    @cache.cached(key="user:{user_id}")
    def load_user(user_id, verbose=False):
        """Load a user."""
        calls.append(user_id)
        return f"user {user_id}"

    assert [load_user(1), load_user(user_id=1), load_user(2, verbose=True)] == ["user 1", "user 1", "user 2"]
    assert calls == [1, 2]
    assert load_user.cache_key(1) == "user:1"
    assert load_user.cache is cache
    assert load_user.__wrapped__(1) == "user 1"
    assert (load_user.__name__, load_user.__doc__) == ("load_user", "Load a user.")


def test_cached_functions_are_flushed_by_their_arguments(cache, mesh):
    """`flush` takes what the function takes."""

    @cache.cached(key="user:{user_id}")
    def load_user(user_id):
        return object()

    first = load_user(1)
    load_user.flush(1)

    assert load_user(1) is not first
    assert mesh.sent == [("c", "user:1")]


def test_cached_coroutine_functions_keep_their_results(cache):
    """`async def` is decorated alike."""
    calls = []

    @cache.cached(key="user:{user_id}")
    async def load_user(user_id):
        calls.append(user_id)
        return f"user {user_id}"

    async def main():
        return [await load_user(1), await load_user(1)]

    assert asyncio.run(main()) == ["user 1", "user 1"]
    assert calls == [1]


def test_cached_works_without_parentheses(cache):
    """A bare decorator makes its key of everything."""
    calls = []

    @cache.cached
    def double(number):
        calls.append(number)
        return 2 * number

    assert [double(1), double(1), double(2)] == [2, 2, 4]
    assert calls == [1, 2]


def test_refresh_loads_anew_here(cache, mesh):
    """refresh replaces what is held on this node and tells nobody."""
    versions = iter(range(10))

    @cache.cached(key="k:{x}")
    def load(x):
        return next(versions)

    assert [load(1), load(1), load.refresh(1), load(1)] == [0, 0, 1, 1]
    assert mesh.sent == []


def test_refresh_of_a_coroutine_function_is_awaited(cache):
    """The refreshed value is what the wrapper would return: an awaitable."""
    versions = iter(range(10))

    @cache.cached(key="k:{x}")
    async def load(x):
        return next(versions)

    async def main():
        return [await load(1), await load.refresh(1), await load(1)]

    assert asyncio.run(main()) == [0, 1, 1]


def test_cached_functions_have_what_those_of_cachetools_have(cache, mesh):
    """cache_clear and cache_info are there."""

    @cache.cached(key="k:{x}")
    def load(x):
        return x

    load(1)
    assert load.cache_info().loads == 1
    load.cache_clear()

    assert len(cache) == 0
    assert mesh.sent == [("c", None)]


def test_flushes_flushes_after_success(cache, mesh):
    """The keys are flushed once the function has returned, and not before."""
    cache["user:1"] = "old"
    mesh.sent.clear()

    @cache.flushes("user:{user_id}", lambda user_id, name: f"name:{name}")
    def rename(user_id, name):
        assert mesh.sent == []
        return name.upper()

    assert rename(1, name="ada") == "ADA"
    assert mesh.sent == [("c", "user:1"), ("c", "name:ada")]
    assert "user:1" not in cache


def test_flushes_flushes_coroutine_functions_alike(cache, mesh):
    """`async def` is decorated alike."""

    @cache.flushes("user:{user_id}")
    async def rename(user_id):
        await asyncio.sleep(0)
        assert mesh.sent == []

    asyncio.run(rename(1))
    assert mesh.sent == [("c", "user:1")]


def test_flushes_does_nothing_when_the_function_raises(cache, mesh):
    """What was not done is not flushed."""

    @cache.flushes("user:{user_id}")
    def rename(user_id):
        raise LookupError

    with pytest.raises(LookupError):
        rename(1)
    assert mesh.sent == []


def test_flushes_checks_its_template(cache):
    """A name that is no parameter is found when decorating."""
    with pytest.raises(TypeError, match='has no parameter "id"'):

        @cache.flushes("user:{id}")
        def rename(user_id):
            """Stand for a writer."""


def test_cached_methods_bind(cache):
    """The wrapper of a method gets its `self`."""

    class Users:
        def __init__(self, prefix):
            self.prefix = prefix

        @cache.cached(key="{self.prefix}:{user_id}")
        def load(self, user_id):
            return f"{self.prefix} {user_id}"

    assert [Users("a").load(1), Users("b").load(1)] == ["a 1", "b 1"]


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


@pytest.mark.parametrize("error", [LookupError("oops"), asyncio.CancelledError(), SystemExit(1), KeyboardInterrupt()])
def test_a_hook_that_raises_harms_nothing(mesh, caplog, error):
    """Whatever on_flushed raises is logged; the flush was applied before."""
    cache = cache_of(mesh, hooks={"on_flushed": raising(error)})
    cache["k"] = "v"
    cache._store.get("k")

    with caplog.at_level("ERROR", "flushmesh"):
        cache.apply("k", None, None, "peer", 1)

    assert "k" not in cache
    assert "on_flushed" in caplog.text


def test_a_hook_is_told_what_was_flushed(mesh):
    """on_flushed gets the key, the origin, the sequence, and whether anything was held."""
    told = []
    cache = cache_of(mesh, hooks={"on_flushed": told.append})
    cache["k"] = "v"
    cache.apply("k", None, None, "peer", 7)
    cache.apply(None, None, None, "peer", 8)

    assert [(f.cache, f.key, f.tag, f.origin, f.sequence, f.held) for f in told] == [
        ("c", "k", None, "peer", 7, True),
        ("c", None, None, "peer", 8, False),
    ]
