"""
Flight: one load that a flush can revoke.

The first caller that misses a key runs its loader, outside every lock; callers that
come while it runs wait for the same result, as threads or as tasks.  Waiting costs
nothing until somebody does it: a flight without company has no future.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from flushmesh.entry import Entry
from flushmesh.errors import RecursiveLoad
from flushmesh.grace import Graced, note_graced

V = TypeVar("V")


@dataclass(slots=True)
class Landing(Generic[V]):
    """
    How a flight ended: with a value, with an error, or abandoned.

    An abandoned one was cancelled before it had either; whoever waits starts anew.  With
    *graced* the load failed, and the value is an old one.  *flushed* is the number of the
    latest flush, during the load, of a tag that the value turned out to carry; 0 if none.
    """

    value: V | None = None
    error: BaseException | None = None
    abandoned: bool = False
    graced: Graced | None = None
    flushed: int = 0

    def unpack(self) -> V:
        """Return the value, or raise the error; tell who watches of an old value."""
        if self.error is not None:
            raise self.error
        if self.graced is not None:
            note_graced(self.graced)
        return cast(V, self.value)


@dataclass(frozen=True, slots=True)
class Passenger(Generic[V]):
    """
    Somebody who waits for the flight of another.

    *boarded* is the store's count of tag flushes when the waiting began.
    """

    landing: Future[Landing[V]]
    boarded: int

    def takes(self, landing: Landing[V]) -> bool:
        """
        Tell whether *landing* is for this one too, who otherwise starts anew.

        Who came after a flush is not given what was loaded before it, and of a tag that is
        only known now.
        """
        return not landing.abandoned and not 0 < landing.flushed <= self.boarded


class Flight(Generic[V]):
    """
    One load in progress.

    Whoever took off first loads; everyone else waits.  A flush revokes it: the value
    still reaches those already waiting, but never the store.  `ahead` is the entry that is
    still good while this load runs ahead of the need, `tags_seen` the store's count of tag
    flushes when it began.
    """

    __slots__ = ("_landing", "_loop", "_token", "ahead", "began", "key", "tags_seen")

    def __init__(
        self, key: str, began: float, tags_seen: int = 0, *, blocking: bool = True, ahead: Entry[V] | None = None
    ) -> None:
        self.key = key
        self.began = began
        self.tags_seen = tags_seen
        self.ahead = ahead
        self._landing: Future[Landing[V]] | None = None
        self._loop = None if blocking else running_loop()

    def check_not_aboard(self) -> None:
        """Raise RecursiveLoad if the caller is this flight's own loader."""
        if self in _aboard.get():
            raise RecursiveLoad(self.key)

    def join_locked(self, boarded: int) -> Passenger[V]:
        """Return who waits for how this flight ends; the store's lock is held."""
        if self._landing is None:
            self._landing = Future()
            # Without this, cancelling one waiting task would cancel the future for all.
            self._landing.set_running_or_notify_cancel()
        return Passenger(self._landing, boarded)

    def blocks_this_thread(self) -> bool:
        """Tell whether this thread's own event loop runs the load, so that blocking for it never ends."""
        return self._loop is not None and self._loop is running_loop()

    @property
    def awaited(self) -> bool:
        """Whether anybody waits for it."""
        return self._landing is not None

    def land(self, landing: Landing[V]) -> None:
        """Tell everyone who waits how it ended; nobody can join any more."""
        if self._landing is not None:
            self._landing.set_result(landing)

    def orphan(self) -> None:
        """Forget who waits: in a forked child, those are threads of the parent."""
        self._landing = None

    def __enter__(self) -> None:
        """Mark what runs inside as this flight's loader, here and in the tasks it starts, not in threads."""
        self._token = _aboard.set((*_aboard.get(), self))

    def __exit__(self, *exc_info: object) -> None:
        try:  # noqa: SIM105 - suppress() would be a tenth of a fill
            _aboard.reset(self._token)
        except ValueError:
            # A coroutine that is thrown away is closed in another context than its own.
            pass


_aboard: ContextVar[tuple[Flight[Any], ...]] = ContextVar("flushmesh_aboard", default=())


def is_loading() -> bool:
    """Tell whether the caller is itself part of a load."""
    return bool(_aboard.get())


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
