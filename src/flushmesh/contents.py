"""
Contents: what a store holds, by key and by tag, and as much of it as there is room for.

Which entry goes when there is no room is the decision of a cachetools class, the *policy*.
Hits do not pass through it, so it is told of them when it chooses: an entry with hits that
it has not seen yet comes back once, as if it had been read just now.  Expired entries go
before anything else.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import cache
from math import inf
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar, cast

import cachetools

from flushmesh.entry import Entry
from flushmesh.tags import Tags

V = TypeVar("V")

# How many entries with unseen hits one eviction passes over.  Where every entry has some,
# going on would only keep the lock.
CHANCES_MAX: Final = 8
# Expired entries removed per fill.  More than one, so they cannot accumulate.
REAPED_MAX: Final = 16

# Straight to the base class: some policies look at the time first, and change what they hold.
_size_of_all = cast(Callable[[Any], int], cachetools.Cache.currsize.fget)  # type: ignore[attr-defined]
_count = cachetools.Cache.__len__
_holds = cachetools.Cache.__contains__


class Contents(Generic[V]):
    """
    The entries, by key.

    Called with the store's lock held.  `entries` are what is held, `shown` is what readers see
    of it, without the lock: the same dict, unless `show` has hidden it.  All that changes them is
    here.  What is let go lies in `dropped` until the lock is released, because the end of a
    value may run code of the application, and in `evicted` if it had to make room.  An entry
    that was flushed or has expired stays for *grace* seconds, though no reader is served it.
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
        self.dropped: list[object] = []
        self.evicted: deque[tuple[str, Entry[V]]] = deque()
        self.evictions = 0
        self.expiries = 0
        self.grace = grace
        self._hits_gone = 0
        self._tags = tags
        self._maxsize = maxsize
        self._kind = policy
        self._sized = sized
        # A class that overrides nothing here does not go by use: its entries get no second chance.
        self._by_use = policy.__getitem__ is not cachetools.Cache.__getitem__
        # What a class of the application does by itself is looked for after each entry.
        self._foreign = not policy.__module__.startswith("cachetools")
        self._by_count = issubclass(policy, cachetools.LFUCache)
        self._begin()

    def _begin(self) -> None:
        self._policy = _make_policy(self._kind, self._maxsize, sized=self._sized)
        # Straight to the class that was given: what is let go here need not be reported.
        self._forget = super(_Policy, self._policy).__delitem__
        # When which key may go; what a later entry of the same key has outlived is passed over.
        self._ends: list[tuple[float, str]] = []

    @property
    def currsize(self) -> float:
        """The sizes of all entries together; their number, unless sizes were given."""
        size = _size_of_all(self._policy)
        return size if isinstance(size, int) else float(size)

    def put(self, key: str, entry: Entry[V], size: float, now: float) -> bool:
        """Take *entry* in, and let go what must go for it; return whether it is held."""
        if self._ends and now >= self._ends[0][0]:
            self._reap(now)
        if size > self._maxsize:
            self.drop(key)
            return False
        policy, former = self._policy, self.entries.get(key)
        if self._sized:
            # Fractions add up exactly; the sum of floats drifts.
            size = size if isinstance(size, int) else cast(float, Fraction(size))
            if former is not None:
                self._forget(key)  # It may have been of another size.
            self._make_room(size)
            policy.size = size
        elif former is None and len(self.entries) >= self._maxsize:
            self._make_room(1)
        policy[key] = entry
        # From one entry to the next without a moment in between, in which a reader would miss.
        self.entries[key] = entry
        if former is not None:
            self._let_go(key, former)
        if entry.tags:
            self._tags.add(key, entry.tags)
        self._ends_later(key, entry)
        if policy.gone or (self._foreign and _count(policy) != len(self.entries)):
            self._agree()
            return key in self.entries
        return True

    def _make_room(self, size: float) -> None:
        policy, chances = self._policy, CHANCES_MAX
        while (before := _size_of_all(policy)) + size > self._maxsize:
            key, entry = policy.popitem()
            if chances and self._by_use and entry.hits > entry.credited:
                chances -= 1
                entry.credited = entry.hits
                policy.size = before - _size_of_all(policy)
                policy[key] = entry
                if self._by_count:
                    # It has lost its count; the magnitude of its hits stands in.
                    for _ in range(entry.hits.bit_length()):
                        policy[key]
            else:
                self._evict(key)

    def _evict(self, key: str) -> None:
        entry = self.entries.pop(key, None)
        if entry is not None:
            self._let_go(key, entry)
            self.evictions += 1
            self.evicted.append((key, entry))

    def _agree(self) -> None:
        """Follow a policy that has let go of entries, or taken some in, by itself."""
        policy, entries = self._policy, self.entries
        for key in policy.gone:
            if not _holds(policy, key):
                self._evict(key)
        policy.gone.clear()
        if self._foreign and _count(policy) != len(entries):
            for key in [key for key in entries if not _holds(policy, key)]:
                self._evict(key)
            for key in [key for key in policy if key not in entries]:
                self._forget(key)

    def show(self, whether: bool) -> None:
        """Let readers see what is held, or nothing; takes time proportional to it."""
        if whether and self.entries is not self.shown:
            self.shown.update(self.entries)
            self.entries = self.shown
        elif not whether and self.entries is self.shown:
            self.entries = self.shown.copy()
            self.shown.clear()

    def flush(self, key: str, now: float) -> bool:
        """Let *key* be served no more from *now* on; return whether it was held."""
        entry = self.entries.get(key)
        if entry is None:
            return False
        held = now < entry.expires
        if not self.grace:
            self.drop(key)
        elif held:
            entry.run_out(now)
            self._ends_later(key, entry)
        return held

    def flush_each(self, keys: Iterable[str], now: float) -> bool:
        """Let none of *keys* be served from *now* on; return whether any was held."""
        return sum([self.flush(key, now) for key in keys]) > 0

    def flush_all(self, now: float) -> bool:
        """Let nothing be served from *now* on; return whether anything was held."""
        if self.grace:
            return self.flush_each(list(self.entries), now)
        held = bool(self.entries)
        self.clear()
        return held

    def drop(self, key: str) -> None:
        """Let go of *key*, if it is here."""
        entry = self.entries.pop(key, None)
        if entry is not None:
            if _holds(self._policy, key):
                self._forget(key)
            self._let_go(key, entry)

    def clear(self) -> None:
        """Let go of everything, from any state at all."""
        held, policy = self.entries.copy(), self._policy
        self.entries.clear()
        self.shown.clear()
        self._hits_gone += _hits_of(held)
        try:
            self._begin()
        except BaseException:  # Whatever the application's class raises, what was to be forgotten is gone.
            self._kind = cachetools.LRUCache
            self._begin()
        # Not by the policy's own clear, which in some versions of cachetools lets go one by one.
        self.dropped += (held, policy, self._tags.clear())

    def hits(self) -> int:
        """Count all hits, also of entries that have gone."""
        return self._hits_gone + _hits_of(self.entries.copy())

    def _let_go(self, key: str, entry: Entry[V]) -> None:
        self._hits_gone += entry.hits
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
        """Let go of some of what has expired."""
        for _ in range(REAPED_MAX):
            if not self._ends or now < self._ends[0][0]:
                return
            _, key = heapq.heappop(self._ends)
            entry = self.entries.get(key)
            if entry is not None and now >= entry.expires + self.grace:
                self.expiries += 1
                self.drop(key)


