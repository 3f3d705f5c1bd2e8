"""Nodes joined by function calls: delivery, replay, refusing, acknowledging."""

import pytest

from flushmesh.protocol.effects import Acknowledged, Apply, HangUp, PeerLost, Refused
from flushmesh.protocol.journal import BATCH_FLUSHES_MAX
from flushmesh.protocol.messages import (
    PROTOCOL_VERSION,
    Ack,
    Batch,
    Flush,
    Gone,
    Hello,
    Identity,
    Leave,
    Ping,
    Refusal,
    Truncated,
    Welcome,
)
from flushmesh.protocol.peer import State
from tests.protocol.world import World, joined


def test_nodes_of_one_roster_follow_each_other():
    """Every node follows every other, and none follows itself."""
    _, members = joined("a", "b", "c")

    for member in members:
        assert member.known == {"a", "b", "c"} - {member.node.identity.name}
        assert all(member.follows(other) for other in members if other is not member)


def test_a_node_is_met_when_it_dials():
    """A node that no discovery proposes is followed as soon as it calls."""
    world = World()
    a, b = world.add("a"), world.add("b")

    world.propose(b, "a")
    world.settle()

    assert b.follows(a)
    assert a.follows(b)


def test_a_node_known_to_one_is_met_by_all():
    """Two nodes that each know a third meet each other."""
    world = World()
    a, _b, c = world.add("a"), world.add("b"), world.add("c")

    world.propose(a, "b")
    world.propose(c, "b")
    world.settle()

    assert a.follows(c)
    assert c.follows(a)


def test_flushes_arrive_in_order_and_once():
    """Every flush is applied once, in the order of its origin."""
    world, (a, b) = joined("a", "b", journal=5000)

    for number in range(BATCH_FLUSHES_MAX + 5):
        a.flush(f"k{number}")
    world.settle()

    assert b.keys == [f"k{number}" for number in range(BATCH_FLUSHES_MAX + 5)]
    assert a.applied == []


def test_a_flush_keeps_its_number_although_members_are_recorded_between():
    """What is applied is numbered among the origin's flushes, not among its records."""
    world, (a, b) = joined("a", "b")
    a.flush("k1")
    world.settle()
    c = world.add("c")
    world.propose(c, "a")
    a.flush("k2")
    world.settle()

    assert [(effect.first, effect.flushes[0].key) for effect in b.told(Apply)] == [(1, "k1"), (2, "k2")]
    assert b.peer(a).flushes == 2
    assert b.peer(a).cursor > 2


def test_missed_flushes_are_replayed_when_the_node_returns():
    """A node that was cut off gets what it missed, and nothing twice."""
    world, (a, b) = joined("a", "b")
    a.flush("before")
    world.settle()
    world.part("a", "b")
    a.flush("missed")

    world.run(5)
    cut_off = b.keys
    world.mend("a", "b")
    world.run(6)

    assert cut_off == ["before"]
    assert b.keys == ["before", "missed"]
    assert b.distrusted == []


def test_a_journal_that_is_too_short_is_told():
    """A node that missed more than the journal holds is told Truncated, distrusts, and goes on from the head."""
    world, (a, b) = joined("a", "b", journal=3)
    world.part("a", "b")
    for number in range(4):
        a.flush(f"k{number}")
    world.mend("a", "b")
    world.log.clear()
    world.run(6)
    a.flush("later")
    world.settle()

    assert len(world.sent(Truncated)) == 1
    assert len(b.distrusted) == 1
    assert b.keys == ["later"]


def test_a_stream_that_stalls_while_the_journal_turns_over_is_told():
    """A slow follower gets Truncated with the members, then what comes next."""
    world, (a, b) = joined("a", "b", journal=3)
    link = a.link(b)
    skipped = [a.flush(key) for key in "wxyz"][-1]
    truncated = a.node.next_message(link, world.now)
    a.flush("later")
    batch = a.node.next_message(link, world.now)

    head = a.node.journal.head
    assert truncated == Truncated(head - 1, 4, a.node.membership.listing())
    assert (batch.first, [record.key for record in batch.records]) == (head, ["later"])
    a.node.receive(link, Ack(head), world.now)
    assert a.missing(skipped) == {"b"}
    assert a.missing(head) == set()


def test_a_restarted_node_is_followed_from_its_beginning():
    """A cursor counts only for the id it was made with: the new node's first flush is not skipped."""
    world, (a, b) = joined("a", "b")
    for number in range(10):
        a.flush(f"k{number}")
    world.settle()
    new = world.add("a", node_id=b"another-id------")
    new.flush("first of the new")
    world.run(6)

    assert b.keys[-1] == "first of the new"
    assert len(b.distrusted) == 1
    assert [peer.identity.id for peer in b.node.peers] == [b"another-id------"]


