"""
Waiter: one thread or task that waits until something is over.

It is woken, and looks for itself now and then as well: an event loop that was stopped wakes
nobody, and an interrupted thread may not come to it.  No lock written in Python takes part, so
no interruption can leave one held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Final

# How long, in seconds, a waiter may fail to notice that nobody will wake it.
CHECK_INTERVAL: Final = 0.25

# Returns None where no loop runs; get_running_loop raises there, which costs ten times as much.
running_loop: Final[Callable[[], asyncio.AbstractEventLoop | None]] = asyncio._get_running_loop  # noqa: SLF001


class Waiter:
    """Waits, as a thread or as a task, until `over` is true; `wake` makes it look again."""

    __slots__ = ("_wake",)

    def __init__(self) -> None:
        self._wake: Callable[[], object] | None = None

    def over(self) -> bool:
        """Return whether there is nothing to wait for any more."""
        raise NotImplementedError

    def wake(self) -> None:
        """Make the waiter look again, from any thread."""
        wake = self._wake
        if wake is not None:
            wake()

    def block(self) -> None:
        """Wait in this thread."""
        lock = Lock()
        lock.acquire()
        self._wake = partial(_release, lock)
        while not self.over():
            lock.acquire(timeout=CHECK_INTERVAL)

    async def pause(self) -> None:
        """Wait in this task, and let its event loop go on."""
        loop = asyncio.get_running_loop()
        while True:
            future: asyncio.Future[None] = loop.create_future()
            self._wake = partial(_resolve_soon, loop, future)
            if self.over():
                return
            await asyncio.wait((future,), timeout=CHECK_INTERVAL)


def _release(lock: Lock) -> None:
    # Two threads may wake one waiter.
    with suppress(RuntimeError):
        lock.release()


def _resolve_soon(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None]) -> None:
    if running_loop() is loop:
        _resolve(future)
        return
    # A loop that is closed has no task that waits.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_resolve, future)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
