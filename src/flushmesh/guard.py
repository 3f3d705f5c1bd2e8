"""Guard: the lock of a store."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from flushmesh.contents import Contents


class Guard:
    """
    The store's lock.

    What was let go under it comes to its end after it is released, and *on_evicted* is told then.
    """

    __slots__ = ("_contents", "_lock", "_on_evicted")

    def __init__(self, lock: Lock, contents: Contents[Any], on_evicted: Callable[[str, Any], None] | None) -> None:
        self._lock = lock
        self._contents = contents
        self._on_evicted = on_evicted

    def __enter__(self) -> None:
        self._lock.acquire()

    def enter_within(self, patience: float) -> bool:
        """Enter if the lock can be had within *patience* seconds, and return whether it could; -1 waits forever."""
        return self._lock.acquire(timeout=patience)

    def __exit__(self, *exc_info: object) -> None:
        contents = self._contents
        dropped, evicted = contents.dropped, contents.evicted
        if dropped:
            contents.dropped, contents.evicted = [], []
        self._lock.release()
        if evicted and self._on_evicted is not None:
            for key, entry in evicted:
                self._on_evicted(key, entry.value)
        del dropped