def test_leaving_costs_nobody_anything():
    """A clean goodbye comes after every flush, and the peer is forgotten without distrust."""
    world, (a, b) = joined("a", "b")
    a.flush("last words")

    world.leave(a)

    assert b.keys == ["last words"]
    assert b.known == set()
    assert b.distrusted == []
    assert [effect.gone for effect in b.told(PeerLost)] == [True]


def test_a_goodbye_with_flushes_missing_is_distrusted():
    """A goodbye after more flushes than were applied here is no proof."""
    world, (a, b) = joined("a", "b")
    vouched = b.peer(a).vouched

    world.carry(b, b.node.receive(b.link(a), Leave(flushes=7), world.now))

    assert [distrust.since for distrust in b.distrusted] == [vouched]
    assert b.known == set()


def test_a_goodbye_that_counts_records_of_members_is_complete():
    """A visitor that has met members and flushed nothing leaves without distrust."""
    world, (a, b) = joined("a", "b")
    visitor = world.add("v")
    world.propose(visitor, "a")
    world.settle()

    world.leave(visitor)

    assert visitor.node.journal.head > 0
    assert a.distrusted == b.distrusted == []
    assert [record.flushes for record in a.records if isinstance(record, Gone)] == [0]


def test_an_unreachable_node_is_dialled_again_at_most_five_seconds_apart():
    """However long a node was away, it is met within seconds of its return."""
    world, (a, b) = joined("a", "b")
    world.part("a", "b")
    world.run(60)
    apart = a.follows(b)
    world.mend("a", "b")
    world.run(5.2)

    assert not apart
    assert a.follows(b)
    assert b.follows(a)


# Refusing.


def test_another_mesh_is_refused_on_both_sides_in_words():
    """The side that was called and the caller both learn why they do not talk."""
    world = World()
    a, b = world.add("a", mesh="shop"), world.add("b", mesh="blog")
    world.propose(b, "a")
    world.settle()

    words = 'this is a node of the mesh "shop", not of "blog"'
    assert Refused("b", words) in a.effects
    assert Refused("a:1", words) in b.effects
    assert a.known == b.known == set()


def test_a_refusal_is_reported_once_on_both_sides():
    """A caller that is refused again and again is one line in each log."""
    world = World()
    a, b = world.add("a", mesh="shop"), world.add("b", mesh="blog")
    world.propose(b, "a")
    world.run(30)

    assert len(world.sent(Refusal)) > 1
    assert len(a.told(Refused)) == len(b.told(Refused)) == 1


def test_a_second_node_with_the_same_id_is_refused():
    """Two nodes with one id are refused in words; neither is served as the other."""
    world, (a, b) = joined("a", "b")
    link = a.node.accept("elsewhere", world.now)
    impostor = Identity(b.node.identity.id, "impostor", "elsewhere:1")

    a.node.receive(link, Hello(PROTOCOL_VERSION, "m", impostor), world.now)

    assert "two nodes have the id" in a.node.next_message(link, world.now).reason
    assert a.node.next_message(link, world.now) is None
    assert a.follows(b)


@pytest.mark.parametrize("version", [1, PROTOCOL_VERSION + 1])
def test_another_version_is_refused_in_words(version):
    """A caller learns which version this node supports, and does not become a member."""
    world = World()
    a = world.add("a")
    link = a.node.accept("b", world.now)

    a.node.receive(link, Hello(version, "m", Identity(b"b" * 16, "b", "b:1")), world.now)

    words = f"protocol version {version} is not supported here, only {PROTOCOL_VERSION}"
    assert a.node.next_message(link, world.now).reason == words
    assert a.known == set()
    assert a.records == ()


# What cannot come on a stream.


def test_a_gap_ends_the_stream_and_changes_nothing():
    """A batch that does not continue the cursor is not applied; the stream is followed again from the cursor."""
    world, (a, b) = joined("a", "b")
    link, cursor = b.link(a), b.peer(a).cursor

    effects = b.node.receive(link, Batch(cursor + 5, (Flush("c", "k"),)), world.now)

    assert not any(isinstance(effect, Apply) for effect in effects)
    assert HangUp(link) in effects
    assert b.peer(a).cursor == cursor
    assert b.peer(a).state is State.DIALLING


def test_flushes_applied_already_are_skipped():
    """A batch that overlaps the cursor is applied from the cursor on."""
    world, (a, b) = joined("a", "b")
    sequence = a.flush("k1")
    world.settle()

    effects = b.node.receive(b.link(a), Batch(sequence, (Flush("c", "k1"), Flush("c", "k2"))), world.now)

    (apply,) = [effect for effect in effects if isinstance(effect, Apply)]
    assert apply.first == 2
    assert [flush.key for flush in apply.flushes] == ["k2"]


