"""Write: one write to the source of truth, as the store sees it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from flushmesh.fresh import Fresh

# Each a key or a tag, and the version of a key.
Untold = list[tuple[str | None, str | None, int | None]]


class Write:
    """
    One write, used once: its keys are neither served nor filled until it ends.

    A flush that comes in the meantime revokes it for the keys that it covers: what the writer
    wanted to keep may be old.  `kept` are the values it wants to keep, each with its size.
    """

    __slots__ = ("_unclaimed", "began", "ended", "kept", "keys", "revoked", "tags", "tags_seen", "untold")

    def __init__(self, keys: Iterable[str], tags: Iterable[str] = ()) -> None:
        self.keys = tuple(dict.fromkeys(keys))
        self.tags = tuple(dict.fromkeys(tags))
        self.began = 0.0
        self.ended = False
        self.tags_seen = 0
        self.revoked: set[str] = set()
        self.kept: dict[str, tuple[Fresh[Any], int]] = {}
        # What is still to be broadcast; None before the end.
        self.untold: Untold | None = None
        self._unclaimed = [True]

    def claim(self) -> bool:
        """Return whether the caller is the first to end this write; two threads may ask at once."""
        try:
            return self._unclaimed.pop()
        except IndexError:
            return False


class Writes:
    """The writes in progress, by the keys and tags that they write."""

    def __init__(self) -> None:
        self._open: dict[Write, None] = {}
        self._of_key: dict[str, list[Write]] = {}
        self._of_tag: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._open)

    def __contains__(self, key: str) -> bool:
        return key in self._of_key

    def cover(self, tags: Iterable[str]) -> bool:
        """Return whether any of *tags* is being written."""
        return any(tag in self._of_tag for tag in tags)

    def begin(self, write: Write) -> None:
        """Take *write* in."""
        self._open[write] = None
        self._index(write)

    def _index(self, write: Write) -> None:
        for key in write.keys:
            self._of_key.setdefault(key, []).append(write)
        self._of_tag.update(write.tags)

    def end(self, write: Write) -> None:
        """Let *write* go; one that is not here, because the process was forked since, keeps nothing."""
        write.ended = True
        if write not in self._open:
            write.revoked.update(write.keys)
            return
        for key in write.keys:
            of_key = self._of_key[key]
            of_key.remove(write)
            if not of_key:
                del self._of_key[key]
        self._of_tag -= Counter(write.tags)
        del self._open[write]

    def revoke(self, key: str) -> None:
        """Record that *key* was flushed."""
        for write in self._of_key.get(key, ()):
            write.revoked.add(key)

    def revoke_all(self) -> None:
        """Record that every key was flushed."""
        for write in self._open:
            write.revoked.update(write.keys)

    def recover(self) -> None:
        """Index again what is open, after an interruption anywhere."""
        self._of_key = {}
        self._of_tag = Counter()
        for write in list(self._open):
            if write.ended:
                del self._open[write]
            else:
                self._index(write)

    def open(self) -> list[Write]:
        """Return every write in progress."""
        return list(self._open)
