"""
NodeRunner: what calls the node, on the driver's thread and nowhere else.

Into the node it feeds what arrives and the time; the node's effects it carries out, or
passes to the mesh.  Before every call it takes from the inbox what application threads
have flushed: a vouch must not be given for a journal in which a flush is still missing
that has already returned to its caller.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from math import ceil, inf
from typing import Final, Protocol

from flushmesh.net.codec import Encoder
from flushmesh.net.inbox import Inbox
from flushmesh.net.knock import Ended
from flushmesh.protocol.effects import Dial, Effect, HangUp, PeerFollowed, Wake
from flushmesh.protocol.messages import Flush, Message
from flushmesh.protocol.node import Node

log = logging.getLogger("flushmesh")

# After an error of the node itself, the earliest next tick: it may raise each time.
RETRY_AFTER: Final = 1.0

# Ticks that are not due at once come in steps of this; the loop's timers may be early by the other.
GRID: Final = 0.02
TIMER_STEP: Final = 0.001

# How many different complaints about what peers sent are logged, each of them once.
COMPLAINTS_MAX: Final = 100

_FORGOTTEN: Final = "an error in the mesh itself; everything that is cached here is forgotten"


class Links(Protocol):
    """The streams of this node, by their links."""

    def dial(self, link: int, address: str) -> None:
        """Open a stream to *address*; never calls back before it has returned."""

    def wake(self, link: int) -> None:
        """There is something to send on *link*."""

    def wake_all(self) -> None:
        """There is something to send on every link."""

    def hang_up(self, link: int) -> None:
        """End *link*, if it is still there."""


class NodeRunner:
    """
    Runs *node* on the running loop.

    *on_effect* gets the effects that are not I/O.  *on_error* is called after an error of the
    node itself, whose effects are lost: nothing may be served then that was there before.
    """

    def __init__(
        self,
        node: Node,
        inbox: Inbox,
        clock: Callable[[], float],
        on_effect: Callable[[Effect], None],
        on_error: Callable[[], None],
    ) -> None:
        self.node = node
        self.met_any = False
        self.takes_flushes = True
        self.disowned = False
        self._inbox = inbox
        self._clock = clock
        self._on_effect = on_effect
        self._on_error = on_error
        self._encoder = Encoder()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._links: Links | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._planning = False
        self._due = inf
        self._earliest = -inf
        self._complaints: set[str] = set()
        self.encode = self._encoder.encode

    def begin(self, links: Links) -> None:
        """Go on with *links*, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._links = links
        self._planning = False
        self._due = inf

    def pause(self) -> None:
        """Tick no more until `begin`."""
        self._loop = self._links = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What application threads have handed over.

    def woken(self) -> None:
        """Look into the inbox because an application thread has called."""
        self._inbox.awake()
        self.look_into_inbox()

    def look_into_inbox(self) -> None:
        """Number what was flushed and answer what was asked, in the order in which it came."""
        inbox = self._inbox
        if not inbox.waiting:
            return
        self.number_flushes()
        while (question := inbox.next_question()) is not None:
            # What its caller had flushed before came before it.
            self.number_flushes()
            try:
                question()
            except Exception:
                log.exception("an error in the mesh itself")

    def number_flushes(self) -> None:
        """Put what was flushed by now into the journal."""
        if self.takes_flushes and self._inbox.take_flushes(self._number) and self._links is not None:
            self._links.wake_all()

    def _number(self, flush: Flush) -> tuple[int, int]:
        try:
            return self.node.flush(flush), self.node.journal.flushes
        except Exception:
            log.exception("a flush is lost because of an error in the mesh itself")
            return 0, 0

    # Calls of the node.

    def call(self, function: Callable[[float], Iterable[Effect]]) -> bool:
        """Call *function*, which calls the node, with the time; carry out its effects; return False if it raised."""
        self.look_into_inbox()
        try:
            effects = function(self._clock())
        except Exception:
            log.exception(_FORGOTTEN)
            self._failed()
            return False
        finally:
            self.plan_soon()
        self.act(effects)
        return True

    def _failed(self) -> None:
        self._earliest = self._clock() + RETRY_AFTER
        self._on_error()

    def act(self, effects: Iterable[Effect]) -> None:
        """Carry out *effects*, in their order."""
        for effect in effects:
            try:
                self._carry_out(effect)
            except Exception:
                log.exception(_FORGOTTEN)
                self._failed()
            if self.disowned:
                # Code of the application has forked on this thread, and this is the child, which ends here.
                os._exit(0)

    def _carry_out(self, effect: Effect) -> None:
        links = self._links
        match effect:
            case Wake(link):
                if links is not None:
                    links.wake(link)
            case Dial(link, address):
                # While everything is torn down nothing begins; before a suspension, what the node takes for
                # dialled is cut with the rest.
                if links is not None:
                    links.dial(link, address)
            case HangUp(link):
                if links is not None:
                    links.hang_up(link)
            case _:
                self.met_any |= isinstance(effect, PeerFollowed)
                self._on_effect(effect)

    # What streams need.

    def accept(self, host: str) -> int:
        """Return a new link for a stream that was opened from *host*."""
        self.look_into_inbox()
        return self.node.accept(host, self._clock())

    def next_message(self, link: int) -> Message | None:
        """Return what is to be sent on *link* next."""
        self.look_into_inbox()
        try:
            return self.node.next_message(link, self._clock())
        except Exception:
            # The conversation logs it, and ends.
            self._failed()
            raise

    def received(self, link: int, message: Message) -> bool:
        """Take what came on *link*; return False if that failed and the link must end."""
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%d: %s", link, message)
        return self.call(lambda now: self.node.receive(link, message, now))

    def broken(self, link: int, reason: str) -> None:
        """End *link* because of what came on it."""
        if reason not in self._complaints and len(self._complaints) < COMPLAINTS_MAX:
            self._complaints.add(reason)
            log.warning("a peer %s; its stream is dropped", reason)
        self.call(lambda now: self.node.hang_up(link, reason, now))

    def closed(self, link: int, ended: Ended) -> None:
        """Record that *link* has ended."""
        self.call(lambda now: self.node.closed(link, ended.reason, now, ended.ending))

    def give_up(self, address: str) -> bool:
        """Give up the silent peers at *address*, and any node there that was never met; return whether that is news."""
        before = len(self.node.peers)
        self.call(lambda now: self.node.give_up(address, now))
        named = self.node.addresses.get(address)
        return len(self.node.peers) < before or (named is not None and named.given_up)

    # Time.

    def plan_soon(self) -> None:
        """Set the timer for what the node does next, once in this round of the loop."""
        if not self._planning and self._loop is not None:
            self._planning = True
            self._loop.call_soon(self._plan)

    def _plan(self) -> None:
        self._planning = False
        if self._loop is None:
            return
        due = max(self.node.next_due(), self._earliest)
        if self._timer is not None:
            if due == self._due:
                return
            self._timer.cancel()
            self._timer = None
        self._due = due
        if due < inf:
            self._timer = self._loop.call_later(_steps(due - self._clock()), self.tick)

    def tick(self) -> None:
        """Do what is due."""
        self._timer = None
        self.call(self.node.tick)


def _steps(delay: float) -> float:
    """
    Return *delay* rounded up to whole steps of the grid.

    What is due at nearly the same time is done by one tick, and none comes too early: the
    timers of the loop count whole milliseconds.
    """
    return ceil(delay / GRID) * GRID + TIMER_STEP if delay > 0 else 0.0
