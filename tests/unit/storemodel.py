"""A model of the store so simple that it is obviously right: no locks, no index, no memory of its own to tidy."""

from dataclasses import dataclass, field
from math import inf

from flushmesh.flight import Flight, Passenger
from flushmesh.write import Write

KEYS = ["a", "b", "c"]
TAGS = ["t", "u"]


@dataclass
class Value:
    """What a loader or a writer brings."""

    text: str
    tags: tuple[str, ...] = ()
    version: int | None = None
    ttl: float | None = None
    size: int = 1


@dataclass
class Held:
    """A value as the model holds it; `stamp` is the step at which its load or its write's flush took place."""

    value: Value
    stamp: int
    loaded_at: float
    expires: float
    due: float
    bound: float

    def run_out(self, at):
        self.expires = min(self.expires, at)
        self.due = min(self.due, at)


@dataclass
class Load:
    """A load that is open; each of those who wait comes with the step at which it came."""

    key: str
    flight: Flight
    stamp: int
    began: float
    revoked: bool = False
    ahead: Held | None = None
    waiting: list[tuple[Passenger, int]] = field(default_factory=list)


@dataclass
class Writing:
    """A write that is open."""

    keys: list[str]
    tags: list[str]
    write: Write
    stamp: int
    began: float
    revoked: set[str] = field(default_factory=set)


class Model:
    """What a store must hold, serve, keep and forget."""

    def __init__(self, clock, *, maxsize, ttl, staleness, grace, refresh_ahead):
        self.clock = clock
        self.maxsize = maxsize
        self.ttl = ttl
        self.staleness = staleness
        self.grace = grace
        self.refresh_ahead = refresh_ahead
        self.fraction = 0.0
        self.held: dict[str, Held] = {}
        self.loads: list[Load] = []
        self.writes: list[Writing] = []
        self.flushed: dict[str, int] = dict.fromkeys(KEYS, -1)
        self.tag_flushes: list[tuple[int, str]] = []
        self.demands: dict[str, int] = {}
        self.trusted_at = -inf
        self.disabled = 0
        self.closed = False
        self.steps = 0
        self.loads_begun = self.load_errors = self.refused = 0

    @property
    def now(self):
        return self.clock.now

    def stamp(self):
        self.steps += 1
        return self.steps

    # Reading.

    def serves(self, key):
        """Return what is served for *key*, or None."""
        held = self.held.get(key)
        if self.disabled or held is None or self.now >= held.expires:
            return None
        return held if self.now < max(held.loaded_at, self.trusted_at) + held.bound else None

    def served(self):
        return {key: self.held[key].value.text for key in KEYS if self.serves(key)}

    def old(self, key):
        """Return what may stand in for a failed load of *key*, or None."""
        held = self.held.get(key)
        if held is None or not self.grace or self.disabled or self.being_written(key, held.value.tags):
            return None
        return held if self.now < held.expires + self.grace else None

    def running(self, key):
        """Return the load of *key* that others may join, or None."""
        return next((load for load in self.loads if load.key == key and not load.revoked), None)

    def being_written(self, key, tags=()):
        return any(key in writing.keys or set(tags) & set(writing.tags) for writing in self.writes)

    def flushes_since(self, stamp, tags=TAGS):
        """Return the steps after *stamp* at which any of *tags* was flushed."""
        return [step for step, tag in self.tag_flushes if step > stamp and tag in tags]

    # Forgetting.

    def forget(self, keys):
        for key in keys:
            if not self.grace:
                self.held.pop(key, None)
            elif key in self.held:
                self.held[key].run_out(self.now)

    def revoke(self, keys):
        for load in self.loads:
            load.revoked |= load.key in keys
        for writing in self.writes:
            writing.revoked |= set(keys) & set(writing.keys)

    def flush(self, key, version=None):
        """Forget *key* unless it is new enough; tell whether it is."""
        self.revoke([key])
        if version is not None:
            self.demands[key] = max(version, self.demands.get(key, 0))
            held = self.held.get(key)
            if held is not None and held.value.version is not None and held.value.version >= version:
                return True
        self.forget([key])
        self.flushed[key] = self.stamp()
        return False

    def flush_tag(self, tag):
        self.forget(self.carriers(tag))
        self.tag_flushes.append((self.stamp(), tag))

    def flush_all(self):
        self.revoke(KEYS)
        self.forget(KEYS)
        self.flushed = dict.fromkeys(KEYS, self.stamp())

    def distrust(self, since):
        if self.staleness == inf:
            self.flush_all()
            return
        for held in self.held.values():
            held.run_out(max(held.loaded_at, since) + held.bound)
        self.revoke(KEYS)

    def close(self):
        self.closed = True
        self.revoke(KEYS)
        self.held.clear()

    def carriers(self, tag):
        return [key for key, held in self.held.items() if tag in held.value.tags]

    # Filling.

    def put(self, key, value, stamp, began):
        """Hold *value* if nothing is against it; tell whether it is held now."""
        ttl = self.ttl if value.ttl is None else value.ttl
        if self.closed or self.disabled or self.now >= began + ttl:
            return False
        if value.version is not None and value.version < self.demands.get(key, 0):
            return False
        if any(tag in writing.tags for writing in self.writes for tag in value.tags):
            return False
        if value.size > self.maxsize:
            # It is newer than what is held, which no longer is of use.
            self.held.pop(key, None)
            return False
        due = began + ttl * self.refresh_ahead if self.refresh_ahead else began + ttl
        bound = self.staleness * (0.5 + 0.5 * self.fraction)
        self.held[key] = Held(value, stamp, began, began + ttl, due, bound)
        return True

    def may_fill(self, load, value):
        """Tell whether nothing that happened since *load* began is against its value."""
        flushed = self.flushes_since(load.stamp, value.tags)
        return not load.revoked and not flushed and not any(load.key in writing.keys for writing in self.writes)

    def may_keep(self, writing, key, value):
        """Tell whether nothing that happened since *writing* began is against keeping *value*; it has ended."""
        alone = not any(key in other.keys for other in self.writes)
        return alone and key not in writing.revoked and not self.flushes_since(writing.stamp, value.tags)

    def follow_evictions(self, entries, newest):
        """Take over what the store has let go to hold *newest*, once it is clear that it had to."""
        gone = {key: self.held[key] for key in self.held if key not in entries}
        assert newest not in gone
        if any(self.now < held.expires + self.grace for held in gone.values()):
            size = sum(self.held[key].value.size for key in entries)
            assert size + max(held.value.size for held in gone.values()) > self.maxsize
        for key in gone:
            del self.held[key]
