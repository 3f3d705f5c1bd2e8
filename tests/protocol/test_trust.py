"""What is proven, and when: vouching, joining, newcomers, distrust, fences."""

import pytest

from flushmesh.protocol.effects import Apply, Distrust, Joined, Stalled, Trust
from flushmesh.protocol.journal import BATCH_FLUSHES_MAX
from flushmesh.protocol.messages import Batch, Identity, News, Ping, Vouch
from flushmesh.protocol.trust import Phase
from tests.protocol.world import World, joined


def link_to(member, other):
    """Return the link on which *member* follows *other*."""
    return next(contact.link for contact in member.node.contacts if contact.peer is member.peer(other))


def test_a_vouch_counts_from_when_the_ping_was_sent():
    """However late the answer comes, it proves what held when the question was asked."""
    world, (a, b) = joined("a", "b")
    sent = world.now
    b.peer(a).pinged_at = sent
    world.now += 7

    b.node.receive(link_to(b, a), Vouch(clock=sent, head=0), world.now)

    assert b.peer(a).vouched == sent
    assert b.node.trust.at <= sent


def test_a_vouch_comes_after_all_it_speaks_for():
    """What the origin had flushed when the ping came is sent before the answer, in as many batches as it takes."""
    world, (a, b) = joined("a", "b", journal=5000)
    serving = a.peer(b).serving_link
    for number in range(2 * BATCH_FLUSHES_MAX + 1):
        a.flush(f"k{number}")
    a.node.receive(serving, Ping(clock=world.now, cursor=0), world.now)
    sent = [type(a.node.next_message(serving, world.now)) for _ in range(4)]

    assert sent == [Batch, Batch, Batch, Vouch]


def test_a_steady_stream_of_flushes_does_not_keep_a_vouch_from_being_given():
    """The answer waits for what was there when the ping came, not for what is flushed meanwhile."""
    world, (a, b) = joined("a", "b", journal=5000)
    serving = a.peer(b).serving_link
    a.flush("before")
    a.node.receive(serving, Ping(clock=world.now, cursor=0), world.now)
    kinds = []
    for number in range(3):
        kinds.append(type(a.node.next_message(serving, world.now)))
        a.flush(f"after {number}")
        a.node.receive(serving, Ping(clock=world.now, cursor=0), world.now)

    assert kinds[1] is Vouch


def test_a_vouch_beyond_the_cursor_ends_the_stream():
    """An origin that vouches for what it has not sent is not believed."""
    world, (a, b) = joined("a", "b")
    before = b.node.trust.at

    effects = b.node.receive(link_to(b, a), Vouch(clock=world.now, head=5), world.now)

    assert not any(isinstance(effect, Trust) for effect in effects)
    assert b.node.trust.at == before
    assert not b.follows(a)


def test_a_vouch_for_the_future_is_not_believed():
    """Nobody can extend a proof beyond what was asked."""
    world, (a, b) = joined("a", "b")

    b.node.receive(link_to(b, a), Vouch(clock=world.now + 1000, head=0), world.now)

    assert b.node.trust.at <= world.now
    assert not b.follows(a)


def test_the_proof_is_as_old_as_the_oldest_vouch():
    """One silent peer holds everything; the others' vouches do not help."""
    world, (a, b, c) = joined("a", "b", "c")
    world.run(3)
    world.part("a", "c")
    cut_at = world.now
    world.run(10)

    assert b.node.trust.at > cut_at + 8
    assert c.node.trust.at <= cut_at
    assert c.node.trust.at == min(peer.vouched for peer in c.node.peers)


def test_alone_everything_is_proven():
    """Without a peer nobody's flushes can be missing."""
    world = World()
    a = world.add("a")
    world.propose(a, "nobody")
    world.run(5)

    assert world.now - a.node.trust.at <= 1.2


def test_joining_lasts_while_an_address_is_silent():
    """An address that neither answers nor refuses may be a node that cannot be seen."""
    world = World()
    world.dark.add("b")
    a = world.add("a", lost_after=30.0)
    began = world.now
    world.propose(a, "b")
    world.run(20)
    assert a.node.trust.phase is Phase.JOINING
    assert a.node.trust.at == began
    world.run(11)

    assert a.node.trust.phase is Phase.JOINED
    assert Joined(("b:1",)) in a.effects


