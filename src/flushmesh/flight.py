"""
Flight: one load that a flush can revoke.

The first caller that misses a key runs its loader, outside every lock; callers that
come while it runs wait for the same result, as threads or as tasks.  Waiting costs
nothing until somebody does it: a flight without company has no future.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from flushmesh.errors import RecursiveLoad

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Landing(Generic[V]):
    """
    How a flight ended: with a value, with an error, or abandoned.

    An abandoned one was cancelled before it had either; whoever waits starts anew.
    """

    value: V | None = None
    error: BaseException | None = None
    abandoned: bool = False

    def unpack(self) -> V:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return cast(V, self.value)


class Flight(Generic[V]):
    """
    One load in progress.

    Whoever took off first loads; everyone else waits.  A flush revokes it: the value
    still reaches those already waiting, but never the store.
    """

    __slots__ = ("_landing", "_loop", "_token", "began", "key")

    def __init__(self, key: str, began: float, *, blocking: bool = True) -> None:
        self.key = key
        self.began = began
        self._landing: Future[Landing[V]] | None = None
        self._loop = None if blocking else _running_loop()

    def check_not_aboard(self) -> None:
        """Raise RecursiveLoad if the caller is this flight's own loader."""
        if self in _aboard.get():
            raise RecursiveLoad(self.key)

    def join_locked(self) -> Future[Landing[V]]:
        """Return a future of how this flight ends; the store's lock is held."""
        if self._landing is None:
            self._landing = Future()
            # Without this, cancelling one waiting task would cancel the future for all.
            self._landing.set_running_or_notify_cancel()
        return self._landing

    def blocks_this_thread(self) -> bool:
        """Tell whether this thread's own event loop runs the load, so that blocking for it never ends."""
        return self._loop is not None and self._loop is _running_loop()

    def land(self, landing: Landing[V]) -> None:
        """Tell everyone who waits how it ended; nobody can join any more."""
        if self._landing is not None:
            self._landing.set_result(landing)

    def __enter__(self) -> None:
        """Mark what runs inside as this flight's loader, here and in the tasks it starts, not in threads."""
        self._token = _aboard.set((*_aboard.get(), self))

    def __exit__(self, *exc_info: object) -> None:
        # A coroutine that is thrown away is closed in another context than its own.
        with suppress(ValueError):
            _aboard.reset(self._token)


_aboard: ContextVar[tuple[Flight[Any], ...]] = ContextVar("flushmesh_aboard", default=())


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
