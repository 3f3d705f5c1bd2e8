"""
ReceiptDesk: where receipts ask, from any thread, how far their flushes have come.

The answer is on the mesh's own thread.  The desk hands the question over, and reads by
itself where that thread is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Final, Protocol, TypeVar

from flushmesh.net.inbox import Inbox
from flushmesh.receipt import Delivery, Receipt

T = TypeVar("T")

# The mesh's thread answers within microseconds, unless code of the application holds it up.
ANSWER_MAX: Final = 1.0

# A read from another thread may meet a change; a second one seldom meets another.
READS_MAX: Final = 5


class MeshThread(Protocol):
    """The mesh's own thread, as far as a question to it matters."""

    @property
    def suspended(self) -> bool:
        """Whether it has stopped for a fork, and will go on."""

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller runs on it."""


class ReceiptDesk:
    """
    Answers receipts of one mesh.

    *delivery* reads how far a flush has come, on whatever thread.  *watch* and *unwatch* are
    called on the mesh's own thread, *hasten* there too: it has the peers acknowledge at once.
    """

    def __init__(
        self,
        inbox: Inbox,
        thread: Callable[[], MeshThread | None],
        delivery: Callable[[Receipt], Delivery],
        hasten: Callable[[Receipt], None],
        watch: Callable[[Future[Delivery], Receipt], None],
        unwatch: Callable[[Future[Delivery]], None],
    ) -> None:
        self._inbox = inbox
        self._thread = thread
        self._delivery = delivery
        self._hasten = hasten
        self._watch = watch
        self._unwatch = unwatch
        self._frozen = False

    def freeze(self, delivery: Callable[[Receipt], Delivery]) -> None:
        """In a forked child: the flushes are the parent's, and nothing more than *delivery* will be known of them."""
        self._delivery = delivery
        self._frozen = True

    def watch(self, receipt: Receipt) -> Future[Delivery]:
        """Return a future that is resolved once nothing more can be expected; raise on the mesh's own thread."""
        waiter: Future[Delivery] = Future()
        self._check_thread()

        def watch() -> None:
            self._watch(waiter, receipt)
            self._hasten(receipt)

        if self._frozen or not self._inbox.ask(watch):
            waiter.set_result(read(partial(self._delivery, receipt)))
        return waiter

    def look(self, receipt: Receipt) -> Delivery:
        """Have the peers acknowledge at once, and return what is known now; raise on the mesh's own thread."""
        self._check_thread()

        def look() -> Delivery:
            self._hasten(receipt)
            return self._delivery(receipt)

        if self._frozen:
            return self._delivery(receipt)
        return ask(self._inbox, self._thread(), look, partial(self._delivery, receipt))

    def forget(self, waiter: Future[Delivery]) -> None:
        """Stop watching."""
        self._inbox.ask(partial(self._unwatch, waiter))

    def _check_thread(self) -> None:
        thread = self._thread()
        if thread is not None and thread.is_current_thread:
            raise RuntimeError("a receipt cannot be waited for on the mesh's own thread, where its answer comes")


def ask(inbox: Inbox, thread: MeshThread | None, question: Callable[[], T], instead: Callable[[], T]) -> T:
    """
    Return what *question* returns on the mesh's *thread*.

    Where that is gone, is the caller's own, or does not answer for a second, return what
    *instead* returns here.
    """
    if thread is None or thread.suspended or thread.is_current_thread:
        return read(instead)
    answer: Future[T] = Future()

    def answer_it() -> None:
        if answer.set_running_or_notify_cancel():
            try:
                answer.set_result(question())
            except Exception as error:  # It is the caller's.
                answer.set_exception(error)

    if not inbox.ask(answer_it):
        return read(instead)
    try:
        return answer.result(ANSWER_MAX)
    except TimeoutError:
        answer.cancel()
        return read(instead)


def read(function: Callable[[], T]) -> T:
    """Return what *function* returns, which reads what another thread may be changing."""
    for _ in range(READS_MAX - 1):
        try:
            return function()
        except RuntimeError:
            # What it looked through was changed meanwhile.
            continue
    return function()
