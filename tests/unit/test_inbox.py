"""The inbox: what threads, signal handlers and finalizers hand to the mesh's thread, without a lock."""

import gc
import itertools
import signal
import sys
import threading
from collections import deque

import pytest

from flushmesh.net import inbox as module
from flushmesh.net.inbox import Inbox
from flushmesh.protocol.messages import Flush


class Ticket:
    def __init__(self):
        self.sequence = 0

    def numbered(self, position, sequence):
        self.sequence = sequence


class Journal:
    """Numbers flushes as the mesh's thread does."""

    def __init__(self):
        self.flushes = []

    def append(self, flush):
        self.flushes.append(flush)
        return len(self.flushes) + 100, len(self.flushes)


def take(inbox, journal):
    """Take everything, in the order in which the mesh's thread does."""
    inbox.awake()
    inbox.take_flushes(journal.append)
    while (question := inbox.next_question()) is not None:
        inbox.take_flushes(journal.append)
        question()


def test_flushes_are_numbered_in_their_order():
    """Each ticket learns the place of its own flush."""
    inbox, journal, tickets = Inbox(), Journal(), [Ticket() for _ in range(3)]
    for ticket, key in zip(tickets, "abc", strict=True):
        assert inbox.flush(Flush("c", key), ticket)

    take(inbox, journal)

    assert [flush.key for flush in journal.flushes] == ["a", "b", "c"]
    assert [ticket.sequence for ticket in tickets] == [1, 2, 3]
    assert not inbox.waiting


def test_a_question_comes_after_the_flushes_before_it():
    """Whatever a caller flushed before it asked has its number when it is answered."""
    inbox, journal, ticket, seen = Inbox(), Journal(), Ticket(), []
    inbox.ask(lambda: inbox.flush(Flush("c", "k"), ticket) and inbox.ask(lambda: seen.append(ticket.sequence)))

    take(inbox, journal)

    assert seen == [1]


def test_many_calls_in_a_row_are_one_wake_up():
    """Until the thread has looked, it need not be woken again."""
    inbox, woken = Inbox(), []
    inbox.wake = lambda: woken.append(1)
    for _ in range(3):
        inbox.flush(Flush("c"), Ticket())
        inbox.ask(list)
    assert len(woken) == 1

    inbox.awake()
    inbox.ask(list)

    assert len(woken) == 2


def test_a_wake_up_that_is_carried_out_at_once_is_not_the_last():
    """A thread that looks before the caller goes on is woken by the next call all the same."""
    inbox, journal, woken = Inbox(), Journal(), []

    def at_once():
        woken.append(1)
        take(inbox, journal)

    inbox.wake = at_once
    for _ in range(3):
        inbox.flush(Flush("c"), Ticket())

    assert (len(woken), len(journal.flushes)) == (3, 3)


def test_a_closed_inbox_takes_questions_alone_and_an_ended_one_nothing():
    """What was taken before it closed is still numbered."""
    inbox, journal, before, after = Inbox(), Journal(), Ticket(), Ticket()
    inbox.flush(Flush("c", "before"), before)

    inbox.close()

    assert not inbox.flush(Flush("c", "after"), after)
    assert inbox.ask(list)
    take(inbox, journal)
    assert (before.sequence, after.sequence) == (1, 0)
    inbox.end()
    assert not inbox.ask(list)
    assert not inbox.waiting


class Interrupted(deque):
    """A deque that calls *function* right after an entry has come in, as another thread might."""

    def __init__(self, function):
        super().__init__()
        self._function = function

    def append(self, entry):
        super().append(entry)
        self._function()


@pytest.mark.parametrize("drained", [False, True], ids=["not taken", "taken"])
def test_a_flush_that_meets_the_close_is_either_taken_or_refused(drained):
    """Closed between its first look and its second, a flush is refused if and only if it has no number."""
    inbox, journal, ticket = Inbox(), Journal(), Ticket()

    def close():
        inbox.close()
        if drained:
            inbox.take_flushes(journal.append)

    inbox._flushes = Interrupted(close)

    assert inbox.flush(Flush("c", "k"), ticket) is drained
    assert (ticket.sequence, len(journal.flushes)) == ((1, 1) if drained else (0, 0))
    assert not inbox.waiting


