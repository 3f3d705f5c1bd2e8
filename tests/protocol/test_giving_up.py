"""Giving up: which silence and which refusal prove that a member is gone, and what that costs."""

import pytest

from flushmesh.protocol.addresses import Ending
from flushmesh.protocol.effects import Dial, RecheckReceipts, Trust
from flushmesh.protocol.messages import PROTOCOL_VERSION, Batch, Hello, Identity, Lost, Met
from flushmesh.protocol.trust import Source
from tests.protocol.world import World, joined

MDNS = {"mdns": Source(settles_after=1.0, names=False)}


def by_multicast(*names, **options):
    """Return a world of nodes that know each other by mDNS, which names nothing."""
    world = World()
    members = [world.add(name, sources=MDNS, **options) for name in names]
    for member in members:
        world.propose(member, *names, source="mdns")
    world.run(3)
    return world, members


def vanish(world, name):
    """Take a node and its host away: nothing comes back from its address any more."""
    world.dark.add(name)
    world.crash(name)


# A refusal.


def test_a_member_whose_address_refuses_is_given_up_within_seconds():
    """It was reached there, and refuses for longer than a fork's pause; what it flushed last is distrusted."""
    world, (a, b) = joined("a", "b", lost_after=120.0)
    world.run(3)
    vouched = b.peer(a).vouched
    world.crash("a")
    world.run(4)
    early = b.known
    world.run(5)

    assert early == {"a"}
    assert b.known == set()
    assert [distrust.since for distrust in b.distrusted] == [vouched]
    assert world.age(b) < 2


def test_a_refusal_that_does_not_last_is_no_death():
    """A process that forks does not listen for a moment."""
    world, (a, b) = joined("a", "b", lost_after=120.0)
    world.run(3)
    world.part("a", "b")
    link = next(effect.link for effect in b.node.tick(world.now) if isinstance(effect, Dial))
    b.node.closed(link, "refused", world.now, Ending.REFUSED)
    world.run(4)
    world.mend("a", "b")
    world.run(6)

    assert b.follows(a)
    assert b.distrusted == a.distrusted == []


def test_a_member_that_only_ever_dialled_is_silent_rather_than_dead():
    """That its address refuses proves nothing, since it was never reached there."""
    world = World()
    world.closed.add("c")
    b, c = world.add("b", lost_after=40.0), world.add("c")
    world.propose(b)
    world.propose(c, "b")
    world.run(5)
    world.crash("c")
    world.run(35)
    kept = b.known
    world.run(10)

    assert kept == {"c"}
    assert b.known == set()


def test_a_member_that_refuses_here_and_is_reached_by_another_is_kept():
    """A firewall may refuse on its behalf."""
    world, (a, b, c) = joined("a", "b", "c", lost_after=120.0)
    world.part("a", "b")
    for _ in range(20):
        for effect in a.node.tick(world.now):
            if isinstance(effect, Dial):
                a.node.closed(effect.link, "refused", world.now, Ending.REFUSED)
        for name in "bc":
            world.carry(world.members[name], world.members[name].node.tick(world.now))
        world.settle()
        world.now += 1.0

    assert a.known == {"b", "c"}
    assert a.distrusted == []


# Silence.


def test_a_silent_member_that_is_named_no_longer_is_given_up_after_lost_after():
    """Without a word and without a name it is forgotten; what it flushed since its last vouch is distrusted."""
    world, (a, b) = by_multicast("a", "b", lost_after=20.0)
    vouched = b.peer(a).vouched
    vanish(world, "a")
    world.run(18)
    early = b.known
    world.run(4)

    assert early == {"a"}
    assert b.known == set()
    assert [distrust.since for distrust in b.distrusted] == [vouched]
    assert any(isinstance(effect, Trust) and effect.at > vouched + 15 for effect in b.effects)


def test_a_silent_member_that_is_still_named_holds_the_proof():
    """A partition longer than lost_after lets neither side trust itself: entries live on their own load."""
    world, (a, b) = joined("a", "b", lost_after=20.0, max_staleness=5.0)
    world.part("a", "b")
    cut = world.now
    world.run(120)

    assert a.known == {"b"}
    assert b.known == {"a"}
    assert max(a.node.trust.at, b.node.trust.at) <= cut
    assert "take it out of the roster or give it up by hand" in a.node.why(world.now)


