"""How long a value is kept: ttl from the cache, the decorator, the call and the loader, and jitter."""

import asyncio
import pickle
from datetime import timedelta
from math import inf, nan

import pytest

from flushmesh.flight import Flight
from flushmesh.fresh import Fresh
from flushmesh.store import Store
from tests.unit.caches import cache_of, never, raising


def ttl_of(cache, key="k"):
    """Return how long *key* is kept from now on."""
    (entry,) = [entry for entry in cache.entries() if entry.key == key]
    return entry.ttl_left


def of_the_cache(cache):
    cache.get_or_load("k", lambda: "v")


def of_the_call(cache):
    cache.get_or_load("k", lambda: "v", ttl=7)


def of_the_call_as_timedelta(cache):
    cache.get_or_load("k", lambda: "v", ttl=timedelta(minutes=2))


def of_the_async_call(cache):
    async def load():
        return "v"

    asyncio.run(cache.aget_or_load("k", load, ttl=8.0))


def of_the_decorator(cache):
    cache.cached(key="k", ttl=timedelta(seconds=9))(lambda: "v")()


def of_the_loader(cache):
    cache.get_or_load("k", lambda: Fresh("v", ttl=3), ttl=7)


def of_the_loader_without_a_word(cache):
    cache.get_or_load("k", lambda: Fresh("v"), ttl=7)


def of_the_decorated_loader(cache):
    cache.cached(key="k", ttl=9)(lambda: Fresh("v", ttl=timedelta(seconds=4)))()


def of_the_write(cache):
    with cache.writing("k") as write:
        write.set(Fresh("v", ttl=5))


def of_the_item(cache):
    cache["k"] = Fresh("v", ttl=6)


def of_no_end(cache):
    cache.get_or_load("k", lambda: "v", ttl=inf)


@pytest.mark.parametrize(
    ("keep", "ttl"),
    [
        (of_the_cache, 60.0),
        (of_the_call, 7.0),
        (of_the_call_as_timedelta, 120.0),
        (of_the_async_call, 8.0),
        (of_the_decorator, 9.0),
        (of_the_loader, 3.0),
        (of_the_loader_without_a_word, 7.0),
        (of_the_decorated_loader, 4.0),
        (of_the_write, 5.0),
        (of_the_item, 6.0),
        (of_no_end, inf),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_the_ttl_is_that_of_whoever_is_nearest_to_the_value(cache, keep, ttl):
    """The loader goes before the call, the call before the cache; seconds or timedelta alike."""
    keep(cache)

    assert cache.get("k") == "v"
    assert ttl_of(cache) == ttl


def test_the_ttl_of_a_cache_may_be_a_timedelta(mesh, clock):
    """As may its grace."""
    cache = cache_of(mesh, clock, ttl=timedelta(minutes=1), grace=timedelta(seconds=2))
    of_the_cache(cache)
    clock.now += 59.5
    assert cache.get("k") == "v"
    clock.now += 0.5
    assert cache.get("k") is None
    assert cache.get_or_load("k", raising(OSError())) == "v"


def test_the_ttl_counts_from_the_beginning_of_the_load(cache, clock):
    """A value is as old as the question, not as the answer."""

    def load():
        clock.now += 6
        return "v"

    cache.get_or_load("k", load, ttl=10)
    assert ttl_of(cache) == 4.0
    clock.now += 4
    assert cache.get("k") is None


def test_a_value_whose_ttl_is_over_on_arrival_is_returned_and_not_stored(cache, clock):
    """A load may take longer than what it finds is worth keeping for."""

    def load():
        clock.now += 5
        return Fresh("v", ttl=5)

    assert cache.get_or_load("k", load) == "v"
    assert "k" not in cache


@pytest.mark.parametrize(
    ("ttl", "error", "words"),
    [
        (0, ValueError, "ttl: seconds, more than 0, not 0; math.inf for no end"),
        (-1.5, ValueError, "not -1.5"),
        (nan, ValueError, "not nan"),
        (timedelta(0), ValueError, "more than 0, not 0"),
        ("5", TypeError, "ttl: seconds as a number, or a timedelta, not '5'"),
        (True, TypeError, "not True"),
        ([5], TypeError, "not a list"),
    ],
)
def test_a_wrong_ttl_is_refused_before_the_loader_runs(cache, mesh, ttl, error, words):
    """Wherever one can be given."""
    calls = [
        lambda: cache_of(mesh, ttl=ttl),
        lambda: cache.get_or_load("k", never, ttl=ttl),
        lambda: asyncio.run(cache.aget_or_load("k", never, ttl=ttl)),
        lambda: cache.cached(key="k", ttl=ttl)(never),
        lambda: Fresh("v", ttl=ttl),
    ]
    for call in calls:
        with pytest.raises(error, match=words):
            call()

    assert cache.info().loads == 0


def test_a_wrong_ttl_is_not_hidden_by_grace(mesh, clock):
    """A mistake in the code is no failure of the source."""
    cache = cache_of(mesh, clock, grace=100.0)
    of_the_cache(cache)
    clock.now += 60

    with pytest.raises(ValueError, match="ttl"):
        cache.get_or_load("k", never, ttl=0)


@pytest.mark.parametrize(("drawn", "ttl"), [(0.0, 100.0), (0.5, 90.0), (1.0, 80.0)])
def test_jitter_shortens_the_ttl_by_up_to_its_part(clock, drawn, ttl):
    """Entries that were loaded together do not run out together, and none lives longer than it may."""
    store = Store(maxsize=10, ttl=100.0, clock=clock, random=lambda: drawn, jitter=0.2)
    store.end(store.take_off(Flight("k")), Fresh("v"))

    assert store.describe()[0].ttl_left == ttl


def test_jitter_is_off_unless_asked_for(mesh, clock):
    """Without it every entry has its whole ttl; with it they differ."""
    for jitter, several in ((0.0, False), (0.5, True)):
        cache = cache_of(mesh, clock, ttl=100.0, jitter=jitter)
        for number in range(20):
            cache.get_or_load(f"k{number}", lambda: "v")
        ttls = {entry.ttl_left for entry in cache.entries()}

        assert (len(ttls) > 1) is several
        assert all(50.0 < ttl <= 100.0 for ttl in ttls)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"jitter": 1}, ValueError, "jitter: a part of the ttl, from 0 to less than 1, not 1"),
        ({"jitter": -0.1}, ValueError, "jitter"),
        ({"jitter": "0.1"}, TypeError, "jitter: a number, not '0.1'"),
        ({"grace": -1}, ValueError, "grace: seconds, 0 or more, not -1"),
        ({"grace": None}, TypeError, "grace: seconds as a number, or a timedelta, not a NoneType"),
        ({"refresh_ahead": 1.0}, ValueError, "refresh_ahead: a part of the ttl, between 0 and 1, not 1"),
        ({"refresh_ahead": 0}, ValueError, "refresh_ahead"),
        ({"refresh_ahead": "late"}, TypeError, "refresh_ahead: a number, not 'late'"),
        ({"getsizeof": 5}, TypeError, "getsizeof: a function of a value, not 5"),
        ({"policy": dict}, TypeError, "policy: a class of cachetools, as in cachetools.LFUCache, not a type"),
        ({"policy": "lru"}, TypeError, "policy"),
        ({"copy": "deep"}, TypeError, "copy: a function of a value, as in copy.deepcopy, not 'deep'"),
    ],
)
def test_wrong_options_are_refused(mesh, options, error, words):
    """Each names itself and says what would be right."""
    with pytest.raises(error, match=words):
        cache_of(mesh, **options)


