"""
The store against a model so simple that it is obviously right.

Hypothesis begins and ends loads and writes, flushes, lets time pass and moves the proof, in
any order; after each step the store serves exactly what the model serves.  Where a full
store chooses what to let go, the model follows its choice and asks only that there was need
for one.

The usual run takes about three seconds.  For an hour of it:

    FLUSHMESH_EXAMPLES=20000 python -m pytest tests/unit/test_store_machine.py --timeout 0
"""

import os
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import inf

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flushmesh.entry import MISS, Entry
from flushmesh.errors import RecursiveLoad
from flushmesh.flight import Flight, Passenger
from flushmesh.fresh import Fresh
from flushmesh.store import Store
from flushmesh.write import Write
from tests.unit.clock import Clock

TTL = 10.0
STALENESS = 8.0
KEYS = ["a", "b", "c"]

# Most of what is interesting takes several steps with one key.
SOME_KEY = st.sampled_from(["a", "a", "a", "b", "c"])

# All of these add up without rounding, so that the model can ask for what happens at the very end of a span.
SPANS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0, 5.0, 8.0, 10.0])
FRACTIONS = st.sampled_from([0.0, 0.25, 0.5, 1.0])
PICKS = st.integers(0, 1_000)


@dataclass
class Held:
    """A value as the model holds it; `stamp` is the step at which its load or its write's flush took place."""

    value: str
    stamp: int
    loaded_at: float
    expires: float
    bound: float


@dataclass
class Load:
    key: str
    flight: Flight
    stamp: int
    began: float
    revoked: bool = False
    waiting: list[Future] = field(default_factory=list)


@dataclass
class Writing:
    key: str
    write: Write
    stamp: int
    began: float
    revoked: bool = False