def test_joining_waits_for_every_discovery():
    """Until each has proposed, or its time is over, nobody knows whom to ask."""
    world = World()
    a = world.add("a", sources={"roster": 0.0, "mdns": 2.0})
    world.run(1)
    assert a.node.trust.phase is Phase.JOINING
    world.run(1.5)
    assert a.node.trust.phase is Phase.JOINING
    a.node.propose("roster", [], world.now)

    assert a.node.trust.phase is Phase.JOINED


def test_joining_ends_with_distrust():
    """What was loaded while joining keeps the bound of its own load: a writer may have died unseen."""
    world = World()
    a = world.add("a")
    began = world.now
    world.run(1)
    world.propose(a, "nobody")

    distrust = next(effect for effect in a.effects if isinstance(effect, Distrust))
    assert (distrust.peer, distrust.since) == (None, began)
    assert a.effects.index(distrust) < a.effects.index(Trust(a.node.trust.at))


def test_a_newcomer_holds_the_proof_until_it_vouches():
    """A node just heard of starts with the proof as it stands: it does not fall, and goes no further."""
    world, (a, b) = joined("a", "b")
    world.run(3)
    b.peer(a).pinged_at = world.now
    before = b.node.trust.at
    news = (News(Identity(b"c" * 16, "c", "c:1"), reached=True),)
    world.dark.add("c")

    b.node.receive(link_to(b, a), Vouch(clock=world.now, head=0, known=news), world.now)

    assert b.known == {"a", "c"}
    assert b.node.trust.at == before
    world.run(10)
    assert b.node.trust.at == before


def test_news_of_a_newcomer_comes_with_the_next_vouch():
    """Whoever is vouched to learns of every node that the origin knows, before the vouch counts."""
    world, (a, b) = joined("a", "b")
    c = world.add("c")
    world.part("b", "c")
    world.propose(c, "a")
    world.settle()
    met_at = world.now
    world.run(5)

    assert b.known == {"a", "c"}
    assert b.node.trust.at <= met_at


def test_a_goodbye_tells_whom_the_leaving_node_knew():
    """A node that left was perhaps the only one who could have told of another."""
    world, (a, b) = joined("a", "b")
    c = world.add("c")
    world.part("b", "c")
    world.propose(c, "a")
    world.settle()
    world.carry(a, a.node.leave())
    world.settle()

    assert b.known == {"c"}


def test_who_left_is_not_brought_back_by_old_news():
    """News from somebody who has not heard the goodbye yet changes nothing."""
    world, (a, b, c) = joined("a", "b", "c")
    identity = c.node.identity
    world.carry(c, c.node.leave())
    world.settle()
    b.peer(a).pinged_at = world.now

    b.node.receive(link_to(b, a), Vouch(world.now, 0, (News(identity, reached=True),)), world.now)

    assert b.known == {"a"}


def test_a_lost_peer_is_given_up_with_distrust():
    """After lost_after without a word it is forgotten; what it flushed since its last vouch may be missing."""
    world, (a, b) = joined("a", "b", lost_after=20.0)
    world.run(3)
    vouched = b.peer(a).vouched
    world.crash("a")
    world.run(19)
    assert b.known == {"a"}
    world.run(2)

    assert b.known == set()
    (distrust,) = b.distrusted
    assert distrust.since == vouched
    assert any(isinstance(effect, Trust) and effect.at > vouched + 15 for effect in b.effects)


def test_a_peer_that_somebody_else_reaches_is_not_given_up():
    """Being cut off from one node is no proof that a node is dead."""
    world, (a, b, c) = joined("a", "b", "c", lost_after=20.0)
    world.part("a", "b")
    world.run(60)

    assert a.known == {"b", "c"}
    assert b.known == {"a", "c"}
    assert a.distrusted == b.distrusted == []
    assert c.node.trust.at > world.now - 2


def test_two_dead_nodes_do_not_keep_each_other_alive():
    """What a dead node last said of another one counts for nothing."""
    world, (a, _b, _c) = joined("a", "b", "c", lost_after=20.0)
    world.run(3)
    world.crash("b")
    world.crash("c")
    world.run(25)

    assert a.known == set()


