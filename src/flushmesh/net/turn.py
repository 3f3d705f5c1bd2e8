"""
Turn: one process of this user at a time chooses its port.

Workers that start together would find the same port free, and all but one would fail to
get it, which gRPC tells standard error.  A process that forks keeps its turn until it
listens again, or its own child could take the port it came from.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self, TextIO

# Choosing a port takes milliseconds; a process that is frozen while it does must not hold up the others.
TURN_MAX: Final = 1.0


class Turn:
    """
    This process's turn, from `__enter__` to `__exit__`.

    Where the lock cannot be had, everybody just goes ahead.
    """

    def __enter__(self) -> Self:
        self._lock: TextIO | None = None
        with suppress(OSError):
            self._lock = open(Path(tempfile.gettempdir()) / f"flushmesh-{os.getuid()}.lock", "w")
        deadline = time.monotonic() + TURN_MAX
        while self._lock is not None and time.monotonic() < deadline:
            with suppress(BlockingIOError):
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.005)
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._lock is not None:
            # Closing would not do: a child that was forked meanwhile has the same lock open.
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            self._lock.close()

    def disown(self) -> None:
        """In a forked child: leave the turn to the parent."""
        if self._lock is not None:
            self._lock.close()
