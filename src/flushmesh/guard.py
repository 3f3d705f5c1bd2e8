"""
Guard: one action at a time, although its thread may be interrupted or called again anywhere.

A signal handler or a finalizer runs between any two steps of a thread.  It may raise there, so
that an action ends half done, and it may use the very object that its thread is changing.

    interrupted   the next holder finds the mark of one that did not finish, and recovers first
    called again  the inner action waits in a queue; the outer one does it before it lets go
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from threading import RLock
from typing import Any, Final, TypeVar

R = TypeVar("R")


class Deferred(Enum):
    """Returned in place of a result: the action is done once the outer one of this thread is."""

    LATER = "later"


LATER: Final = Deferred.LATER


class Guard:
    """
    The lock of a store or of a gate.

    *recover* must leave things in order from any state at all; it may run twice.  Whatever lies
    in *dropped* after an action is brought to its end by *drain*, when the lock is free again.
    """

    __slots__ = ("_busy", "_drain", "_dropped", "_is_owned", "_late", "_lock", "_recover")

    def __init__(
        self,
        recover: Callable[[], object],
        dropped: list[Any] | None = None,
        drain: Callable[[], object] = int,
    ) -> None:
        # In C: no exception of a signal handler comes between taking it and the block that lets it go.
        # Reentrant: a signal handler takes it again, on a thread that has it.
        self._lock = RLock()
        self._is_owned: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]  # noqa: SLF001
        self._busy = False
        self._late: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._recover = recover
        self._dropped = dropped
        self._drain = drain

    def run(self, act: Callable[..., R], *args: Any) -> R | Deferred:
        """
        Return what *act* returns for *args*, with the lock held, or LATER.

        Whatever *act* raises is raised after `recover`.
        """
        nested = self._is_owned()
        with self._lock:
            if self._busy:
                if nested:
                    self._late.append((act, args))
                    return LATER
                self._recover()
            self._busy = True
            try:
                done = act(*args)
                self._busy = False
                if self._late:
                    self._catch_up()
            except BaseException:
                self._busy = True
                self._recover()
                self._busy = False
                raise
        if self._dropped and not nested:
            self._drain()
        return done

    def free_within(self, patience: float) -> bool:
        """Return whether the lock could be had within *patience* seconds; -1 waits forever."""
        if not self._lock.acquire(timeout=patience):
            return False
        self._lock.release()
        return True

    def _catch_up(self) -> None:
        while self._late:
            self._busy = True
            act, args = self._late.popleft()
            act(*args)
            self._busy = False
