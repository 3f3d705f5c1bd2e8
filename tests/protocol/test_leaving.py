"""Leaving: who is told goodbye, how long that is waited for, and what arrives late."""

from math import inf

import pytest

from flushmesh.protocol.addresses import Ending
from flushmesh.protocol.effects import Dial, PeerLost, Trust
from flushmesh.protocol.messages import PROTOCOL_VERSION, Batch, Hello, Leave, Refusal, Vouch, Welcome, Why
from tests.protocol.world import World, joined


def hello_of(member):
    return Hello(PROTOCOL_VERSION, "m", member.node.identity)


def answer(world, member, hello):
    """Return what *member* answers to a *hello* that arrives on a new stream."""
    link = member.node.accept("elsewhere", world.now)
    member.node.receive(link, hello, world.now)
    return member.node.next_message(link, world.now)


# Which callers are answered.


def test_a_node_that_leaves_refuses_callers_it_does_not_know():
    """A node that met it now would have to part from it at once; the refusal is no fault and is not reported."""
    world = World()
    a, b = world.add("a"), world.add("b")
    world.carry(a, a.node.leave(world.now))
    refusal = answer(world, a, hello_of(b))

    assert isinstance(refusal, Refusal)
    assert refusal.why is Why.LEAVING
    assert a.known == set()


def test_a_node_that_leaves_still_serves_members_that_call():
    """A member that lost its stream a moment ago gets the last flushes and the goodbye."""
    world, (a, b) = joined("a", "b")
    world.part("a", "b")
    world.carry(a, a.node.leave(world.now))

    assert isinstance(answer(world, a, hello_of(b)), Welcome)


def test_a_node_that_leaves_introduces_itself_to_no_stranger():
    """A stream that opens during a shutdown carries no Hello to an address at which no member is known."""
    world = World()
    a, b = world.add("a"), world.add("b")
    world.propose(a, "b")
    world.carry(a, a.node.leave(world.now))
    world.settle()

    assert world.sent(Hello) == []
    assert b.known == set()
    assert a.node.parted


def test_a_node_that_leaves_dials_no_stranger():
    """What is proposed or due during a shutdown is left alone."""
    world, (a, _b) = joined("a", "b")
    world.leave(a)
    a.effects.clear()

    world.propose(a, "b", "late")
    world.run(10)

    assert "late:1" not in a.dials


def test_a_node_that_leaves_dials_no_member_that_it_has_told():
    """The member would refuse it as gone; there is nothing left to say."""
    world, (a, _b) = joined("a", "b")
    world.leave(a)
    a.effects.clear()

    world.run(10)

    assert a.dials == []


# Who is told, and how long that takes.


def test_a_node_has_parted_when_the_last_peer_was_told():
    """It takes a Leave for each peer that can be reached; without peers there is none to wait for."""
    alone = World().add("alone")
    world, (a, _b, _c) = joined("a", "b", "c")
    a.node.leave(world.now)
    before = a.node.parted

    world.settle()
    heard = [to for _, to, message in world.log if isinstance(message, Leave)]

    assert alone.node.parted
    assert not before
    assert sorted(heard) == ["b", "c"]
    assert a.node.parted


def test_a_node_that_leaves_waits_for_a_member_it_has_not_reached():
    """A member without a stream is dialled again at once, and told goodbye when it is reached."""
    world, (a, b) = joined("a", "b")
    world.part("a", "b")
    a.flush("last words")
    world.run(1)
    a.effects.clear()
    world.mend("a", "b")

    world.carry(a, a.node.leave(world.now))
    waiting = not a.node.parted
    world.settle()

    assert "b:1" in a.dials
    assert waiting
    assert a.node.parted
    assert b.keys == ["last words"]
    assert b.known == set()
    assert b.distrusted == []


def test_a_node_that_leaves_does_not_wait_for_a_member_whose_address_refuses():
    """A process that is not there cannot be told."""
    world, (a, _b, _c) = joined("a", "b", "c")
    world.crash("c")
    world.run(1)

    world.leave(a)

    assert a.node.parted


def test_a_node_that_leaves_goes_on_trying_a_member_that_is_silent():
    """Until its driver's second is over it has not parted, and what is due is only that."""
    world, (a, _b) = joined("a", "b")
    world.part("a", "b")
    world.run(1)
    world.leave(a)
    dialled = len(a.dials)
    world.run(1)

    assert not a.node.parted
    assert len(a.dials) > dialled
    assert a.node.next_due() < inf


def test_a_node_that_leaves_has_nothing_else_to_wait_for():
    """Once every member has been told nothing is due, whatever is overdue."""
    world, (a, _b) = joined("a", "b")
    before = a.node.next_due()
    world.leave(a)

    assert before < inf
    assert a.node.tick(world.now + 100) == []
    assert a.node.next_due() == inf