def test_a_stall_is_explained_and_so_is_its_end():
    """When entries begin to run out one sentence says why; when they cease to, that is told too."""
    world, (a, b) = joined("a", "b", max_staleness=10.0)
    world.part("a", "b")
    world.run(7)
    (stalled,) = [effect for effect in b.effects if isinstance(effect, Stalled)]
    assert "a at a:1 is out of reach; it last vouched" in stalled.why
    assert b.node.why(world.now).startswith("a at a:1 is out of reach")
    world.mend("a", "b")
    world.run(6)

    assert b.effects.count(Stalled("")) == 1
    assert b.node.why(world.now) == ""


def test_flushes_are_applied_before_the_proof_moves():
    """The order of effects is part of the promise."""
    world, (a, b) = joined("a", "b")
    a.flush("k")
    world.run(1.2)

    apply = next(index for index, effect in enumerate(b.effects) if isinstance(effect, Apply))
    later = [index for index, effect in enumerate(b.effects) if isinstance(effect, Trust) and index > apply]
    assert later


@pytest.fixture
def fenced_pair():
    """Two nodes with a bound of ten seconds, of which the second has just been cut off."""
    world, (a, b) = joined("a", "b", max_staleness=10.0, lost_after=100.0)
    world.run(3)
    world.part("a", "b")
    return world, a, b


def test_a_peer_is_fenced_when_its_last_vouch_has_run_out(fenced_pair):
    """The bound counts from the flush, as a load may have begun just before it; a second and the clocks are added."""
    world, a, b = fenced_pair
    sequence, flushed_at = a.flush("k"), world.now

    assert not a.peer(b).fenced(sequence, flushed_at, flushed_at + 11.0)
    assert a.peer(b).fenced(sequence, flushed_at, flushed_at + 11.1)


def test_a_vouch_given_after_the_flush_moves_the_fence(fenced_pair):
    """What a peer was last vouched for is what it may serve by."""
    world, a, b = fenced_pair
    sequence, flushed_at = a.flush("k"), world.now
    a.peer(b).vouch_given_at = flushed_at + 5

    assert not a.peer(b).fenced(sequence, flushed_at, flushed_at + 16.0)
    assert a.peer(b).fenced(sequence, flushed_at, flushed_at + 16.1)


def test_a_peer_that_may_have_given_this_node_up_is_never_fenced(fenced_pair):
    """It may serve what it has loaded since, on the word of others."""
    world, a, b = fenced_pair
    flushed_at = a.peer(b).vouch_given_at + 99.0

    assert not a.peer(b).fenced(a.flush("k"), flushed_at, flushed_at + 1000)


def test_a_peer_without_a_bound_is_never_fenced():
    """With max_staleness off there is no time after which it serves nothing old."""
    world, (a, b) = joined("a", "b")
    world.run(3)
    world.part("a", "b")

    assert not a.peer(b).fenced(a.flush("k"), world.now, world.now + 1e9)


def test_who_skipped_a_flush_has_not_applied_it():
    """A follower that was told Truncated is done with flushes it never applied; it is fenced, not acknowledged."""
    world, (a, b) = joined("a", "b", journal=3, max_staleness=10.0)
    world.part("a", "b")
    sequences = [a.flush(f"k{number}") for number in range(5)]
    flushed_at = world.now
    world.mend("a", "b")
    world.run(8)

    assert a.peer(b).acknowledged == 5
    assert a.missing(sequences[-1]) == {"b"}
    assert a.peer(b).fenced(sequences[-1], flushed_at, world.now + 11.1)
    after = a.flush("later")
    world.run(2)
    assert a.missing(after) == set()


def test_a_cursor_from_before_the_node_was_forgotten_proves_nothing():
    """A follower that comes back to an origin which had given it up may have skipped anything."""
    world, (a, b) = joined("a", "b", lost_after=20.0)
    sequence = a.flush("k")
    world.run(2)
    world.part("a", "b")
    a.node.peers.get(b.node.identity.id).heard_at -= 30
    world.run(0.5)
    assert a.known == set()
    world.mend("a", "b")
    world.run(6)

    assert a.peer(b).acknowledged >= sequence
    assert a.missing(sequence) == {"b"}
