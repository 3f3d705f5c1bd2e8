"""What is proven, and when: vouching, newcomers, distrust, stalls."""

import pytest

from flushmesh.protocol.effects import Apply, Distrust, Stalled, Trust, Wake
from flushmesh.protocol.journal import BATCH_FLUSHES_MAX
from flushmesh.protocol.messages import Batch, Flush, Gone, Identity, Met, Ping, Unreached, Vouch
from flushmesh.protocol.trust import Phase, Source
from tests.protocol.world import World, joined


def test_a_vouch_counts_from_when_the_ping_was_sent():
    """However late the answer comes, it proves what held when the question was asked."""
    world, (a, b) = joined("a", "b")
    sent = world.now
    b.peer(a).pinged_at = sent
    world.now += 7

    b.node.receive(b.link(a), Vouch(clock=sent, head=b.peer(a).cursor), world.now)

    assert b.peer(a).vouched == sent
    assert b.node.trust.at <= sent


def test_a_vouch_comes_after_all_it_speaks_for():
    """What the origin had flushed when the ping came is sent before the answer, in as many batches as it takes."""
    world, (a, b) = joined("a", "b", journal=5000)
    link = a.link(b)
    for number in range(2 * BATCH_FLUSHES_MAX + 1):
        a.flush(f"k{number}")
    a.node.receive(link, Ping(clock=world.now, cursor=0), world.now)
    sent = [type(a.node.next_message(link, world.now)) for _ in range(4)]

    assert sent == [Batch, Batch, Batch, Vouch]


def test_a_steady_stream_of_flushes_does_not_keep_a_vouch_from_being_given():
    """The answer waits for what was there when the ping came, not for what is flushed in the meantime."""
    world, (a, b) = joined("a", "b", journal=5000)
    link = a.link(b)
    a.flush("before")
    a.node.receive(link, Ping(clock=world.now, cursor=0), world.now)
    kinds = []
    for number in range(3):
        kinds.append(type(a.node.next_message(link, world.now)))
        a.flush(f"after {number}")
        a.node.receive(link, Ping(clock=world.now, cursor=0), world.now)

    assert kinds[1] is Vouch


def test_a_vouch_beyond_the_cursor_ends_the_stream():
    """An origin that vouches for what it has not sent is not believed."""
    world, (a, b) = joined("a", "b")
    before = b.node.trust.at
    b.peer(a).pinged_at = world.now

    effects = b.node.receive(b.link(a), Vouch(clock=world.now, head=b.peer(a).cursor + 1), world.now)

    assert not any(isinstance(effect, Trust) for effect in effects)
    assert b.node.trust.at == before
    assert not b.follows(a)


def test_a_vouch_for_the_future_is_not_believed():
    """No peer can extend a proof beyond what was asked."""
    world, (a, b) = joined("a", "b")

    b.node.receive(b.link(a), Vouch(clock=world.now + 1000, head=0), world.now)

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


def test_one_round_of_pings_moves_the_proof_once():
    """All peers are pinged at the same moment, and the proof moves when the last of them has answered."""
    world, (a, *_) = joined("a", "b", "c", "d", "e")
    world.run(3)
    a.effects.clear()
    world.run(5)

    assert 4 <= len(a.told(Trust)) <= 6


def test_alone_everything_is_proven():
    """Without a peer no flush can be missing."""
    world = World()
    a = world.add("a")
    world.propose(a)
    world.run(5)

    assert world.now - a.node.trust.at <= 1.2


def test_a_member_that_was_heard_of_holds_the_proof_until_it_vouches():
    """It starts with the proof as it stands: the proof does not fall, and goes no further."""
    world, (a, b) = joined("a", "b")
    world.run(3)
    before = b.node.trust.at
    world.dark.add("c")
    news = Batch(b.peer(a).cursor + 1, (Met(Identity(b"c" * 16, "c", "c:1"), direct=True),))

    b.node.receive(b.link(a), news, world.now)
    at_once = b.node.trust.at
    b.peer(a).pinged_at = world.now
    b.node.receive(b.link(a), Vouch(world.now, b.peer(a).cursor), world.now)

    assert b.known == {"a", "c"}
    assert at_once == before
    assert b.node.trust.at == before


