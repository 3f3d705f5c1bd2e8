"""Nodes joined by function calls: delivery, replay, leaving, refusing."""

import pytest

from flushmesh.protocol.effects import Acknowledged, Apply, HangUp, Parted, Refused
from flushmesh.protocol.journal import BATCH_FLUSHES_MAX
from flushmesh.protocol.messages import Ack, Batch, Flush, Hello, Leave, Ping, Truncated, Welcome
from flushmesh.protocol.peer import State
from tests.protocol.world import World, joined


def test_nodes_of_one_roster_follow_each_other():
    """Every node follows every other, and none follows itself."""
    _, members = joined("a", "b", "c")

    for member in members:
        assert member.known == {"a", "b", "c"} - {member.node.identity.name}
        assert all(member.follows(other) for other in members if other is not member)


def test_a_node_is_met_when_it_dials():
    """A node that nobody proposes is followed as soon as it follows."""
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

    assert [flush.key for flush in b.applied] == [f"k{number}" for number in range(BATCH_FLUSHES_MAX + 5)]
    assert a.applied == []


def test_missed_flushes_are_replayed_when_the_node_returns():
    """A node that was cut off gets what it missed, and nothing twice."""
    world, (a, b) = joined("a", "b")
    a.flush("before")
    world.settle()
    world.part("a", "b")
    a.flush("missed")

    world.run(5)
    assert [flush.key for flush in b.applied] == ["before"]
    world.mend("a", "b")
    world.run(6)

    assert [flush.key for flush in b.applied] == ["before", "missed"]
    assert b.distrusted == []


def test_a_journal_that_is_too_short_is_told():
    """A node that missed more than the journal holds is told Truncated, distrusts, and goes on from the head."""
    world, (a, b) = joined("a", "b", journal=3)
    world.part("a", "b")
    for number in range(4):
        a.flush(f"k{number}")
    world.mend("a", "b")
    world.run(6)

    assert any(isinstance(message, Truncated) for _, _, message in world.log)
    assert len(b.distrusted) == 1
    assert b.applied == []
    a.flush("later")
    world.settle()
    assert [flush.key for flush in b.applied] == ["later"]


def test_a_restarted_node_is_followed_from_its_beginning():
    """A cursor counts only for the id it was made with: the new node's first flush is not skipped."""
    world, (a, b) = joined("a", "b")
    for number in range(10):
        a.flush(f"k{number}")
    world.settle()
    new = world.add("a", node_id=b"another-id------")
    new.flush("first of the new")
    world.run(6)

    assert b.applied[-1].key == "first of the new"
    assert len(b.distrusted) == 1
    assert [peer.identity.id for peer in b.node.peers] == [b"another-id------"]


def test_leaving_costs_nobody_anything():
    """A clean goodbye comes after every flush, and the peer is forgotten without distrust."""
    world, (a, b) = joined("a", "b")
    a.flush("last words")
    world.carry(a, a.node.leave())
    world.settle()

    assert [flush.key for flush in b.applied] == ["last words"]
    assert b.known == set()
    assert b.distrusted == []
    assert [effect.gone for effect in b.effects if isinstance(effect, Parted)] == [True]


def test_a_goodbye_with_flushes_missing_is_distrusted():
    """A goodbye that names a later head than the cursor is no proof."""
    world, (a, b) = joined("a", "b")
    link = next(contact.link for contact in b.node.contacts if contact.address == "a:1")

    world.carry(b, b.node.receive(link, Leave(head=7), world.now))

    assert len(b.distrusted) == 1
    assert b.known == set()


def test_an_unreachable_node_is_dialled_again_at_most_five_seconds_apart():
    """However long a node was away, it is met within seconds of its return."""
    world, (a, b) = joined("a", "b")
    world.part("a", "b")
    world.run(60)
    assert not a.follows(b)
    world.mend("a", "b")
    world.run(5.2)

    assert a.follows(b)
    assert b.follows(a)


def test_another_mesh_is_refused_on_both_sides_in_words():
    """The origin and the follower both learn why they do not talk."""
    world = World()
    a, b = world.add("a", mesh="shop"), world.add("b", mesh="blog")
    world.propose(b, "a")
    world.settle()

    words = 'this is a node of the mesh "shop", not of "blog"'
    assert Refused("b", words) in a.effects
    assert Refused("a:1", words) in b.effects
    assert a.known == b.known == set()


def test_a_refusal_is_reported_once():
    """An address that refuses again and again is one line in the log."""
    world = World()
    world.add("a", mesh="shop")
    b = world.add("b", mesh="blog")
    world.propose(b, "a")
    world.run(30)

    assert len([effect for effect in b.effects if isinstance(effect, Refused)]) == 1


def test_a_second_node_with_the_same_id_is_refused():
    """Two nodes with one id are told so; neither is served as the other."""
    world, (a, b) = joined("a", "b")
    link = a.node.accept("elsewhere", world.now)
    identity = b.node.identity
    impostor = Hello(1, "m", type(identity)(identity.id, "impostor", "elsewhere:1"), b"", 0)

    effects = a.node.receive(link, impostor, world.now)

    assert isinstance(effects[0], HangUp)
    assert "two nodes have the id" in str(effects[0].refusal)
    assert a.follows(b)