class StoreMachine(RuleBasedStateMachine):
    """One store, and the model of it."""

    @initialize(maxsize=st.sampled_from([100, 100, 2, 1]), staleness=st.sampled_from([STALENESS, STALENESS, inf]))
    def make(self, maxsize, staleness):
        self.clock = Clock()
        self.fraction = 0.0
        self.maxsize = maxsize
        self.staleness = staleness
        self.store = Store(maxsize, TTL, self.clock, staleness, lambda: self.fraction)
        self.held: dict[str, Held] = {}
        self.loads: list[Load] = []
        self.writes: list[Writing] = []
        self.flushed: dict[str, int] = dict.fromkeys(KEYS, -1)
        self.trusted_at = -inf
        self.closed = False
        self.steps = 0
        self.loads_begun = 0

    # The model.

    @property
    def now(self):
        return self.clock.now

    def stamp(self):
        self.steps += 1
        return self.steps

    def serves(self, key):
        """Return what is served for *key*, or None."""
        held = self.held.get(key)
        if held is None or self.now >= held.expires:
            return None
        return held if self.now < max(held.loaded_at, self.trusted_at) + held.bound else None

    def served(self):
        return {key: self.held[key].value for key in KEYS if self.serves(key)}

    def running(self, key):
        """Return the load of *key* that others may join, or None."""
        return next((load for load in self.loads if load.key == key and not load.revoked), None)

    def forget(self, keys, stamp):
        for key in keys:
            self.held.pop(key, None)
            self.flushed[key] = stamp
        self.revoke(keys)

    def revoke(self, keys):
        for open_one in (*self.loads, *self.writes):
            open_one.revoked |= open_one.key in keys

    def put(self, key, value, stamp, began):
        """Hold *value* if it is still fresh; tell whether it was."""
        if self.closed or self.now >= began + TTL:
            return False
        bound = self.staleness * (0.5 + 0.5 * self.fraction)
        self.held[key] = Held(value, stamp, began, began + TTL, bound)
        return True

    def follow_eviction(self, newest):
        """Take over what the store has let go, once it is clear that it had to."""
        gone = [key for key in self.held if key not in self.store.contents.entries]
        assert newest not in gone
        if any(self.serves(key) for key in gone):
            assert len(self.store.contents.entries) == self.maxsize
            assert len(gone) <= len(KEYS) - self.maxsize
        for key in gone:
            del self.held[key]

    # Reading and loading.

    @rule(key=SOME_KEY)
    def look(self, key):
        held = self.serves(key)

        assert self.store.get(key, MISS) == (held.value if held else MISS)

    @rule(key=SOME_KEY)
    def begin_load(self, key):
        held, running = self.serves(key), self.running(key)

        got = self.store.take_off(key)

        if held is not None:
            assert isinstance(got, Entry)
            assert got.value == held.value
        elif running is not None:
            assert isinstance(got, Passenger)
            assert not got.landing.done()
            running.waiting.append(got.landing)
        else:
            assert isinstance(got, Flight)
            assert (got.key, got.began) == (key, self.now)
            self.loads_begun += 1
            self.loads.append(Load(key, got, self.stamp(), self.now))

    @rule(key=SOME_KEY, fraction=FRACTIONS)
    def load(self, key, fraction):
        """Load from beginning to end, where nobody else does."""
        if not self.serves(key) and not self.running(key):
            self.begin_load(key)
            self.finish(len(self.loads) - 1, fraction)

    @precondition(lambda self: self.loads)
    @rule(pick=PICKS, fraction=FRACTIONS)
    def finish_load(self, pick, fraction):
        self.finish(pick % len(self.loads), fraction)

    def finish(self, place, fraction):
        load = self.loads.pop(place)
        value = f"loaded in step {load.stamp}"
        self.fraction = fraction
        writing = any(writing.key == load.key for writing in self.writes)

        stored = self.store.fill(load.flight, Fresh(value))

        expected = not load.revoked and not writing and self.put(load.key, value, load.stamp, load.began)
        assert stored is expected
        assert [future.result(0).unpack() for future in load.waiting] == [value] * len(load.waiting)
        if stored:
            self.follow_eviction(load.key)

    @precondition(lambda self: self.loads)
    @rule(pick=PICKS, error=st.sampled_from([LookupError("gone"), KeyboardInterrupt()]))
    def fail_load(self, pick, error):
        load = self.loads.pop(pick % len(self.loads))

        self.store.fail(load.flight, error)

        for future in load.waiting:
            landing = future.result(0)
            assert landing.error is error
            assert landing.abandoned is isinstance(error, KeyboardInterrupt)

    @precondition(lambda self: self.loads)
    @rule(pick=PICKS)
    def load_asks_for_its_own_key(self, pick):
        load = self.loads[pick % len(self.loads)]
        if self.serves(load.key) or self.running(load.key) is not load:
            return

        with load.flight:
            try:
                self.store.take_off(load.key)
            except RecursiveLoad:
                return
        raise AssertionError("a load waits for itself")

    # Flushing and writing.

    @rule(key=SOME_KEY)
    def flush(self, key):
        served, known = self.serves(key) is not None, key in self.held

        held = self.store.flush(key)

        # What has run out may lie there for a while.
        assert served <= held <= known
        self.forget([key], self.stamp())

    @rule()
    def flush_all(self):
        served, known = bool(self.served()), bool(self.held)

        held = self.store.flush_all()

        assert served <= held <= known
        self.forget(KEYS, self.stamp())

    @rule(key=SOME_KEY)
    def begin_write(self, key):
        write = self.store.begin_write([key])

        self.forget([key], self.stamp())
        self.writes.append(Writing(key, write, self.stamp(), self.now))

    @precondition(lambda self: self.writes)
    @rule(pick=PICKS, fraction=FRACTIONS, sets=st.booleans())
    def end_write(self, pick, fraction, sets):
        writing = self.writes.pop(pick % len(self.writes))
        value = f"written in step {writing.stamp}" if sets else MISS
        self.fraction = fraction
        alone = not any(other.key == writing.key for other in self.writes)
        flushed_meanwhile = self.flushed[writing.key] > writing.stamp
        kept = sets and alone and not writing.revoked

        self.store.end_write(writing.write, {writing.key: (Fresh(value), 1)} if sets else {})

        self.forget([writing.key], self.stamp())
        if kept and self.put(writing.key, value, self.stamp(), writing.began):
            self.follow_eviction(writing.key)
        if self.store.holds(writing.key):
            assert sets
            assert not flushed_meanwhile

    # What happens to the node.

    @rule(seconds=SPANS)
    def time_passes(self, seconds):
        self.clock.now += seconds

    @rule(ago=SPANS)
    def trust_moves(self, ago):
        self.trusted_at = max(self.trusted_at, self.now - ago)
        self.store.trusted_at = self.trusted_at

    @rule(ago=SPANS)
    def distrust(self, ago):
        since = self.now - ago

        self.store.distrust(since)

        if self.staleness == inf:
            self.forget(KEYS, self.stamp())
            return
        for held in self.held.values():
            held.expires = min(held.expires, max(held.loaded_at, since) + held.bound)
        self.revoke(KEYS)

    # Once in a while only: after it nothing much happens.
    @precondition(lambda self: self.steps > 25)
    @rule()
    def close(self):
        self.store.close()

        self.closed = True
        self.forget(KEYS, self.stamp())

    # What holds at every moment.

    @invariant()
    def serves_what_the_model_serves(self):
        served = self.served()
        assert self.store.snapshot() == served
        for key in KEYS:
            assert self.store.holds(key) is (key in served)
            # To look is a hit, and would give every entry its second chance.
            entry = self.store.contents.entries.get(key)
            hits = 0 if entry is None else entry.hits
            assert self.store.get(key, MISS) == served.get(key, MISS)
            if entry is not None:
                entry.hits = hits

    @invariant()
    def nothing_from_before_a_flush_is_served(self):
        """G1 and G2: what is served was loaded after the last flush of its key had begun."""
        for key in self.store.snapshot():
            assert self.held[key].stamp > self.flushed[key]

    @invariant()
    def nothing_is_served_beyond_its_bounds(self):
        """G4, without regard to which entry has drawn which bound."""
        for key in self.store.snapshot():
            held = self.held[key]
            assert self.now < held.loaded_at + TTL
            assert self.now < max(held.loaded_at, self.trusted_at) + self.staleness

    @invariant()
    def nothing_is_served_during_a_write_or_after_the_end(self):
        snapshot = self.store.snapshot()
        assert not snapshot.keys() & {writing.key for writing in self.writes}
        assert not (self.closed and snapshot)

    @invariant()
    def the_store_is_bounded(self):
        assert len(self.store.contents.entries) <= self.maxsize
        assert len(self.store.contents._policy) <= len(self.store.contents.entries)
        assert self.store.loads == self.loads_begun


EXAMPLES = int(os.environ.get("FLUSHMESH_EXAMPLES", "150"))

TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
