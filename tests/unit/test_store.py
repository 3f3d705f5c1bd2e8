"""The store: hits, fills, flushes, writes, bounds."""

import sys
import threading

import pytest

from flushmesh.contents import CHANCES_MAX
from flushmesh.entry import MISS, Entry
from flushmesh.errors import RecursiveLoad
from flushmesh.failure import Failure
from flushmesh.flight import Flight, Passenger
from flushmesh.fresh import Fresh
from flushmesh.store import Store
from flushmesh.write import Write
from tests.unit.clock import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return Store(maxsize=3, ttl=10.0, clock=clock)


def load(store, key, value):
    """Load *value* as a caller would."""
    return store.end(store.take_off(Flight(key)), Fresh(value)).stored


def kept(value, key="k"):
    """Return what a write of *key* asks to be kept."""
    return {key: (Fresh(value), 1)}


def test_a_loaded_value_is_a_hit(store):
    """What was filled is served, and counted."""
    assert load(store, "k", "v") is True

    assert store.get("k", MISS) == "v"
    assert (store.contents.hits(), store.misses, store.loads) == (1, 1, 1)


def test_none_is_a_value(store):
    """None is kept like any other value."""
    load(store, "k", None)

    assert store.get("k", MISS) is None
    assert store.get("other", MISS) is MISS


def test_an_entry_ends_its_ttl_after_its_load_began(store, clock):
    """The time to live counts from the beginning of the load, not from its end."""
    flight = store.take_off(Flight("k"))
    clock.now += 6
    store.end(flight, Fresh("v"))

    clock.now += 3.9
    assert store.get("k", MISS) == "v"
    clock.now += 0.1
    assert store.get("k", MISS) is MISS


def test_a_value_that_is_expired_on_arrival_is_not_stored(store, clock):
    """A load that took longer than the time to live fills nothing."""
    flight = store.take_off(Flight("k"))
    clock.now += 10

    assert store.end(flight, Fresh("v")).stored is False
    assert store.get("k", MISS) is MISS
    assert store.snapshot() == {}


def test_flush_revokes_a_running_load(store):
    """A value loaded before a flush never enters the store after it."""
    flight = store.take_off(Flight("k"))

    store.flush("k")

    assert store.end(flight, Fresh("old")).stored is False
    assert store.get("k", MISS) is MISS


def test_flush_all_revokes_every_running_load(store):
    """A flush of the whole cache covers every key that is being loaded."""
    flights = [store.take_off(Flight(key)) for key in "ab"]

    store.flush_all()

    assert [store.end(flight, Fresh("old")).stored for flight in flights] == [False, False]


def test_a_flush_of_another_key_revokes_nothing(store):
    """A load goes on undisturbed by flushes that do not cover it."""
    flight = store.take_off(Flight("k"))

    store.flush("other")

    assert store.end(flight, Fresh("v")).stored is True


def test_a_late_caller_does_not_join_a_revoked_flight(store):
    """Whoever comes after the flush starts a new load, which may be stored."""
    old = store.take_off(Flight("k"))
    store.flush("k")

    new = store.take_off(Flight("k"))

    assert isinstance(new, Flight)
    assert new is not old
    assert store.end(new, Fresh("new")).stored is True
    assert store.end(old, Fresh("old")).stored is False
    assert store.get("k", MISS) == "new"


def test_a_revoked_flight_still_lands_for_those_who_wait(store):
    """Callers that joined before the flush get the value."""
    flight = store.take_off(Flight("k"))
    waiting = store.take_off(Flight("k"))
    store.flush("k")
    store.end(flight, Fresh("old"))

    assert waiting.landing.unpack() == "old"


def test_a_load_that_ended_meanwhile_is_found(store):
    """A caller that missed just before the fill gets the entry instead of loading again."""
    load(store, "k", "v")

    found = store.take_off(Flight("k"))

    assert isinstance(found, Entry)
    assert found.value == "v"


def test_an_error_reaches_those_who_wait_and_stores_nothing(store):
    """A loader that raises frees its waiters with the same error; the next caller loads."""
    flight = store.take_off(Flight("k"))
    waiting = store.take_off(Flight("k"))
    error = LookupError("gone")
    store.end(flight, failure=Failure(error))

    with pytest.raises(LookupError) as caught:
        waiting.landing.unpack()
    assert caught.value is not error
    assert caught.value.args == error.args
    assert isinstance(store.take_off(Flight("k")), Flight)


def test_flush_tells_whether_anything_was_held(store):
    """A flush of nothing is told from a flush of something."""
    load(store, "k", "v")

    assert [store.flush("k"), store.flush("k"), store.flush_all()] == [True, False, False]


