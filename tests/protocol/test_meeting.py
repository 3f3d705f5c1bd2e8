"""Who is met, through which addresses, and what is left when they go."""

from dataclasses import replace

import pytest

from flushmesh.protocol.effects import Dial, Distrust, PeerFollowed, PeerLost
from flushmesh.protocol.messages import PROTOCOL_VERSION, Batch, Hello, Identity, Known, Met, Truncated
from tests.protocol.world import World, joined


class Aliases(World):
    """A world in which `alias.a` leads to the node `a`, and `nat.a` nowhere."""

    def _dial(self, member, link, name):
        super()._dial(member, link, "nowhere" if name.startswith("nat.") else name.removeprefix("alias."))


def addresses(member):
    return {address.text for address in member.node.addresses}


def advertise(member, address):
    """Let a node that has said nothing yet tell others *address*."""
    member.node.peers.me = replace(member.node.identity, address=address)


def flush_and_settle(world, member, count):
    for number in range(count):
        member.flush(f"k{number}")
        world.settle()


# Several addresses of one node.


def test_another_address_of_a_peer_disturbs_nothing():
    """A further address of a followed peer ends no stream and costs no trust, however old the journal is."""
    world = Aliases()
    a, b = world.add("a", journal=10), world.add("b")
    world.propose(b, "a")
    world.run(3)
    flush_and_settle(world, a, 50)
    world.run(2)
    link = a.link(b)
    b.effects.clear()
    world.log.clear()

    world.propose(b, "a", "alias.a")
    world.run(10)

    assert "alias.a:1" in b.dials
    assert a.link(b) == link
    assert [effect for effect in b.effects if isinstance(effect, Distrust | PeerLost | PeerFollowed)] == []
    assert world.sent(Truncated) == []


def test_another_address_of_a_peer_holds_no_proof():
    """A named address at which a member has answered is a member's, whatever that member calls itself."""
    world = Aliases()
    a, b = world.add("a"), world.add("b")
    world.propose(a, "b")
    world.propose(b, "alias.a")
    world.run(10)

    assert b.peer(a).identity.address == "a:1"
    assert world.age(b) < 2


def test_a_peer_that_is_found_again_at_another_address_is_followed_from_the_cursor():
    """The first stream to a fresh address of a known node loses and repeats nothing."""
    world = Aliases()
    a, b = world.add("a", journal=10), world.add("b")
    world.propose(b, "a")
    world.run(3)
    flush_and_settle(world, a, 50)
    world.part("a", "b")
    a.flush("missed")
    world.mend("a", "b")
    world.propose(b, "alias.a")
    world.run(10)

    assert b.follows(a)
    assert b.distrusted == []
    assert b.keys == [f"k{number}" for number in range(50)] + ["missed"]


def test_an_address_that_is_withdrawn_while_it_is_dialled_still_leads_to_its_node():
    """The Welcome of a known node at an address that no discovery names any more is taken like any other."""
    world = Aliases()
    a, b = world.add("a"), world.add("b")
    world.propose(b, "a")
    world.run(3)
    flush_and_settle(world, a, 3)
    world.part("a", "b")
    a.flush("missed")
    world.mend("a", "b")
    world.propose(b, "alias.a")
    link = [effect.link for effect in b.told(Dial) if effect.address == "alias.a:1"][-1]
    hello = b.node.next_message(link, world.now)
    far = world.streams["b", link]
    # DNS answers again, without that address, before the Welcome is here.
    world.propose(b)
    world.carry(a, a.node.receive(far[1], hello, world.now))
    welcome = a.node.next_message(far[1], world.now)

    world.carry(b, b.node.receive(link, welcome, world.now))
    world.run(6)

    assert b.follows(a)
    assert b.keys[-1] == "missed"


def test_a_restart_behind_another_address_is_noticed():
    """A node that answers at an address where an earlier one was known replaces it, also behind an alias."""
    world = Aliases()
    a, b = world.add("a"), world.add("b")
    world.propose(b, "alias.a")
    world.propose(a, "b")
    world.run(3)
    new = world.add("a", node_id=b"another-id------")
    world.propose(new, "b")
    world.run(60)

    sequence = b.flush("k")
    world.run(2)

    assert b.missing(sequence) == set()
    assert b.follows(new)
    assert len(b.distrusted) == 1


def test_a_restarted_node_that_calls_first_replaces_its_former_self():
    """Another incarnation answers at the address, so the former one is given up within seconds."""
    world, (a, b) = joined("a", "b", max_staleness=5.0)
    world.run(2)
    world.crash("a")
    new = world.add("a", node_id=b"another-id------", max_staleness=5.0)
    world.propose(new, "b")
    world.run(2.5)

    assert [peer.identity.id for peer in b.node.peers] == [b"another-id------"]
    assert world.age(b) < 2


def test_a_caller_that_listens_everywhere_is_known_where_it_called_from():
    """An address without a host is completed with the host of the stream."""
    world = World()
    a = world.add("a")
    link = a.node.accept("10.0.0.7", world.now)

    a.node.receive(link, Hello(PROTOCOL_VERSION, "m", Identity(b"c" * 16, "c", ":7")), world.now)

    assert addresses(a) == {"10.0.0.7:7"}


def test_a_node_that_listens_everywhere_is_known_where_it_was_dialled():
    """The host that was dialled completes the address in its Welcome."""
    world = World()
    a, b = world.add("a"), world.add("b")
    advertise(b, ":1")
    world.propose(a, "b")
    world.settle()

    assert a.peer(b).identity.address == "b:1"


# What is left of those who go.