def test_news_of_a_newcomer_comes_before_the_next_vouch():
    """A peer that is vouched to learns of every member that the origin knows, before the vouch counts."""
    world, (a, b) = joined("a", "b")
    c = world.add("c")
    world.part("b", "c")
    world.propose(c, "a")
    world.settle()
    met_at = world.now
    world.run(5)

    assert b.known == {"a", "c"}
    assert b.node.trust.at <= met_at


def test_flushes_are_applied_before_the_proof_moves():
    """The order of effects is part of the promise."""
    world, (a, b) = joined("a", "b")
    a.flush("k")
    world.run(1.2)

    apply = next(index for index, effect in enumerate(b.effects) if isinstance(effect, Apply))
    assert [index for index, effect in enumerate(b.effects) if isinstance(effect, Trust) and index > apply]


def test_joining_ends_with_distrust():
    """What was loaded while joining keeps the bound of its own load: a writer may have died unseen."""
    world = World()
    a = world.add("a")
    began = world.now
    world.run(1)
    world.propose(a)

    distrust = next(effect for effect in a.effects if isinstance(effect, Distrust))
    assert (distrust.peer, distrust.since) == (None, began)
    assert a.effects.index(distrust) < a.effects.index(Trust(a.node.trust.at))


def test_a_vouch_reports_unreached_members_when_that_changes():
    """It says how long ago its sender last heard of them; while nothing changes nothing is repeated."""
    world, (a, b, c) = joined("a", "b", "c")
    world.run(3)
    world.log.clear()
    world.part("a", "c")
    world.run(4)
    reports = [vouch.unreached for vouch in world.sent_by("a", "Vouch")]
    world.mend("a", "c")
    world.log.clear()
    world.run(8)
    healed = [vouch.unreached for vouch in world.sent_by("a", "Vouch") if vouch.unreached is not None]

    told = [report for report in reports if report is not None]
    assert len(told) == 1
    assert [unreached.node_id for unreached in told[0]] == [c.node.identity.id]
    assert 0 <= told[0][0].age <= 2
    assert healed == [()]
    assert not b.peer(a).unreached


def test_reach_is_not_membership():
    """A report that a member is out of reach neither makes it a member nor takes it away, and moves no proof."""
    world, (a, b) = joined("a", "b")
    world.run(2)
    b.peer(a).pinged_at = world.now
    report = (Unreached(b"stranger" * 2, 5.0),)

    b.node.receive(b.link(a), Vouch(world.now, b.peer(a).cursor, unreached=report), world.now)

    assert b.known == {"a"}


# Stalls.


def test_a_stall_is_explained_and_so_is_its_end():
    """When entries begin to run out one sentence says why; when they cease to, that is reported too."""
    world, (a, b) = joined("a", "b", max_staleness=10.0)
    world.part("a", "b")
    world.run(7)
    (stalled,) = b.told(Stalled)
    why = b.node.why(world.now)
    world.mend("a", "b")
    world.run(6)

    assert "a at a:1 is out of reach; it last vouched" in stalled.why
    assert "give it up by hand" in stalled.why
    assert why.startswith("a at a:1 is out of reach")
    assert b.effects.count(Stalled("")) == 1
    assert b.node.why(world.now) == ""


def test_two_nodes_neither_of_which_can_dial_hold_each_others_proof():
    """One warning names both and the cure; no time makes the proof move while a third reaches both."""
    world = World()
    world.closed.update("bc")
    a, b, c = [world.add(name, max_staleness=10.0, lost_after=20.0) for name in "abc"]
    world.propose(a)
    world.propose(b, "a")
    world.propose(c, "a")
    world.run(60)

    words = "b at b:1 is a member, and neither it nor c can reach the other"
    assert a.known == {"b", "c"}
    assert world.age(a) < 2
    assert min(world.age(b), world.age(c)) > 50
    assert [stalled.why.startswith(words) for stalled in c.told(Stalled)][-1:] == [True]
    assert "let one of the two be dialled" in c.node.why(world.now)


