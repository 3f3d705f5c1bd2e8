"""
Store: a cache's local content, and what may happen to it.

A hit takes no lock: it looks into the store's own dict and reads the clock.  Everything
else happens under one lock that is held for microseconds and never while a loader or
any other code of the application runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from math import inf
from random import random
from threading import Lock
from typing import Any, Generic, TypeVar

import cachetools

from flushmesh.contents import Contents
from flushmesh.entry import MISS, Entry
from flushmesh.flight import Flight, Landing, Passenger
from flushmesh.fresh import Fresh
from flushmesh.grace import Graced
from flushmesh.guard import Guard
from flushmesh.status import EntryInfo
from flushmesh.tags import Tags
from flushmesh.versions import Versions
from flushmesh.write import Write, Writes

V = TypeVar("V")


class Store(Generic[V]):
    """
    The local content of one cache.

    `trusted_at` is the time by which nothing that any peer had flushed was missing here;
    whoever moves it has applied or distrusted before everything that the move rests on.
    *max_staleness* is how many seconds an entry is served after that time, or after its own
    load; infinite turns the bound off.  *random* draws numbers from 0 to 1.  *check* raises
    if what was asked for can be no key, or nothing can be asked any more.

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
        self._clock = clock
        self._ttl = ttl
        self._jitter = jitter
        self._refresh_ahead = refresh_ahead
        self._max_staleness = max_staleness
        self._random = random
        self._check = check
        self._closed = False
        self._disabled = 0
        self._make_contents = partial(Contents[V], maxsize=maxsize, policy=policy, sized=sized, grace=grace)
        self._on_evicted = on_evicted
        self._flights: dict[str, Flight[V]] = {}
        self.entries: dict[str, Entry[V]] = {}  # What readers see, without the lock; the same dict for ever.
        self.reset()
        self.get = self._reader()

    def reset(self) -> None:
        """Be as new; in a forked child, where nobody ends what other threads have begun."""
        for flight in self._flights.values():
            flight.orphan()
        self.entries.clear()
        self.trusted_at = -inf
        self.misses = self.loads = self.load_errors = self.refused = 0
        self._tags = Tags()
        self._versions = Versions()
        self._lock = Lock()  # Protects everything else.
        self.contents = self._make_contents(self.entries, self._tags)
        self.contents.show(not self._disabled)
        self._guard = Guard(self._lock, self.contents, self._on_evicted)  # The same, for what may let an entry go.
        self._flights.clear()
        self._writes = Writes()

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
                with self._lock:
                    self.misses += 1
            return default

        return get

    def take_off(
        self, key: str, *, blocking: bool = False, ahead: bool = True, queued: bool = False
    ) -> Flight[V] | Passenger[V] | Entry[V]:
        """
        Begin to load *key*.

        Return a flight if the caller is to load, a passenger if somebody else does, or the
        entry if a load has ended since the caller looked.  With *ahead*, an entry that is due
        is loaded before it runs out; the flight says so.  A *blocking* caller that the other
        load may itself be waiting for gets a flight that is revoked from the beginning, because
        waiting for that load would never end.  A *queued* flight waits for its place first.
        """
        with self._lock:
            now = self._clock()
            running = self._running_locked(key)
            entry = self.entries.get(key)
            if entry is not None and entry.serves(self.trusted_at, now):
                entry.hits += 1
                if now < entry.due or not ahead or running is not None:
                    return entry
                entry.due = entry.expires  # One attempt; if it fails, the entry lives out its life.
            else:
                entry = None
                self.misses += 1
                if running is not None:
                    running.check_not_aboard()
                    if not (self._disabled or running.waits_for_caller(blocking=blocking)):
                        return running.join_locked(self._tags.count)
            self.loads += 1
            flight: Flight[V] = Flight(key, now, self._tags.count, blocking, entry, queued)
            self._flights.setdefault(key, flight)
            return flight

    def fill(self, flight: Flight[V], fresh: Fresh[V], size: int = 1, *, keep: bool = True) -> bool:
        """
        Store *fresh* unless a flush has revoked *flight*, or *keep* is false; tell whether it was stored.

        Those who wait for it get it in any case.
        """
        flushed = 0
        try:
            with self._guard:
                flushed = self._flushed_meanwhile_locked(flight, fresh.tags) if fresh.tags else 0
                may = self._flights.get(flight.key) is flight and flight.key not in self._writes and not flushed
                stored = keep and may and self._put_locked(flight.key, fresh, flight.began, size)
                self.refused += keep and not stored
                self._end_locked(flight)
        finally:
            # Whatever a hook raises at the end of the guard: those who wait must not wait for ever.
            if flight.landing is not None:
                flight.land(Landing(fresh.value, flushed=flushed))
        return stored

    def fail(self, flight: Flight[V], error: BaseException) -> Landing[V]:
        """
        End *flight* without a value; return how it ended for everyone.

        An Exception reaches everyone who waits, unless there is an old value by grace; after
        anything else (the loading task was cancelled, the thread interrupted) one of them
        loads instead.
        """
        landing: Landing[V] = Landing(error=error, abandoned=not isinstance(error, Exception))
        with self._guard:
            self._end_locked(flight)
            if isinstance(error, Exception):
                self.load_errors += 1
                now = self._clock()
                old = self._old_locked(flight.key, now)
                if old is not None:
                    landing = Landing(old.value, graced=Graced(flight.key, now - old.loaded_at, error))
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
        with self._guard:
            return self._flush_locked(key, version, self._clock())

    def flush_tag(self, tag: str) -> bool:
        """Forget every key with *tag*, also what is being loaded and turns out to carry it."""
        with self._guard:
            return self._flush_tag_locked(tag, self._clock())

    def flush_all(self) -> bool:
        """Forget everything, also what is being loaded now; tell whether anything was here."""
        with self._guard:
            held = self.contents.flush_all(self._clock())
            self._revoke_all_locked()
            return held

    def distrust(self, since: float) -> None:
        """
        Let every entry run out: flushes may have been missed *since* then.

        Each ends its own bound after *since*, or after its load if that was later.  What is
        being loaded now is not stored.  With an infinite bound nothing would run out, so
        everything is forgotten.
        """
        if self._max_staleness == inf:
            self.flush_all()
            return
        with self._guard:
            for entry in self.contents.entries.values():
                entry.run_out(max(entry.loaded_at, since) + entry.bound)
            self._revoke_all_locked()

    def empty(self) -> None:
        """
        Forget everything, in whatever state an error of the policy has left it.

        The contents are made again, because the old ones and their policy may not agree.  They
        are hidden first, so that nothing is served even if the policy cannot be made.
        """
        with self._lock:
            old, hits = self.contents, self.contents.hits()
            lost = list(old.entries.values())
            old.entries.clear()
            self.entries.clear()
            self._revoke_all_locked()
            tags = Tags()
            # Writes that are open compare it with what they began at.
            tags.count = self._tags.count
            contents = self._make_contents(self.entries, tags)
            contents.hits_gone, contents.evictions, contents.expiries = hits, old.evictions, old.expiries
            contents.show(not self._disabled)
            self.contents, self._tags = contents, tags
            self._guard = Guard(self._lock, self.contents, self._on_evicted)
        del old, lost  # Outside the lock: the end of a value may run code of the application.

    def close(self, patience: float = -1) -> bool:
        """
        Forget everything for good: nothing is stored any more.

        Return False if another thread kept the lock for *patience* seconds, and nothing was done.
        """
        guard = self._guard
        if not guard.enter_within(patience):
            return False
        try:
            self._closed = True
            self.contents.clear()
            self._revoke_all_locked()
        finally:
            guard.__exit__()
        return True

    def disable(self, *, by: int) -> None:
        """Serve and store nothing until as many have ended it as began it: *by* is 1 or -1."""
        with self._guard:
            self._disabled += by
            self.contents.show(not self._disabled)

    # The way of a write.

    def begin_write(self, keys: Iterable[str], tags: Iterable[str] = ()) -> Write:
        """Forget *keys* and what carries *tags*, and store nothing of the kind until `end_write`."""
        with self._guard:
            now = self._clock()
            write = Write(tuple(dict.fromkeys(keys)), tuple(dict.fromkeys(tags)), now)
            for key in write.keys:
                self._flush_locked(key, None, now)
            for tag in write.tags:
                self._flush_tag_locked(tag, now)
            self._writes.begin(write)
            write.tags_seen = self._tags.count
            return write

    def end_write(self, write: Write, values: Mapping[str, tuple[Fresh[V], int]] | None = None) -> None:
        """
        Forget again what *write* has forgotten, then keep *values*, each a fresh value and its size.

        A value is not kept if another flush or write of its key, or a flush of one of its
        tags, came meanwhile.
        """
        values = values or {}
        with self._guard:
            now = self._clock()
            self._writes.end(write)
            keep = {key: value for key, value in values.items() if self._may_keep_locked(write, key, value[0])}
            for key in write.keys:
                self._flush_locked(key, values[key][0].version if key in values else None, now)
            for tag in write.tags:
                self._flush_tag_locked(tag, now)
            for key, (fresh, size) in keep.items():
                self._put_locked(key, fresh, write.began, size)
            self._tidy_locked()

    # Looking inside.

    def snapshot(self) -> dict[str, V]:
        """Return what may be served now, without counting hits."""
        with self._guard:
            now, entries = self._clock(), self.entries.items()
            return {key: entry.value for key, entry in entries if entry.serves(self.trusted_at, now)}

    def holds(self, key: object) -> bool:
        """Tell whether *key* may be served now, without counting a hit."""
        trusted_at = self.trusted_at
        entry = self.entries.get(key) if isinstance(key, str) else None
        return entry is not None and entry.serves(trusted_at, self._clock())

    def describe(self) -> list[EntryInfo]:
        """Return what is here, entry by entry, also what would not be served."""
        with self._lock:
            seen = self.contents.describe(self.trusted_at, self._clock())
            return [replace(each, unserved="the mesh is disabled") for each in seen] if self._disabled else seen

    # The lock is held in everything below.

    def _flush_locked(self, key: str, version: int | None, now: float) -> bool:
        self._flights.pop(key, None)
        self._writes.revoke(key)
        if version is not None:
            self._versions.demand(key, version, now)
            entry = self.contents.entries.get(key)
            if entry is not None and entry.version is not None and entry.version >= version:
                return False
        return self.contents.flush(key, now)

    def _flush_tag_locked(self, tag: str, now: float) -> bool:
        if self._tags.full:
            self._revoke_all_locked()
        held = self.contents.flush_each(self._tags.flush(tag), now)
        self._tidy_locked()
        return held

    def _revoke_all_locked(self) -> None:
        self._flights.clear()
        self._writes.revoke_all()
        self._tags.forget()

    def _running_locked(self, key: str) -> Flight[V] | None:
        running = self._flights.get(key)
        if running is not None and running.stranded:
            del self._flights[key]
            return None
        return running

    def _end_locked(self, flight: Flight[V]) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
            if self._tags.flushed:
                self._tidy_locked()

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

    def _put_locked(self, key: str, fresh: Fresh[V], loaded_at: float, size: int) -> bool:
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
