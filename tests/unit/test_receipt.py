"""Receipts: they report the truth, and never raise for a slow peer."""

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import pytest

from flushmesh import receiptdesk
from flushmesh.net.inbox import Inbox
from flushmesh.protocol.messages import Flush
from flushmesh.receipt import Delivery, Outcome, Receipt, ReceiptWaiters
from flushmesh.receiptdesk import ReceiptDesk


class Peers:
    """
    Peers whose acknowledgements the test gives, and a thread that takes what is asked.

    Until `run`, questions are answered by the thread that asks: what it hands over it carries out at once.
    """

    suspended = False
    is_current_thread = False

    def __init__(self, *names):
        self.acknowledged = dict.fromkeys(names, 0)
        self.hastened = []
        self.fenced = set()
        self.undecided = False
        self.looks = 0
        self.postponed = []
        self.inbox = Inbox()
        self.inbox.wake = self.take
        self.waiters = ReceiptWaiters(self.delivery, lambda seconds, function: self.postponed.append(function))
        self.desk = ReceiptDesk(
            self.inbox,
            lambda: self,
            self.delivery,
            lambda receipt: self.hastened.append(receipt.position),
            self.waiters.add,
            self.waiters.forget,
        )

    def take(self):
        self.inbox.awake()
        while (question := self.inbox.next_question()) is not None:
            question()

    def delivery(self, receipt):
        self.looks += 1
        late = {name for name, at in self.acknowledged.items() if at < receipt.position}
        return Delivery(
            acknowledged=tuple(sorted(set(self.acknowledged) - late)),
            fenced=tuple(sorted(late & self.fenced)),
            missing=tuple(sorted(late - self.fenced)),
            undecided=self.undecided,
        )

    def acknowledge(self, name, sequence):
        self.acknowledged[name] = sequence
        self.inbox.ask(lambda: self.waiters.acknowledged(min(self.acknowledged.values())))

    def recheck(self):
        self.inbox.ask(self.waiters.recheck)

    def receipt(self, sequence):
        return Receipt(0.0, self.desk, sequence)


# What a delivery says.


@pytest.mark.parametrize(
    ("delivery", "outcome", "complete"),
    [
        (Delivery(), Outcome.ACKNOWLEDGED, True),
        (Delivery(("a",)), Outcome.ACKNOWLEDGED, True),
        (Delivery(("a",), ("b",)), Outcome.FENCED, True),
        (Delivery(("a",), ("b",), ("c",)), Outcome.PENDING, False),
        (Delivery(("a",), undecided=True), Outcome.PENDING, False),
        (Delivery(("a",), unreached=("x:1",)), Outcome.UNREACHED, False),
        (Delivery((), ("b",), unreached=("x:1",)), Outcome.UNREACHED, False),
        (Delivery(alone=True), Outcome.ALONE, False),
        (Delivery(missing=("c",), unreached=("x:1",), alone=True), Outcome.PENDING, False),
    ],
)
def test_a_delivery_is_complete_only_if_no_node_can_serve_what_is_older(delivery, outcome, complete):
    """Complete means that every member has applied it or is fenced, and that no other can be missing."""
    assert (delivery.outcome, delivery.complete) == (outcome, complete)


# Waiting.


def test_without_peers_a_flush_is_acknowledged():
    """A mesh without peers has delivered everything."""
    delivery = Peers().receipt(1).wait(0)

    assert delivery == Delivery()
    assert delivery.outcome is Outcome.ACKNOWLEDGED


def test_a_timeout_names_the_peers_that_are_missing():
    """At the timeout the receipt is pending, and names them."""
    peers = Peers("a", "b")
    peers.acknowledge("a", 1)

    for timeout in (0, 0.001):
        assert peers.receipt(1).wait(timeout) == Delivery(("a",), missing=("b",))
    assert set(peers.hastened) == {1}
    assert len(peers.waiters) == 0


def test_an_older_acknowledgement_is_not_enough():
    """A peer that has applied less than the flush has not applied it."""
    peers = Peers("a")
    peers.acknowledge("a", 4)

    assert peers.receipt(5).wait(0).outcome is Outcome.PENDING
    assert peers.receipt(4).wait(0).outcome is Outcome.ACKNOWLEDGED


