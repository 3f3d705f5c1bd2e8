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
        self.deliveries = Deliveries(self.missing, self.asked.append)

    def missing(self, sequence):
        return tuple(name for name, at in self.acknowledged.items() if at < sequence)

    def acknowledge(self, name, sequence):
        self.acknowledged[name] = sequence
        self.deliveries.progress()

    def receipt(self, sequence):
        return Receipt(sequence, self.deliveries)


def test_nobody_to_wait_for_is_acknowledged():
    """A mesh without peers has delivered everything."""
    assert Peers().receipt(1).wait(0) == Delivery(Outcome.ACKNOWLEDGED)


def test_a_timeout_names_who_is_missing():
    """At the timeout the receipt is pending, and says for whom."""
    peers = Peers("a", "b")
    peers.acknowledge("a", 1)

    assert peers.receipt(1).wait(0) == Delivery(Outcome.PENDING, ("b",))
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

    assert results == [Delivery(Outcome.ACKNOWLEDGED)]


def test_a_task_awaits_a_receipt():
    """A receipt is awaited in any loop."""
    peers = Peers("a")

    async def main():
        task = asyncio.ensure_future(peers.receipt(1))
        await asyncio.sleep(0)
        await asyncio.to_thread(peers.acknowledge, "a", 1)
        return await task

    assert asyncio.run(main()) == Delivery(Outcome.ACKNOWLEDGED)


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
    waiter = peers.deliveries.watch(1)
    peers.deliveries.close()

    assert waiter.result(0) == Delivery(Outcome.PENDING, ("a",))
    assert peers.receipt(2).wait(10) == Delivery(Outcome.PENDING, ("a",))