def test_a_write_keeps_its_value(store):
    """What the writer sets is served once the write has ended."""
    write = store.begin_write(Write(["k"]))
    store.end_write(write, kept("v"))

    assert store.get("k", MISS) == "v"


def test_during_a_write_nothing_is_served_or_filled(store):
    """From the beginning of a write to its end the key is neither served nor stored."""
    load(store, "k", "old")
    write = store.begin_write(Write(["k"]))
    assert store.get("k", MISS) is MISS
    assert load(store, "k", "read meanwhile") is False
    assert store.get("k", MISS) is MISS
    store.end_write(write)

    assert store.get("k", MISS) is MISS
    assert load(store, "k", "new") is True


def test_a_load_that_runs_across_a_whole_write_is_refused(store):
    """The end of a write revokes loads that began inside it."""
    write = store.begin_write(Write(["k"]))
    flight = store.take_off(Flight("k"))
    store.end_write(write)

    assert store.end(flight, Fresh("old")).stored is False


@pytest.mark.parametrize("flush", [lambda store: store.flush("k"), lambda store: store.flush_all()])
def test_a_flush_during_a_write_refuses_its_value(store, flush):
    """Somebody else wrote meanwhile: what this writer wants to keep may be the older one."""
    write = store.begin_write(Write(["k"]))
    flush(store)
    store.end_write(write, kept("mine"))

    assert store.get("k", MISS) is MISS


def test_of_two_writes_at_once_neither_keeps_its_value(store):
    """Which of two overlapping writes came last in the source of truth cannot be known here."""
    first, second = store.begin_write(Write(["k"])), store.begin_write(Write(["k"]))
    store.end_write(first, kept("first"))
    assert load(store, "k", "read meanwhile") is False
    store.end_write(second, kept("second"))

    assert store.get("k", MISS) is MISS
    assert load(store, "k", "new") is True


def test_a_written_value_ends_its_ttl_after_the_write_began(store, clock):
    """A value that was written is as old as the beginning of its write."""
    write = store.begin_write(Write(["k"]))
    clock.now += 4
    store.end_write(write, kept("v"))
    clock.now += 6

    assert store.get("k", MISS) is MISS


def test_the_store_is_bounded(store):
    """A full store lets go of as many as it takes in."""
    for number in range(10):
        load(store, f"k{number}", number)

    assert len(store.snapshot()) == 3


def test_an_entry_that_was_hit_gets_a_second_chance(store):
    """Eviction passes over what was read since it last came by."""
    for key in "abc":
        load(store, key, key)
    store.get("a", MISS)
    load(store, "d", "d")

    assert set(store.snapshot()) == {"a", "c", "d"}
    load(store, "e", "e")
    load(store, "f", "f")
    assert store.get("a", MISS) is MISS


def test_eviction_ends_although_everything_was_hit(store):
    """When every entry has its second chance, the oldest goes."""
    for key in "abc":
        load(store, key, key)
        store.get(key, MISS)
    load(store, "d", "d")

    assert set(store.snapshot()) == {"b", "c", "d"}


def test_expired_entries_make_room_before_live_ones(store, clock):
    """What has expired is let go of first, and leaves no trace behind."""
    load(store, "a", "a")
    clock.now += 9
    load(store, "b", "b")
    load(store, "c", "c")
    clock.now += 2
    load(store, "d", "d")

    assert set(store.snapshot()) == {"b", "c", "d"}
    assert set(store.contents.entries) == set(store.contents._policy) == {"b", "c", "d"}


def test_flushing_an_expired_entry_harms_nothing(store, clock):
    """An entry whose time is over can be flushed like any other."""
    load(store, "k", "v")
    clock.now += 20
    store.flush("k")

    assert store.contents.entries == {}
    assert load(store, "k", "new") is True


def test_eviction_passes_over_few_although_everything_was_hit(clock):
    """However many entries have a second chance, one eviction looks at CHANCES_MAX of them and takes the next."""
    store = Store(maxsize=100, ttl=10.0, clock=clock)
    for number in range(100):
        load(store, f"k{number}", number)
        store.get(f"k{number}", MISS)
    load(store, "new", "v")

    passed_over = {key for key, entry in store.contents.entries.items() if entry.credited == entry.hits} - {"new"}
    assert passed_over == {f"k{number}" for number in range(CHANCES_MAX)}
    assert len(store.snapshot()) == 100
    assert not store.holds(f"k{CHANCES_MAX}")


