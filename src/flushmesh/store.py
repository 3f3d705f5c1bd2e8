"""
Store: a cache's local content, as many threads use it at once.

A hit takes no lock: it looks into the store's own dict and reads the clock.  Everything
else happens in the ledger under one lock, which is held for microseconds and never while a
loader or any other code of the application runs, but for its policy.

What is asked for in the middle of another action of the same thread (by a signal handler, a
finalizer, a policy) is done as soon as that action ends.  Until then entries that it forgets
are hidden, and what it loads is not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from math import inf
from random import random
from typing import Any, Final, Generic, TypeVar

import cachetools

from flushmesh.entry import MISS, Entry
from flushmesh.errors import RecursiveLoad
from flushmesh.failure import Failure
from flushmesh.flight import Flight, Landing, Passenger
from flushmesh.fresh import Fresh
from flushmesh.guard import LATER, Guard
from flushmesh.ledger import Ledger
from flushmesh.status import EntryInfo
from flushmesh.write import Write

V = TypeVar("V")

# A millisecond's worth.
RUN_OUT_AT_ONCE: Final = 2_000


class Store(Ledger[V], Generic[V]):
    """
    The local content of one cache.

    *max_staleness* is how many seconds an entry is served after `trusted_at`, or after its own
    load; infinite turns the bound off.  *random* draws numbers from 0 to 1.  *check* raises
    if what was asked for can be no key, or nothing can be asked any more.

    Whatever is raised in the middle of an action (by a policy, by a signal handler), the
    store has forgotten everything when it reaches the caller.

    The counters are exact, but for the hits: those are counted without a lock, on the entry,
    and threads that hit the same entry at the same moment may lose a count.
    """

    def __init__(
        self,
        maxsize: int,
        ttl: float,
        clock: Callable[[], float],
        max_staleness: float = inf,
        random: Callable[[], float] = random,
        *,
        jitter: float = 0.0,
        grace: float = 0.0,
        refresh_ahead: float | None = None,
        policy: type[cachetools.Cache[Any, Any]] = cachetools.LRUCache,
        sized: bool = False,
        check: Callable[[object], object] = bool,
        on_evicted: Callable[[str, V], None] | None = None,
    ) -> None:
        self._check = check
        self._on_evicted = on_evicted
        super().__init__(
            ttl,
            clock,
            max_staleness,
            random,
            jitter=jitter,
            refresh_ahead=refresh_ahead,
            maxsize=maxsize,
            policy=policy,
            sized=sized,
            grace=grace,
        )
        self.get = self._reader()

    def reset(self) -> None:
        """Be as new; in a forked child, where what other threads have begun never ends."""
        super().reset()
        # Protects the ledger.  Hooks run, and values that were let go end, when it is free.
        self._guard = Guard(self.recover, self.contents.dropped, self._drain)

    def _drain(self) -> None:
        contents = self.contents
        while contents.evicted:
            try:
                key, entry = contents.evicted.popleft()
            except IndexError:
                break  # Another thread was first.
            if self._on_evicted is not None:
                self._on_evicted(key, entry.value)
        contents.dropped.clear()

    # The way of a read.

    def _reader(self) -> Callable[..., object]:
        """Return `get`; what never changes is at hand in it, and not looked for on *self* in every hit."""
        entries, clock, check = self.entries, self._clock, self._check

        def get(key: str, default: object = None) -> object:
            """
            Return the value of *key* if it is here and may be served, and *default* otherwise.

            Who passes MISS can load, so for them what is due to be loaded ahead is missing.
            """
            # No lock is held here, so the order matters.  The other side removes or distrusts
            # entries first and moves `trusted_at` last: whoever sees the later proof sees what it
            # rests on.  The clock comes last: a thread may be stopped between any two lines, and
            # time that passes then must count.
            trusted_at = self.trusted_at
            try:
                entry = entries[key]
            except (KeyError, TypeError):
                check(key)
            else:
                now = clock()
                if now < entry.due and (now < trusted_at + entry.bound or now < entry.loaded_at + entry.bound):
                    entry.hits += 1
                    return entry.value
                if default is not MISS and entry.serves(trusted_at, now):
                    entry.hits += 1
                    return entry.value
            if default is not MISS:
                self._guard.run(self._missed_locked)
            return default

        return get

    def take_off(self, flight: Flight[V], *, ahead: bool = True) -> Flight[V] | Passenger[V] | Entry[V]:
        """
        Begin to load the key of *flight*.

        Return *flight* if its caller is to load, a passenger if another one does, or the entry
        if a load has ended since the caller looked.  With *ahead*, an entry that is due is
        loaded before it expires; the flight then holds it.  A caller whose waiting might never
        end gets a flight that is revoked from the beginning.  Raises RecursiveLoad if the
        caller is part of the load that it would wait for.
        """
        found = self._guard.run(self._take_off_locked, flight, ahead)
        if found is LATER:
            return self._take_off_alone(flight)
        if isinstance(found, Flight) and found is not flight:
            raise RecursiveLoad(flight.key)
        return found

    def _take_off_alone(self, flight: Flight[V]) -> Flight[V] | Entry[V]:
        """As `take_off`, in the middle of another action of this thread: the load is no one else's, and not stored."""
        flight.took_off = True  # So that it does not take off once more when the outer action ends.
        trusted_at = self.trusted_at
        entry = self.entries.get(flight.key)
        flight.began = self._clock()
        if entry is not None and entry.serves(trusted_at, flight.began):
            entry.hits += 1
            return entry
        flight.tags_seen = self._tags.count
        self._guard.run(self._took_off_locked)
        return flight

    def end(
        self,
        flight: Flight[V],
        fresh: Fresh[V] | None = None,
        size: float = 1,
        keep: bool = True,
        *,
        failure: Failure | None = None,
    ) -> Landing[V]:
        """
        End *flight* with *fresh*, with *failure*, or with neither; return how it ended, for every waiter.

        *fresh* is stored unless a flush has revoked the flight, or *keep* is false; waiters get
        it in any case.  An Exception reaches every waiter, unless there is an old value by
        grace.  After anything else (the task was cancelled, the thread interrupted) the waiters
        load for themselves.
        """
        landing: Landing[V]
        if fresh is not None:
            landing = Landing(fresh.value)
            if fresh.tags:
                # Unless more comes to be known, no waiter that came after a flush of a tag takes the value.
                landing.flushed = flight.tags_seen + 1
        else:
            landing = Landing()
            landing.failure = failure
            landing.abandoned = failure is None or not isinstance(failure.error, Exception)
        try:
            if fresh is not None:
                self._guard.run(self._fill_locked, flight, landing, fresh, size, keep)
            else:
                self._guard.run(self._fail_locked, flight, landing)
        finally:
            flight.land(landing)
        return landing

    # The way of a flush.

    def flush(self, key: str, version: int | None = None) -> bool:
        """
        Forget *key*, also what is being loaded for it now; tell whether anything was here.

        With *version*, an entry of that version or a newer one stays, and a value that is older
        is not stored afterwards either.
        """
        # A flush can arrive while the loader runs:
        #
        #   1: get_or_load(k)  miss, opens a flight
        #   1: loader          reads the old row
        #   2:                 commits the new row
        #   2: flush(k)        drops the entry, revokes the flight
        #   1: fill            refused: the old row must not outlive the flush
        now = self._clock()
        held = self._guard.run(self._flush_locked, key, version, now)
        if held is LATER:
            entry = self.entries.get(key)
            return entry is not None and not entry.is_of(version) and self._hide((entry,), now)
        return held

    def flush_tag(self, tag: str) -> bool:
        """Forget every key with *tag*, also what is being loaded and turns out to carry it."""
        now = self._clock()
        held = self._guard.run(self._flush_tag_locked, tag, now)
        return self._hide_tagged((tag,), now) if held is LATER else held

    def flush_all(self) -> bool:
        """Forget everything, also what is being loaded now; return whether anything was here."""
        now = self._clock()
        held = self._guard.run(self._flush_all_locked, now)
        return self._hide(self.entries.copy().values(), now) if held is LATER else held

    def take(self, key: str, *, always: bool) -> Entry[V] | None:
        """
        Return the entry of *key* if it may be served, and forget the key; with *always* forget it in any case.

        Of several callers at once, one gets it.
        """
        now = self._clock()
        taken = self._guard.run(self._take_locked, key, always, now)
        if taken is LATER:
            entry = self.entries.get(key)
            return entry if entry is not None and self._hide((entry,), now) else None
        return taken

    def take_any(self) -> tuple[str, Entry[V]] | None:
        """Return a key with its entry that may be served, and forget it; None if there is none."""
        for key in self.entries.copy():
            entry = self.take(key, always=False)
            if entry is not None:
                return key, entry
        return None

    def distrust(self, since: float) -> None:
        """
        Let every entry run out: flushes may have been missed *since* then.

        Each ends its own bound after *since*, or after its load if that was later.  What is
        being loaded now is not stored.  With an infinite bound nothing would run out, so
        everything is forgotten.
        """
        if self._max_staleness == inf:
            self.flush_all()
        else:
            # First the loads, so that whatever comes in from now on is newer; then some entries at a time,
            # so that no other thread waits for all of them.
            self._guard.run(self._revoke_all_locked)
            entries = list(self.contents.entries.copy().values())
            for begin in range(0, len(entries), RUN_OUT_AT_ONCE):
                self._guard.run(self._run_out_locked, entries[begin : begin + RUN_OUT_AT_ONCE], since)

    def empty(self) -> None:
        """Forget everything, in whatever state an error of the policy has left it."""
        self._guard.run(self.recover)

    def close(self, patience: float = -1) -> bool:
        """
        Forget everything for good: nothing is stored any more.

        Return False if another thread kept the lock for *patience* seconds, and nothing was forgotten.
        """
        self._closed = True
        if not self._guard.free_within(patience):
            return False
        self._guard.run(self._forget_all_locked)
        return True

    def disable(self, *, by: int) -> None:
        """Serve and store nothing until as many have ended it as began it: *by* is 1 or -1."""
        self._guard.run(self._disable_locked, by)

    # The way of a write.

    def begin_write(self, write: Write) -> Write:
        """Forget the keys of *write* and what carries its tags, and store nothing of the kind until `end_write`."""
        write.began = now = self._clock()
        if self._guard.run(self._begin_write_locked, write) is LATER:
            self._hide([entry for key in write.keys if (entry := self.entries.get(key)) is not None], now)
            self._hide_tagged(write.tags, now)
        return write

    def end_write(self, write: Write, values: Mapping[str, tuple[Fresh[V], float]] | None = None) -> None:
        """
        Forget again what *write* has forgotten, then keep *values*, each a fresh value and its size.

        A value is not kept if another flush or write of its key, or a flush of one of its
        tags, came in the meantime.
        """
        self._guard.run(self._end_write_locked, write, values or {})

    def put_if_absent(self, key: str, fresh: Fresh[V], size: float) -> Entry[V] | None:
        """Return the entry of *key* if it may be served; otherwise write *fresh*, and return None."""
        found = self._guard.run(self._put_if_absent_locked, key, fresh, size)
        return None if found is LATER else found

    @property
    def demands_lost(self) -> int:
        """How many demands of versions had to be forgotten too early."""
        return self._versions.lost

    def open_writes(self) -> list[Write]:
        """Return the writes in progress."""
        return self._writes.open()

    # Looking inside, without the lock: at a copy, which is made in one step.

    def snapshot(self) -> dict[str, V]:
        """Return what may be served now, without counting hits."""
        trusted_at, entries = self.trusted_at, self.entries.copy()
        now = self._clock()
        return {key: entry.value for key, entry in entries.items() if entry.serves(trusted_at, now)}

    def count(self) -> int:
        """Count what may be served now."""
        trusted_at, entries = self.trusted_at, self.entries.copy()
        now = self._clock()
        return sum(entry.serves(trusted_at, now) for entry in entries.values())

    def holds(self, key: object) -> bool:
        """Return whether *key* may be served now, without counting a hit."""
        trusted_at = self.trusted_at
        entry = self.entries.get(key) if isinstance(key, str) else None
        return entry is not None and entry.serves(trusted_at, self._clock())

    def describe(self) -> list[EntryInfo]:
        """Return what is here, entry by entry, also what would not be served."""
        trusted_at, entries = self.trusted_at, self.contents.entries.copy()
        now = self._clock()
        seen = [entry.describe(key, trusted_at, now) for key, entry in entries.items()]
        return [replace(each, unserved="the mesh is disabled") for each in seen] if self._disabled else seen

    def _hide(self, entries: Iterable[Entry[V]], now: float) -> bool:
        """Serve *entries* no more, until they are forgotten properly; return whether any was served."""
        # In the middle of another action of this thread, which may be changing the dict.
        held = False
        for entry in entries:
            held |= entry.serves(self.trusted_at, now)
            entry.run_out(now)
        return held

    def _hide_tagged(self, tags: Iterable[str], now: float) -> bool:
        tags = set(tags)
        return bool(tags) and self._hide(
            [entry for entry in self.entries.copy().values() if not tags.isdisjoint(entry.tags)], now
        )
