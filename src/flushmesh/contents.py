"""
Contents: what a store holds, by key and by tag, and as much of it as there is room for.

Which entry goes when there is no room is the decision of a cachetools class, the *policy*.
Hits do not pass through it, so it is told of them when it chooses: an entry with hits that
it has not seen yet gets a second chance.  What has run out goes before anything else.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from functools import cache
from math import inf
from typing import Any, Final, Generic, TypeVar, cast

import cachetools

from flushmesh.entry import Entry
from flushmesh.status import EntryInfo
from flushmesh.tags import Tags

V = TypeVar("V")

# How many entries with unseen hits one eviction passes over.  Where every entry has some,
# going on would only keep the lock.
CHANCES_MAX: Final = 8
# How many that have run out one fill lets go: more than it brings, so that they never pile up.
REAPED_MAX: Final = 16


class Contents(Generic[V]):
    """
    The entries, by key.

    Called with the store's lock held.  `entries` are what is held, `shown` is what readers see
    of it, without the lock: the same dict, unless `show` has hidden it.  All that changes them is
    here.  What is let go lies in `dropped` until the lock is released, because the end of a
    value may run code of the application, and in `evicted` if it had to make room.  An entry
    that was flushed or has expired stays for *grace* seconds, though nobody is served it.
    """

    def __init__(
        self,
        shown: dict[str, Entry[V]],
        tags: Tags,
        *,
        maxsize: int,
        policy: type[cachetools.Cache[Any, Any]],
        sized: bool,
        grace: float,
    ) -> None:
        self.shown = self.entries = shown
        self.dropped: list[Entry[V]] = []
        self.evicted: list[tuple[str, Entry[V]]] = []
        self.evictions = 0
        self.expiries = 0
        self.hits_gone = 0
        self.grace = grace
        self._tags = tags
        self._maxsize = maxsize
        self._policy = _make_policy(policy, maxsize, self, sized=sized)
        # Straight to the class that was given: what is let go here needs no second chance.
        self._forget = super(_Policy, self._policy).__delitem__
        # When which key may go; what a later entry of the same key has outlived is passed over.
        self._ends: list[tuple[float, str]] = []

    @property
    def currsize(self) -> int:
        """The sizes of all entries together; their number, unless sizes were given."""
        return int(self._policy.currsize)

    def put(self, key: str, entry: Entry[V], size: int, now: float) -> bool:
        """Take *entry* in, and let go what must go for it; tell whether there can be room for it."""
        if self._ends and now >= self._ends[0][0]:
            self._reap(now)
        if size > self._maxsize:
            self.drop(key)
            return False
        self._policy.size = size
        self._policy[key] = entry
        former = self.entries.get(key)
        # From one entry to the next without a moment in between, in which a reader would miss.
        self.entries[key] = entry
        if former is not None:
            self._let_go(key, former)
        if entry.tags:
            self._tags.add(key, entry.tags)
        self._ends_later(key, entry)
        return True

    def show(self, whether: bool) -> None:
        """Let readers see what is held, or nothing; takes time proportional to it."""
        if whether and self.entries is not self.shown:
            self.shown.update(self.entries)
            self.entries = self.shown
        elif not whether and self.entries is self.shown:
            self.entries = dict(self.shown)
            self.shown.clear()

    def flush(self, key: str, now: float) -> bool:
        """Let *key* be served no more from *now* on; tell whether it was held."""
        entry = self.entries.get(key)
        if entry is None:
            return False
        if not self.grace:
            return self.drop(key)
        held = now < entry.expires
        if held:
            entry.run_out(now)
            self._ends_later(key, entry)
        return held

    def flush_each(self, keys: Iterable[str], now: float) -> bool:
        """Let none of *keys* be served from *now* on; tell whether any was held."""
        if self.grace:
            return sum([self.flush(key, now) for key in keys]) > 0
        return sum([self.drop(key) for key in keys]) > 0

    def flush_all(self, now: float) -> bool:
        """Let nothing be served from *now* on; tell whether anything was held."""
        if self.grace:
            return self.flush_each(list(self.entries), now)
        held = bool(self.entries)
        self.clear()
        return held

    def drop(self, key: str) -> bool:
        """Let go of *key*; tell whether it was here."""
        entry = self.entries.pop(key, None)
        if entry is None:
            return False
        self._forget(key)
        self._let_go(key, entry)
        return True

    def clear(self) -> None:
        """Let go of everything."""
        self.hits_gone += sum(entry.hits for entry in self.entries.values())
        self.dropped += self.entries.values()
        self.entries.clear()
        self._tags.clear()
        self._ends.clear()
        self._policy.clear()

    def describe(self, trusted_at: float, now: float) -> list[EntryInfo]:
        """Return what is held, entry by entry, and as it stands at *now*."""
        return [entry.describe(key, trusted_at, now) for key, entry in self.entries.items()]

    def hits(self) -> int:
        """Count all hits, also of entries that have gone."""
        return self.hits_gone + sum(entry.hits for entry in list(self.entries.values()))

    def gone(self, key: str) -> None:
        """Note that the policy holds *key* no longer."""
        self._let_go(key, self.entries.pop(key))

    def _let_go(self, key: str, entry: Entry[V]) -> None:
        self.hits_gone += entry.hits
        if entry.tags:
            self._tags.discard(key, entry.tags)
        self.dropped.append(entry)

    def _ends_later(self, key: str, entry: Entry[V]) -> None:
        end = entry.expires + self.grace if self.grace else entry.expires
        if end == inf:
            return
        if len(self._ends) > 2 * len(self.entries) + 64:
            self._ends = [(entry.expires + self.grace, key) for key, entry in self.entries.items()]
            heapq.heapify(self._ends)
        else:
            heapq.heappush(self._ends, (end, key))

    def _reap(self, now: float) -> None:
        """Let go of some of what has run out."""
        for _ in range(REAPED_MAX):
            if not self._ends or now < self._ends[0][0]:
                return
            _, key = heapq.heappop(self._ends)
            entry = self.entries.get(key)
            if entry is not None and now >= entry.expires + self.grace:
                self.expiries += 1
                self.drop(key)


class _Policy(cachetools.Cache[str, Entry[Any]]):
    """What is added to a cachetools class: second chances, and word of what goes."""

    contents: Contents[Any]
    size = 1
    _chances = 0

    def __delitem__(self, key: str) -> None:
        entry = self.contents.entries[key]
        if self._chances and entry.hits > entry.credited:
            # Called by `popitem`, which ends with this: looking it up tells the policy of the hits.
            self._chances -= 1
            entry.credited = entry.hits
            self[key]
            return
        super().__delitem__(key)
        self.contents.gone(key)

    def popitem(self) -> tuple[str, Entry[Any]]:
        """Let go of the entry that the policy can do without, hits that it has not seen considered."""
        self._chances = CHANCES_MAX
        while True:
            key, entry = super().popitem()
            if key not in self.contents.entries:
                break
        self._chances = 0
        self.contents.evictions += 1
        self.contents.evicted.append((key, entry))
        return key, entry


def _make_policy(
    kind: type[cachetools.Cache[Any, Any]], maxsize: int, contents: Contents[Any], *, sized: bool
) -> _Policy:
    arguments: dict[str, object] = {}
    if sized:
        arguments["getsizeof"] = lambda _entry: policy.size
    # Time is the business of the entries; here it stands still.
    if issubclass(kind, cachetools.TTLCache):
        arguments |= {"ttl": inf, "timer": _no_time}
    elif issubclass(kind, cachetools.TLRUCache):
        arguments |= {"ttu": lambda _key, _entry, _now: inf, "timer": _no_time}
    policy: _Policy = _added_to(kind)(maxsize, **arguments)
    policy.contents = contents
    return policy


@cache
def _added_to(kind: type[cachetools.Cache[Any, Any]]) -> Callable[..., _Policy]:
    return cast(Callable[..., _Policy], type(f"Flushmesh{kind.__name__}", (_Policy, kind), {}))


def _no_time() -> float:
    return 0.0