@pytest.mark.parametrize(
    ("hello", "words"),
    [
        ({"protocol": 2}, "protocol version 2 is not spoken here"),
        ({"origin_id": b"a".ljust(16, b"-"), "cursor": 9}, "cursor 9 is beyond the head 0"),
    ],
)
def test_what_cannot_be_served_is_refused(hello, words):
    """An unknown version or an impossible cursor is refused in words."""
    world = World()
    a = world.add("a")
    other = World().add("b").node.identity
    fields = {"protocol": 1, "mesh": "m", "node": other, "origin_id": b"", "cursor": 0} | hello

    effects = a.node.receive(a.node.accept("b", world.now), Hello(**fields), world.now)

    assert words in str(effects[0].refusal)
    assert a.known == set()


def test_a_gap_ends_the_stream_and_changes_nothing():
    """A batch that does not continue the cursor is not applied; the stream is followed anew from the cursor."""
    world, (a, b) = joined("a", "b")
    link = next(contact.link for contact in b.node.contacts if contact.address == "a:1")

    effects = b.node.receive(link, Batch(5, (Flush("c", "k"),)), world.now)

    assert not any(isinstance(effect, Apply) for effect in effects)
    assert isinstance(effects[0], HangUp)
    assert b.peer(a).cursor == 0
    assert b.peer(a).state is State.DIALLING


def test_flushes_applied_already_are_skipped():
    """A batch that overlaps the cursor is applied from the cursor on."""
    world, (a, b) = joined("a", "b")
    a.flush("k1")
    world.settle()
    link = next(contact.link for contact in b.node.contacts if contact.address == "a:1")

    effects = b.node.receive(link, Batch(1, (Flush("c", "k1"), Flush("c", "k2"))), world.now)

    (apply,) = effects
    assert apply.first == 2
    assert [flush.key for flush in apply.flushes] == ["k2"]


def test_a_message_out_of_place_ends_the_stream():
    """What cannot come where it comes is refused, whoever sends it."""
    world, (a, b) = joined("a", "b")
    serving = b.peer(a).serving_link
    following = next(contact.link for contact in b.node.contacts if contact.address == "a:1")

    for link, message in ((serving, Welcome(a.node.identity, 0)), (following, Ack(1))):
        effects = b.node.receive(link, message, world.now)
        assert isinstance(effects[0], HangUp)
        assert "did not expect" in str(effects[0].refusal)


def test_acknowledgement_is_asked_for_and_given_after_application():
    """A peer that is asked acknowledges what it has applied, at once and not before."""
    world, (a, b) = joined("a", "b")
    sequence = a.flush("k")
    assert a.missing(sequence) == {"b"}
    world.log.clear()

    world.carry(a, a.node.ask(sequence))
    world.settle()

    assert a.missing(sequence) == set()
    assert Acknowledged(sequence) in a.effects
    kinds = [type(message) for _, _, message in world.log]
    assert kinds == [Batch, Ack]
    assert [flush.key for flush in b.applied] == ["k"]


def test_acknowledgement_is_asked_for_after_the_batch_has_gone():
    """Waiting for a flush that was sent before costs one empty batch."""
    world, (a, b) = joined("a", "b")
    sequence = a.flush("k")
    world.settle()
    world.log.clear()

    world.carry(a, a.node.ask(sequence))
    world.settle()

    assert [message for _, _, message in world.log] == [Batch(2, (), acknowledge=True), Ack(1)]
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


def test_pings_acknowledge_without_being_asked():
    """A follower's next ping carries its cursor."""
    world, (a, _b) = joined("a", "b")
    sequence = a.flush("k")
    world.settle()
    world.run(1.2)

    assert a.missing(sequence) == set()
    assert any(isinstance(message, Ping) and message.cursor == 1 for _, _, message in world.log)


def test_a_peer_cannot_acknowledge_what_was_not_sent():
    """An acknowledgement beyond what the stream has carried counts for what it has carried."""
    world, (a, b) = joined("a", "b")
    sequence = a.flush("k")
    link = a.peer(b).serving_link

    a.node.receive(link, Ack(99), world.now)

    assert a.missing(sequence) == {"b"}


def test_a_full_node_refuses_more_peers():
    """The bound on peers holds, and is told in words."""
    world = World()
    a = world.add("a", peers_max=1)
    b, c = world.add("b"), world.add("c")
    world.propose(b, "a")
    world.settle()
    world.propose(c, "a")
    world.settle()

    assert a.known == {"b"}
    assert any(isinstance(effect, Refused) and "1 peers already" in effect.reason for effect in c.effects)


def test_an_address_nobody_proposes_any_more_is_forgotten():
    """Discovery takes addresses back; an open stream stays."""
    world = World()
    a = world.add("a")
    world.add("b")
    world.propose(a, "b", "nobody")
    world.settle()

    a.node.propose("roster", [], world.now)

    assert {contact.address for contact in a.node.contacts} == {"b:1"}
    assert a.follows(world.members["b"])