def test_a_silent_member_is_given_up_lost_after_its_name_was_withdrawn():
    """A name that was there a moment ago still counts."""
    world, (a, b) = joined("a", "b", lost_after=20.0)
    vanish(world, "a")
    world.run(60)
    world.propose(b, "b")
    world.run(17)
    early = b.known
    world.run(6)

    assert early == {"a"}
    assert b.known == set()


def test_a_silent_member_that_is_still_named_is_given_up_after_give_up_silent():
    """People who prefer hits to the bound say after how long."""
    world, (a, b) = joined("a", "b", lost_after=20.0, give_up_silent=40.0)
    vanish(world, "a")
    world.run(37)
    early = b.known
    world.run(6)

    assert early == {"a"}
    assert b.known == set()
    assert len(b.distrusted) == 1


def test_a_member_is_given_up_by_hand():
    """Only if there is no stream with it, and with distrust."""
    world, (a, b, c) = joined("a", "b", "c", max_staleness=5.0)
    world.run(2)
    vanish(world, "b")
    world.run(10)
    world.carry(a, a.node.give_up("c:1", world.now))
    followed = a.known
    world.carry(a, a.node.give_up("b:1", world.now))
    known = a.known

    assert followed == {"b", "c"}
    assert known == {"c"}
    assert [distrust.peer.name for distrust in a.distrusted] == ["b"]
    assert RecheckReceipts() in a.effects
    assert [record.node_id for record in a.records if isinstance(record, Lost)] == [b.node.identity.id]
    assert c.known == {"a", "b"}


def test_giving_up_an_address_at_which_no_member_is_known_does_nothing():
    """The caller learns that there was none."""
    _, (a, _b) = joined("a", "b")

    assert a.node.give_up("z:1", 200.0) == []


# What others say.


def test_a_member_that_a_fresh_peer_reaches_is_not_given_up():
    """Being cut off from one node is no proof that a node is dead."""
    world, (a, b, c) = by_multicast("a", "b", "c", lost_after=20.0)
    world.part("a", "b")
    world.run(60)

    assert a.known == {"b", "c"}
    assert b.known == {"a", "c"}
    assert a.distrusted == b.distrusted == []
    assert world.age(c) < 2


def test_two_dead_nodes_do_not_keep_each_other_alive():
    """What a dead node last reported of another one counts for nothing."""
    world, (a, _b, _c) = by_multicast("a", "b", "c", lost_after=20.0)
    vanish(world, "b")
    vanish(world, "c")
    world.run(25)

    assert a.known == set()


def test_a_hung_peer_is_given_up_although_the_streams_of_others_hang_too():
    """At a small lost_after each goes in its time: a peer that has not vouched lately reaches no one."""
    world, (a, *_) = by_multicast("a", "b", "c", "d", lost_after=6.0)
    for name in "bcd":
        world.freeze(name)
    world.run(9)

    assert a.known == set()


def test_a_rumour_ages_while_it_is_handed_on_from_newcomer_to_newcomer():
    """Each vouch says how long ago the dead node was heard of, so no newcomer waits for it as if it had just died."""
    options = {"lost_after": 120.0, "max_staleness": 30.0, "sources": MDNS}
    world = World()
    a, d = world.add("a", **options), world.add("d", **options)
    world.propose(a, source="mdns")
    world.propose(d, "a", source="mdns")
    world.run(5)
    vanish(world, "d")
    died = world.now
    pods = []
    for number in range(6):
        pods.append(world.add(f"p{number}", **options))
        world.propose(pods[-1], "a", source="mdns")
        world.run(40)
        if number >= 3:
            world.leave(pods[number - 3])
            world.crash(f"p{number - 3}")

    living = [member for name, member in world.members.items()]
    assert world.now - died > 200
    assert all("d" not in member.known for member in living)
    assert max(world.age(member) for member in living) < 2


