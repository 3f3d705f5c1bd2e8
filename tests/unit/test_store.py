"""The store: hits, fills, flushes, writes, bounds."""

import pytest

from flushmesh.flight import Flight
from flushmesh.store import MISS, Entry, Store
from tests.unit.clock import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return Store(maxsize=3, ttl=10.0, clock=clock)


def load(store, key, value):
    """Load *value* as a caller would."""
    return store.fill(store.take_off(key), value)


def test_a_loaded_value_is_a_hit(store):
    """What was filled is served, and counted."""
    assert load(store, "k", "v") is True

    assert store.get("k") == "v"
    assert (store.hits, store.misses, store.loads) == (1, 1, 1)


def test_none_is_a_value(store):
    """None is kept like any other value."""
    load(store, "k", None)

    assert store.get("k") is None
    assert store.get("other") is MISS


def test_an_entry_ends_its_ttl_after_its_load_began(store, clock):
    """The time to live counts from the beginning of the load, not from its end."""
    flight = store.take_off("k")
    clock.now += 6
    store.fill(flight, "v")

    clock.now += 3.9
    assert store.get("k") == "v"
    clock.now += 0.1
    assert store.get("k") is MISS


def test_a_value_that_is_expired_on_arrival_is_not_stored(store, clock):
    """A load that took longer than the time to live fills nothing."""
    flight = store.take_off("k")
    clock.now += 10

    assert store.fill(flight, "v") is False
    assert store.get("k") is MISS
    assert store.keys() == []


def test_flush_revokes_a_running_load(store):
    """A value loaded before a flush never enters the store after it."""
    flight = store.take_off("k")

    store.flush("k")

    assert store.fill(flight, "old") is False
    assert store.get("k") is MISS


def test_flush_all_revokes_every_running_load(store):
    """A flush of the whole cache covers every key that is being loaded."""
    flights = [store.take_off(key) for key in "ab"]

    store.flush_all()

    assert [store.fill(flight, "old") for flight in flights] == [False, False]


def test_a_flush_of_another_key_revokes_nothing(store):
    """A load goes on undisturbed by flushes that do not cover it."""
    flight = store.take_off("k")

    store.flush("other")

    assert store.fill(flight, "v") is True


def test_a_late_caller_does_not_join_a_revoked_flight(store):
    """Whoever comes after the flush starts a new load, which may be stored."""
    old = store.take_off("k")
    store.flush("k")

    new = store.take_off("k")

    assert isinstance(new, Flight)
    assert new is not old
    assert store.fill(new, "new") is True
    assert store.fill(old, "old") is False
    assert store.get("k") == "new"


def test_a_revoked_flight_still_lands_for_those_who_wait(store):
    """Callers that joined before the flush get the value."""
    flight = store.take_off("k")
    future = store.take_off("k")
    store.flush("k")
    store.fill(flight, "old")

    assert future.result(0).unpack() == "old"


def test_a_load_that_ended_meanwhile_is_found(store):
    """A caller that missed just before the fill gets the entry instead of loading again."""
    load(store, "k", "v")

    found = store.take_off("k")

    assert isinstance(found, Entry)
    assert found.value == "v"


def test_an_error_reaches_those_who_wait_and_stores_nothing(store):
    """A loader that raises frees its waiters with the same error; the next caller loads."""
    flight = store.take_off("k")
    future = store.take_off("k")
    error = LookupError("gone")
    store.fail(flight, error)

    with pytest.raises(LookupError) as caught:
        future.result(0).unpack()
    assert caught.value is error
    assert isinstance(store.take_off("k"), Flight)


def test_flush_tells_whether_anything_was_held(store):
    """A flush of nothing is told from a flush of something."""
    load(store, "k", "v")

    assert [store.flush("k"), store.flush("k"), store.flush_all()] == [True, False, False]


def test_a_write_keeps_its_value(store):
    """What the writer sets is served once the write has ended."""
    write = store.begin_write("k")
    store.end_write(write, "v")

    assert store.get("k") == "v"


def test_during_a_write_nothing_is_served_or_filled(store):
    """From the beginning of a write to its end the key is neither served nor stored."""
    load(store, "k", "old")
    write = store.begin_write("k")
    assert store.get("k") is MISS
    assert load(store, "k", "read meanwhile") is False
    assert store.get("k") is MISS
    store.end_write(write, MISS)

    assert store.get("k") is MISS
    assert load(store, "k", "new") is True


def test_a_load_that_runs_across_a_whole_write_is_refused(store):
    """The end of a write revokes loads that began inside it."""
    write = store.begin_write("k")
    flight = store.take_off("k")
    store.end_write(write, MISS)

    assert store.fill(flight, "old") is False


@pytest.mark.parametrize("flush", [lambda store: store.flush("k"), lambda store: store.flush_all()])
def test_a_flush_during_a_write_refuses_its_value(store, flush):
    """Somebody else wrote meanwhile: what this writer wants to keep may be the older one."""
    write = store.begin_write("k")
    flush(store)
    store.end_write(write, "mine")

    assert store.get("k") is MISS


def test_of_two_writes_at_once_neither_keeps_its_value(store):
    """Which of two overlapping writes came last in the source of truth cannot be known here."""
    first, second = store.begin_write("k"), store.begin_write("k")
    store.end_write(first, "first")
    assert load(store, "k", "read meanwhile") is False
    store.end_write(second, "second")

    assert store.get("k") is MISS
    assert load(store, "k", "new") is True


def test_a_written_value_ends_its_ttl_after_the_write_began(store, clock):
    """A value that was written is as old as the beginning of its write."""
    write = store.begin_write("k")
    clock.now += 4
    store.end_write(write, "v")
    clock.now += 6

    assert store.get("k") is MISS


def test_the_store_is_bounded(store):
    """A full store lets go of as many as it takes in."""
    for number in range(10):
        load(store, f"k{number}", number)

    assert len(store.keys()) == 3


def test_an_entry_that_was_hit_gets_a_second_chance(store):
    """Eviction passes over what was read since it last came by."""
    for key in "abc":
        load(store, key, key)
    store.get("a")
    load(store, "d", "d")

    assert set(store.keys()) == {"a", "c", "d"}
    load(store, "e", "e")
    load(store, "f", "f")
    assert store.get("a") is MISS


def test_eviction_ends_although_everything_was_hit(store):
    """When every entry has its second chance, the oldest goes."""
    for key in "abc":
        load(store, key, key)
        store.get(key)
    load(store, "d", "d")

    assert set(store.keys()) == {"b", "c", "d"}


def test_expired_entries_make_room_before_live_ones(store, clock):
    """What has expired is let go of first, and leaves no trace behind."""
    load(store, "a", "a")
    clock.now += 9
    load(store, "b", "b")
    load(store, "c", "c")
    clock.now += 2
    load(store, "d", "d")

    assert set(store.keys()) == {"b", "c", "d"}
    assert set(store._entries) == set(store._policy) == {"b", "c", "d"}


def test_flushing_an_expired_entry_harms_nothing(store, clock):
    """An entry whose time is over can be flushed like any other."""
    load(store, "k", "v")
    clock.now += 20
    store.flush("k")

    assert store._entries == {}
    assert load(store, "k", "new") is True
