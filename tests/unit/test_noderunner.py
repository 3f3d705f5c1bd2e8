"""What calls the node: its order, and what an error anywhere in it costs."""

import asyncio
import logging
from math import inf

import pytest

from flushmesh.net.inbox import Inbox
from flushmesh.net.knock import Ended
from flushmesh.net.noderunner import GRID, RETRY_AFTER, NodeRunner, _steps
from flushmesh.protocol.addresses import Ending
from flushmesh.protocol.effects import Dial, HangUp, Joined, Ready, Wake
from flushmesh.protocol.messages import Ack, Flush
from flushmesh.receipt import Receipt


class FakeJournal:
    flushes = 0


class FakeNode:
    """Remembers how it was called, and answers with what it is told to."""

    def __init__(self):
        self.calls = []
        self.answer = []
        self.due = inf
        self.journal = FakeJournal()

    def _called(self, *call):
        self.calls.append(call)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def flush(self, flush):
        self.journal.flushes += 1
        self.calls.append(("flush", flush.key))
        return self.journal.flushes + 10

    def tick(self, now):
        return self._called("tick")

    def receive(self, link, message, now):
        return self._called("receive", link)

    def next_message(self, link, now):
        return self._called("next_message", link) or None

    def closed(self, link, reason, now, ending):
        return self._called("closed", link, ending)

    def next_due(self):
        return self.due


class FakeLinks:
    def __init__(self):
        self.done = []

    def dial(self, link, address):
        self.done.append(("dial", link, address))

    def wake(self, link):
        self.done.append(("wake", link))

    def wake_all(self):
        self.done.append(("wake all",))

    def hang_up(self, link):
        self.done.append(("hang up", link))


class Scene:
    """A runner with a node, an inbox and links that only remember."""

    def __init__(self, clock):
        self.node, self.inbox, self.links = FakeNode(), Inbox(), FakeLinks()
        self.effects, self.errors = [], []
        self.runner = NodeRunner(self.node, self.inbox, clock, self.effect, lambda: self.errors.append(1))

    def effect(self, effect):
        self.effects.append(effect)
        if isinstance(effect, Ready):
            raise LookupError("a bug in what carries it out")


@pytest.fixture
def scene(clock):
    return Scene(clock)


def running(scene, function):
    """Run *function* on a loop on which the scene's runner has begun."""

    async def main():
        scene.runner.begin(scene.links)
        function()
        await asyncio.sleep(0.01)
        scene.runner.pause()

    asyncio.run(main())


@pytest.mark.parametrize(
    "call",
    [
        lambda runner: runner.received(1, Ack(1)),
        lambda runner: runner.next_message(1),
        lambda runner: runner.closed(1, Ended(Ending.BROKEN, "")),
        lambda runner: runner.tick(),
    ],
    ids=["received", "next_message", "closed", "tick"],
)
def test_what_was_flushed_is_in_the_journal_before_every_call_of_the_node(scene, call):
    """A vouch must not be given for a journal that lacks a flush which has returned to its caller."""
    receipt = Receipt(0.0, None)
    scene.inbox.flush(Flush("c", "k"), receipt)
    running(scene, lambda: call(scene.runner))

    assert scene.node.calls[0] == ("flush", "k")
    assert len(scene.node.calls) == 2
    assert (receipt.position, receipt.sequence) == (11, 1)
    assert scene.links.done == [("wake all",)]


def test_effects_are_carried_out_in_their_order(scene):
    """I/O goes to the streams, everything else to the mesh."""
    scene.node.answer = [Dial(1, "x:1"), Joined(()), Wake(2), HangUp(3)]
    running(scene, lambda: scene.runner.tick())

    assert scene.links.done == [("dial", 1, "x:1"), ("wake", 2), ("hang up", 3)]
    assert scene.effects == [Joined(())]


def test_an_error_of_the_node_ends_its_link_and_not_the_thread(scene, caplog):
    """Its effects are lost, so everything that is cached is forgotten; the conversation is told to end."""
    scene.node.answer = LookupError("a bug")
    results = []
    running(scene, lambda: results.append(scene.runner.received(1, Ack(1))))

    assert results == [False]
    assert scene.errors == [1]
    assert [(record.levelno, record.exc_info[0]) for record in caplog.records] == [(logging.ERROR, LookupError)]


def test_an_error_in_one_effect_keeps_no_other_from_being_carried_out(scene, caplog):
    """What it was cannot be known, so everything that is cached is forgotten."""
    scene.node.answer = [Ready(), Joined(()), Wake(2)]
    running(scene, lambda: scene.runner.tick())

    assert scene.effects == [Ready(), Joined(())]
    assert scene.links.done == [("wake", 2)]
    assert scene.errors == [1]


def test_a_question_that_raises_harms_no_other(scene, caplog):
    """The next one is answered all the same."""
    answered = []
    scene.inbox.ask(lambda: 1 / 0)
    scene.inbox.ask(lambda: answered.append(1))
    running(scene, scene.runner.look_into_inbox)

    assert answered == [1]
    assert len(caplog.records) == 1


def test_a_tick_that_raises_is_planned_again_but_not_at_once(scene, clock):
    """A bug in it neither ends the ticks nor keeps the thread busy."""
    scene.node.answer = LookupError("a bug")
    scene.node.due = clock.now
    running(scene, scene.runner.tick)

    assert scene.node.calls == [("tick",)]
    clock.now += RETRY_AFTER
    scene.node.due = clock.now
    running(scene, scene.runner.plan_soon)
    assert scene.node.calls == [("tick",)] * 2


def test_many_calls_in_one_round_plan_once(scene):
    """The timer is set for the node's next due moment however much happened."""
    asked = []
    due = scene.node.next_due
    scene.node.next_due = lambda: asked.append(1) or due()
    running(scene, lambda: [scene.runner.received(1, Ack(number)) for number in range(100)])

    assert len(asked) == 1


def test_ticks_come_in_steps_and_never_early():
    """What is due at nearly the same time is done at once; the timers of the loop may be a millisecond early."""
    assert _steps(0.0) == _steps(-1.0) == 0.0
    for delay in (0.0001, 0.001, 0.0199, 0.02, 0.021, 1.0, 2.9999):
        assert delay + 0.001 <= _steps(delay) <= delay + GRID + 0.0011
    assert _steps(0.0001) == _steps(0.0199)


def test_after_the_last_flush_none_is_numbered(scene):
    """What comes after the goodbye has begun is left where its caller finds it."""
    scene.runner.takes_flushes = False
    receipt = Receipt(0.0, None)
    scene.inbox.flush(Flush("c", "k"), receipt)
    running(scene, scene.runner.tick)

    assert receipt.position == 0
    scene.inbox.close()
    assert not scene.inbox.flush(Flush("c", "l"), Receipt(0.0, None))