def test_a_node_whose_hello_is_under_way_has_not_parted():
    """The node that will have met it a moment later is told goodbye too."""
    world = World()
    a, b = world.add("a"), world.add("b")
    world.propose(a, "b")
    (link,) = [effect.link for effect in a.told(Dial)]
    introduction = a.node.next_message(link, world.now)
    world.carry(a, a.node.leave(world.now))
    early = a.node.parted

    _, far_link = world.streams["a", link]
    world.carry(b, b.node.receive(far_link, introduction, world.now))
    met = b.known
    world.run(1)

    assert not early
    assert met == {"a"}
    assert a.node.parted
    assert b.known == set()
    assert b.distrusted == []


def test_a_node_whose_hello_was_not_answered_has_parted_when_its_stream_ends():
    """A goodbye is owed to no node that is out of reach."""
    world = World()
    a, _b = world.add("a"), world.add("b")
    world.propose(a, "b")
    (link,) = [effect.link for effect in a.told(Dial)]
    a.node.next_message(link, world.now)
    a.node.leave(world.now)

    a.node.closed(link, "broken off", world.now, Ending.SILENT)

    assert a.node.parted


def test_a_goodbye_comes_after_every_flush():
    """However much there is to send, the Leave is sent after the last of it."""
    world, (a, b) = joined("a", "b", journal=5000)
    for number in range(3000):
        a.flush(f"k{number}")
    world.log.clear()
    world.leave(a)

    assert len(b.keys) == 3000
    kinds = [type(message) for name, _, message in world.log if name == "a"]
    assert kinds.index(Leave) > max(place for place, kind in enumerate(kinds) if kind is Batch)


# What arrives late.


def test_a_hello_that_arrives_after_its_goodbye_brings_nothing_back():
    """A visitor's own dial is overtaken by its goodbye on the stream that its peer opened: it stays gone."""
    world, (a, c) = joined("a", "c", lost_after=120.0, max_staleness=30.0)
    world.run(3)
    b = world.add("b", lost_after=120.0)
    world.propose(b, "a")
    link = b.told(Dial)[0].link
    hello = b.node.next_message(link, world.now)
    # Its own stream stands still with the Hello on it, while a dials b and hears the goodbye.
    far = world.streams.pop(("b", link))
    world.streams.pop(far)
    world.propose(a, "a", "c", "b")
    world.settle()
    followed = a.follows(b)
    world.leave(b)
    world.streams["b", link], world.streams[far] = far, ("b", link)
    world.log.clear()
    world.carry(a, a.node.receive(far[1], hello, world.now))
    world.settle()
    world.crash("b")
    world.propose(a, "a", "c")
    world.run(10)

    assert followed
    assert [refusal.why for refusal in world.sent(Refusal)] == [Why.GONE]
    assert b.node.parted
    assert a.known == {"c"}
    assert c.known == {"a"}
    assert a.distrusted == c.distrusted == []
    assert world.age(a) < 2


def test_a_welcome_that_arrives_after_a_goodbye_brings_nothing_back():
    """A dial that a leaving node answered before it said goodbye elsewhere is dropped."""
    world, (a, b) = joined("a", "b")
    identity = b.node.identity
    a.node.addresses.propose("roster", ["b:1", "other.name:1"], 0.0, world.now)
    (dial,) = [effect for effect in a.node.tick(world.now) if isinstance(effect, Dial)]
    a.node.next_message(dial.link, world.now)
    world.leave(b)

    a.node.receive(dial.link, Welcome(identity), world.now)

    assert a.known == set()
    assert a.node.links.get(dial.link) is None


def test_a_departure_is_told_once():
    """A goodbye is one line in the log of each peer, although others report it too."""
    world, (a, b, c) = joined("a", "b", "c")
    world.leave(c)
    world.run(5)

    for member in (a, b):
        assert [effect.gone for effect in member.told(PeerLost)] == [True]


@pytest.mark.parametrize("phase", ["joining", "joined"])
def test_a_node_that_leaves_proves_only_what_it_could_prove_before(phase):
    """A node that closes while it is joining has not seen every address: a vouch moves no proof then."""
    world = World()
    a, b = world.add("a", lost_after=120.0, max_staleness=30.0), world.add("b")
    if phase == "joining":
        world.dark.add("x")
    world.propose(a, "b", *(["x"] if phase == "joining" else []))
    world.run(20)
    before = a.node.trust.at
    assert a.node.trust.phase == phase
    a.peer(b).ping()
    ping = a.node.next_message(a.link(b), world.now)
    a.node.leave(world.now)
    effects = a.node.receive(a.link(b), Vouch(ping.clock, a.peer(b).cursor), world.now)

    assert (a.node.trust.at > before) is (phase == "joined")
    assert any(isinstance(effect, Trust) for effect in effects) is (phase == "joined")
