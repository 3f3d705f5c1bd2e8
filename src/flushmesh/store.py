"""
Store: a cache's local content.

A hit takes no lock: it looks into the store's own dict and reads the clock.  Everything
else happens under one lock that is held for microseconds and never while a loader or
any other code of the application runs.

What may stay is cachetools' decision: entries also lie in a `TLRUCache`, which is told
of every entry and tells of every one it lets go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from math import inf
from random import random
from threading import Lock
from typing import Any, Final, Generic, TypeVar, cast, final

from cachetools import TLRUCache

from flushmesh.flight import Flight, Landing

V = TypeVar("V")

# How many marked entries one eviction passes over.  Where everything is marked, going on
# would only keep the lock.
CHANCES_MAX: Final = 8


@final
class Miss:
    """The one value that no loader returns."""

    def __repr__(self) -> str:
        return "MISS"


MISS: Final = Miss()


class Entry(Generic[V]):
    """
    One item of a store.

    `loaded_at` is when its load *began*: nothing older than that is in it.  `bound` is how
    many seconds it may be served after it was last proven current.  `marked` is set by
    every hit and cleared when eviction passes by.
    """

    __slots__ = ("bound", "expires", "loaded_at", "marked", "value")

    def __init__(self, value: V, loaded_at: float, expires: float, bound: float) -> None:
        self.value = value
        self.loaded_at = loaded_at
        self.expires = expires
        self.bound = bound
        self.marked = False

    def serves(self, trusted_at: float, now: float) -> bool:
        """Tell whether this may be served at *now*, given that nothing was missing at *trusted_at*."""
        return now < self.expires and now < max(self.loaded_at, trusted_at) + self.bound


class Write:
    """
    One write in progress: its key is neither served nor filled until it ends.

    A flush that comes meanwhile revokes it: what the writer wanted to keep may be old.
    """

    __slots__ = ("began", "key", "revoked")

    def __init__(self, key: str, began: float) -> None:
        self.key = key
        self.began = began
        self.revoked = False


class Store(Generic[V]):
    """
    The entries and flights of one cache.

    `hits` is counted without a lock: threads that hit together may lose a count.

    `trusted_at` is the time by which nothing that any peer had flushed was missing here;
    whoever moves it has applied or distrusted before everything that the move rests on.
    *max_staleness* is how many seconds an entry is served after that time, or after its own
    load; infinite turns the bound off.  *random* draws numbers from 0 to 1.
    """

    def __init__(
        self,
        maxsize: int,
        ttl: float,
        clock: Callable[[], float],
        max_staleness: float = inf,
        random: Callable[[], float] = random,
    ) -> None:
        self.trusted_at = -inf
        self.hits = 0
        self.misses = 0
        self.loads = 0
        self._clock = clock
        self._ttl = ttl
        self._max_staleness = max_staleness
        self._random = random
        self._closed = False
        self._entries: dict[str, Entry[V]] = {}
        self._policy: _Policy[V] = _Policy(maxsize, self._entries)
        self._guard = _Guard(self._policy)  # Protects all of these; `_entries` is read without it.
        self._flights: dict[str, Flight[V]] = {}
        self._writes: dict[str, list[Write]] = {}

    # The way of a read.

    def get(self, key: str) -> V | Miss:
        """Return the value of *key* if it is here and may be served."""
        # No lock is held here, so the order matters.  The other side removes or distrusts
        # entries first and moves `trusted_at` last: whoever sees the later proof sees what it
        # rests on.  The clock comes last: a thread may be stopped between any two lines, and
        # time that passes then must count.
        trusted_at = self.trusted_at
        try:
            entry = self._entries.get(key)
        except TypeError:  # No key at all; the caller says so in words.
            return MISS
        if entry is not None:
            now = self._clock()
            proven = max(trusted_at, entry.loaded_at)
            if now < entry.expires and now < proven + entry.bound:
                entry.marked = True
                self.hits += 1
                return entry.value
        return MISS

    def take_off(self, key: str, *, blocking: bool = False) -> Flight[V] | Future[Landing[V]] | Entry[V]:
        """
        Begin to load *key*.

        Return a flight if the caller is to load, a future if somebody else does, or the
        entry if a load has ended since the caller looked.  With *blocking*, a caller
        whose own thread runs the other load gets a flight that is revoked from the
        beginning, because waiting for that load would never end.
        """
        with self._guard:
            now = self._clock()
            entry = self._entries.get(key)
            if entry is not None and entry.serves(self.trusted_at, now):
                self.hits += 1
                return entry
            self.misses += 1
            running = self._flights.get(key)
            if running is not None:
                running.check_not_aboard()
                if not (blocking and running.blocks_this_thread()):
                    return running.join_locked()
            self.loads += 1
            flight = Flight[V](key, now, blocking=blocking)
            self._flights.setdefault(key, flight)
            return flight

    def fill(self, flight: Flight[V], value: V) -> bool:
        """Store *value* unless a flush has revoked *flight*; tell whether it was stored."""
        with self._guard:
            stored = (
                self._flights.get(flight.key) is flight
                and flight.key not in self._writes
                and self._put_locked(flight.key, value, flight.began)
            )
            self._end_locked(flight)
        flight.land(Landing(value))
        return stored

    def fail(self, flight: Flight[V], error: BaseException) -> None:
        """
        End *flight* without a value.

        An Exception reaches everyone who waits; after anything else (the loading task was
        cancelled, the thread interrupted) one of them loads instead.
        """
        with self._guard:
            self._end_locked(flight)
        flight.land(Landing(error=error, abandoned=not isinstance(error, Exception)))

    # The way of a flush.

    def flush(self, key: str) -> bool:
        """Forget *key*, also what is being loaded for it now; tell whether anything was here."""
        # A flush can arrive while the loader runs:
        #
        #   1: get_or_load(k)  miss, opens a flight
        #   1: loader          reads the old row
        #   2:                 commits the new row
        #   2: flush(k)        drops the entry, revokes the flight
        #   1: fill            refused: the old row must not outlive the flush
        with self._guard:
            return self._flush_locked(key)

    def flush_all(self) -> bool:
        """Forget everything, also what is being loaded now; tell whether anything was here."""
        with self._guard:
            held = bool(self._entries)
            self._policy.clear()
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
            for entry in self._entries.values():
                entry.expires = min(entry.expires, max(entry.loaded_at, since) + entry.bound)
            self._revoke_all_locked()

    def close(self) -> None:
        """Forget everything for good: nothing is stored any more."""
        with self._guard:
            self._closed = True
            self._policy.clear()
            self._revoke_all_locked()

    # The way of a write.

    def begin_write(self, key: str) -> Write:
        """Forget *key*, and store nothing for it until `end_write`."""
        with self._guard:
            self._flush_locked(key)
            write = Write(key, self._clock())
            self._writes.setdefault(key, []).append(write)
            return write

    def end_write(self, write: Write, value: V | Miss) -> None:
        """Forget *write*'s key again, then keep *value* unless another flush or write came meanwhile."""
        with self._guard:
            still_open = self._writes[write.key]
            still_open.remove(write)
            keep = not write.revoked and not still_open and not isinstance(value, Miss)
            self._flush_locked(write.key)
            if not still_open:
                del self._writes[write.key]
            if keep:
                self._put_locked(write.key, cast(V, value), write.began)

    # Looking inside.

    def snapshot(self) -> dict[str, V]:
        """Return what may be served now, without counting hits."""
        with self._guard:
            now = self._clock()
            entries = self._entries.items()
            return {key: entry.value for key, entry in entries if entry.serves(self.trusted_at, now)}

    def holds(self, key: object) -> bool:
        """Tell whether *key* may be served now, without counting a hit."""
        entry = self._entries.get(key) if isinstance(key, str) else None
        return entry is not None and entry.serves(self.trusted_at, self._clock())

    # The lock is held in everything below.

    def _flush_locked(self, key: str) -> bool:
        held = self._entries.get(key) is not None
        if held:
            del self._policy[key]
        self._flights.pop(key, None)
        _revoke(self._writes.get(key, ()))
        return held

    def _revoke_all_locked(self) -> None:
        self._flights.clear()
        for writes in self._writes.values():
            _revoke(writes)

    def _end_locked(self, flight: Flight[V]) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def _put_locked(self, key: str, value: V, loaded_at: float) -> bool:
        # Entries that were loaded together do not run out together.
        if self._closed:
            return False
        bound = self._max_staleness * (0.5 + 0.5 * self._random())
        return self._policy.put(key, Entry(value, loaded_at, loaded_at + self._ttl, bound), self._clock())


