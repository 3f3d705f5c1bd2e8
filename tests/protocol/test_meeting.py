"""Who is met, through which addresses, and what is left when they go."""

from dataclasses import replace

import pytest

from flushmesh.protocol.effects import Dial, Distrust, HangUp, Met, Parted
from flushmesh.protocol.messages import PROTOCOL_VERSION, Ack, Hello, Identity, Leave, News, Ping, Truncated
from flushmesh.protocol.serving import HELLO_MAX
from tests.protocol.world import World, joined


class Aliases(World):
    """A world in which `alias.a` leads to the node `a`, and `nat.a` nowhere."""

    def _dial(self, member, link, name):
        super()._dial(member, link, "nowhere" if name.startswith("nat.") else name.removeprefix("alias."))


def addresses(member):
    return {contact.address for contact in member.node.contacts}


def advertise(member, address):
    """Let a node that has said nothing yet tell others *address*."""
    member.node.identity = replace(member.node.identity, address=address)
    member.node.peers.me = member.node.identity


def dials(member):
    return [effect.address for effect in member.effects if isinstance(effect, Dial)]


def hello(member, *, cursor=0, origin=None, known=()):
    """Return the Hello of a node that follows *origin* from *cursor*."""
    origin_id = origin.node.identity.id if origin is not None else b""
    return Hello(1, "m", member.node.identity, origin_id, cursor, known=known)


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
    link = a.peer(b).serving_link
    b.effects.clear()
    world.log.clear()

    world.propose(b, "a", "alias.a")
    world.run(10)

    assert "alias.a:1" in dials(b)
    assert a.peer(b).serving_link == link
    assert [effect for effect in b.effects if isinstance(effect, Distrust | Parted | Met)] == []
    assert not any(isinstance(message, Truncated) for _, _, message in world.log)


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
    assert [flush.key for flush in b.applied] == [f"k{number}" for number in range(50)] + ["missed"]


def test_a_follower_that_comes_anew_has_one_stream_in_the_end():
    """The stream that a follower has left behind ends when it speaks on the new one, and not before."""
    world, (a, b) = joined("a", "b")
    former = a.peer(b).serving_link
    link = a.node.accept("b", world.now)
    effects = a.node.receive(link, hello(b, origin=a), world.now)
    assert not any(isinstance(effect, HangUp) for effect in effects)
    assert a.peer(b).serving_link == former

    effects = a.node.receive(link, Ping(world.now, 0), world.now)

    assert HangUp(former) in effects
    assert a.peer(b).serving_link == link


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


# Leaving.


def test_a_node_that_leaves_introduces_itself_to_nobody():
    """A stream that opens during a shutdown carries no Hello, so nobody meets a node that is going."""
    world = World()
    a, b = world.add("a"), world.add("b")
    world.propose(a, "b")
    world.carry(a, a.node.leave())
    world.settle()

    assert not any(isinstance(message, Hello) for _, _, message in world.log)
    assert b.known == set()
    assert a.node.parted


def test_a_node_that_leaves_dials_nobody():
    """What is proposed or due during a shutdown is left alone."""
    world, (a, _b) = joined("a", "b")
    world.carry(a, a.node.leave())
    a.effects.clear()

    world.propose(a, "b", "late")
    world.run(10)

    assert dials(a) == []


def test_a_late_follower_is_welcomed_and_told_goodbye():
    """A node that leaves before somebody who has met it follows it waits for that one, and is forgotten in peace."""
    world = World()
    a, b = world.add("a"), world.add("b")
    world.propose(a, "b")
    world.cut.add(frozenset("ab"))  # What is open stays; nothing new opens.
    world.settle()
    assert b.known == {"a"}
    assert not b.follows(a)
    a.flush("last words")

    world.carry(a, a.node.leave())
    assert not a.node.parted
    world.mend("a", "b")
    world.run(1)

    assert a.node.parted
    assert b.known == set()
    assert b.distrusted == []
    assert [flush.key for flush in b.applied] == ["last words"]