@pytest.mark.parametrize("advertised", ["a:1", "alias.a:1", "nat.a:1"])
def test_no_address_of_a_node_that_left_is_dialled_again(advertised):
    """After a goodbye and the end of its proposal an address is forgotten, whatever the node had told."""
    world = Aliases()
    a, b = world.add("a"), world.add("b")
    advertise(a, advertised)
    world.propose(b, "a")
    world.run(6)
    assert b.follows(a)
    world.leave(a)
    world.crash("a")
    world.propose(b)
    world.run(2)
    b.effects.clear()
    world.run(60)

    assert (addresses(b), b.known, b.dials) == (set(), set(), [])


def test_restarts_behind_a_changing_address_leave_no_addresses_behind():
    """However often a node restarts under another address, only the newest is kept."""
    world = Aliases()
    b = world.add("b")
    for number in range(5):
        a = world.add("a", node_id=bytes([65 + number]) * 16)
        advertise(a, f"nat.a{number}:1")
        world.propose(b, "a")
        world.run(6)
        world.leave(a)
    world.run(2)

    assert addresses(b) == {"a:1"}


def test_the_address_of_a_node_that_was_replaced_is_dialled_for_lost_after_more():
    """The former one may be alive behind it; then it is forgotten."""
    world = Aliases()
    a, b = world.add("a"), world.add("b", lost_after=20.0)
    advertise(a, "nat.a:1")
    world.propose(b, "a")
    world.run(3)
    new = world.add("a", node_id=b"another-id------")
    world.run(10)
    kept = addresses(b)
    world.run(25)

    assert b.follows(new)
    assert b.peer(a) is None
    assert kept == {"a:1", "nat.a:1"}
    assert addresses(b) == {"a:1"}


def test_a_node_is_replaced_by_one_that_answers_where_it_was_reached():
    """What a node told of its own address does not matter: its successor answers where it itself answered."""
    world = Aliases()
    a, b = world.add("a"), world.add("b", lost_after=120.0, max_staleness=5.0)
    advertise(a, "nat.a:1")
    world.propose(b, "a")
    world.run(3)
    world.add("a", node_id=b"another-id------")
    world.run(10)

    assert b.peer(a) is None
    assert world.age(b) < 2


def test_hearsay_of_a_node_that_left_is_not_dialled():
    """An address that only other nodes have told of goes with the node's goodbye."""
    world = World()
    a, b, c = world.add("a"), world.add("b"), world.add("c")
    for member in (b, c):
        world.propose(member, "a")
    world.run(3)
    assert b.follows(c)
    world.leave(c)
    world.crash("c")
    world.run(2)
    for member in (a, b):
        member.effects.clear()
    world.run(60)

    assert addresses(a) == {"b:1"}
    assert addresses(b) == {"a:1"}
    assert a.dials == b.dials == []


def test_hearsay_of_a_node_that_is_gone_is_not_dialled_forever():
    """A newcomer that hears of a dead node drops its address after the others have given it up."""
    world = World()
    a, b, c = [world.add(name, lost_after=20.0) for name in "abc"]
    for member in (b, c):
        world.propose(member, "a")
    world.run(3)
    world.crash("c")
    world.run(1)
    d = world.add("d", lost_after=20.0)
    world.propose(d, "a")
    world.run(2)
    heard = addresses(d)
    world.run(60)

    assert "c:1" in heard
    assert [addresses(member) - {"a:1", "b:1", "d:1"} for member in (a, b, d)] == [set(), set(), set()]
    assert d.known == {"a", "b"}


# Bounds.


def test_a_full_node_meets_no_more_by_dialling():
    """The bound on peers holds for those this node finds itself."""
    world = World()
    a = world.add("a", peers_max=1)
    for name in "bcd":
        world.add(name)
    world.propose(a, "b", "c", "d")
    world.run(5)

    assert len(a.known) == 1
    assert len(a.told(PeerFollowed)) == 1


@pytest.mark.parametrize(
    ("teller", "told", "dialled"),
    [
        ("10.0.0.5:1", "127.0.0.1:2", "10.0.0.5:2"),
        ("[fd00::5]:1", "[::1]:2", "[fd00::5]:2"),
        ("10.0.0.5:1", "10.0.0.6:2", "10.0.0.6:2"),
        ("[::1]:1", "127.0.0.1:2", "127.0.0.1:2"),
    ],
)
def test_a_node_that_is_known_by_loopback_is_looked_for_where_its_teller_is(teller, told, dialled):
    """A loopback address means another machine to every other machine."""
    world, (a, b) = joined("a", "b")
    peer = a.peer(b)
    a.node.peers.update(peer, replace(peer.identity, address=teller))
    stranger = Identity(b"c" * 16, "c", told)

    a.node.receive(a.link(b), Batch(peer.cursor + 1, (Met(stranger, direct=True),)), world.now)

    assert a.node.peers.get(stranger.id).identity.address == dialled
    assert dialled in addresses(a)


@pytest.mark.parametrize("carrier", ["records", "list"])
def test_news_makes_no_more_peers_and_addresses_than_the_bound(carrier):
    """However many nodes others tell of, no more than the bound are known or dialled."""
    world = World()
    a, b = world.add("a", peers_max=10), world.add("b")
    world.propose(a, "b")
    world.run(2)
    nodes = [
        Identity(number.to_bytes(16, "big"), "y", f"10.0.{number >> 8}.{number & 255}:1") for number in range(5000)
    ]
    if carrier == "records":
        message = Batch(a.peer(b).cursor + 1, tuple(Met(node, direct=True) for node in nodes))
    else:
        message = Truncated(a.peer(b).cursor, 0, tuple(Known(node, reached=True) for node in nodes))

    a.node.receive(a.link(b), message, world.now)

    assert len(a.node.peers) == 10
    assert len(addresses(a)) == 10
