"""Receipts: fences, what a skipped flush counts as, and what `delivery` reports."""

from math import inf

import pytest

from flushmesh.protocol.effects import Joined
from flushmesh.protocol.messages import Ping, Vouch
from flushmesh.protocol.trust import Source
from tests.protocol.world import World, joined

# Beyond the bound: the clocks' rates, 0.1 % each, and a second.
MARGIN = 1.02


@pytest.fixture
def fenced_pair():
    """Two nodes with a bound of ten seconds, of which the second has just been cut off."""
    world, (a, b) = joined("a", "b", max_staleness=10.0, lost_after=100.0)
    a.peer(b).give_up_after = 100.0
    world.run(3)
    world.part("a", "b")
    return world, a, b


def test_a_peer_is_fenced_when_its_last_vouch_has_run_out(fenced_pair):
    """The bound counts from the flush, as a load may have begun just before it; a second and the clocks are added."""
    world, a, b = fenced_pair
    sequence, flushed_at = a.flush("k"), world.now

    assert not a.peer(b).fenced(sequence, flushed_at, flushed_at + 10.0 + MARGIN - 0.01)
    assert a.peer(b).fenced(sequence, flushed_at, flushed_at + 10.0 + MARGIN + 0.01)


def test_a_vouch_given_after_the_flush_moves_the_fence(fenced_pair):
    """What a peer was last vouched for is what it may serve by."""
    world, a, b = fenced_pair
    sequence, flushed_at = a.flush("k"), world.now
    a.peer(b).vouch_given_at = flushed_at + 5

    assert not a.peer(b).fenced(sequence, flushed_at, flushed_at + 15.0 + MARGIN - 0.01)
    assert a.peer(b).fenced(sequence, flushed_at, flushed_at + 15.0 + MARGIN + 0.01)


def test_a_peer_that_may_have_given_this_node_up_is_never_fenced(fenced_pair):
    """It may serve what it has loaded since, on the word of others: it counts from the last vouch that it had."""
    world, a, b = fenced_pair
    had = a.peer(b).vouch_had_at
    sequence = a.flush("k")

    assert a.peer(b).fenced(sequence, had + 98.0, had + 1000)
    assert not a.peer(b).fenced(sequence, had + 99.0, had + 1000)


def test_a_vouch_that_was_given_and_never_arrived_makes_no_fence_valid(fenced_pair):
    """Only what the peer has said to have had counts, or one direction of the network could be cut."""
    world, a, b = fenced_pair
    had = a.peer(b).vouch_had_at
    a.peer(b).vouch_given_at = had + 200.0

    assert not a.peer(b).fenced(a.flush("k"), had + 200.0, had + 2000)


def test_a_peer_that_has_had_no_vouch_is_never_fenced(fenced_pair):
    """Without an echo it is not known whether it follows at all."""
    world, a, b = fenced_pair
    a.peer(b).vouch_had_at = None

    assert not a.peer(b).fenced(a.flush("k"), world.now, world.now + 1000)


def test_limits_that_were_not_stated_are_not_read_as_never(fenced_pair):
    """A Hello without a limit may mean at once."""
    world, a, b = fenced_pair
    a.peer(b).give_up_after = 0.0

    assert not a.peer(b).fenced(a.flush("k"), world.now, world.now + 1000)


@pytest.mark.parametrize("lost_after", [3.0, 100.0])
def test_the_limits_are_those_that_the_peer_states(lost_after):
    """The shortest silence after which it may give a node up is part of its introduction, whichever side calls."""
    world = World()
    a, b = world.add("a"), world.add("b", max_staleness=7.0, lost_after=lost_after)
    c = world.add("c")
    world.propose(b, "a")
    world.propose(c, "b")
    world.run(2)

    for member in (a, c):
        assert member.peer(b).max_staleness == 7.0
        assert member.peer(b).give_up_after == min(lost_after, 5.0)


def test_a_ping_echoes_the_newest_vouch_that_has_arrived():
    """The origin learns by its own clock which of its vouches the follower has had."""
    world, (a, b) = joined("a", "b")
    world.run(3)
    given = [vouch.given for vouch in world.sent_by("a", "Vouch")]
    echoes = [ping.had for ping in world.sent_by("b", "Ping")]

    assert echoes[0] == 0.0
    assert echoes[1:] == given[: len(echoes) - 1]
    assert a.peer(b).vouch_had_at == echoes[-1]


@pytest.mark.parametrize("had", [-5.0, 0.0, 1e9])
def test_an_echo_of_a_vouch_that_was_never_given_is_not_believed(had):
    """A follower cannot make its origin believe in a later vouch than the last, or in one before the first."""
    world, (a, b) = joined("a", "b")
    world.run(3)
    before = a.peer(b).vouch_had_at

    a.node.receive(a.link(b), Ping(world.now, 0, had=had), world.now)

    assert a.peer(b).vouch_had_at == before