def _revoke(writes: Iterable[Write]) -> None:
    for write in writes:
        write.revoked = True


class _Policy(TLRUCache[str, Entry[V]]):
    """
    Decides which entries stay, and mends *entries* wherever it lets one go.

    Its time stands still: it is set once for each operation, so that one operation sees
    one time.  What it lets go lies in `dropped` until the store's lock is released, because
    the end of a value may run code of the application.
    """

    def __init__(self, maxsize: int, entries: dict[str, Entry[V]]) -> None:
        self.dropped: list[Entry[V]] = []
        self._now = 0.0
        self._chances = 0
        self._mended = entries
        super().__init__(maxsize, ttu=lambda _key, entry, _now: entry.expires, timer=lambda: self._now)

    def put(self, key: str, entry: Entry[V], now: float) -> bool:
        """Take *entry* in, and let go what must go for it; tell whether it was still fresh at *now*."""
        self._now = now
        if now >= entry.expires:
            return False
        former = self._mended.get(key)
        if former is not None:
            self.dropped.append(former)
        self[key] = entry
        self._mended[key] = entry
        return True

    def __delitem__(self, key: str) -> None:
        entry = self._mended.get(key)
        if entry is not None and entry.marked and self._chances:
            # Called by `popitem`, which ends with this: looking an entry up makes it the youngest.
            self._chances -= 1
            entry.marked = False
            self[key]
            return
        self._drop(key)
        # An expired item is deleted too, and only then raises KeyError.
        with suppress(KeyError):
            super().__delitem__(key)

    def expire(self, time: float | None = None) -> list[tuple[str, Entry[V]]]:
        """Let go of what has expired."""
        expired = list(super().expire(time))
        for key, _entry in expired:
            self._drop(key)
        return expired

    def popitem(self) -> tuple[str, Entry[V]]:
        """Let go of the entry that was longest without a hit, approximately: the second-chance rule."""
        self._chances = CHANCES_MAX
        while True:
            key, entry = super().popitem()
            if key not in self._mended:
                self._chances = 0
                return key, entry

    def clear(self) -> None:
        """Let go of everything."""
        self.dropped += self._mended.values()
        self._mended.clear()
        super().clear()

    def _drop(self, key: str) -> None:
        entry = self._mended.pop(key, None)
        if entry is not None:
            self.dropped.append(entry)


class _Guard:
    """The store's lock; what was let go under it comes to its end after it is released."""

    __slots__ = ("_lock", "_policy")

    def __init__(self, policy: _Policy[Any]) -> None:
        self._lock = Lock()
        self._policy = policy

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        dropped, self._policy.dropped = self._policy.dropped, []
        self._lock.release()
        del dropped
