"""Hooks: what an application has itself told of, where, and what becomes of one that raises."""

import asyncio
import threading

import pytest

from flushmesh.entry import MISS
from flushmesh.flight import Flight
from flushmesh.fresh import Fresh
from flushmesh.store import Store
from tests.unit.caches import InThread, cache_of, never, raising, until


def test_an_eviction_is_told_with_key_and_value(mesh):
    """Only what had to make room is told, not what was flushed, replaced or had run out."""
    told = []
    cache = cache_of(mesh, hooks={"on_evicted": lambda *evicted: told.append(evicted)}, maxsize=2)
    cache.get_or_load("flushed", lambda: 0)
    cache.flush("flushed")
    cache["a"] = 0
    cache["a"] = 1
    cache["b"] = 2
    cache.flush_all()
    assert told == []
    for number, key in enumerate("abcd"):
        cache.get_or_load(key, lambda number=number: number)

    assert told == [("a", 0), ("b", 1)]
    assert cache.info().evictions == 2


def test_what_expired_is_not_told_as_evicted(mesh, clock):
    """It made room before anything had to."""
    told = []
    cache = cache_of(mesh, clock, {"on_evicted": lambda *evicted: told.append(evicted)}, maxsize=1, ttl=10.0)
    cache.get_or_load("a", lambda: 1)
    clock.now += 10
    cache.get_or_load("b", lambda: 2)

    assert told == []
    assert (cache.info().evictions, cache.info().expiries) == (0, 1)


def test_a_hook_may_use_the_cache(mesh):
    """on_evicted runs outside the lock: it may read, flush, and load what evicts in turn."""
    told = []

    def on_evicted(key, value):
        told.append((key, value, cache.get(key), len(cache)))
        cache.flush("other")
        if len(told) == 1:
            cache.get_or_load("in the hook", lambda: 9)

    cache = cache_of(mesh, hooks={"on_evicted": on_evicted}, maxsize=1)
    cache.get_or_load("a", lambda: 1)

    assert InThread(cache.get_or_load, "b", lambda: 2).result() == 2
    assert told == [("a", 1, None, 1), ("b", 2, None, 1)]
    assert list(cache) == ["in the hook"]


def test_an_eviction_is_told_in_the_thread_of_the_load(mesh):
    """Whoever needed the room runs the hook."""
    told = []
    hooks = {"on_evicted": lambda *_: told.append(threading.current_thread().name)}
    cache = cache_of(mesh, hooks=hooks, maxsize=1)
    cache.get_or_load("a", lambda: 1)

    def load():
        threading.current_thread().name = "the loading one"
        cache.get_or_load("b", lambda: 2)

    InThread(load).result()
    assert told == ["the loading one"]


def test_a_failing_load_is_told_once_in_its_own_thread(mesh):
    """Not by each of those who wait for it."""
    told = []
    hooks = {"on_load_error": lambda key, error: told.append((key, error, threading.get_ident()))}
    cache = cache_of(mesh, hooks=hooks)
    error, threads = LookupError("gone"), []

    def fail():
        threads.append(threading.get_ident())
        until(lambda: cache.info().misses == 2)
        raise error

    calls = [InThread(cache.get_or_load, "k", fail)]
    until(lambda: cache.info().loads == 1)
    calls.append(InThread(cache.get_or_load, "k", never))
    for call in calls:
        with pytest.raises(LookupError):
            call.result()

    assert told == [("k", error, threads[0])]


@pytest.mark.parametrize("wrong", ["tags", "cache_if", "getsizeof"])
def test_whatever_is_wrong_with_a_result_is_a_load_error(mesh, wrong):
    """The caller gets the error, it is told and counted, and nothing is stored."""
    told = []
    sizes = {"getsizeof": lambda value: "big"} if wrong == "getsizeof" else {}
    cache = cache_of(mesh, hooks={"on_load_error": lambda key, _: told.append(key)}, **sizes)
    results = {"tags": lambda: Fresh("v", tags="t"), "cache_if": lambda: "v", "getsizeof": lambda: "v"}
    filters = {"cache_if": raising(TypeError("no filter"))} if wrong == "cache_if" else {}
    with pytest.raises(TypeError):
        cache.get_or_load("k", results[wrong], **filters)

    assert told == ["k"]
    assert (cache.info().load_errors, cache.currsize) == (1, 0)


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(1)])
def test_an_interrupted_load_is_no_load_error(mesh, error):
    """Nothing is wrong with the source of truth."""
    told = []
    cache = cache_of(mesh, hooks={"on_load_error": lambda *failed: told.append(failed)})
    with pytest.raises(type(error)):
        cache.get_or_load("k", raising(error))

    assert (told, cache.info().load_errors) == ([], 0)


def test_hooks_that_raise_are_logged_and_harm_nothing(mesh, caplog):
    """The load that made one run ends as if there were none; the caller gets the loader's own error."""
    hooks = {"on_evicted": raising(ZeroDivisionError()), "on_load_error": raising(ZeroDivisionError())}
    cache = cache_of(mesh, hooks=hooks, maxsize=1)
    cache.get_or_load("a", lambda: 1)
    with caplog.at_level("ERROR", "flushmesh"):
        assert cache.get_or_load("b", lambda: 2) == 2
        with pytest.raises(LookupError, match="gone"):
            cache.get_or_load("c", raising(LookupError("gone")))

    assert cache.get("b") == 2
    assert 'on_evicted of cache "c" failed' in caplog.text
    assert 'on_load_error of cache "c" failed' in caplog.text


def test_who_waits_is_not_left_waiting_when_a_hook_ends_its_thread(clock):
    """A hook that leaves by SystemExit takes its own thread with it, and nobody else's."""
    store = Store(maxsize=1, ttl=10.0, clock=clock, on_evicted=raising(SystemExit(1)))
    store.end(store.take_off(Flight("a")), Fresh(1))
    flight = store.take_off(Flight("b"))
    waiting = store.take_off(Flight("b"))
    with pytest.raises(SystemExit):
        store.end(flight, Fresh(2))

    assert waiting.landing.unpack() == 2
    assert store.get("b", MISS) == 2


def test_a_flush_is_told_whatever_it_covers(mesh):
    """Key, tag, or neither for the whole cache; the flushes of this node itself are not told."""
    told = []
    cache = cache_of(mesh, hooks={"on_flushed": told.append})
    cache.flush("k")
    cache.flush_tag("t")
    cache.flush_all()
    assert told == []
    cache.apply("k", None, 3, "peer", 1)
    cache.apply(None, "t", None, "peer", 2)
    cache.apply(None, None, None, "peer", 3)

    assert [(flushed.key, flushed.tag) for flushed in told] == [("k", None), (None, "t"), (None, None)]
    with pytest.raises(AttributeError):
        told[0].key = "other"


def test_a_hook_finds_the_flush_applied(mesh):
    """What it looks up is what is left."""
    seen = []
    cache = cache_of(mesh, hooks={"on_flushed": lambda flushed: seen.append((flushed.held, cache.get("k")))})
    cache["k"] = "old"
    cache.apply("k", None, None, "peer", 1)

    assert seen == [(True, None)]


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