def test_a_newcomer_gives_a_rumour_up_when_its_teller_does():
    """It counts the silence that the teller has counted, not from when it heard of it."""
    world, (a, d) = by_multicast("a", "d", lost_after=60.0)
    vanish(world, "d")
    world.run(40)
    c = world.add("c", sources=MDNS, lost_after=60.0)
    world.propose(c, "a", source="mdns")
    world.run(5)
    heard = c.known
    world.run(25)

    assert heard == {"a", "d"}
    assert c.known == {"a"}
    assert d.node.identity.id not in c.peer(a).knows


# Sleep.


@pytest.mark.parametrize("seconds", [30.0, 600.0])
def test_a_long_sleep_gives_no_member_up_at_the_first_tick(seconds):
    """The time that this node slept is no silence of others."""
    world, (a, b, c) = by_multicast("a", "b", "c", lost_after=20.0)
    world.freeze("a")
    world.now += seconds
    world.frozen.pop("a")
    world.carry(a, a.node.tick(world.now))
    known = a.known
    world.run(10)

    assert known == {"b", "c"}
    assert a.known == {"b", "c"}
    assert a.distrusted == []


def test_a_member_that_died_during_a_long_sleep_is_given_up_lost_after_that():
    """The sleep only shifts when its silence began."""
    world, (a, _b) = by_multicast("a", "b", lost_after=20.0)
    world.freeze("a")
    world.run(5)
    vanish(world, "b")
    world.now += 100
    world.thaw("a")
    world.run(15)
    early = a.known
    world.run(9)

    assert early == {"b"}
    assert a.known == set()


def test_a_refusal_before_a_long_sleep_has_not_lasted():
    """That an address refused just before the sleep, and just after it, is no refusal for five seconds."""
    world, (a, b) = joined("a", "b", lost_after=120.0)
    world.run(2)
    world.crash("b")
    world.run(1)
    world.now += 60
    world.carry(a, a.node.tick(world.now))
    known = a.known
    world.run(1)

    assert known == a.known == {"b"}


# Who is meant.


def test_a_living_successor_is_not_given_up_in_favour_of_the_dead():
    """It has called and not yet chosen a stream: that the former node answered at its address last is no proof."""
    world, (a, b) = joined("a", "b", lost_after=120.0)
    world.run(3)
    world.crash("b")
    link = a.node.accept("b", world.now)
    successor = Identity(b"successor-------", "b", "b:1")
    a.node.receive(link, Hello(PROTOCOL_VERSION, "m", successor), world.now)
    for _ in range(30):
        world.now += 0.1
        a.node.tick(world.now)

    assert a.node.peers.get(successor.id) is not None
    assert a.node.peers.gone(successor.id) is None


def test_two_nodes_that_only_heard_of_a_third_do_not_keep_it():
    """What counts is whether a followed peer has met it, not whether it repeats the rumour."""
    world, (a, b, c) = joined("a", "b", "c", lost_after=120.0, max_staleness=5.0)
    ghost = Identity(b"ghost-----------", "g", "g:1")
    for teller, listener in ((c, a), (c, b)):
        batch = Batch(listener.peer(teller).cursor + 1, (Met(ghost, direct=True),))
        world.carry(listener, listener.node.receive(listener.link(teller), batch, world.now))
    world.leave(c)
    world.crash("c")
    for member in (a, b):
        world.propose(member, "a", "b", "g")
    world.run(40)

    assert a.known == {"b"}
    assert b.known == {"a"}
    assert max(world.age(a), world.age(b)) < 3


def test_a_refusal_from_before_a_stream_has_not_lasted():
    """A node that refused while it forked, and was followed since, is not dead the moment its stream ends."""
    world, (a, b) = joined("a", "b", lost_after=120.0)
    world.run(2)
    world.part("a", "b")
    refused = next(effect for effect in a.node.tick(world.now) if isinstance(effect, Dial))
    a.node.closed(refused.link, "refused", world.now, Ending.REFUSED)
    world.closed.add("b")
    world.mend("a", "b")
    world.run(10)
    followed = a.follows(b)
    world.part("a", "b")
    world.run(9)

    assert followed
    assert a.known == {"b"}
    assert a.distrusted == []
