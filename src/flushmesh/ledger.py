"""
Ledger: what a store knows, and the one place where it changes.

Entries, loads, writes, flushed tags and demanded versions depend on each other, so one thread
at a time changes all of them: everything here is called with the store's lock held.  An action
that ends half done is followed by `recover`, which forgets everything but the open writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import inf
from typing import Any, Final, Generic, TypeVar, cast

from flushmesh.contents import Contents
from flushmesh.entry import Entry
from flushmesh.flight import ABANDONED, Flight, Landing, Passenger, lineage
from flushmesh.fresh import Fresh
from flushmesh.grace import Graced
from flushmesh.tags import Tags
from flushmesh.versions import Versions
from flushmesh.write import Write, Writes

V = TypeVar("V")

# Loads that run ahead at once.  A cache whose entries fall due together must not start a thread for each of them.
AHEAD_MAX: Final = 16


class Ledger(Generic[V]):
    """
    The state of one store; *options* are those of `Contents`.

    `trusted_at` is the time by which nothing that any peer had flushed was missing here;
    whoever moves it has applied or distrusted before everything that the move rests on.
    """

    def __init__(
        self,
        ttl: float,
        clock: Callable[[], float],
        max_staleness: float,
        random: Callable[[], float],
        *,
        jitter: float,
        refresh_ahead: float | None,
        **options: Any,
    ) -> None:
        self._clock = clock
        self._ttl = ttl
        self._jitter = jitter
        self._refresh_ahead = refresh_ahead
        self._max_staleness = max_staleness
        self._random = random
        self._closed = False
        self._disabled = 0
        self._make_contents: Callable[..., Contents[V]] = partial(Contents[V], **options)
        self._flights: dict[str, Flight[V]] = {}
        self.entries: dict[str, Entry[V]] = {}  # What readers see, without the lock; always the same dict.
        self.reset()

    def reset(self) -> None:
        """Be as new; in a forked child, where what other threads have begun never ends."""
        for flight in self._flights.values():
            flight.passengers.clear()
        self._flights.clear()
        self._ahead: dict[Flight[V], None] = {}
        self._writes = Writes()
        self.entries.clear()
        self.trusted_at = -inf
        self.misses = self.loads = self.load_errors = self.refused = 0
        self._tags = Tags()
        self._versions = Versions()
        self.contents = self._make_contents(self.entries, self._tags)
        self.contents.show(not self._disabled)

    def recover(self) -> None:
        """Forget everything that the last action may have left half done; it may be done twice."""
        self.contents.clear()
        self.contents.show(not self._disabled)
        for flight in list(self._flights.values()):
            flight.deliver(ABANDONED)
        self._flights.clear()
        self._ahead.clear()
        self._writes.recover()
        self._writes.revoke_all()
        self._tags.forget()

    # Loads.

    def _missed_locked(self) -> None:
        self.misses += 1

    def _took_off_locked(self) -> None:
        self.misses += 1
        self.loads += 1

    def _take_off_locked(self, flight: Flight[V], ahead: bool) -> Flight[V] | Passenger[V] | Entry[V]:
        if flight.took_off:
            return flight
        key, now = flight.key, self._clock()
        running = self._flights.get(key)
        if running is not None and (running.ended or running.stranded):
            del self._flights[key]
            running = None
        entry = self.entries.get(key)
        if entry is not None and entry.serves(self.trusted_at, now):
            entry.hits += 1
            if now < entry.due or not ahead or running is not None or not self._has_room_ahead_locked():
                return entry
            flight.ahead = entry
            flight.retried = entry.due == -inf
            self._ahead[flight] = None
            entry.due = entry.expires  # One attempt; if it fails, the entry lives out its life.
        else:
            self.misses += 1
            if running is not None:
                if running in lineage():
                    return running
                passenger = None if self._disabled else running.join_locked(flight, self._tags.count)
                if passenger is not None:
                    return passenger
        self.loads += 1
        flight.began = now
        flight.tags_seen = self._tags.count
        flight.took_off = True
        self._flights.setdefault(key, flight)
        return flight

    def _fill_locked(self, flight: Flight[V], landing: Landing[V], fresh: Fresh[V], size: float, keep: bool) -> None:
        if fresh.tags:
            landing.flushed = self._flushed_meanwhile_locked(flight, fresh.tags)
        # Out of the table first: after whatever a policy raises, its waiters get the value.
        may = self._end_locked(flight) and flight.key not in self._writes and not landing.flushed
        landing.stored = keep and may and self._put_locked(flight.key, fresh, flight.began, size)
        if keep and not landing.stored:
            self.refused += 1
        if self._tags.flushed:
            self._tidy_locked()

    def _fail_locked(self, flight: Flight[V], landing: Landing[V]) -> None:
        self._end_locked(flight)
        if self._tags.flushed:
            self._tidy_locked()
        if landing.failure is None or landing.abandoned:
            if flight.ahead is not None:
                # The attempt came to nothing, as a rule because its loop has ended.  The next is waited for.
                flight.ahead.due = -inf
            return
        self.load_errors += 1
        now = self._clock()
        old = self._old_locked(flight.key, now)
        if old is not None:
            landing.value = old.value
            error = cast(Exception, landing.failure.error)
            landing.graced = Graced(flight.key, now - old.loaded_at, error)
            landing.failure = None

    def _end_locked(self, flight: Flight[V]) -> bool:
        """Take *flight* out of the tables; return whether it had not been revoked."""
        if flight in self._ahead:
            del self._ahead[flight]
        flight.took_off = False
        if self._flights.get(flight.key) is not flight:
            return False
        del self._flights[flight.key]
        return True

    def _flush_locked(self, key: str, version: int | None, now: float) -> bool:
        self._flights.pop(key, None)
        self._writes.revoke(key)
        if version is not None:
            self._versions.demand(key, version, now)
            entry = self.contents.entries.get(key)
            if entry is not None and entry.version is not None and entry.version >= version:
                return False
        return self.contents.flush(key, now)

    def _flush_all_locked(self, now: float) -> bool:
        held = self.contents.flush_all(now)
        self._revoke_all_locked()
        return held

    def _forget_all_locked(self) -> None:
        self.contents.clear()
        self._revoke_all_locked()

    def _run_out_locked(self, entries: list[Entry[V]], since: float) -> None:
        for entry in entries:
            entry.run_out(max(entry.loaded_at, since) + entry.bound)

    def _disable_locked(self, by: int) -> None:
        self._disabled += by
        self.contents.show(not self._disabled)

    def _take_locked(self, key: str, always: bool, now: float) -> Entry[V] | None:
        entry = self.entries.get(key)
        taken = entry if entry is not None and entry.serves(self.trusted_at, now) else None
        if taken is not None or always:
            self._flush_locked(key, None, now)
        return taken

    def _begin_write_locked(self, write: Write) -> None:
        if write.ended:
            return  # Both were deferred, and its end came first.
        self._flush_write_locked(write, {}, write.began)
        self._writes.begin(write)
        write.tags_seen = self._tags.count

    def _end_write_locked(self, write: Write, values: Mapping[str, tuple[Fresh[V], float]]) -> None:
        now = self._clock()
        self._writes.end(write)
        keep = {key: value for key, value in values.items() if self._may_keep_locked(write, key, value[0])}
        self._flush_write_locked(write, values, now)
        for key, (fresh, size) in keep.items():
            self._put_locked(key, fresh, write.began, size)
        if self._tags.flushed:
            self._tidy_locked()

    def _flush_write_locked(self, write: Write, values: Mapping[str, tuple[Fresh[V], float]], now: float) -> None:
        for key in write.keys:
            self._flush_locked(key, values[key][0].version if key in values else None, now)
        for tag in write.tags:
            self._flush_tag_locked(tag, now)

    def _put_if_absent_locked(self, key: str, fresh: Fresh[V], size: float) -> Entry[V] | None:
        now = self._clock()
        entry = self.entries.get(key)
        if entry is not None and entry.serves(self.trusted_at, now):
            entry.hits += 1
            return entry
        alone = key not in self._writes
        self._flush_locked(key, fresh.version, now)
        if alone:
            self._put_locked(key, fresh, now, size)
        return None

    def _flush_tag_locked(self, tag: str, now: float) -> bool:
        if self._tags.full:
            self._revoke_all_locked()
        held = self.contents.flush_each(self._tags.flush(tag), now)
        if self._tags.flushed:
            self._tidy_locked()
        return held

    def _revoke_all_locked(self) -> None:
        self._flights.clear()
        self._writes.revoke_all()
        self._tags.forget()

    def _has_room_ahead_locked(self) -> bool:
        if len(self._ahead) >= AHEAD_MAX:
            for flight in [flight for flight in self._ahead if flight.ended or flight.stranded]:
                del self._ahead[flight]
        return len(self._ahead) < AHEAD_MAX

    def _flushed_meanwhile_locked(self, flight: Flight[V], tags: Iterable[str]) -> int:
        """Return the number of the first flush during *flight* that may have been of *tags*, or 0."""
        # For a flight that is revoked already, nobody remembers which tags were flushed.
        revoked = self._flights.get(flight.key) is not flight
        # Only the latest flush of each tag is remembered, but the first one turns waiters away.
        return flight.tags_seen + 1 if revoked or self._tags.flushed_since(flight.tags_seen, tags) else 0

    def _old_locked(self, key: str, now: float) -> Entry[V] | None:
        """Return the entry that may stand in for a failed load of *key*."""
        old = self.entries.get(key)
        if old is None or not self.contents.grace or key in self._writes:
            return None
        if self._writes.cover(old.tags):
            return None
        return old if now < old.expires + self.contents.grace else None

    def _tidy_locked(self) -> None:
        if not self._flights and not self._writes:
            self._tags.forget()

    def _may_keep_locked(self, write: Write, key: str, fresh: Fresh[V]) -> bool:
        alone = key not in write.revoked and key not in self._writes
        return alone and not self._tags.flushed_since(write.tags_seen, fresh.tags)

    def _put_locked(self, key: str, fresh: Fresh[V], loaded_at: float, size: float) -> bool:
        now = self._clock()
        if self._closed or self._disabled:
            return False
        if fresh.version is not None and not self._versions.allow(key, fresh.version, now):
            return False
        if fresh.tags and self._writes.cover(fresh.tags):
            return False
        ttl = self._ttl if fresh.ttl is None else fresh.ttl
        if self._jitter:
            ttl *= 1 - self._jitter * self._random()
        if now >= loaded_at + ttl:
            return False
        # Entries that were loaded together do not run out together.
        bound = self._max_staleness * (0.5 + 0.5 * self._random())
        due = None if self._refresh_ahead is None else loaded_at + ttl * self._refresh_ahead
        # Each name given here would be a fortieth of a fill.
        entry = Entry(fresh.value, loaded_at, loaded_at + ttl, bound, due, fresh.tags, fresh.version)
        return self.contents.put(key, entry, size, now)
