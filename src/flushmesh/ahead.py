"""
Ahead: where a load runs for which no caller waits, because what it will replace is still good.

A daemon thread for each, or a task where a task asked for it, in an empty context: nothing of
the request that happened to come at that moment reaches the loader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


def start_thread(load: Callable[[], object]) -> None:
    """Run *load* in a thread; here, if no more threads can be started."""
    try:
        Thread(target=load, name="flushmesh ahead", daemon=True).start()
    except (RuntimeError, MemoryError):
        Context().run(load)


def start_task(load: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run *load* as a task of the running loop."""
    # A task copies the context in which it is made: no argument that a task factory may not take.
    return Context().run(asyncio.get_running_loop().create_task, load)
