"""Policies: the same contract, whichever cachetools class decides who goes."""

import cachetools
import pytest

from flushmesh.entry import MISS
from flushmesh.flight import Flight
from flushmesh.fresh import Fresh
from flushmesh.store import Store
from flushmesh.write import Write
from tests.unit.caches import cache_of, never
from tests.unit.clock import Clock

POLICIES = [
    cachetools.Cache,
    cachetools.FIFOCache,
    cachetools.LFUCache,
    cachetools.LRUCache,
    cachetools.RRCache,
    cachetools.TTLCache,
    cachetools.TLRUCache,
]
# Those that go by use: a hit earns an entry its second chance.
BY_USE = [cachetools.LFUCache, cachetools.LRUCache, cachetools.TTLCache, cachetools.TLRUCache]


class Newest(cachetools.Cache):
    """A policy of one's own: the newest goes first."""

    def popitem(self):
        key = list(self)[-1]
        return key, self.pop(key)


@pytest.fixture(params=[*POLICIES, Newest], ids=lambda policy: policy.__name__)
def policy(request):
    return request.param


@pytest.fixture
def store(policy, clock):
    return Store(maxsize=3, ttl=10.0, clock=clock, policy=policy)


def load(store, key, value="v", size=1, **more):
    """Load *value* as a caller would."""
    return store.end(store.take_off(Flight(key)), Fresh(value, **more), size).stored


def consistent(store):
    """Tell whether the contents and their policy hold the same."""
    contents = store.contents
    same = set(contents.entries) == set(contents._policy)
    return same and all(contents._policy[key] is entry for key, entry in contents.entries.items())


def test_what_fits_is_kept(store):
    """Nothing goes while there is room."""
    for key in "abc":
        assert load(store, key)

    assert set(store.snapshot()) == set("abc")
    assert store.contents.currsize == 3
    assert store.contents.evictions == 0
    assert consistent(store)


def test_one_goes_for_one_that_comes(store):
    """Never more than needed, never what has just come in, and each once."""
    evicted = []
    store._on_evicted = lambda key, _: evicted.append(key)
    for number in range(50):
        load(store, f"k{number}", number)
        assert store.get(f"k{number}", MISS) == number
        assert len(store.snapshot()) == min(number + 1, 3)

    assert store.contents.evictions == len(evicted) == len(set(evicted)) == 47
    assert consistent(store)


def test_a_key_that_is_filled_anew_takes_no_more_room(store):
    """Replacing evicts nothing."""
    for key in "abc":
        load(store, key)
    for _ in range(5):
        store.end_write(store.begin_write(Write(["b"])), {"b": (Fresh("new"), 1)})

    assert set(store.snapshot()) == set("abc")
    assert store.get("b", MISS) == "new"
    assert consistent(store)


def test_time_is_the_business_of_the_entries(store, clock):
    """Each entry's own ttl holds under every policy, those with a time of their own included."""
    load(store, "short", ttl=1.0)
    load(store, "long", ttl=100.0)
    load(store, "usual")
    clock.now += 1
    assert set(store.snapshot()) == {"long", "usual"}
    clock.now += 9
    assert set(store.snapshot()) == {"long"}
    clock.now += 90
    assert store.snapshot() == {}


def test_what_has_run_out_goes_first(store, clock):
    """It makes room before the policy is asked."""
    load(store, "old", ttl=1.0)
    load(store, "a")
    load(store, "b")
    clock.now += 1
    load(store, "c")

    assert set(store.snapshot()) == set("abc")
    assert (store.contents.evictions, store.contents.expiries) == (0, 1)
    assert consistent(store)


def test_flushes_leave_nothing_behind(store):
    """By key, by tag, and all."""
    load(store, "a", tags=["t"])
    load(store, "b", tags=["t"])
    load(store, "c")
    store.flush_tag("t")
    assert set(store.snapshot()) == {"c"}
    store.flush("c")
    assert (store.contents.currsize, consistent(store)) == (0, True)
    load(store, "d")
    store.flush_all()

    assert (store.contents.currsize, consistent(store)) == (0, True)
    for key in "efgh":
        assert load(store, key)
    assert consistent(store)


def test_grace_keeps_within_the_bounds(policy, clock):
    """What stays for a bad day takes room, and goes when room is needed."""
    store = Store(maxsize=3, ttl=10.0, clock=clock, policy=policy, grace=100.0)
    for number in range(20):
        load(store, f"k{number}")
        store.flush(f"k{number}")

    assert len(store.contents.entries) == store.contents.currsize == 3
    assert consistent(store)