def test_a_message_out_of_place_ends_the_stream():
    """A message that belongs to the meeting ends a stream that is open already."""
    world, (a, b) = joined("a", "b")
    link = b.link(a)

    effects = b.node.receive(link, Welcome(a.node.identity), world.now)

    assert HangUp(link) in effects
    assert [effect.reason for effect in effects if isinstance(effect, PeerLost)] == ["did not expect this Welcome here"]


def test_a_journal_is_asked_for_once_on_a_stream():
    """A second Follow ends the stream: it could take back what was sent."""
    world, (a, b) = joined("a", "b")
    link = b.link(a)
    (follow, *_) = [message for name, _, message in world.log if name == "a" and type(message).__name__ == "Follow"]

    effects = b.node.receive(link, follow, world.now)

    assert HangUp(link) in effects


# Acknowledging.


def test_acknowledgement_is_asked_for_and_given_after_application():
    """A peer that is asked acknowledges what it has applied, at once and not before."""
    world, (a, b) = joined("a", "b")
    sequence = a.flush("k")
    before = a.missing(sequence)
    world.log.clear()

    world.carry(a, a.node.ask(sequence))
    world.settle()

    assert before == {"b"}
    assert a.missing(sequence) == set()
    assert Acknowledged(sequence) in a.effects
    assert [type(message) for _, _, message in world.log] == [Batch, Ack]
    assert b.keys == ["k"]


def test_acknowledgement_is_asked_for_after_the_batch_has_gone():
    """Waiting for a flush that was sent before costs one empty batch."""
    world, (a, b) = joined("a", "b")
    sequence = a.flush("k")
    world.settle()
    world.log.clear()

    world.carry(a, a.node.ask(sequence))
    world.settle()

    assert [message for _, _, message in world.log] == [Batch(sequence + 1, (), acknowledge=True), Ack(sequence)]
    assert a.missing(sequence) == set()
    assert b.applied


def test_an_acknowledgement_is_asked_for_again_after_a_reconnect():
    """A receipt that waits across a lost stream is acknowledged after the replay."""
    world, (a, b) = joined("a", "b")
    world.part("a", "b")
    sequence = a.flush("k")
    world.carry(a, a.node.ask(sequence))
    world.mend("a", "b")
    world.now += 10
    for member in (a, b):
        world.carry(member, member.node.tick(world.now))
    world.settle()

    assert a.missing(sequence) == set()
    assert any(batch.acknowledge for batch in world.sent_by("a", "Batch"))


def test_pings_acknowledge_without_being_asked():
    """A follower's next ping carries its cursor."""
    world, (a, _b) = joined("a", "b")
    sequence = a.flush("k")
    world.settle()
    world.run(1.2)

    assert a.missing(sequence) == set()
    assert any(ping.cursor == sequence for ping in world.sent(Ping))


def test_a_peer_cannot_acknowledge_what_was_not_sent():
    """An acknowledgement beyond what the stream has carried counts for what it has carried."""
    world, (a, b) = joined("a", "b")
    sequence = a.flush("k")

    a.node.receive(a.link(b), Ack(99), world.now)

    assert a.missing(sequence) == {"b"}


@pytest.mark.parametrize("message", [Ack(1), Ping(100.0, 1)])
def test_an_acknowledgement_never_goes_backwards(message):
    """A follower that names an older cursor than before takes nothing back."""
    world, (a, b) = joined("a", "b")
    for _ in range(3):
        sequence = a.flush("k")
    world.settle()
    a.node.receive(a.link(b), Ack(sequence), world.now)

    a.node.receive(a.link(b), message, world.now)

    assert a.peer(b).acknowledged == sequence
    assert a.missing(sequence) == set()


# Bounds.


def test_a_full_node_refuses_more_peers():
    """The bound on peers holds, and the caller learns of it in words."""
    world = World()
    a = world.add("a", peers_max=1)
    b, c = world.add("b"), world.add("c")
    world.propose(b, "a")
    world.settle()
    world.propose(c, "a")
    world.settle()

    assert a.known == {"b"}
    assert any("1 peers already" in effect.reason for effect in c.told(Refused))


def test_an_address_that_is_proposed_no_longer_is_forgotten():
    """Discovery takes addresses back; an open stream stays."""
    world = World()
    a = world.add("a")
    b = world.add("b")
    world.propose(a, "b", "absent")
    world.settle()

    a.node.propose("roster", [], world.now)

    assert {address.text for address in a.node.addresses} == {"b:1"}
    assert a.follows(b)