def test_an_entry_is_there_at_every_moment_of_its_second_chance(store):
    """Eviction that passes over an entry never takes it away from a reader, not even for one line of code."""
    for key in "abc":
        load(store, key, key)
    store.get("a", MISS)
    flight = store.take_off(Flight("d"))
    found = []

    def look(frame, event, argument):
        found.append(store.holds("a"))
        return look

    sys.settrace(look)
    try:
        store.end(flight, Fresh("d"))
    finally:
        sys.settrace(None)

    assert set(store.snapshot()) == {"a", "c", "d"}
    assert len(found) > 20
    assert all(found)


def test_an_entry_is_there_at_every_moment_of_its_replacement(store):
    """A key that is filled anew is never missing in between."""
    load(store, "a", "old")
    first = store.take_off(Flight("b"))
    store._flights["a"] = flight = Flight("a")
    flight.began = 1000.0
    found = []

    def look(frame, event, argument):
        found.append(store.holds("a"))
        return look

    sys.settrace(look)
    try:
        store.end(flight, Fresh("new"))
    finally:
        sys.settrace(None)
    store.end(first, Fresh("b"))

    assert store.get("a", MISS) == "new"
    assert all(found)


def test_what_a_disabled_store_holds_is_served_again_unless_it_was_flushed_meanwhile(store):
    """Readers see nothing of a disabled store; afterwards they see what was held and not flushed."""
    load(store, "a", "a")
    load(store, "b", "b")
    store.disable(by=1)
    store.disable(by=1)

    assert (store.get("a", MISS), store.holds("a"), store.snapshot()) == (MISS, False, {})
    store.flush("b")
    store.disable(by=-1)
    assert store.get("a", MISS) is MISS
    store.disable(by=-1)
    assert store.snapshot() == {"a": "a"}
    assert store.get("a", MISS) == "a"


def test_flushes_of_tags_are_forgotten_when_no_load_is_open(store):
    """Which tags were flushed is remembered for the loads that run meanwhile, and no longer."""
    flight = store.take_off(Flight("k"))
    store.flush_tag("t")
    assert store._tags.flushed

    store.end(flight, Fresh("v"))

    assert not store._tags.flushed


def test_a_load_that_asks_for_its_own_key_through_another_raises(store):
    """A loader that waits for a load which waits for it is told so, however many loads lie between."""
    outer, between, inner = store.take_off(Flight("k")), store.take_off(Flight("j")), store.take_off(Flight("i"))

    with outer, between, inner, pytest.raises(RecursiveLoad):
        store.take_off(Flight("k"))
    assert isinstance(store.take_off(Flight("k")), Passenger)


def test_a_closed_store_stores_nothing(store):
    """Loads and writes that end after the close leave nothing behind."""
    load(store, "before", "v")
    flight, write = store.take_off(Flight("filled")), store.begin_write(Write(["written"]))
    store.close()

    assert store.end(flight, Fresh("v")).stored is False
    store.end_write(write, kept("v"))
    assert load(store, "later", "v") is False
    assert store.contents.entries == {}
    assert [store.get(key, MISS) for key in ("before", "filled", "written", "later")] == [MISS] * 4


class Farewell:
    """A value whose end uses the store that it lay in."""

    def __init__(self, store, ended):
        self.store = store
        self.ended = ended

    def __del__(self):
        self.store.take_off(Flight("other"))
        self.store.flush("other")
        self.ended.append("k")


def replaced(store, clock):
    store.end_write(store.begin_write(Write(["k"])), kept("other"))


def refilled(store, clock):
    store._flights["k"] = flight = Flight("k")
    flight.began = clock()
    store.end(flight, Fresh("new"))


def evicted(store, clock):
    for key in "abc":
        load(store, key, key)


def expired(store, clock):
    clock.now += 20
    load(store, "later", "v")


def flushed(store, clock):
    store.flush("k")


def flushed_all(store, clock):
    store.flush_all()


def closed(store, clock):
    store.close()


def distrusted(store, clock):
    store.distrust(clock())


@pytest.mark.parametrize(
    "let_go", [flushed, flushed_all, evicted, replaced, refilled, expired, closed, distrusted], ids=lambda f: f.__name__
)
def test_the_end_of_a_value_may_use_the_store(clock, let_go):
    """A value whose __del__ uses its cache holds nothing up, in whatever way it is let go."""
    store = Store(maxsize=3, ttl=10.0, clock=clock)
    ended = []
    load(store, "k", Farewell(store, ended))
    # In a thread of its own: what waits for itself would wait for ever.
    thread = threading.Thread(target=let_go, args=(store, clock), daemon=True)
    thread.start()
    thread.join(5)

    assert not thread.is_alive()
    assert ended == ["k"]
