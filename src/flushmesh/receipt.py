"""
Receipt: what a flush returns; it reports which peers have applied the flush.

A receipt is four words of memory.  Only when a caller waits for it are the peers asked to
acknowledge at once, and only then does a future exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from heapq import heappop, heappush
from time import perf_counter
from typing import Final, Protocol

# How a second look at many receipts is spread: this long at a time, with this pause between.
LOOK_MAX: Final = 0.001
LOOK_PAUSE: Final = 0.05


class Outcome(StrEnum):
    """How far a flush has come."""

    ACKNOWLEDGED = "acknowledged"
    FENCED = "fenced"
    PENDING = "pending"
    UNREACHED = "unreached"
    ALONE = "alone"


@dataclass(frozen=True, slots=True)
class Delivery:
    """
    How far a flush has come.

    *acknowledged* are the names of the peers that have applied it.  Those in *fenced* have not
    confirmed it, but can no longer serve anything older, by this node's own clock.  *missing*
    are the other peers.  *unreached* are addresses that a roster or a discovery names and from
    which nothing ever came back: a node there has not heard of the flush.  *alone* is set if
    this node has met no other although its roster or discovery names some.  *undecided* is
    set while the node still looks for others, or if it ended before the flush was sent.
    """

    acknowledged: tuple[str, ...] = ()
    fenced: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unreached: tuple[str, ...] = ()
    alone: bool = False
    undecided: bool = False

    @property
    def outcome(self) -> Outcome:
        """
        The least that can be said of every node.

        PENDING while a peer is missing or more may turn up; then UNREACHED if an address is,
        ALONE, FENCED if any peer is, and else ACKNOWLEDGED.
        """
        if self.missing or self.undecided:
            return Outcome.PENDING
        if self.unreached:
            return Outcome.UNREACHED
        if self.alone:
            return Outcome.ALONE
        return Outcome.FENCED if self.fenced else Outcome.ACKNOWLEDGED

    @property
    def complete(self) -> bool:
        """
        Whether no node serves anything older than the flush any more.

        True if every member has applied it or is fenced, and none can be missing from the list.
        """
        return self.outcome in (Outcome.ACKNOWLEDGED, Outcome.FENCED)


class Desk(Protocol):
    """Where receipts are asked for; every method may be called from any thread."""

    def watch(self, receipt: Receipt) -> Future[Delivery]:
        """Return a future that is resolved once nothing more can be expected; raise on the mesh's own thread."""

    def look(self, receipt: Receipt) -> Delivery:
        """Have the peers acknowledge at once, and return what is known now; raise on the mesh's own thread."""

    def forget(self, waiter: Future[Delivery]) -> None:
        """Stop watching."""


class Receipt:
    """
    Stands for one flush, which was made at `flushed_at` on this node's clock.

    `position` is its place in this node's journal, which numbers changes of membership too; 0
    until it is there.

    Wait for it from any thread, or await it in any event loop.  Neither ever raises for a
    slow peer.
    """

    __slots__ = ("_desk", "_sequence", "flushed_at", "position")

    def __init__(self, flushed_at: float, desk: Desk, position: int = 0, sequence: int = 0) -> None:
        self.flushed_at = flushed_at
        self.position = position
        self._desk = desk
        self._sequence = sequence

    def __repr__(self) -> str:
        return f"<Receipt {self._sequence or 'not numbered yet'}>"

    @property
    def sequence(self) -> int:
        """
        The number of the flush among those of this node, as `Flushed.sequence` has it on peers.

        It is 0 until the mesh's own thread has counted it, a moment after the flush.
        """
        return self._sequence

    def numbered(self, position: int, sequence: int) -> None:
        """Record where in the journal the flush is, and its number; called on the mesh's own thread."""
        self.position = position
        self._sequence = sequence

    def wait(self, timeout: float | None = None) -> Delivery:
        """
        Block until every peer has applied the flush or is fenced, at most *timeout* seconds.

        `complete` of what is returned is the yes or no.  A peer that leaves, or is given up,
        is not waited for.  While the node still looks for others, it waits for those too.
        Raises RuntimeError on the mesh's own thread, as in the `run` of a discovery: the answer
        could never arrive there.
        """
        if timeout is not None and timeout <= 0:
            return self._desk.look(self)
        waiter = self._desk.watch(self)
        try:
            return waiter.result(timeout)
        except TimeoutError:
            pass
        finally:
            if not waiter.done():
                self._desk.forget(waiter)
        return self._desk.look(self)

    def __await__(self) -> Generator[object, None, Delivery]:
        """Wait without blocking; `asyncio.timeout` around it bounds the wait."""
        return self._arrive().__await__()

    async def _arrive(self) -> Delivery:
        waiter = self._desk.watch(self)
        try:
            return await asyncio.wrap_future(waiter)
        finally:
            if not waiter.done() or waiter.cancelled():
                self._desk.forget(waiter)


