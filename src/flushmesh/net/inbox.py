"""
Inbox: what application threads hand to the mesh's thread, without a lock.

A flush may be made anywhere: in a signal handler that interrupts another flush, in a
finalizer that the garbage collector runs on the mesh's own thread in the middle of a call
of the node.  So handing it over takes a lock nowhere; appending to a deque and removing
from one are single steps of the interpreter.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from flushmesh.protocol.messages import Flush

# A thread that flushes in a loop outruns the mesh's thread, whose memory would grow without end.
# Beyond this each flush gives way for a moment, long enough for many to be taken.
BACKLOG_MAX: Final = 16_384
GIVE_WAY: Final = 0.0005

T = TypeVar("T")


class Ticket(Protocol):
    """What a flush returned: it learns its number when the mesh's thread has taken the flush."""

    def numbered(self, position: int, sequence: int) -> None:
        """Record the *position* of the flush in this node's journal, and its number among the flushes there."""


class Inbox:
    """
    Flushes and questions, in the order in which they came.

    A question is a function that is called on the mesh's thread; every flush that was made
    before it has its number by then.  `wake` is called when the mesh's thread may be idle.

    Closed, it takes no more flushes, and ended, nothing at all.  The order of steps matters:
    a caller appends first and looks whether the inbox is closed afterwards; the mesh's thread
    closes first and empties afterwards.  What is left was not taken, and its caller finds it:

        1: flush          looks: open
        2: close          closed; the mesh's thread takes what is here, which is nothing
        1: flush          appends; looks again: closed; removes its flush; refuses
    """

    def __init__(self) -> None:
        self.wake: Callable[[], None] = _nothing
        self._closed = False
        self._ended = False
        self._flushes: deque[tuple[Flush, Ticket]] = deque()
        self._questions: deque[Callable[[], None]] = deque()
        self._woken = False

    # On any thread.

    def flush(self, flush: Flush, ticket: Ticket) -> bool:
        """Hand over *flush*; return False if it was not taken because the inbox is closed."""
        if self.is_closed():
            return False
        if len(self._flushes) > BACKLOG_MAX:
            self._call_wake()
            time.sleep(GIVE_WAY)
        entry = (flush, ticket)
        self._flushes.append(entry)
        if self.is_closed() and _take_back(self._flushes, entry):
            return False
        self._call_wake()
        return True

    def ask(self, question: Callable[[], None]) -> bool:
        """Have *question* called on the mesh's thread; return False if that has ended."""
        if self.has_ended():
            return False
        self._questions.append(question)
        if self.has_ended() and _take_back(self._questions, question):
            return False
        self._call_wake()
        return True

    def close(self) -> None:
        """Take no more flushes."""
        self._closed = True

    def end(self) -> None:
        """Take nothing more."""
        self._closed = self._ended = True

    def is_closed(self) -> bool:
        """Return whether flushes are refused."""
        return self._closed

    def has_ended(self) -> bool:
        """Return whether everything is refused."""
        return self._ended

    def _call_wake(self) -> None:
        if not self._woken:
            # Set first: the mesh's thread may wake, and reset it, before the call has returned.
            self._woken = True
            self.wake()

    # On the mesh's thread.

    @property
    def waiting(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._flushes or self._questions)

    def awake(self) -> None:
        """From now on `wake` is called again; the mesh's thread looks into the inbox after this."""
        self._woken = False

    def take_flushes(self, number: Callable[[Flush], tuple[int, int]]) -> int:
        """Have *number* put each flush that is here by now into the journal; return how many there were."""
        flushes = self._flushes
        count = 0
        # Not until none is left: a thread that flushes in a loop would keep this one here forever.
        for _ in range(len(flushes)):
            try:
                flush, ticket = flushes.popleft()
            except IndexError:
                # Its caller took the last one back.
                break
            ticket.numbered(*number(flush))
            count += 1
        return count

    def next_question(self) -> Callable[[], None] | None:
        """Return the next question, to be called once all flushes are taken, or None."""
        try:
            return self._questions.popleft()
        except IndexError:
            return None


def _take_back(entries: deque[T], entry: T) -> bool:
    """Remove *entry*; return False if the mesh's thread has taken it."""
    while True:
        try:
            entries.remove(entry)
        except ValueError:
            return False
        except (IndexError, RuntimeError):
            # Another thread changed the deque meanwhile.
            continue
        return True


def _nothing() -> None:
    """Stand for the wake-up of a thread that is not there."""