def test_a_thread_waits_until_the_last_peer_acknowledges():
    """wait returns when every peer has acknowledged, and not before."""
    peers = Peers("a", "b")
    results = []
    thread = threading.Thread(target=lambda: results.append(peers.receipt(1).wait(10)))
    thread.start()
    while not peers.hastened:
        threading.Event().wait(0.001)
    peers.acknowledge("a", 1)
    assert results == []
    peers.acknowledge("b", 1)
    thread.join(10)

    assert results == [Delivery(("a", "b"))]


def test_a_wait_goes_on_while_more_peers_may_turn_up():
    """Before joining has ended every known peer may have acknowledged, and the receipt is pending all the same."""
    peers = Peers("a")
    peers.undecided = True
    peers.acknowledge("a", 1)
    waiter = peers.desk.watch(peers.receipt(1))
    peers.acknowledge("a", 2)
    peers.recheck()
    assert not waiter.done()

    peers.undecided = False
    peers.recheck()

    assert waiter.result(0) == Delivery(("a",))


def test_a_task_awaits_a_receipt():
    """A receipt is awaited in any loop."""
    peers = Peers("a")

    async def main():
        task = asyncio.ensure_future(peers.receipt(1))
        await asyncio.sleep(0)
        await asyncio.to_thread(peers.acknowledge, "a", 1)
        return await task

    assert asyncio.run(main()) == Delivery(("a",))


def test_a_cancelled_wait_leaves_nothing_behind():
    """A task that stops waiting is forgotten."""
    peers = Peers("a")

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await peers.receipt(1)

    asyncio.run(main())
    assert len(peers.waiters) == 0
    peers.acknowledge("a", 1)


def test_a_fenced_peer_is_told_from_one_that_acknowledged():
    """A receipt from which no peer is missing names those that have only run out of what they could serve."""
    peers = Peers("a", "b")
    waiter = peers.desk.watch(peers.receipt(1))
    peers.acknowledge("a", 1)
    assert not waiter.done()
    peers.fenced.add("b")
    peers.recheck()

    assert waiter.result(0) == Delivery(("a",), ("b",))
    assert waiter.result(0).outcome is Outcome.FENCED


def test_closing_resolves_every_wait():
    """When the mesh closes, each waiter gets what is known, and so does each that comes later."""
    peers = Peers("a")
    waiter = peers.desk.watch(peers.receipt(1))

    peers.waiters.close()

    assert waiter.result(0) == Delivery(missing=("a",))
    assert peers.desk.watch(peers.receipt(2)).result(0) == Delivery(missing=("a",))
    peers.inbox.end()
    assert peers.receipt(3).wait() == Delivery(missing=("a",))


# What waiting costs.


def test_waiters_that_gave_up_cost_nothing():
    """However many receipts time out because of a frozen peer, they are forgotten."""
    peers = Peers("a")
    for sequence in range(1, 1000):
        peers.desk.forget(peers.desk.watch(peers.receipt(sequence)))

    assert len(peers.waiters) == 0
    assert len(peers.waiters._order) < 100
    peers.looks = 0

    peers.recheck()
    peers.acknowledge("a", 2000)

    assert peers.looks == 0


def test_many_receipts_of_a_frozen_peer_are_not_looked_at_again_and_again():
    """Each receipt is looked at when its wait begins and when it ends; what one peer says costs nothing else."""
    peers = Peers("a", "frozen")
    waiters = []
    for sequence in range(1, 501):
        waiters.append(peers.desk.watch(peers.receipt(sequence)))
        peers.acknowledge("a", sequence)
    assert peers.looks <= 500
    for sequence in range(1, 501):
        peers.acknowledge("frozen", sequence)

    assert all(waiter.result(0).outcome is Outcome.ACKNOWLEDGED for waiter in waiters)
    assert peers.looks <= 2 * 500


def test_a_second_look_at_many_receipts_comes_in_slices(monkeypatch):
    """Ten thousand waiters hold up the mesh's thread for a slice at a time, with pauses; each is reached in the end."""
    clock = [0.0]
    monkeypatch.setattr("flushmesh.receipt.perf_counter", lambda: clock[0])
    peers = Peers("frozen")
    delivery = peers.waiters._delivery

    def slow(receipt):
        clock[0] += 0.0001
        return delivery(receipt)

    peers.waiters._delivery = slow
    waiters = [peers.desk.watch(peers.receipt(sequence)) for sequence in range(1, 101)]
    peers.looks, slices = 0, []
    peers.recheck()
    peers.recheck()
    while True:
        slices.append(peers.looks)
        peers.looks = 0
        if not peers.postponed:
            break
        (again,) = peers.postponed
        peers.postponed = []
        again()

    assert max(slices) <= 11
    assert sum(slices) == 100
    assert not any(waiter.done() for waiter in waiters)


