"""
Ahead: loads that nobody waits for, because what they will replace is still good.

A daemon thread for each, or a task where a task asked for it, in an empty context: nothing of
the request that happened to come at that moment reaches the loader.  One that fails is
logged; what it was to replace lives out its life.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from threading import Lock, Thread
from typing import Final

log = logging.getLogger("flushmesh")

# A cache whose entries fall due together must not start a thread for each of them.
AHEAD_MAX: Final = 16


class Ahead:
    """The loads of one cache that run ahead of the need, at most AHEAD_MAX at once."""

    def __init__(self) -> None:
        self.has_room = True  # Whether one more may run.
        self._lock = Lock()  # Protects `_running`, and the writing of `has_room`.
        self._running = 0

    def start(self, load: Callable[[], object]) -> None:
        """Run *load* in a thread."""
        try:
            Thread(target=self._run, args=(load,), name="flushmesh ahead", daemon=True).start()
        except RuntimeError:
            # No more threads are to be had, but the load must come to an end.
            self._run(load)

    def start_task(self, load: Callable[[], Awaitable[object]], abandon: Callable[[], object]) -> None:
        """Run *load* as a task of the running loop; *abandon* it if the task is cancelled, even before it begins."""
        # No reference is kept: what nothing else refers to could never go on, and ends when it is collected.
        task = asyncio.get_running_loop().create_task(self._arun(load), context=Context())
        task.add_done_callback(lambda task: abandon() if task.cancelled() else None)

    def _run(self, load: Callable[[], object]) -> None:
        with self._counted():
            load()

    async def _arun(self, load: Callable[[], Awaitable[object]]) -> None:
        with self._counted():
            await load()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._running += 1
            self.has_room = self._running < AHEAD_MAX
        try:
            yield
        except Exception:  # Whoever asked has its answer.
            log.warning("a load ahead of its time failed", exc_info=True)
        finally:
            with self._lock:
                self._running -= 1
                self.has_room = True