def test_sizes_are_those_of_getsizeof(policy, mesh):
    """The bound is on their sum; what a larger value needs goes."""
    cache = cache_of(mesh, maxsize=10, policy=policy, getsizeof=len)
    cache["a"] = "x" * 4
    cache["b"] = "x" * 5
    assert (cache.currsize, cache.maxsize, len(cache)) == (9, 10, 2)
    cache["c"] = "x" * 2
    assert cache.currsize <= 10
    assert "c" in cache
    cache["d"] = "x" * 10

    assert (list(cache), cache.currsize) == (["d"], 10)
    cache["d"] = "x"
    assert cache.currsize == 1
    cache["d"] = "x" * 10
    assert (cache["d"], cache.currsize) == ("x" * 10, 10)


def test_a_value_that_grows_evicts_others_and_stays(policy, mesh):
    """Replaced by a larger one, a key is there with it, whoever had to go."""
    for _ in range(10):
        cache = cache_of(mesh, maxsize=10, policy=policy, getsizeof=len)
        for key in "abcde":
            cache[key] = "xx"
        cache["c"] = "x" * 7

        assert cache["c"] == "x" * 7
        assert cache.currsize <= 10
        assert consistent(cache._store)


def test_a_value_larger_than_the_cache_is_returned_and_not_kept(policy, mesh):
    """A load returns it; a write that would keep it is refused, and has flushed the key all the same."""
    cache = cache_of(mesh, maxsize=10, policy=policy, getsizeof=len)
    cache["a"] = "x"
    assert cache.get_or_load("k", lambda: "x" * 11) == "x" * 11
    assert "k" not in cache
    assert cache.info().fills_refused == 1
    with pytest.raises(ValueError, match='the value of "a" is too large: 11 of a maxsize of 10'):
        cache["a"] = "x" * 11

    assert mesh.sent == [("c", "a"), ("c", "a")]
    assert (len(cache), cache.currsize) == (0, 0)


@pytest.mark.parametrize(
    ("size", "error"), [(-1, ValueError), ("big", TypeError), (None, TypeError), (True, TypeError)]
)
def test_a_size_that_is_none_is_the_callers_error(mesh, size, error):
    """getsizeof has to say a number, 0 or more."""
    cache = cache_of(mesh, getsizeof=lambda _: size)
    with pytest.raises(error, match="getsizeof: "):
        cache.get_or_load("k", lambda: "v")
    with pytest.raises(error, match="getsizeof: "):
        cache["k"] = "v"

    assert cache.currsize == 0


def test_values_without_size_are_always_taken(policy, mesh):
    """Zero is a size."""
    cache = cache_of(mesh, maxsize=1, policy=policy, getsizeof=lambda _: 0)
    for number in range(5):
        cache[f"k{number}"] = number

    assert (len(cache), cache.currsize) == (5, 0)


@pytest.mark.parametrize("kind", BY_USE, ids=lambda kind: kind.__name__)
def test_a_hit_earns_a_second_chance(kind, clock):
    """The policy is not told of a hit when it happens, but when it chooses."""
    store = Store(maxsize=3, ttl=10.0, clock=clock, policy=kind)
    for key in "abc":
        load(store, key)
    store.get("a", MISS)
    load(store, "d")

    assert set(store.snapshot()) == {"a", "c", "d"}
    assert consistent(store)


def test_first_in_goes_out_first_whoever_was_hit(clock):
    """A policy that does not go by use is not made to."""
    store = Store(maxsize=3, ttl=10.0, clock=clock, policy=cachetools.FIFOCache)
    for key in "abc":
        load(store, key)
    store.get("a", MISS)
    load(store, "d")

    assert set(store.snapshot()) == {"b", "c", "d"}


def test_the_least_frequently_used_goes(clock):
    """As far as the policy has been told: entries that were hit again and again outlive those that were once."""
    store = Store(maxsize=3, ttl=10.0, clock=clock, policy=cachetools.LFUCache)
    for key in "abc":
        load(store, key)
    for number in range(6):
        store.get("a", MISS)
        store.get("b", MISS)
        load(store, f"passing{number}")

    assert set(store.snapshot()) == {"a", "b", "passing5"}


def test_eviction_ends_although_everything_was_hit_under_every_policy(store):
    """There is no end to second chances but the bound on them."""
    for number in range(20):
        load(store, f"k{number}")
        for key in store.snapshot():
            store.get(key, MISS)

    assert len(store.snapshot()) == 3
    assert consistent(store)


def test_a_policy_is_an_option_of_a_cache(policy, mesh):
    """It is a class; the cache makes it."""
    cache = cache_of(mesh, Clock(), maxsize=2, policy=policy)
    for key in "abc":
        cache.get_or_load(key, lambda key=key: key)

    assert len(cache) == 2
    assert cache.get_or_load("c", never) == "c"