class _Policy(cachetools.Cache[str, Entry[Any]]):
    """What is added to a cachetools class: the size of the entry that comes, and a list of the keys that go."""

    size: float = 1
    gone: list[str]

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self.gone.append(key)


def _make_policy(kind: type[cachetools.Cache[Any, Any]], maxsize: int, *, sized: bool) -> _Policy:
    arguments: dict[str, object] = {}
    if sized:
        arguments["getsizeof"] = lambda _entry: policy.size
    # Time is the business of the entries; here it stands still.
    if issubclass(kind, cachetools.TTLCache):
        arguments |= {"ttl": inf, "timer": _no_time}
    elif issubclass(kind, cachetools.TLRUCache):
        arguments |= {"ttu": lambda _key, _entry, _now: inf, "timer": _no_time}
    policy: _Policy = _added_to(kind)(maxsize, **arguments)
    policy.gone = []
    return policy


@cache
def _added_to(kind: type[cachetools.Cache[Any, Any]]) -> Callable[..., _Policy]:
    return cast(Callable[..., _Policy], type(f"Flushmesh{kind.__name__}", (_Policy, kind), {}))


def _hits_of(entries: dict[str, Entry[Any]]) -> int:
    hits: int = sum(map(attrgetter("hits"), entries.values()))
    return hits


def _no_time() -> float:
    return 0.0
