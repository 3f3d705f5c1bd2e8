"""
The store against its model.

Hypothesis begins and ends loads and writes, lets them fail, flushes keys and tags, lets time
pass, moves the proof and disables, in any order; after each step the store serves exactly
what the model serves.  Where a full store chooses what to let go, the model follows its
choice and asks only that there was need for one.

The usual run takes a few seconds.  For an hour of it:

    FLUSHMESH_EXAMPLES=20000 python -m pytest tests/unit/test_store_machine.py --timeout 0
"""

import os
from math import inf

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flushmesh.entry import MISS, Entry
from flushmesh.errors import RecursiveLoad
from flushmesh.failure import Failure
from flushmesh.flight import Flight, Passenger
from flushmesh.fresh import Fresh
from flushmesh.store import Store
from flushmesh.write import Write
from tests.unit.clock import Clock
from tests.unit.storemodel import KEYS, TAGS, Load, Model, Value, Writing

TTL = 10.0
STALENESS = 8.0
GRACE = 4.0
ABSENT = object()

# Most of what is interesting takes several steps with one key.
SOME_KEY = st.sampled_from(["a", "a", "a", "b", "c"])
SOME_TAG = st.sampled_from(["t", "t", "u"])
SOME_VERSION = st.sampled_from([1, 2, 3])

# All of these add up without rounding, so that the model can ask for what happens at the very end of a span.
SPANS = st.sampled_from([0.0, 0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 5.0, 8.0, 10.0])
FRACTIONS = st.sampled_from([0.0, 0.25, 0.5, 1.0])
PICKS = st.integers(0, 1_000)

VALUES = st.builds(
    Value,
    text=st.just(""),
    tags=st.sampled_from([(), (), ("t",), ("t",), ("u",), ("t", "u")]),
    version=st.sampled_from([None, None, 1, 2, 3]),
    ttl=st.sampled_from([None, None, None, 4.0, 20.0]),
    size=st.sampled_from([1, 1, 2, 3]),
)
ERRORS = st.sampled_from([LookupError("gone"), LookupError("gone"), KeyboardInterrupt()])

# What may come between the beginning of a load or a write of a key and its end; see `meanwhile`.
EVENTS = st.lists(
    st.sampled_from(
        ["read", "read", "flush_tag", "flush_tag", "flush", "flush_all", "distrust", "write", "end", "fill", "wait"]
    ),
    max_size=4,
)


