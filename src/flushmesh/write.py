"""Write: one write to the source of truth, as the store sees it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class Write:
    """
    One write in progress: its keys are neither served nor filled until it ends.

    A flush that comes meanwhile revokes it for the keys that it covers: what the writer
    wanted to keep may be old.
    """

    __slots__ = ("began", "keys", "revoked", "tags", "tags_seen")

    def __init__(self, keys: tuple[str, ...], tags: tuple[str, ...], began: float) -> None:
        self.keys = keys
        self.tags = tags
        self.began = began
        self.tags_seen = 0
        self.revoked: set[str] = set()


class Writes:
    """The writes in progress, by the keys and tags that they write."""

    def __init__(self) -> None:
        self._of_key: dict[str, list[Write]] = {}
        self._of_tag: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._of_key or self._of_tag)

    def __contains__(self, key: str) -> bool:
        return key in self._of_key

    def cover(self, tags: Iterable[str]) -> bool:
        """Tell whether any of *tags* is being written."""
        return any(tag in self._of_tag for tag in tags)

    def begin(self, write: Write) -> None:
        """Take *write* in."""
        for key in write.keys:
            self._of_key.setdefault(key, []).append(write)
        self._of_tag.update(write.tags)

    def end(self, write: Write) -> None:
        """Let *write* go; one that began before this process was forked is not here, and keeps nothing."""
        for key in write.keys:
            of_key = self._of_key.get(key, [])
            if write in of_key:
                of_key.remove(write)
            else:
                write.revoked.add(key)
            if not of_key:
                self._of_key.pop(key, None)
        self._of_tag -= Counter(write.tags)

    def revoke(self, key: str) -> None:
        """Note that *key* was flushed."""
        for write in self._of_key.get(key, ()):
            write.revoked.add(key)

    def revoke_all(self) -> None:
        """Note that every key was flushed."""
        for key in self._of_key:
            self.revoke(key)
