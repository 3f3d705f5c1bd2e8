"""Write: one write to the source of truth, as the store sees it."""

from __future__ import annotations


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