def test_a_node_whose_hello_is_under_way_has_not_parted():
    """Who will have met this node a moment later is told goodbye too."""
    world = World()
    a, b = world.add("a"), world.add("b")
    world.propose(a, "b")
    (link,) = [effect.link for effect in a.effects if isinstance(effect, Dial)]
    introduction = a.node.next_message(link, world.now)
    world.carry(a, a.node.leave())
    assert not a.node.parted

    _, far_link = world.streams["a", link]
    world.carry(b, b.node.receive(far_link, introduction, world.now))
    assert b.known == {"a"}
    world.run(1)

    assert a.node.parted
    assert b.known == set()
    assert b.distrusted == []


def test_a_node_whose_hello_was_not_answered_has_parted_when_its_stream_ends():
    """A goodbye is owed to nobody who is out of reach."""
    world = World()
    a, _b = world.add("a"), world.add("b")
    world.propose(a, "b")
    (link,) = [effect.link for effect in a.effects if isinstance(effect, Dial)]
    a.node.next_message(link, world.now)
    a.node.leave()

    a.node.closed(link, "broken off", world.now)

    assert a.node.parted


def test_a_node_has_parted_when_the_last_peer_was_told():
    """It takes a Leave for each peer that is reached; with nobody to tell there is nobody to wait for."""
    assert World().add("alone").node.parted
    world, (a, _b, _c) = joined("a", "b", "c")
    world.part("a", "c")
    a.node.leave()
    assert not a.node.parted

    world.settle()

    assert [to for _, to, message in world.log if isinstance(message, Leave)] == ["b"]
    assert a.node.parted


def test_a_node_that_leaves_has_nothing_to_wait_for():
    """Nothing is due during a shutdown, whatever is overdue."""
    world, (a, _b) = joined("a", "b")
    world.propose(a, "b", "nobody")
    assert a.node.next_due() < float("inf")
    a.node.leave()
    world.now += 100

    assert a.node.next_due() == float("inf")
    assert a.node.tick(world.now) == []


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
    world.carry(a, a.node.leave())
    world.settle()
    world.crash("a")
    world.propose(b)
    b.effects.clear()
    world.run(60)

    assert (addresses(b), b.known, dials(b)) == (set(), set(), [])


def test_restarts_behind_a_changing_address_leave_no_addresses_behind():
    """However often a node restarts under another address, only the newest is kept."""
    world = Aliases()
    b = world.add("b")
    for number in range(5):
        a = world.add("a", node_id=bytes([65 + number]) * 16)
        advertise(a, f"nat.a{number}:1")
        world.propose(b, "a")
        world.run(6)
        world.carry(a, a.node.leave())
        world.settle()

    assert addresses(b) == {"a:1"}


def test_the_address_of_a_node_that_was_replaced_is_kept_for_its_successor_alone():
    """When another node answers at an address, what the former one had told is forgotten."""
    world = Aliases()
    a, b = world.add("a"), world.add("b")
    world.propose(b, "a")
    world.run(3)
    new = world.add("a", node_id=b"another-id------")
    advertise(new, "alias.a:1")
    world.run(10)
    assert b.follows(new)
    assert b.peer(a) is None
    world.propose(b)

    world.carry(new, new.node.leave())
    world.settle()

    assert addresses(b) == set()


def test_hearsay_of_a_node_that_left_is_not_dialled():
    """An address that only other nodes have told of goes with the node's goodbye."""
    world = World()
    a, b, c = world.add("a"), world.add("b"), world.add("c")
    for member in (b, c):
        world.propose(member, "a")
    world.run(3)
    assert b.follows(c)
    world.carry(c, c.node.leave())
    world.settle()
    world.crash("c")
    for member in (a, b):
        member.effects.clear()
    world.run(60)

    assert addresses(a) == {"b:1"}
    assert addresses(b) == {"a:1"}
    assert dials(a) == dials(b) == []