@pytest.mark.parametrize("drained", [False, True], ids=["not taken", "taken"])
def test_a_question_that_meets_the_end_is_either_called_or_refused(drained):
    """Its caller never waits for an answer that does not come."""
    inbox, called = Inbox(), []

    def end():
        inbox.end()
        if drained:
            take(inbox, Journal())

    inbox._questions = Interrupted(end)

    assert inbox.ask(lambda: called.append(1)) is drained
    assert called == ([1] if drained else [])


def test_threads_that_flush_while_it_closes_know_what_was_taken(monkeypatch):
    """Of many threads beside a close, each flush that was accepted has a number, and no other has."""
    monkeypatch.setattr(module, "BACKLOG_MAX", 10**9)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(30):
            inbox, journal = Inbox(), Journal()
            accepted, refused = [], []

            def use(inbox=inbox, accepted=accepted, refused=refused):
                for _ in itertools.count():
                    ticket = Ticket()
                    if not inbox.flush(Flush("c"), ticket):
                        refused.append(ticket)
                        return
                    accepted.append(ticket)

            threads = [threading.Thread(target=use) for _ in range(3)]
            for thread in threads:
                thread.start()
            while len(journal.flushes) < 50:
                inbox.take_flushes(journal.append)
            inbox.close()
            inbox.take_flushes(journal.append)
            for thread in threads:
                thread.join(10)

            assert sorted(ticket.sequence for ticket in accepted) == list(range(1, len(journal.flushes) + 1))
            assert [ticket.sequence for ticket in refused] == [0, 0, 0]
            assert not inbox.waiting
    finally:
        sys.setswitchinterval(interval)


def test_a_signal_handler_may_flush_while_a_flush_is_made():
    """Whatever step it interrupts, neither flush is lost, and neither waits for the other."""
    inbox, journal, handled = Inbox(), Journal(), []
    inbox.wake = lambda: None

    def flush(*_):
        ticket = Ticket()
        assert inbox.flush(Flush("c", "handler"), ticket)
        handled.append(ticket)

    before = signal.signal(signal.SIGALRM, flush)
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    try:
        made = [Ticket() for _ in range(20_000)]
        for number, ticket in enumerate(made):
            assert inbox.flush(Flush("c", "main"), ticket)
            if number % 100 == 0:
                inbox.take_flushes(journal.append)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    inbox.take_flushes(journal.append)

    assert handled
    numbers = sorted(ticket.sequence for ticket in made + handled)
    assert numbers == list(range(1, len(made) + len(handled) + 1))


def test_a_finalizer_may_flush_while_the_journal_takes_a_flush():
    """The collector may run it in the middle of a call of the node, on the mesh's own thread."""
    inbox, journal, ticket = Inbox(), Journal(), Ticket()

    class Session:
        def __init__(self):
            self.me = self

        def __del__(self):
            assert inbox.flush(Flush("c", "finalizer"), ticket)

    def number(flush):
        if flush.key == "k":
            Session()
            gc.collect()
        return journal.append(flush)

    inbox.flush(Flush("c", "k"), Ticket())
    inbox.take_flushes(number)
    inbox.take_flushes(number)

    assert [flush.key for flush in journal.flushes] == ["k", "finalizer"]
    assert ticket.sequence == 2


def test_a_loop_that_flushes_gives_way_to_the_thread_that_takes(monkeypatch):
    """Beyond a bound each flush pauses for a moment, and comes in all the same."""
    pauses = []
    monkeypatch.setattr(module, "BACKLOG_MAX", 10)
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    inbox = Inbox()
    for _ in range(11):
        inbox.flush(Flush("c"), Ticket())
    assert pauses == []

    inbox.flush(Flush("c"), Ticket())

    assert pauses == [module.GIVE_WAY]
    assert inbox.take_flushes(lambda _flush: (1, 1)) == 12
