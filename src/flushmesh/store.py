"""
Store: a cache's local content, and what may happen to it.

A hit takes no lock: it looks into the store's own dict and reads the clock.  Everything
else happens under one lock that is held for microseconds and never while a loader or
any other code of the application runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import inf
from random import random
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
from flushmesh.write import Write

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
        self._make_contents = partial(Contents[V], maxsize, policy=policy, sized=sized, grace=grace)
        self._on_evicted = on_evicted
        self._flights: dict[str, Flight[V]] = {}
        self.reset()

    def reset(self) -> None:
        """Be as new; in a forked child, where nobody ends what other threads have begun."""
        for flight in self._flights.values():
            flight.orphan()
        self.trusted_at = -inf
        self.misses = self.loads = self.load_errors = self.refused = 0
        self._tags = Tags()
        self._versions = Versions()
        self.contents: Contents[V] = self._make_contents(self._tags)
        # What readers see, without the lock: the contents' own dict unless the cache is disabled.
        self.entries = {} if self._disabled else self.contents.entries
        self._guard = Guard(self.contents, self._on_evicted)  # Protects everything else.
        self._flights = {}
        self._writes: dict[str, list[Write]] = {}
        self._writing_tags: Counter[str] = Counter()

    # The way of a read.

    def get(self, key: str, default: object = None) -> object:
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
            entry = self.entries[key]
        except (KeyError, TypeError):
            self._check(key)
        else:
            now = self._clock()
            if now < entry.due and (now < trusted_at + entry.bound or now < entry.loaded_at + entry.bound):
                entry.hits += 1
                return entry.value
            if default is not MISS and entry.serves(trusted_at, now):
                entry.hits += 1
                return entry.value
        if default is not MISS:
            with self._guard:
                self.misses += 1
        return default

    def take_off(self, key: str, *, blocking: bool = False, ahead: bool = True) -> Flight[V] | Passenger[V] | Entry[V]:
        """
        Begin to load *key*.

        Return a flight if the caller is to load, a passenger if somebody else does, or the
        entry if a load has ended since the caller looked.  With *ahead*, an entry that is due
        is loaded before it runs out; the flight says so.  With *blocking*, a caller whose own
        thread runs the other load gets a flight that is revoked from the beginning, because
        waiting for that load would never end.
        """
        with self._guard:
            now = self._clock()
            running = self._flights.get(key)
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
                    if not (self._disabled or (blocking and running.blocks_this_thread())):
                        return running.join_locked(self._tags.count)
            self.loads += 1
            flight: Flight[V] = Flight(key, now, self._tags.count, blocking=blocking, ahead=entry)
            self._flights.setdefault(key, flight)
            return flight

    def fill(self, flight: Flight[V], fresh: Fresh[V], size: int = 1, *, keep: bool = True) -> bool:
        """
        Store *fresh* unless a flush has revoked *flight*, or *keep* is false; tell whether it was stored.

        Those who wait for it get it in any case.
        """
        with self._guard:
            flushed = self._flushed_meanwhile_locked(flight, fresh.tags) if fresh.tags else 0
            may = self._flights.get(flight.key) is flight and flight.key not in self._writes and not flushed
            stored = keep and may and self._put_locked(flight.key, fresh, flight.began, size)
            self.refused += keep and not stored
            self._end_locked(flight)
        if flight.awaited:
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
        being loaded now is not stored.  With an infinite bound nothing
        would run out, so everything is forgotten.
        """
        if self._max_staleness == inf:
            self.flush_all()
            return
        with self._guard:
            for entry in self.contents.entries.values():
                entry.run_out(max(entry.loaded_at, since) + entry.bound)
            self._revoke_all_locked()

    def close(self) -> None:
        """Forget everything for good: nothing is stored any more."""
        with self._guard:
            self._closed = True
            self.contents.clear()
            self._revoke_all_locked()

    def disable(self, *, by: int) -> None:
        """Serve and store nothing until as many have ended it as began it: *by* is 1 or -1."""
        with self._guard:
            self._disabled += by
            self.entries = {} if self._disabled else self.contents.entries

    # The way of a write.

    def begin_write(self, keys: Iterable[str], tags: Iterable[str] = ()) -> Write:
        """Forget *keys* and what carries *tags*, and store nothing of the kind until `end_write`."""
        with self._guard:
            now = self._clock()
            write = Write(tuple(dict.fromkeys(keys)), tuple(dict.fromkeys(tags)), now)
            for key in write.keys:
                self._flush_locked(key, None, now)
                self._writes.setdefault(key, []).append(write)
            for tag in write.tags:
                self._flush_tag_locked(tag, now)
                self._writing_tags[tag] += 1
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
            for key in write.keys:
                still_open = self._writes.get(key, [])
                # A write that began before this process was forked is not among them, and keeps nothing.
                if write in still_open:
                    still_open.remove(write)
                else:
                    write.revoked.add(key)
                if not still_open:
                    self._writes.pop(key, None)
            self._writing_tags -= Counter(write.tags)
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
            now = self._clock()
            entries = self.entries.items()
            return {key: entry.value for key, entry in entries if entry.serves(self.trusted_at, now)}

    def holds(self, key: object) -> bool:
        """Tell whether *key* may be served now, without counting a hit."""
        trusted_at = self.trusted_at
        entry = self.entries.get(key) if isinstance(key, str) else None
        return entry is not None and entry.serves(trusted_at, self._clock())

    def describe(self) -> list[EntryInfo]:
        """Return what is here, entry by entry, also what would not be served."""
        with self._guard:
            now = self._clock()
            return [entry.describe(key, self.trusted_at, now) for key, entry in self.contents.entries.items()]

    # The lock is held in everything below.

    def _flush_locked(self, key: str, version: int | None, now: float) -> bool:
        self._flights.pop(key, None)
        for write in self._writes.get(key, ()):
            write.revoked.add(key)
        if version is not None:
            self._versions.demand(key, version, now)
            entry = self.contents.entries.get(key)
            if entry is not None and entry.version is not None and entry.version >= version:
                return False
        return self.contents.flush(key, now)

    def _flush_tag_locked(self, tag: str, now: float) -> bool:
        if self._tags.full:
            self._revoke_all_locked()
        held = sum([self.contents.flush(key, now) for key in self._tags.flush(tag)])
        self._tidy_locked()
        return held > 0

    def _revoke_all_locked(self) -> None:
        self._flights.clear()
        for key, writes in self._writes.items():
            for write in writes:
                write.revoked.add(key)
        self._tags.forget()

    def _end_locked(self, flight: Flight[V]) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
            if not self._flights:
                self._tidy_locked()

    def _flushed_meanwhile_locked(self, flight: Flight[V], tags: Iterable[str]) -> int:
        """Return the number of the latest flush of *tags* during *flight*, or of the first that may have been one."""
        if self._flights.get(flight.key) is not flight:
            # For a flight that is revoked already, nobody remembers which tags were flushed.
            return flight.tags_seen + 1
        return self._tags.flushed_since(flight.tags_seen, tags)

    def _old_locked(self, key: str, now: float) -> Entry[V] | None:
        """Return the entry that may stand in for a failed load of *key*."""
        old = self.entries.get(key)
        if old is None or not self.contents.grace or key in self._writes:
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
        if fresh.tags and any(tag in self._writing_tags for tag in fresh.tags):
            return False
        ttl = self._ttl if fresh.ttl is None else fresh.ttl
        if self._jitter:
            ttl *= 1 - self._jitter * self._random()
        if now >= loaded_at + ttl:
            return False
        # Entries that were loaded together do not run out together.
        bound = self._max_staleness * (0.5 + 0.5 * self._random())
        due = None if self._refresh_ahead is None else loaded_at + ttl * self._refresh_ahead
        entry = Entry(fresh.value, loaded_at, loaded_at + ttl, bound, due=due, tags=fresh.tags, version=fresh.version)
        return self.contents.put(key, entry, size, now)