def test_a_peer_without_a_bound_is_never_fenced(fenced_pair):
    """With max_staleness off there is no time after which it serves nothing old."""
    world, a, b = fenced_pair
    a.peer(b).max_staleness = inf

    assert not a.peer(b).fenced(a.flush("k"), world.now, world.now + 1e9)


# Flushes that a follower skipped.


def test_a_follower_that_skipped_a_flush_has_not_applied_it():
    """A follower that was told Truncated is done with flushes it never applied; it is fenced, not acknowledged."""
    world, (a, b) = joined("a", "b", journal=3, max_staleness=10.0)
    world.part("a", "b")
    sequences = [a.flush(f"k{number}") for number in range(5)]
    flushed_at = world.now
    world.mend("a", "b")
    world.run(8)
    acknowledged, missing = a.peer(b).acknowledged, a.missing(sequences[-1])
    after = a.flush("later")
    world.run(2)

    assert acknowledged >= sequences[-1]
    assert missing == {"b"}
    assert a.peer(b).fenced(sequences[-1], flushed_at, world.now + 10 + MARGIN)
    assert a.missing(after) == set()


def test_a_cursor_from_before_the_node_was_forgotten_proves_nothing():
    """A follower that comes back to an origin which had given it up may have skipped anything."""
    world, (a, b) = joined("a", "b", lost_after=20.0)
    sequence = a.flush("k")
    world.run(2)
    world.part("a", "b")
    world.carry(a, a.node.give_up("b:1", world.now))
    forgotten = a.known
    world.mend("a", "b")
    world.run(6)

    assert forgotten == set()
    assert a.peer(b).acknowledged >= sequence
    assert a.missing(sequence) == {"b"}


# What `delivery` reports.


def test_delivery_tells_acknowledged_fenced_and_missing_apart():
    """Each member is in exactly one of the three."""
    world, (a, b, c, d) = joined("a", "b", "c", "d", max_staleness=10.0)
    world.run(2)
    for name in "cd":
        world.part("a", name)
    sequence, flushed_at = a.flush("k"), world.now
    a.peer(d).max_staleness = inf
    world.run(1.5)
    progress = a.node.delivery(sequence, flushed_at, flushed_at + 12)

    assert progress.acknowledged == [a.peer(b)]
    assert progress.fenced == [a.peer(c)]
    assert progress.missing == [a.peer(d)]
    assert (progress.unreached, progress.joining, progress.alone) == ([], False, False)


def test_delivery_is_open_while_the_node_joins():
    """There may be members it has not met."""
    world = World()
    world.dark.add("x")
    a, _b = world.add("a", lost_after=30.0), world.add("b")
    sequence = a.flush("k")
    world.propose(a, "b", "x")
    world.run(10)
    during = a.node.delivery(sequence, 100.0, world.now)
    world.run(25)
    after = a.node.delivery(sequence, 100.0, world.now)

    assert (during.joining, during.unreached) == (True, [])
    assert (after.joining, after.unreached) == (False, ["x:1"])
    assert [peer.identity.name for peer in after.acknowledged] == ["b"]
    assert a.told(Joined) == [Joined(("x:1",))]


def test_delivery_names_an_address_that_never_answered():
    """A refusal is an answer: no node was there."""
    world = World()
    world.dark.add("x")
    a = world.add("a", lost_after=10.0)
    world.propose(a, "b", "x")
    world.run(12)

    assert a.node.delivery(a.flush("k"), world.now, world.now).unreached == ["x:1"]


@pytest.mark.parametrize(("names", "alone"), [(("a",), False), (("a", "b"), True)])
def test_delivery_says_alone_if_others_are_named_and_none_was_met(names, alone):
    """A node on a laptop is not alone; one whose roster names others and that has met none is."""
    world = World()
    a = world.add("a")
    world.propose(a, *names)
    world.run(3)

    assert a.node.delivery(a.flush("k"), world.now, world.now).alone is alone


def test_a_node_that_has_met_another_is_not_alone_after_that_left():
    """The members that were there have had the flush, or need it no more."""
    world, (a, b) = joined("a", "b")
    world.leave(b)
    world.crash("b")
    world.run(2)

    assert not a.node.delivery(a.flush("k"), world.now, world.now).alone


def test_multicast_alone_names_no_address_that_was_never_reached():
    """What mDNS hears is a hint: it holds neither the proof nor a receipt."""
    world = World()
    world.dark.add("x")
    a = world.add("a", lost_after=10.0, sources={"mdns": Source(settles_after=1.0, names=False)})
    world.propose(a, "x", source="mdns")
    world.run(12)
    progress = a.node.delivery(a.flush("k"), world.now, world.now)

    assert (progress.unreached, progress.alone) == ([], False)
    assert world.sent(Vouch) == []
