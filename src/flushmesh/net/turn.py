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
from typing import Final, Self

# Choosing a port takes milliseconds; a process that is frozen while it does must not hold up the others.
TURN_MAX: Final = 1.0


class Turn:
    """
    This process's turn, from `__enter__` to `__exit__`.

    Where the lock is not available, every process goes ahead.
    """

    _lock: int | None = None

    def __enter__(self) -> Self:
        self._lock = _open()
        deadline = time.monotonic() + TURN_MAX
        while self._lock is not None and time.monotonic() < deadline:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.005)
            except OSError:
                break  # This file system knows no locks.
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._lock is not None:
            # Closing is not enough: a child that was forked in the meantime has the same lock open.
            with suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_UN)
            self.disown()

    def disown(self) -> None:
        """In a forked child: leave the turn to the parent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _open() -> int | None:
    """
    Return the descriptor of the lock file, or None if it cannot be opened.

    Anybody can write to the temporary directory, and foretell the file's name.  So a link there
    is not followed, what is there is not emptied, and a pipe does not block.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with suppress(OSError):
        return os.open(Path(tempfile.gettempdir()) / f"flushmesh-{os.getuid()}.lock", flags, 0o600)
    return None