class StoreMachine(RuleBasedStateMachine):
    """One store, and the model of it."""

    @initialize(
        maxsize=st.sampled_from([100, 100, 3, 2, 1]),
        staleness=st.sampled_from([STALENESS, STALENESS, inf]),
        grace=st.sampled_from([0.0, GRACE]),
        refresh_ahead=st.sampled_from([None, 0.5]),
        sized=st.booleans(),
    )
    def make(self, maxsize, staleness, grace, refresh_ahead, sized):
        self.sized = sized
        clock = Clock()
        self.model = Model(
            clock, maxsize=maxsize, ttl=TTL, staleness=staleness, grace=grace, refresh_ahead=refresh_ahead
        )
        self.store = Store(
            maxsize,
            TTL,
            clock,
            staleness,
            lambda: self.model.fraction,
            grace=grace,
            refresh_ahead=refresh_ahead,
            sized=sized,
        )

    def named(self, value, text):
        """Return *value* with a *text* of its own, and of the size that this store counts."""
        return Value(text, value.tags, value.version, value.ttl, value.size if self.sized else 1)

    # Reading and loading.

    @rule(key=SOME_KEY)
    def look(self, key):
        """Who could load gets nothing that is due; who only looks gets what is served."""
        held = self.model.serves(key)

        assert self.store.get(key, MISS) == (held.value.text if held and self.model.now < held.due else MISS)
        assert self.store.get(key) == (held.value.text if held else None)

    @rule(key=SOME_KEY, ahead=st.booleans())
    def begin_load(self, key, ahead):
        model, held, running = self.model, self.model.serves(key), self.model.running(key)

        got = self.store.take_off(Flight(key), ahead=ahead)

        if held is not None and (model.now < held.due or not ahead or running):
            assert isinstance(got, Entry)
            assert got.value == held.value.text
        elif held is None and running is not None and not model.disabled:
            assert isinstance(got, Passenger)
            assert got.landing is None
            running.waiting.append((got, model.stamp()))
        else:
            assert isinstance(got, Flight)
            assert (got.key, got.began, got.ahead is not None) == (key, model.now, held is not None)
            if held is not None:
                held.due = held.expires
            model.loads_begun += 1
            model.loads.append(Load(key, got, model.stamp(), model.now, revoked=running is not None, ahead=held))

    @rule(key=SOME_KEY, value=VALUES, fraction=FRACTIONS)
    def load(self, key, value, fraction):
        """Load from beginning to end, where nobody else does."""
        if not self.model.serves(key) and not self.model.running(key):
            self.begin_load(key, ahead=True)
            self.finish(len(self.model.loads) - 1, value, fraction, keep=True)
            self.look(key)

    @precondition(lambda self: self.model.loads)
    @rule(pick=PICKS, value=VALUES, fraction=FRACTIONS, keep=st.sampled_from([True, True, True, False]))
    def finish_load(self, pick, value, fraction, keep):
        self.finish(pick % len(self.model.loads), value, fraction, keep)

    def finish(self, place, value, fraction, keep):
        model = self.model
        load = model.loads.pop(place)
        value = self.named(value, f"loaded in step {load.stamp}")
        model.fraction = fraction

        fresh = Fresh(value.text, ttl=value.ttl, tags=value.tags, version=value.version)
        stored = self.store.end(load.flight, fresh, value.size, keep=keep).stored

        flushes = model.flushes_since(load.stamp, value.tags)
        expected = keep and model.may_fill(load, value) and model.put(load.key, value, load.stamp, load.began)
        assert stored is expected
        model.refused += keep and not stored
        for passenger, boarded in load.waiting:
            landing = passenger.landing
            assert landing.unpack() == value.text
            # Nobody who came after a flush is given what was loaded before it, and nobody else is turned away
            # but those for whom that is in doubt.
            if any(flushed < boarded for flushed in flushes):
                assert not passenger.takes(landing)
            if not any(flushed < boarded for flushed in model.flushes_since(load.stamp)):
                assert passenger.takes(landing)
        if stored:
            model.follow_evictions(self.store.contents.entries, load.key)

    @precondition(lambda self: self.model.loads)
    @rule(pick=PICKS, error=ERRORS)
    def fail_load(self, pick, error):
        self.fail(pick % len(self.model.loads), error)

    def fail(self, place, error):
        model = self.model
        load = model.loads.pop(place)
        interrupted = isinstance(error, KeyboardInterrupt)
        old = None if interrupted else model.old(load.key)

        landing = self.store.end(load.flight, failure=Failure(error))

        if interrupted and load.ahead is not None:
            # The attempt came to nothing: the next caller makes another.
            load.ahead.due = -inf
        model.load_errors += not interrupted
        for each in (landing, *(passenger.landing for passenger, _ in load.waiting)):
            assert each.abandoned is interrupted
            if old is None:
                assert each.failure.error is error
            else:
                assert (each.unpack(), each.graced.age) == (old.value.text, model.now - old.loaded_at)
        assert all(passenger.takes(landing) is not interrupted for passenger, _ in load.waiting)

    @precondition(lambda self: self.model.loads)
    @rule(pick=PICKS)
    def load_asks_for_its_own_key(self, pick):
        load = self.model.loads[pick % len(self.model.loads)]
        if self.model.serves(load.key) or self.model.running(load.key) is not load:
            return

        with load.flight:
            try:
                self.store.take_off(Flight(load.key))
            except RecursiveLoad:
                return
        raise AssertionError("a load waits for itself")

    # What is rare when every step is drawn by itself: something happens to a load or a write that is open.

    @rule(key=SOME_KEY, events=EVENTS, tag=SOME_TAG, value=VALUES, error=st.none() | ERRORS, fraction=FRACTIONS)
    def load_while(self, key, events, tag, value, error, fraction):
        """Load, or fail to, while *events* happen."""
        before = len(self.model.loads)
        self.begin_load(key, ahead=True)
        if len(self.model.loads) == before:
            return
        load = self.model.loads[-1]
        self.meanwhile(events, key, tag, value)
        if load in self.model.loads:
            place = self.model.loads.index(load)
            if error is None:
                self.finish(place, value, fraction, keep=True)
            else:
                self.fail(place, error)

    @rule(key=SOME_KEY, events=EVENTS, tag=SOME_TAG, tagged=st.booleans(), value=VALUES, fraction=FRACTIONS)
    def write_while(self, key, events, tag, tagged, value, fraction):
        """Write *key*, and *tag* if *tagged*, while *events* happen."""
        self.begin_write([key], [tag] if tagged else [])
        writing = self.model.writes[-1]
        self.meanwhile(events, key, tag, value)
        if writing in self.model.writes:
            self.end_write(self.model.writes.index(writing), fraction, {key: value})

    @rule(key=SOME_KEY, value=VALUES, events=EVENTS, tag=SOME_TAG, seconds=SPANS, error=ERRORS)
    def fail_after(self, key, value, events, tag, seconds, error):
        """Fail to load what has been held and flushed or run out since."""
        self.load(key, value, 1.0)
        self.meanwhile(events, key, tag, value)
        self.time_passes(seconds)
        self.load_while(key, [], tag, value, error, 1.0)

    @precondition(lambda self: self.model.refresh_ahead)
    @rule(key=SOME_KEY, value=VALUES, events=EVENTS, tag=SOME_TAG, ahead=st.booleans())
    def read_when_due(self, key, value, events, tag, ahead):
        """Read what most of its life is over for, several times."""
        self.load(key, value, 1.0)
        if key in self.model.held:
            self.time_passes(max(0.0, self.model.held[key].due - self.model.now))
        self.look(key)
        self.begin_load(key, ahead)
        self.meanwhile(["read", *events], key, tag, value)

    def meanwhile(self, events, key, tag, value):
        for event in events:
            match event:
                case "read":
                    self.begin_load(key, ahead=True)
                case "flush":
                    self.flush(key, value.version)
                case "flush_tag":
                    self.flush_tag(tag)
                case "flush_all":
                    self.flush_all()
                case "distrust":
                    self.distrust(1.0)
                case "write":
                    self.begin_write([], [tag])
                case "end":
                    if self.model.writes:
                        self.end_write(-1, 0.5, {})
                case "fill":
                    self.load("b" if key == "a" else "a", value, 0.5)
                case "wait":
                    self.time_passes(1.0)
            self.look(key)

    # Flushing and writing.

    @rule(key=SOME_KEY, version=st.none() | SOME_VERSION)
    def flush(self, key, version):
        model = self.model
        served, known = model.serves(key) is not None, key in model.held

        held = self.store.flush(key, version)

        if model.flush(key, version):
            assert not held
        else:
            # What has run out may lie there for a while.
            assert served <= held <= known

    @rule(tag=SOME_TAG)
    def flush_tag(self, tag):
        model = self.model
        served, known = any(map(model.serves, model.carriers(tag))), bool(model.carriers(tag))

        held = self.store.flush_tag(tag)

        assert served <= held <= known
        model.flush_tag(tag)

    @rule()
    def flush_all(self):
        served, known = bool(self.model.served()), bool(self.model.held)

        held = self.store.flush_all()

        assert served <= held <= known
        self.model.flush_all()

    @rule(keys=st.lists(SOME_KEY, max_size=2, unique=True), tags=st.lists(SOME_TAG, max_size=1))
    def begin_write(self, keys, tags):
        model = self.model
        write = self.store.begin_write(Write(keys, tags))

        for key in keys:
            model.flush(key)
        for tag in tags:
            model.flush_tag(tag)
        model.writes.append(Writing(keys, tags, write, model.stamp(), model.now))

    @precondition(lambda self: self.model.writes)
    @rule(pick=PICKS, fraction=FRACTIONS, values=st.dictionaries(SOME_KEY, VALUES, max_size=2))
    def end_write(self, pick, fraction, values):
        model = self.model
        writing = model.writes.pop(pick % len(model.writes))
        text = f"written in step {writing.stamp}"
        values = {key: self.named(value, text) for key, value in values.items() if key in writing.keys}
        model.fraction = fraction

        asked = {
            key: (Fresh(text, ttl=value.ttl, tags=value.tags, version=value.version), value.size)
            for key, value in values.items()
        }
        self.store.end_write(writing.write, asked)

        keep = {key: value for key, value in values.items() if model.may_keep(writing, key, value)}
        for key in writing.keys:
            model.flush(key, values[key].version if key in values else None)
        for tag in writing.tags:
            model.flush_tag(tag)
        put = [key for key, value in keep.items() if model.put(key, value, model.stamp(), writing.began)]
        if put:
            model.follow_evictions(self.store.contents.entries, put[-1])

    # What happens to the node.

    @rule(seconds=SPANS)
    def time_passes(self, seconds):
        self.model.clock.now += seconds

    @rule(ago=SPANS)
    def trust_moves(self, ago):
        self.store.trusted_at = self.model.trusted_at = max(self.model.trusted_at, self.model.now - ago)

    @rule(ago=SPANS)
    def distrust(self, ago):
        since = self.model.now - ago

        self.store.distrust(since)

        self.model.distrust(since)

    # Once in a while, and not for long: nothing much happens meanwhile.
    @precondition(lambda self: self.model.disabled or self.model.steps % 10 == 9)
    @rule()
    def disable_or_enable(self):
        by = -1 if self.model.disabled else 1
        self.store.disable(by=by)

        self.model.disabled += by

    # Once in a while only: after it nothing much happens.
    @precondition(lambda self: self.model.steps > 35)
    @rule()
    def close(self):
        self.store.close()

        self.model.close()

    # What holds at every moment.

    @invariant()
    def serves_what_the_model_serves(self):
        served = self.model.served()
        assert self.store.snapshot() == served
        for key in KEYS:
            assert self.store.holds(key) is (key in served)
            # To look is a hit, and would give every entry its second chance.
            entry = self.store.contents.entries.get(key)
            hits = 0 if entry is None else entry.hits
            assert self.store.get(key, ABSENT) == served.get(key, ABSENT)
            if entry is not None:
                entry.hits = hits

    @invariant()
    def nothing_from_before_a_flush_is_served(self):
        """G1 and G2: what is served was loaded after the last flush of its key had begun, or is new enough."""
        for key in self.store.snapshot():
            held = self.model.held[key]
            assert held.stamp > self.model.flushed[key]
            assert not self.model.flushes_since(held.stamp, held.value.tags)
            assert held.value.version is None or held.value.version >= self.model.demands.get(key, 0)

    @invariant()
    def nothing_is_served_beyond_its_bounds(self):
        """G4, without regard to which entry has drawn which bound."""
        for key in self.store.snapshot():
            held = self.model.held[key]
            assert self.model.now < held.loaded_at + (held.value.ttl or TTL)
            assert self.model.now < max(held.loaded_at, self.model.trusted_at) + self.model.staleness

    @invariant()
    def nothing_is_served_during_a_write_or_after_the_end(self):
        for key in self.store.snapshot():
            assert not self.model.being_written(key, self.model.held[key].value.tags)
            assert not self.model.closed
            assert not self.model.disabled

    @invariant()
    def the_store_is_bounded_and_its_parts_agree(self):
        contents = self.store.contents
        assert contents._policy.keys() == contents.entries.keys() >= self.store.snapshot().keys()
        assert contents.currsize <= self.model.maxsize
        if self.sized:
            assert contents.currsize == sum(self.model.held[key].value.size for key in contents.entries)
        else:
            assert contents.currsize == len(contents.entries)

    @invariant()
    def the_index_is_of_what_is_held(self):
        entries, index = self.store.contents.entries, self.store._tags._keys
        for tag in TAGS:
            carriers = {key for key, entry in entries.items() if tag in entry.tags}
            assert set(index.get(tag, ())) <= carriers
            assert {key for key in carriers if self.model.serves(key)} <= set(index.get(tag, ()))
        assert all(index.values())

    @invariant()
    def the_counters_are_exact(self):
        store, model = self.store, self.model
        assert (store.loads, store.load_errors, store.refused) == (model.loads_begun, model.load_errors, model.refused)

    @invariant()
    def nothing_is_remembered_for_nobody(self):
        """With no load and no write open, the next flush of a tag leaves no memory behind."""
        if not self.model.loads and not self.model.writes:
            assert not self.store._flights
            assert not self.store._writes


EXAMPLES = int(os.environ.get("FLUSHMESH_EXAMPLES", "75"))

TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
