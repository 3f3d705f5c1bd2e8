"""Seeing inside: counters that add up, and what is held, entry by entry."""

import threading

import pytest

from flushmesh.fresh import Fresh
from tests.unit.caches import InThread, cache_of, never, raising


def test_the_counters_say_what_happened(mesh, clock):
    """Each event is counted once, where it belongs."""
    cache = cache_of(mesh, clock, maxsize=2, ttl=10.0)
    cache.get_or_load("a", lambda: 1)
    cache.get_or_load("a", never)
    cache.get("a")
    cache.get("other")
    with pytest.raises(LookupError):
        cache.get_or_load("c", raising(LookupError()))
    cache.get_or_load("d", lambda: cache.flush("d"))
    cache.get_or_load("b", lambda: 2)
    cache.get_or_load("e", lambda: 3)
    clock.now += 10
    cache.get_or_load("f", lambda: 4)
    cache.apply("a", None, None, "peer", 1)
    cache.apply(None, "t", None, "peer", 2)
    info = cache.info()

    assert (info.hits, info.misses, info.loads, info.load_errors, info.fills_refused) == (2, 7, 6, 1, 1)
    assert (info.evictions, info.expiries, info.flushes_applied) == (1, 2, 2)
    assert (info.currsize, info.maxsize) == (1, 2)


def test_hits_of_what_is_gone_still_count(cache):
    """They are kept on the entry, and handed over when it goes."""
    for go in (lambda: cache.flush("k"), cache.flush_all, lambda: cache.__setitem__("k", "new")):
        cache.get_or_load("k", lambda: "v")
        before = cache.info().hits
        cache.get("k")
        cache.get("k")
        go()
        assert cache.info().hits == before + 2


def test_the_counters_are_exact_under_threads(mesh, clock):
    """Eight threads that miss, fail, evict and are refused at once lose no count."""
    cache = cache_of(mesh, clock, maxsize=5)
    rounds, threads = 300, 8
    meet = threading.Barrier(threads)

    def work(number):
        meet.wait(5)
        for turn in range(rounds):
            key = f"{number}.{turn}"
            cache.get_or_load(f"{key}.v", lambda: "v")
            with pytest.raises(LookupError):
                cache.get_or_load(f"{key}.error", raising(LookupError()))
            cache.get_or_load(f"{key}.flushed", lambda key=key: cache.forget(f"{key}.flushed"))
            cache.get(f"{key}.nowhere")

    for call in [InThread(work, number) for number in range(threads)]:
        call.result(30)
    info, all_rounds = cache.info(), rounds * threads

    assert (info.misses, info.loads) == (4 * all_rounds, 3 * all_rounds)
    assert (info.load_errors, info.fills_refused) == (all_rounds, all_rounds)
    assert (info.evictions, info.currsize) == (all_rounds - 5, 5)


def test_hits_of_one_thread_are_exact(cache):
    """Only threads that hit one entry at the same moment may lose a count."""
    cache["k"] = "v"
    for _ in range(1_000):
        cache.get("k")

    assert cache.info().hits == cache.entries()[0].hits == 1_000


def test_entries_are_described(mesh, clock):
    """Key, age, what is left of the ttl, tags, version, hits, and why one would not be served."""
    cache = cache_of(mesh, clock, ttl=60.0, staleness=8.0)
    cache.get_or_load("a", lambda: Fresh(1, ttl=5, tags=["t"], version=3))
    cache.get("a")
    clock.now += 2
    cache.get_or_load("b", lambda: 2)
    a, b = cache.entries()
    assert (a.key, a.age, a.ttl_left, a.tags, a.version, a.hits, a.unserved) == ("a", 2.0, 3.0, ("t",), 3, 1, "")
    assert (b.key, b.age, b.ttl_left, b.tags, b.version, b.hits, b.unserved) == ("b", 0.0, 60.0, (), None, 0, "")
    clock.now += 9
    a, b = cache.entries()

    assert (a.ttl_left, a.unserved) == (0.0, "expired or flushed")
    assert (b.ttl_left, b.unserved) == (51.0, "not proven current for 9.000 s")
    cache.trust(clock.now)
    assert cache.entries()[1].unserved == ""


def test_looking_inside_changes_nothing(cache):
    """Neither counters nor second chances."""
    cache["k"] = "v"
    before = cache.info()
    cache.entries()

    assert cache.info() == before