def test_a_wait_that_is_interrupted_leaves_nothing_behind(monkeypatch):
    """Whatever ends a wait, its waiter is forgotten."""
    peers = Peers("a")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "result", interrupt)
    with pytest.raises(KeyboardInterrupt):
        peers.receipt(1).wait()

    assert len(peers.waiters) == 0


def test_a_wait_that_ends_well_leaves_nothing_behind():
    """Waiters that were resolved are forgotten."""
    peers = Peers("a")
    waiter = peers.desk.watch(peers.receipt(1))
    peers.acknowledge("a", 1)
    assert peers.receipt(1).wait().outcome is Outcome.ACKNOWLEDGED

    assert waiter.done()
    assert len(peers.waiters) == 0


# The thread that answers.


def test_a_receipt_is_not_waited_for_on_the_thread_that_answers():
    """It raises instead of hanging."""
    peers = Peers("a")
    peers.is_current_thread = True

    for wait in (lambda receipt: receipt.wait(), lambda receipt: receipt.wait(0)):
        with pytest.raises(RuntimeError, match="on the mesh's own thread"):
            wait(peers.receipt(1))


def test_a_thread_that_does_not_answer_is_not_waited_for_long(monkeypatch):
    """After a bounded time a question is answered where it was asked."""
    monkeypatch.setattr(receiptdesk, "ANSWER_MAX", 0.01)
    peers = Peers("a")
    peers.inbox.wake = lambda: None

    assert peers.receipt(1).wait(0) == Delivery(missing=("a",))
    # The answer that comes too late finds that no caller waits for it.
    peers.take()


def test_what_a_question_raises_reaches_its_caller():
    """And not the mesh's thread."""
    peers = Peers()

    def fail():
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        receiptdesk.ask(peers.inbox, peers, fail, fail)


def test_a_read_that_meets_a_change_is_made_again():
    """What is read beside a thread that changes it is read once more, and not for ever."""
    attempts = []

    def changing(failures):
        attempts.append(1)
        if len(attempts) <= failures:
            raise RuntimeError("dictionary changed size during iteration")
        return "read"

    assert receiptdesk.read(partial(changing, 2)) == "read"
    attempts.clear()
    with pytest.raises(RuntimeError):
        receiptdesk.read(partial(changing, 1000))
    assert len(attempts) == receiptdesk.READS_MAX


def test_a_frozen_desk_says_what_was_known():
    """In a forked child the flushes are the parent's: a wait ends at once with what was known at the fork."""
    peers = Peers("a")
    peers.desk.freeze(lambda receipt: Delivery(("then",)))

    assert peers.receipt(1).wait() == peers.receipt(1).wait(0) == Delivery(("then",))
    assert peers.hastened == []


# The number of a flush.


def test_a_receipt_learns_its_number_from_the_meshs_thread():
    """It is 0 until then."""
    inbox = Inbox()
    receipt = Receipt(0.0, None)
    assert inbox.flush(Flush("c", "k"), receipt)
    assert (receipt.sequence, repr(receipt)) == (0, "<Receipt not numbered yet>")

    inbox.take_flushes(lambda _flush: (9, 7))

    assert (receipt.position, receipt.sequence, repr(receipt)) == (9, 7, "<Receipt 7>")


def test_threads_wait_for_many_receipts_at_once():
    """Waits of several threads end with the acknowledgement of their own flush."""
    peers = Peers("a")
    lock = threading.Lock()
    take = peers.take

    def one_at_a_time():
        with lock:
            take()

    peers.inbox.wake = one_at_a_time
    with ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(peers.receipt(sequence).wait, 10) for sequence in range(1, 9)]
        while len(peers.hastened) < 8:
            one_at_a_time()
        for sequence in range(1, 9):
            peers.acknowledge("a", sequence)
            one_at_a_time()
        assert {wait.result(10) for wait in waits} == {Delivery(("a",))}
