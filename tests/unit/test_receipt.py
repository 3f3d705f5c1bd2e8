"""Receipts: they tell the truth, and never raise for a slow peer."""

import asyncio
import threading

import pytest

from flushmesh.receipt import Deliveries, Delivery, Outcome, Receipt


class Peers:
    """Peers whose acknowledgements the test gives."""

    def __init__(self, *names):
        self.acknowledged = dict.fromkeys(names, 0)
        self.asked = []
        self.fenced = set()
        self.looks = 0
        self.deliveries = Deliveries(self.delivery, self.asked.append)

    def delivery(self, receipt):
        self.looks += 1
        late = {name for name, at in self.acknowledged.items() if at < receipt.sequence}
        return Delivery(
            acknowledged=tuple(sorted(set(self.acknowledged) - late)),
            fenced=tuple(sorted(late & self.fenced)),
            missing=tuple(sorted(late - self.fenced)),
        )

    def acknowledge(self, name, sequence):
        self.acknowledged[name] = sequence
        self.deliveries.acknowledged(min(self.acknowledged.values()))

    def fence(self, name):
        self.fenced.add(name)
        self.deliveries.reconsider()

    def receipt(self, sequence):
        return Receipt(sequence, 0.0, self.deliveries)


def test_nobody_to_wait_for_is_acknowledged():
    """A mesh without peers has delivered everything."""
    delivery = Peers().receipt(1).wait(0)

    assert delivery == Delivery()
    assert delivery.outcome is Outcome.ACKNOWLEDGED


def test_a_timeout_names_who_is_missing():
    """At the timeout the receipt is pending, and says for whom."""
    peers = Peers("a", "b")
    peers.acknowledge("a", 1)

    assert peers.receipt(1).wait(0) == Delivery(("a",), missing=("b",))
    assert peers.asked == [1]


def test_an_older_acknowledgement_is_not_enough():
    """A peer that has applied less than the flush has not applied it."""
    peers = Peers("a")
    peers.acknowledge("a", 4)

    assert peers.receipt(5).wait(0).outcome is Outcome.PENDING
    assert peers.receipt(4).wait(0).outcome is Outcome.ACKNOWLEDGED


def test_a_thread_waits_until_the_last_peer_acknowledges():
    """wait returns when everybody has acknowledged, and not before."""
    peers = Peers("a", "b")
    results = []
    thread = threading.Thread(target=lambda: results.append(peers.receipt(1).wait(10)))
    thread.start()
    while not peers.asked:
        threading.Event().wait(0.001)
    peers.acknowledge("a", 1)
    assert results == []
    peers.acknowledge("b", 1)
    thread.join(10)

    assert results == [Delivery(("a", "b"))]


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
    assert peers.deliveries._waiters == {}
    peers.acknowledge("a", 1)


def test_closing_settles_everybody():
    """When the mesh closes, who waits learns what is known."""
    peers = Peers("a")
    waiter = peers.deliveries.watch(peers.receipt(1))
    peers.deliveries.close()

    assert waiter.result(0) == Delivery(missing=("a",))
    assert peers.receipt(2).wait(10) == Delivery(missing=("a",))


def test_a_fenced_peer_is_told_from_one_that_acknowledged():
    """A receipt that nobody is missing from says who has only run out of what it could serve."""
    peers = Peers("a", "b")
    waiter = peers.deliveries.watch(peers.receipt(1))
    peers.acknowledge("a", 1)
    assert not waiter.done()
    peers.fence("b")

    assert waiter.result(0) == Delivery(("a",), ("b",))
    assert waiter.result(0).outcome is Outcome.FENCED


def test_waiters_that_gave_up_cost_nothing():
    """However many receipts time out beside a frozen peer, they are forgotten."""
    peers = Peers("a")
    for sequence in range(1, 1000):
        peers.receipt(sequence).wait(0)

    assert peers.deliveries._waiters == {}
    assert len(peers.deliveries._order) < 100


def test_many_receipts_beside_a_frozen_peer_are_not_looked_at_again_and_again():
    """Each receipt is looked at when it is waited for and when it is settled; what one peer says costs nothing else."""
    peers = Peers("a", "frozen")
    waiters = []
    for sequence in range(1, 501):
        waiters.append(peers.deliveries.watch(peers.receipt(sequence)))
        peers.acknowledge("a", sequence)
    assert peers.looks <= 500
    for sequence in range(1, 501):
        peers.acknowledge("frozen", sequence)

    assert all(waiter.result(0).outcome is Outcome.ACKNOWLEDGED for waiter in waiters)
    # Twice for each that is reached: whether anybody is missing, and what its waiter is told.
    assert peers.looks <= 3 * 500


def test_who_gave_up_is_not_looked_at_any_more():
    """A wait that has timed out costs nothing afterwards, not even when everybody is looked at again."""
    peers = Peers("a")
    for sequence in range(1, 101):
        peers.receipt(sequence).wait(0)
    peers.looks = 0

    peers.deliveries.reconsider()
    peers.acknowledge("a", 100)

    assert peers.looks == 0


def test_a_wait_that_is_interrupted_leaves_nothing_behind(monkeypatch):
    """Whatever ends a wait, its waiter is forgotten."""
    peers = Peers("a")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("flushmesh.receipt.wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        peers.receipt(1).wait()

    assert peers.deliveries._waiters == {}


def test_a_wait_that_ends_well_leaves_nothing_behind():
    """Waiters that were settled are forgotten, whoever settled them."""
    peers = Peers("a")
    waiter = peers.deliveries.watch(peers.receipt(1))
    peers.acknowledge("a", 1)
    assert peers.receipt(1).wait().outcome is Outcome.ACKNOWLEDGED

    assert waiter.done()
    assert peers.deliveries._waiters == {}
