"""A node that breaks off all its streams by its own doing, as before a fork, and comes back."""

from flushmesh.protocol.effects import Dial, HangUp
from tests.protocol.world import World, joined

OPTIONS = {"max_staleness": 2.0, "lost_after": 120.0}


def cut(world, member):
    """Break off every stream of *member*, as a fork does: it knows that by itself, the others see theirs end."""
    effects = member.node.cut("a fork", world.now)
    name = member.node.identity.name
    for end in [end for end in world.streams if end[0] == name]:
        far_name, far_link = world.streams.pop(end)
        world.streams.pop((far_name, far_link))
        far = world.members[far_name]
        world.carry(far, far.node.closed(far_link, "it went away", world.now))
    world.carry(member, effects)


def test_streams_that_were_cut_are_back_at_once():
    """The node that was gone for a moment dials every peer without delay, and one stream with each is left."""
    world, (a, b, c) = joined("a", "b", "c", **OPTIONS)
    cut(world, a)
    apart = not any(member.follows(other) for member, other in ((a, b), (a, c), (b, a), (c, a)))

    world.carry(a, a.node.tick(world.now))
    world.settle()

    assert apart
    assert all(member.follows(other) for member, other in ((a, b), (a, c), (b, a), (c, a)))
    assert len(list(a.node.links)) == 2


def test_a_cut_loses_no_flush_and_no_entry():
    """What is flushed in the meantime on either side is replayed from the cursor, and nothing is distrusted."""
    world, (a, b) = joined("a", "b", **OPTIONS)
    cut(world, a)
    a.flush("from a")
    b.flush("from b")
    world.run(1.0)

    assert b.keys == ["from a"]
    assert a.keys == ["from b"]
    assert a.distrusted == b.distrusted == []


def test_a_cut_is_no_answer():
    """An address that was being dialled when the node cut its links has said nothing, and keeps it joining."""
    world = World()
    a = world.add("a", **OPTIONS)
    a.effects.extend(a.node.propose("roster", ["b:1"], world.now))
    dialled = len(a.told(Dial))

    a.node.cut("a fork", world.now)

    assert dialled == 1
    assert [address.text for address in a.node.addresses.unanswered()] == ["b:1"]
    assert a.node.trust.phase == "joining"


def test_a_stream_without_a_word_is_cut_too():
    """A caller that has not said Hello yet is not waited for."""
    world = World()
    a = world.add("a", **OPTIONS)
    link = a.node.accept("b", world.now)

    a.node.cut("a fork", world.now)
    effects = a.node.tick(world.now + 60)

    assert a.node.links.get(link) is None
    assert not any(isinstance(effect, HangUp) for effect in effects)


def test_a_goodbye_that_arrives_during_a_cut_is_not_lost():
    """A peer that leaves while the node is forking says so when it is reached again."""
    world, (a, b) = joined("a", "b", **OPTIONS)
    cut(world, a)
    b.flush("last words")
    world.carry(b, b.node.leave(world.now))

    world.carry(a, a.node.tick(world.now))
    world.settle()

    assert a.keys == ["last words"]
    assert a.known == set()
    assert a.distrusted == []
    assert b.node.parted