def test_a_result_for_which_cache_if_is_false_is_returned_and_not_stored(cache):
    """In every way to load; it is given the value itself, not what wraps it."""
    seen = []

    def found(value):
        seen.append(value)
        return value is not None

    async def load():
        return None

    assert cache.get_or_load("k", lambda: Fresh(None, ttl=5), cache_if=found) is None
    assert asyncio.run(cache.aget_or_load("k", load, cache_if=found)) is None
    decorated = cache.cached(key="k", cache_if=found)(lambda value: value)
    assert decorated(None) is None
    assert len(cache) == 0
    assert decorated("v") == "v"

    assert seen == [None, None, None, "v"]
    assert cache.get("k") == "v"
    assert cache.info().fills_refused == 0


def test_a_cache_if_that_raises_is_the_loaders_error(cache):
    """The caller is told, nothing is stored, and the key is free."""
    with pytest.raises(ZeroDivisionError):
        cache.get_or_load("k", lambda: 0, cache_if=lambda value: 1 / value)

    assert cache.get_or_load("k", lambda: "v") == "v"


def test_who_waits_gets_the_value_and_not_what_wraps_it(cache):
    """Fresh is between the loader and the cache."""

    async def main():
        async def load():
            await asyncio.sleep(0)
            return Fresh("v", ttl=5)

        return await asyncio.gather(*[cache.aget_or_load("k", load) for _ in range(3)])

    assert asyncio.run(main()) == ["v"] * 3


def test_fresh_shows_what_it_holds():
    """For people who look at a loader's result."""
    fresh = Fresh([1], ttl=timedelta(seconds=2), tags=["t", "t"], version=3)

    assert repr(fresh) == "Fresh([1], ttl=2.0, tags=('t',), version=3)"
    assert pickle.loads(pickle.dumps(fresh)).value == [1]
