"""
Tags: which keys carry which, and which were flushed a moment ago.

The tags of a value are known only when its load is done.  So the tags that were flushed
meanwhile are remembered for as long as any load or write is open, each with its number: a
value that carries one of a number above the count at which its load began is too old.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

# Remembered at once; a store that would exceed it revokes what is open and begins anew.
REMEMBERED_MAX: Final = 65_536


class Tags:
    """
    An index of keys by tag, and the latest flushes of tags.

    `count` numbers the flushes of tags; it only grows.  `flushed` is the number of the latest
    flush of each tag, as far as it is remembered.
    """

    def __init__(self) -> None:
        self.count = 0
        # Dicts for sets: they keep the order, and a flush goes through memory as it was filled.
        self._keys: dict[str, dict[str, None]] = {}
        self.flushed: dict[str, int] = {}

    def add(self, key: str, tags: Iterable[str]) -> None:
        """Note that *key* carries *tags*."""
        for tag in tags:
            self._keys.setdefault(tag, {})[key] = None

    def discard(self, key: str, tags: Iterable[str]) -> None:
        """Note that *key* carries *tags* no longer."""
        for tag in tags:
            keys = self._keys.get(tag)
            if keys is not None:
                keys.pop(key, None)
                if not keys:
                    del self._keys[tag]

    def flush(self, tag: str) -> Iterable[str]:
        """Number a flush of *tag*; return the keys that carry it, for the caller to let go."""
        self.count += 1
        self.flushed[tag] = self.count
        return self._keys.pop(tag, ())

    def flushed_since(self, count: int, tags: Iterable[str]) -> bool:
        """Tell whether any of *tags* was flushed after *count*."""
        return any(self.flushed.get(tag, 0) > count for tag in tags)

    @property
    def full(self) -> bool:
        """Whether no more flushes can be remembered."""
        return len(self.flushed) >= REMEMBERED_MAX

    def forget(self) -> None:
        """Forget which were flushed; nothing that began before is open any more."""
        self.flushed.clear()

    def clear(self) -> object:
        """Record that no key carries any tag; return what is to be let go of later."""
        keys, self._keys = self._keys, {}
        return keys