class ReceiptWaiters:
    """
    Every receipt of one mesh that is being waited for; on the mesh's own thread alone.

    *delivery* returns how far a flush has come, *later* has a function called after some
    seconds on this thread.
    """

    def __init__(
        self,
        delivery: Callable[[Receipt], Delivery],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._delivery = delivery
        self._later = later
        self._waiters: dict[Future[Delivery], Receipt] = {}
        self._order: list[tuple[int, int, Future[Delivery]]] = []
        self._count = 0
        self._to_look_at: list[Future[Delivery]] = []
        self._looking = False
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiters)

    def add(self, waiter: Future[Delivery], receipt: Receipt) -> None:
        """Resolve *waiter* once nothing more can be expected of *receipt*."""
        if self._closed:
            self._waiters[waiter] = receipt
            self._resolve(waiter, self._delivery(receipt))
            return
        self._waiters[waiter] = receipt
        self._count += 1
        if len(self._order) > 2 * len(self._waiters) + 64:
            # Most of them have stopped waiting.
            self._order = sorted(entry for entry in self._order if entry[2] in self._waiters)
        heappush(self._order, (receipt.position, self._count, waiter))
        self._look_at(waiter)

    def forget(self, waiter: Future[Delivery]) -> None:
        """Stop watching: its caller does not wait any more."""
        self._waiters.pop(waiter, None)

    def acknowledged(self, upto: int) -> None:
        """Look again at the flushes up to *upto*, which every peer has acknowledged."""
        while self._order and self._order[0][0] <= upto:
            self._look_at(heappop(self._order)[2])

    def recheck(self) -> None:
        """Look at every receipt again: a peer may be fenced by now, or no longer waited for."""
        # Many callers may wait for one frozen peer.  They are looked at in slices, so that this
        # thread has time for everything else.
        if not self._looking:
            self._to_look_at = list(self._waiters)
            self._look()

    def _look(self) -> None:
        deadline = perf_counter() + LOOK_MAX
        while self._to_look_at and perf_counter() < deadline:
            self._look_at(self._to_look_at.pop())
        self._looking = bool(self._to_look_at)
        if self._looking:
            self._later(LOOK_PAUSE, self._look)

    def _look_at(self, waiter: Future[Delivery]) -> None:
        receipt = self._waiters.get(waiter)
        if receipt is not None:
            delivery = self._delivery(receipt)
            if delivery.outcome is not Outcome.PENDING:
                self._resolve(waiter, delivery)

    def _resolve(self, waiter: Future[Delivery], delivery: Delivery) -> None:
        del self._waiters[waiter]
        # A task that was cancelled has cancelled its future.
        if waiter.set_running_or_notify_cancel():
            waiter.set_result(delivery)

    def pause(self) -> None:
        """Look at nothing until the next recheck: the loop that *later* stands for is ending."""
        self._looking = False
        self._to_look_at = []

    def close(self) -> None:
        """Resolve every waiter with what is known: nothing more will be."""
        self._closed = True
        for waiter, receipt in list(self._waiters.items()):
            self._resolve(waiter, self._delivery(receipt))
