"""Versions: what a flush demands, and replicas that lag behind."""

import asyncio

import pytest

from flushmesh.entry import MISS
from flushmesh.flight import Flight
from flushmesh.fresh import VERSION_MAX, Fresh
from flushmesh.store import Store
from flushmesh.versions import LAG_MAX, Versions
from tests.unit.caches import never


@pytest.fixture
def store(clock):
    return Store(maxsize=100, ttl=1_000.0, clock=clock)


def load(store, key, version, value="v"):
    """Load *value* of *version* as a caller would."""
    return store.end(store.take_off(Flight(key)), Fresh(value, version=version)).stored


@pytest.mark.parametrize(("held", "stays"), [(6, False), (7, True), (8, True), (None, False)])
def test_a_flush_with_a_version_leaves_what_is_as_new_alone(cache, mesh, held, stays):
    """An entry of that version or a newer one stays; an older one, or one of unknown version, goes."""
    cache.get_or_load("k", lambda: Fresh("v", version=held))
    cache.flush("k", version=7)

    assert ("k" in cache) is stays
    assert mesh.sent == [("c", "k", {"version": 7})]


def test_a_flush_without_a_version_forgets_every_version(cache):
    """Without a word on how new is new enough, nothing is."""
    cache.get_or_load("k", lambda: Fresh("v", version=VERSION_MAX))
    cache.flush("k")

    assert "k" not in cache


def test_a_lagging_replica_is_returned_and_not_stored_until_it_catches_up(cache):
    """Each read asks the replica again until it has what the flush demands."""
    replica = iter([5, 6, 7])

    def read():
        version = next(replica)
        return Fresh(f"v{version}", version=version)

    cache.flush("k", version=7)

    assert [cache.get_or_load("k", read) for _ in range(3)] == ["v5", "v6", "v7"]
    assert cache.get_or_load("k", never) == "v7"
    assert cache.info().fills_refused == 2


def test_a_value_without_a_version_is_stored_whatever_was_demanded(store):
    """Who does not number values cannot be told which is older."""
    store.flush("k", 7)

    assert load(store, "k", None) is True


def test_a_later_flush_does_not_demand_less(store):
    """Flushes may come in any order, and the newest demand stands."""
    store.flush("k", 9)
    store.flush("k", 7)

    assert load(store, "k", 8) is False
    assert load(store, "k", 9) is True


def test_a_load_that_runs_during_a_flush_with_a_version_is_refused(store):
    """A running load is revoked as by any other flush, though it may be new enough: its version is not known yet."""
    flight = store.take_off(Flight("k"))
    store.flush("k", 7)

    assert store.end(flight, Fresh("v", version=8)).stored is False


def test_demands_are_of_one_key_each(store):
    """What was demanded of one key says nothing of another."""
    store.flush("k", 7)

    assert load(store, "other", 1) is True


def test_a_flush_from_a_peer_demands_alike(cache, mesh):
    """The version travels with the flush."""
    cache.apply("k", None, 7, "peer", 1)
    cache.get_or_load("k", lambda: Fresh("old", version=6))

    assert "k" not in cache
    assert mesh.sent == []


def test_flush_all_does_not_forget_what_was_demanded(store):
    """A replica lags as much after it as before."""
    store.flush("k", 7)
    store.flush_all()

    assert load(store, "k", 6) is False


def test_a_written_value_of_an_older_version_is_not_kept(cache, mesh):
    """The version of what a write sets is flushed with its key, and held against what was demanded before."""
    cache.flush("k", version=9)
    with cache.writing("k") as write:
        write.set(Fresh("mine", version=8))
    assert "k" not in cache
    with cache.writing("k") as write:
        write.set(Fresh("mine", version=10))

    assert cache.get("k") == "mine"
    assert mesh.sent[1:] == [("c", "k", {"version": 8}), ("c", "k", {"version": 10})]


@pytest.mark.parametrize(
    ("version", "error", "words"),
    [
        ("7", TypeError, "version: a whole number that grows with every write, not '7'"),
        (7.0, TypeError, "a whole number"),
        (True, TypeError, "a whole number"),
        (-1, ValueError, f"version: from 0 to {VERSION_MAX}, not -1"),
        (VERSION_MAX + 1, ValueError, "from 0 to"),
    ],
)
def test_a_wrong_version_is_refused_before_anything_changes(cache, mesh, version, error, words):
    """Neither the flush nor the value is taken."""
    cache.get_or_load("k", lambda: "v")
    with pytest.raises(error, match=words):
        cache.flush("k", version=version)
    with pytest.raises(error, match=words):
        Fresh("v", version=version)

    assert "k" in cache
    assert mesh.sent == []


def test_an_async_loader_may_give_a_version(cache):
    """`Fresh` is what any loader may return."""

    async def read():
        return Fresh("v", version=3)

    assert asyncio.run(cache.aget_or_load("k", read)) == "v"
    assert cache.entries()[0].version == 3


def test_demands_are_bounded_and_losing_one_errs_towards_not_storing():
    """While a replica might still lag, a key whose demand was lost keeps no versioned value; then all is as before."""
    versions = Versions(demands_max=2)
    versions.demand("a", 7, now=0.0)
    versions.demand("b", 7, now=10.0)
    versions.demand("c", 7, now=20.0)

    assert len(versions._demands) == 2
    assert not versions.allow("a", 9, now=20.0)
    assert versions.lost == 1
    assert not versions.allow("a", 9, now=LAG_MAX - 1)
    assert versions.allow("a", 9, now=LAG_MAX + 1)
    assert versions.allow("b", 7, now=20.0)
    assert not versions.allow("b", 6, now=20.0)


def test_losing_demands_costs_few_other_keys():
    """As many keys as are remembered have lost their demand; nearly every other key is kept as before."""
    versions = Versions(demands_max=1_000)
    for number in range(2_000):
        versions.demand(f"k{number}", 7, now=1.0)

    assert versions.lost == 1_000
    assert not any(versions.allow(f"k{number}", 9, now=2.0) for number in range(1_000))
    assert sum(versions.allow(f"other{number}", 9, now=2.0) for number in range(1_000)) > 950


def test_the_demand_that_is_lost_is_the_one_made_longest_ago():
    """A demand that was repeated counts from the last time."""
    versions = Versions(demands_max=2)
    versions.demand("a", 7, now=0.0)
    versions.demand("b", 7, now=1.0)
    versions.demand("a", 5, now=2.0)
    versions.demand("c", 7, now=3.0)

    assert not versions.allow("a", 6, now=1_000.0)
    assert versions.allow("b", 0, now=1_000.0)
    assert not versions.allow("b", 9, now=LAG_MAX)


def test_what_was_refused_for_its_version_is_a_miss(store):
    """Nothing is served in its place."""
    store.flush("k", 7)
    load(store, "k", 6)

    assert store.get("k", MISS) is MISS
    assert store.refused == 1