def test_a_node_that_slept_alone_serves_nothing_by_its_old_proof():
    """What others flushed in the meantime is ruled out only by refusals that are newer than the sleep."""
    world = World()
    lone = world.add("a", max_staleness=4.0)
    world.propose(lone, "a", "b", "c")
    world.run(5)
    world.freeze("a")
    b, c = world.add("b"), world.add("c")
    world.propose(b, "b", "c")
    world.propose(c, "b", "c")
    world.run(8)
    c.flush("k")
    flushed_at = world.now
    world.run(4)
    world.frozen.pop("a")
    # The first thing it does, before anything else arrives.
    lone.node.tick(world.now)

    assert lone.node.trust.at < flushed_at


def test_a_late_tick_with_multicast_only_has_the_node_look_around_again():
    """What mDNS hears names no address, so after a sleep the node is joining again until that has had its time."""
    world = World()
    a = world.add("a", sources={"mdns": Source(settles_after=2.0, names=False)})
    world.run(5)
    before = a.node.trust.phase
    world.freeze("a")
    world.run(60)
    slept = a.node.trust.at
    world.thaw("a")
    a.effects.clear()
    world.run(1)
    during, proof = a.node.trust.phase, a.node.trust.at
    world.run(3)

    assert before is Phase.JOINED
    assert (during, proof) == (Phase.JOINING, slept)
    assert a.node.trust.phase is Phase.JOINED
    assert [distrust.since for distrust in a.told(Distrust)] == [slept]
    assert world.age(a) < 2


def test_a_late_tick_with_a_roster_changes_no_phase():
    """Its names hold the proof by themselves."""
    world, (a, _b) = joined("a", "b")
    world.freeze("a")
    world.run(60)
    a.effects.clear()
    world.thaw("a")
    world.run(0.1)

    assert a.node.trust.phase is Phase.JOINED
    assert a.told(Distrust) == []


@pytest.mark.parametrize("seconds", [2.0, 2.9])
def test_a_tick_that_is_little_late_is_no_sleep(seconds):
    """A busy machine has not slept: one ping interval more, and a second, is still in time."""
    world = World()
    a = world.add("a", sources={"mdns": Source(settles_after=1.0, names=False)})
    world.run(5)
    world.freeze("a")
    world.now = a.node.next_due() - 1.0 + seconds
    world.thaw("a")
    world.run(0.1)

    assert a.node.trust.phase is Phase.JOINED


# A stream that is slow, and a message that carries much.


def test_a_slow_stream_carries_vouches_and_pings_in_turn():
    """A stream that takes one message per ping still proves something: neither side's role keeps the other's back."""
    world, (a, b) = joined("a", "b")
    link = a.link(b)
    kinds = set()
    for _ in range(6):
        a.peer(b).ping()
        a.node.receive(link, Ping(world.now, 0), world.now)
        kinds.add(type(a.node.next_message(link, world.now)))

    assert kinds == {Ping, Vouch}


def test_nothing_is_said_before_all_of_a_batch_is_applied():
    """A Wake may send an acknowledgement, so each comes after the last Apply, also if a departure lies between."""
    world, (a, b, c) = joined("a", "b", "c")
    records = (
        Flush("c", "k1"),
        Met(Identity(b"v" * 16, "v", "v:1"), direct=True),
        Gone(b"v" * 16, 0),
        Flush("c", "k2"),
    )

    effects = b.node.receive(b.link(a), Batch(b.peer(a).cursor + 1, records, acknowledge=True), world.now)

    kinds = [type(effect) for effect in effects]
    assert kinds.count(Apply) == 2
    assert kinds.index(Wake) > max(place for place, kind in enumerate(kinds) if kind is Apply)
