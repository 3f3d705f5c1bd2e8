"""
Receipt: what a flush returns; it tells which peers have applied the flush.

A receipt is two words of memory.  Only when somebody waits for it are the peers asked to
acknowledge at once, and only then does a future exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock


class Outcome(StrEnum):
    """How far a flush has come."""

    ACKNOWLEDGED = "acknowledged"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far a flush has come; *missing* names the peers that have not acknowledged it."""

    outcome: Outcome
    missing: tuple[str, ...] = ()


class Receipt:
    """
    Stands for one flush; *sequence* is its place in this node's journal.

    Wait for it from any thread, or await it in any event loop.  Neither ever raises for a
    slow peer.
    """

    __slots__ = ("_deliveries", "sequence")

    def __init__(self, sequence: int, deliveries: Deliveries) -> None:
        self.sequence = sequence
        self._deliveries = deliveries

    def __repr__(self) -> str:
        return f"<Receipt {self.sequence}>"

    def wait(self, timeout: float | None = None) -> Delivery:
        """
        Block until every peer has applied the flush, at most *timeout* seconds.

        A mesh without peers has nobody to wait for.  Raises RuntimeError on the mesh's own
        thread (in `on_flushed`), where the answer could never arrive.
        """
        waiter = self._deliveries.watch(self.sequence)
        try:
            return waiter.result(timeout)
        except FutureTimeout:
            self._deliveries.settle(waiter)
            return waiter.result()

    def __await__(self) -> Generator[object, None, Delivery]:
        """Wait without blocking; `asyncio.timeout` around it bounds the wait."""
        return self._arrive().__await__()

    async def _arrive(self) -> Delivery:
        waiter = self._deliveries.watch(self.sequence)
        try:
            return await asyncio.wrap_future(waiter)
        finally:
            self._deliveries.settle(waiter)


class Deliveries:
    """
    Everybody who waits for receipts of one mesh.

    *missing* names the peers that lack a sequence, *ask* has them acknowledge it at once.
    """

    def __init__(self, missing: Callable[[int], tuple[str, ...]], ask: Callable[[int], None]) -> None:
        self._missing = missing
        self._ask = ask
        self._lock = Lock()  # Protects `_waiters` and `_closed`.
        self._waiters: dict[Future[Delivery], int] = {}
        self._closed = False

    def watch(self, sequence: int) -> Future[Delivery]:
        """Return a future of how the flush *sequence* is delivered."""
        waiter: Future[Delivery] = Future()
        self._ask(sequence)
        with self._lock:
            self._waiters[waiter] = sequence
            closed = self._closed
        if closed:
            self.settle(waiter)
        else:
            self.progress()
        return waiter

    def progress(self) -> None:
        """Look again: a peer has acknowledged more, or is no longer waited for."""
        with self._lock:
            waiters = list(self._waiters.items())
        for waiter, sequence in waiters:
            if not self._missing(sequence):
                self.settle(waiter)

    def close(self) -> None:
        """Settle everybody with what is known: nothing more will be."""
        with self._lock:
            self._closed = True
            waiters = list(self._waiters)
        for waiter in waiters:
            self.settle(waiter)

    def settle(self, waiter: Future[Delivery]) -> None:
        """Tell *waiter* what is known now, unless it has been told already."""
        with self._lock:
            sequence = self._waiters.pop(waiter, None)
        # Whoever comes second finds it gone.  A task that was cancelled cancels its future.
        if sequence is not None and waiter.set_running_or_notify_cancel():
            missing = self._missing(sequence)
            waiter.set_result(Delivery(Outcome.PENDING if missing else Outcome.ACKNOWLEDGED, missing))
