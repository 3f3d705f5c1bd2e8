"""
Receipt: what a flush returns; it tells which peers have applied the flush.

A receipt is three words of memory.  Only when somebody waits for it are the peers asked to
acknowledge at once, and only then does a future exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from enum import StrEnum
from heapq import heappop, heappush
from threading import Lock


class Outcome(StrEnum):
    """How far a flush has come."""

    ACKNOWLEDGED = "acknowledged"
    FENCED = "fenced"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Delivery:
    """
    How far a flush has come, by the names of the peers.

    *acknowledged* have applied it.  *fenced* have not said so, but can no longer serve
    anything older, by this node's own clock.  *missing* are the others.
    """

    acknowledged: tuple[str, ...] = ()
    fenced: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """PENDING while anybody is missing, else FENCED if anybody is fenced, else ACKNOWLEDGED."""
        if self.missing:
            return Outcome.PENDING
        return Outcome.FENCED if self.fenced else Outcome.ACKNOWLEDGED


class Receipt:
    """
    Stands for one flush; `sequence` is its place in this node's journal, `flushed_at` when it
    was made, on this node's clock.

    Wait for it from any thread, or await it in any event loop.  Neither ever raises for a
    slow peer.
    """

    __slots__ = ("_deliveries", "flushed_at", "sequence")

    def __init__(self, sequence: int, flushed_at: float, deliveries: Deliveries) -> None:
        self.sequence = sequence
        self.flushed_at = flushed_at
        self._deliveries = deliveries

    def __repr__(self) -> str:
        return f"<Receipt {self.sequence}>"

    def wait(self, timeout: float | None = None) -> Delivery:
        """
        Block until every peer has applied the flush or is fenced, at most *timeout* seconds.

        A mesh without peers has nobody to wait for; neither is a peer that leaves, or is given
        up.  Raises RuntimeError on the mesh's own thread (in `on_flushed`), where the answer
        could never arrive.
        """
        waiter = self._deliveries.watch(self)
        try:
            wait([waiter], timeout)
        finally:
            self._deliveries.settle(waiter)
        return waiter.result()

    def __await__(self) -> Generator[object, None, Delivery]:
        """Wait without blocking; `asyncio.timeout` around it bounds the wait."""
        return self._arrive().__await__()

    async def _arrive(self) -> Delivery:
        waiter = self._deliveries.watch(self)
        try:
            return await asyncio.wrap_future(waiter)
        finally:
            self._deliveries.settle(waiter)


class Deliveries:
    """
    Everybody who waits for receipts of one mesh.

    *delivery* tells how far a flush has come, *ask* has the peers acknowledge it at once.
    """

    def __init__(self, delivery: Callable[[Receipt], Delivery], ask: Callable[[int], None]) -> None:
        self._delivery = delivery
        self._ask = ask
        self._lock = Lock()  # Protects `_waiters`, `_order` and `_closed`.
        self._waiters: dict[Future[Delivery], Receipt] = {}
        self._order: list[tuple[int, int, Future[Delivery]]] = []
        self._count = 0
        self._closed = False

    def watch(self, receipt: Receipt) -> Future[Delivery]:
        """Return a future of how the flush of *receipt* is delivered."""
        waiter: Future[Delivery] = Future()
        self._ask(receipt.sequence)
        with self._lock:
            self._waiters[waiter] = receipt
            self._count += 1
            if len(self._order) > 2 * len(self._waiters) + 64:
                # Most of them have stopped waiting.
                self._order = sorted(entry for entry in self._order if entry[2] in self._waiters)
            heappush(self._order, (receipt.sequence, self._count, waiter))
            closed = self._closed
        if closed or not self._delivery(receipt).missing:
            self.settle(waiter)
        return waiter

    def acknowledged(self, upto: int) -> None:
        """Look again at the flushes up to *upto*, which every peer has acknowledged."""
        reached = []
        with self._lock:
            while self._order and self._order[0][0] <= upto:
                reached.append(heappop(self._order)[2])
        self._reconsider(reached)

    def reconsider(self) -> None:
        """Look at every receipt again: somebody is fenced by now, or no longer waited for."""
        with self._lock:
            waiters = list(self._waiters)
        self._reconsider(waiters)

    def _reconsider(self, waiters: Iterable[Future[Delivery]]) -> None:
        for waiter in waiters:
            receipt = self._waiters.get(waiter)
            if receipt is not None and not self._delivery(receipt).missing:
                self.settle(waiter)

    def close(self) -> None:
        """Settle everybody with what is known: nothing more will be."""
        with self._lock:
            self._closed = True
            waiters = list(self._waiters)
        for waiter in waiters:
            self.settle(waiter)

    def freeze(self, delivery: Callable[[Receipt], Delivery]) -> None:
        """In a forked child: the flushes are the parent's, and nothing more than *delivery* will be known of them."""
        self._lock = Lock()
        self._waiters, self._order, self._closed = {}, [], True
        self._delivery, self._ask = delivery, lambda _sequence: None

    def settle(self, waiter: Future[Delivery]) -> None:
        """Tell *waiter* what is known now, unless it has been told already."""
        with self._lock:
            receipt = self._waiters.pop(waiter, None)
        # Whoever comes second finds it gone.  A task that was cancelled cancels its future.
        if receipt is not None and waiter.set_running_or_notify_cancel():
            waiter.set_result(self._delivery(receipt))
