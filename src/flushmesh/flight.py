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
    first flush, during the load, that may have been of a tag of the value; 0 if none was.
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
    flushes when it began, `inside` the flight whose loader asked for it, and `landing` what
    others wait for, if any do.  While it is `queued` it waits for its place among the loads
    of its cache.
    """

    __slots__ = ("_loop", "_token", "ahead", "began", "inside", "key", "landing", "queued", "tags_seen")

    def __init__(
        self,
        key: str,
        began: float,
        tags_seen: int = 0,
        blocking: bool = True,
        ahead: Entry[V] | None = None,
        queued: bool = False,
    ) -> None:
        self.key = key
        self.began = began
        self.tags_seen = tags_seen
        self.ahead = ahead
        self.queued = queued
        self.inside: Flight[Any] | None = None
        self.landing: Future[Landing[V]] | None = None
        self._loop = None if blocking else running_loop()

    def check_not_aboard(self) -> None:
        """Raise RecursiveLoad if the caller is this flight's own loader."""
        flight = _aboard.get()
        while flight is not None:
            if flight is self:
                raise RecursiveLoad(self.key)
            flight = flight.inside

    def join_locked(self, boarded: int) -> Passenger[V]:
        """Return who waits for how this flight ends; the store's lock is held."""
        if self.landing is None:
            self.landing = Future()
            # Without this, cancelling one waiting task would cancel the future for all.
            self.landing.set_running_or_notify_cancel()
        return Passenger(self.landing, boarded)

    def waits_for_caller(self, *, blocking: bool) -> bool:
        """Tell whether this load may not go on before the caller does, who is about to wait, *blocking* or not."""
        # Who loads may hold the very place that a queued one waits for, and so may a load of
        # the event loop of a thread that blocks.
        loop = running_loop() if blocking else None
        return (self.queued and (loop is not None or is_loading())) or (loop is not None and self._loop is loop)

    @property
    def stranded(self) -> bool:
        """Whether the event loop that ran the load has been closed, so that it never ends."""
        return self._loop is not None and self._loop.is_closed()

    def land(self, landing: Landing[V]) -> None:
        """Tell everyone who waits how it ended, the first time; nobody can join any more."""
        if self.landing is not None and not self.landing.done():
            self.landing.set_result(landing)

    def orphan(self) -> None:
        """Forget who waits: in a forked child, those are threads of the parent."""
        self.landing = None

    def __enter__(self) -> None:
        """Mark what runs inside as this flight's loader, here and in the tasks it starts, not in threads."""
        self.inside = _aboard.get()
        self._token = _aboard.set(self)

    def __exit__(self, *exc_info: object) -> None:
        try:  # noqa: SIM105 - suppress() would be a tenth of a fill
            _aboard.reset(self._token)
        except ValueError:
            # A coroutine that is thrown away is closed in another context than its own.
            pass


_aboard: ContextVar[Flight[Any] | None] = ContextVar("flushmesh_aboard", default=None)


def is_loading() -> bool:
    """Tell whether the caller is itself part of a load."""
    return _aboard.get() is not None


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
