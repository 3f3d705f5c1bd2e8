"""A node that breaks off all its streams by its own doing, as before a fork, and comes back."""

from flushmesh.protocol.effects import Dial
from tests.protocol.world import World, joined

OPTIONS = {"max_staleness": 2.0, "lost_after": 120.0}


def cut(world, member):
    """Break off every stream of *member*, as a fork does: it notes that by itself, the others see theirs end."""
    effects = member.node.cut("a fork", world.now)
    name = member.node.identity.name
    for end in [end for end in world.streams if end[0] == name]:
        far_name, far_link = world.streams.pop(end)
        world.streams.pop((far_name, far_link))
        far = world.members[far_name]
        world.carry(far, far.node.closed(far_link, "it went away", world.now))
    world.carry(member, effects)


def test_streams_that_were_cut_are_back_at_once():
    """The node that was gone for a moment dials everybody without delay, and they dial it when they hear it."""
    world, (a, b, c) = joined("a", "b", "c", **OPTIONS)
    cut(world, a)
    assert not any(member.follows(other) for member, other in ((a, b), (a, c), (b, a), (c, a)))

    world.carry(a, a.node.tick(world.now))
    world.settle()

    assert all(member.follows(other) for member, other in ((a, b), (a, c), (b, a), (c, a)))


def test_a_cut_loses_no_flush_and_no_entry():
    """What is flushed meanwhile on either side is replayed from the cursor, and nothing is distrusted."""
    world, (a, b) = joined("a", "b", **OPTIONS)
    cut(world, a)
    a.flush("from a")
    b.flush("from b")
    world.run(1.0)

    assert [flush.key for flush in b.applied] == ["from a"]
    assert [flush.key for flush in a.applied] == ["from b"]
    assert a.distrusted == b.distrusted == []


def test_a_cut_is_no_answer():
    """An address that was being dialled when the node cut its links has said nothing, and keeps it joining."""
    world = World()
    a = world.add("a", **OPTIONS)
    a.effects.extend(a.node.propose("roster", ["b:1"], world.now))
    assert any(isinstance(effect, Dial) for effect in a.effects)

    a.node.cut("a fork", world.now)

    assert [contact.address for contact in a.node.contacts.unanswered()] == ["b:1"]
    assert a.node.trust.phase == "joining"


def test_a_stream_without_a_word_is_cut_too():
    """Who had dialled and not yet said Hello is not waited for."""
    world = World()
    a = world.add("a", **OPTIONS)
    link = a.node.accept("b", world.now)

    a.node.cut("a fork", world.now)

    assert not a.node.serving.awaits_hello(link)