def test_hearsay_of_a_node_that_is_gone_is_not_dialled_for_ever():
    """A newcomer that is told of a dead node drops its address once everybody has given it up."""
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
    assert "c:1" in addresses(d)
    world.run(60)

    assert [addresses(member) - {"a:1", "b:1", "d:1"} for member in (a, b, d)] == [set(), set(), set()]
    assert d.known == {"a", "b"}


# Bounds.


def test_a_full_node_meets_nobody_by_dialling():
    """The bound on peers holds for those this node finds itself."""
    world = World()
    a = world.add("a", peers_max=1)
    for name in "bcd":
        world.add(name)
    world.propose(a, "b", "c", "d")
    world.run(5)

    assert len(a.known) == 1
    assert len([effect for effect in a.effects if isinstance(effect, Met)]) == 1


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
    """A loopback address means another machine to everybody else."""
    world, (a, b) = joined("a", "b")
    peer = a.peer(b)
    peer.identity = replace(peer.identity, address=teller)
    stranger = Identity(b"c" * 16, "c", told)

    a.node._learn(peer, (News(stranger, reached=True),), world.now)

    assert a.node.peers.get(stranger.id).identity.address == dialled
    assert dialled in addresses(a)


def test_news_makes_no_more_peers_and_addresses_than_the_bound():
    """However many nodes others tell of, no more than the bound are known or dialled."""
    world = World()
    a, b = world.add("a", peers_max=10), world.add("b")
    known = tuple(
        News(Identity(number.to_bytes(16, "big"), "y", f"10.0.{number >> 8}.{number & 255}:1"), reached=True)
        for number in range(5000)
    )

    a.node.receive(a.node.accept("b", world.now), hello(b, known=known), world.now)

    assert len(a.node.peers) == 10
    assert len(addresses(a)) == 10


def test_a_stream_that_never_says_hello_is_ended():
    """Whoever opens a stream and says nothing is cut off after HELLO_MAX, and one who has spoken is not."""
    world, (a, b) = joined("a", "b")
    silent = a.node.accept("elsewhere", world.now)
    greeted = a.peer(b).serving_link

    early = a.node.tick(world.now + HELLO_MAX - 0.1)
    late = a.node.tick(world.now + HELLO_MAX)

    assert not any(isinstance(effect, HangUp) for effect in early)
    assert [effect.link for effect in late if isinstance(effect, HangUp)] == [silent]
    assert greeted in a.node.serving
    assert a.node.next_message(silent, world.now) is None


# What a follower says of itself.


@pytest.mark.parametrize("message", [Ack(1), Ping(100.0, 1)])
def test_an_acknowledgement_never_goes_backwards(message):
    """A follower that names an older cursor than before takes nothing back."""
    world, (a, b) = joined("a", "b")
    for _ in range(3):
        sequence = a.flush("k")
    world.settle()
    link = a.peer(b).serving_link
    a.node.receive(link, Ack(3), world.now)

    a.node.receive(link, message, world.now)

    assert a.peer(b).acknowledged == 3
    assert a.missing(sequence) == set()


def test_an_older_hello_takes_no_acknowledgement_back():
    """A follower that starts from its beginning again has still applied what it had."""
    world, (a, b) = joined("a", "b")
    sequence = a.flush("k")
    world.settle()
    a.node.receive(a.peer(b).serving_link, Ack(sequence), world.now)

    a.node.receive(a.node.accept("b", world.now), hello(b), world.now)

    assert a.missing(sequence) == set()


def test_a_hello_that_was_overtaken_takes_no_news_back():
    """Two streams keep no order between them: what a peer told on the one that is followed stands."""
    _, (a, b, c) = joined("a", "b", "c")
    known = dict(b.peer(a).knows)
    link = b.node.accept("a", 200.0)
    hello = Hello(PROTOCOL_VERSION, "m", a.node.identity, b.node.identity.id, cursor=0)

    b.node.receive(link, hello, 200.0)

    assert known == {b.node.identity.id: True, c.node.identity.id: True}
    assert b.peer(a).knows == known
