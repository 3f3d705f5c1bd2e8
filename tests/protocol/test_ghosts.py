"""Ghosts: nodes that are gone and are named by another node that has not noticed."""

from tests.protocol.world import joined

OPTIONS = {"max_staleness": 2.0, "lost_after": 120.0}


def restarted(world, name, *peers):
    """Kill a node and start another one at its address, which looks for *peers*."""
    new = world.add(name, node_id=f"new {name}".encode().ljust(16, b"-"), **OPTIONS)
    world.propose(new, name, *peers)
    world.run(10)
    return new


def ids(member):
    return {peer.identity.id.rstrip(b"-") for peer in member.node.peers}


def test_a_restarted_node_does_not_believe_in_its_former_self():
    """A node that was at this node's own address is no ghost to wait for."""
    world, (a, b, c) = joined("a", "b", "c", **OPTIONS)
    world.freeze("c")
    new = restarted(world, "a", "b", "c")
    world.thaw("c")
    world.run(10)

    assert ids(new) == {b"b", b"c"}
    assert world.age(new) < 2


def test_a_node_whose_successor_is_followed_is_not_brought_back():
    """Late news of a node that another has replaced at its address is forgotten again."""
    world, (a, b, c) = joined("a", "b", "c", **OPTIONS)
    world.freeze("c")
    restarted(world, "b", "a", "c")
    world.thaw("c")
    world.run(10)

    assert ids(a) == {b"new b", b"c"}
    assert world.age(a) < 2


def test_two_nodes_do_not_keep_a_rumour_alive_for_each_other():
    """That each knows a dead node because the other does is no reason to go on knowing it."""
    world, (a, b, c) = joined("a", "b", "c", **OPTIONS)
    world.freeze("a")
    new = restarted(world, "c", "a", "b")
    world.thaw("a")
    world.run(10)

    assert ids(b) == {b"a", b"new c"}
    assert ids(new) == {b"a", b"b"}
    assert all(world.age(member) < 2 for member in (a, b, new))
