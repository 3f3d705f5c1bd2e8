"""One stream for each pair of nodes, whichever of them opens it and however many are dialled."""

import random
from collections import deque

import pytest

from flushmesh.protocol.effects import Dial, HangUp, PeerLost
from flushmesh.protocol.link import MEET_MAX
from flushmesh.protocol.messages import PROTOCOL_VERSION, Hello
from tests.protocol.world import World, joined

LOW, HIGH = b"1" * 16, b"2" * 16


class Wire(World):
    """A world in which each message, and each end of a stream, is under way until a test lets it arrive."""

    def __init__(self):
        super().__init__()
        self.under_way = {}

    def pull(self, end):
        """Take the next message of *end* from its node; return whether there was one."""
        name, link = end
        message = self.members[name].node.next_message(link, self.now)
        if message is None or end not in self.streams:
            return False
        self.under_way.setdefault(end, deque()).append(message)
        return True

    def arrive(self, end):
        """Let the oldest thing that *end* has sent arrive at the other side."""
        sent = self.under_way[end].popleft()
        far = self.streams.get(end)
        if far is None:
            return
        member = self.members[far[0]]
        if sent is None:
            del self.streams[end]
            self.streams.pop(far, None)
            self.carry(member, member.node.closed(far[1], "hung up", self.now))
        elif far in self.streams:
            self.carry(member, member.node.receive(far[1], sent, self.now))

    def _close(self, end, reason):
        # The other side learns of the end after what was sent before it.
        if end in self.streams:
            self.under_way.setdefault(end, deque()).append(None)

    def steps(self):
        """Return everything that can happen next."""
        able = [(self.arrive, end) for end, sent in self.under_way.items() if sent]
        return able + [(self.pull, end) for end in list(self.streams)]

    def play(self, choose, limit=400):
        """Let one step after another happen, as *choose* picks them, until there is none."""
        for _ in range(limit):
            able = self.steps()
            choose.shuffle(able)
            if not any(act(end) is not False for act, end in able):
                return


def crossed(a_id, b_id):
    """Return a world in which each of two nodes has dialled the other, and nothing has been said."""
    world = Wire()
    a, b = world.add("a", node_id=a_id), world.add("b", node_id=b_id)
    world.propose(a, "b")
    world.propose(b, "a")
    return world, a, b


def assert_one_stream(world, a, b):
    assert a.follows(b)
    assert b.follows(a)
    assert len(list(a.node.links)) == len(list(b.node.links)) == 1
    assert world.streams["a", a.link(b)] == ("b", b.link(a))


@pytest.mark.parametrize("ids", [(LOW, HIGH), (HIGH, LOW)])
@pytest.mark.parametrize("seed", range(60))
def test_dials_that_crossed_leave_exactly_one_stream(ids, seed):
    """Whatever the order in which messages and ends arrive, both sides keep the same stream and no other."""
    world, a, b = crossed(*ids)

    world.play(random.Random(seed))

    assert_one_stream(world, a, b)
    assert a.distrusted == b.distrusted == []


@pytest.mark.parametrize(("ids", "caller"), [((LOW, HIGH), "a"), ((HIGH, LOW), "b")])
def test_the_stream_of_the_lower_id_stays(ids, caller):
    """Where both nodes have been welcomed, the stream that the node with the lower id has dialled stays."""
    world, a, b = crossed(*ids)
    mine, theirs = a.told(Dial)[0].link, b.told(Dial)[0].link
    ends = [("a", mine), ("b", theirs)]
    far = [world.streams[end] for end in ends]
    for stage in (ends, far):
        for end in stage:
            world.pull(end)
        for end in stage:
            world.arrive(end)

    world.play(random.Random(1))

    assert_one_stream(world, a, b)
    assert a.link(b) == (mine if caller == "a" else world.streams["b", theirs][1])


@pytest.mark.parametrize("ids", [(LOW, HIGH), (HIGH, LOW)])
@pytest.mark.parametrize("first", ["a", "b"])
def test_two_follows_under_way_at_once_leave_one_stream(ids, first):
    """Each side has chosen its own stream before it hears of the other's choice: both settle on the same one."""
    world, a, b = crossed(*ids)
    ends = {"a": ("a", a.told(Dial)[0].link), "b": ("b", b.told(Dial)[0].link)}
    order = [ends[first], ends["b" if first == "a" else "a"]]
    # Hello and Welcome on one stream, then on the other; each caller pulls its Follow before the other's Hello arrives.
    for end in order:
        world.pull(end)
    for end in order:
        world.arrive(end)
        world.pull(world.streams[end])
        world.arrive(world.streams[end])
        world.pull(end)

    world.play(random.Random(2))

    assert_one_stream(world, a, b)


@pytest.mark.parametrize("ids", [(LOW, HIGH), (HIGH, LOW)])
@pytest.mark.parametrize("seed", range(30))
def test_a_stream_that_one_side_has_lost_is_replaced_by_a_new_dial(ids, seed):
    """A half-open stream is no reason to refuse the node that has noticed its end and calls again."""
    world, a, b = crossed(*ids)
    world.play(random.Random(seed))
    half_open = a.link(b)
    world.streams.pop(world.streams.pop(("a", half_open)))
    world.carry(a, a.node.closed(half_open, "connection reset", world.now))
    sequence = a.flush("k")
    # Time passes, and b has nothing to notice the end by.
    for _ in range(30):
        world.now += 0.1
        world.carry(a, a.node.tick(world.now))
        world.play(random.Random(seed))

    assert_one_stream(world, a, b)
    assert a.link(b) != half_open
    assert b.keys == ["k"]
    assert b.peer(a).cursor == sequence
    assert a.distrusted == b.distrusted == []


def test_the_stream_stays_until_the_caller_has_chosen():
    """A Hello on a second stream ends nothing; the caller's Follow on it replaces the first."""
    world, (a, b) = joined("a", "b")
    former = a.link(b)
    link = a.node.accept("b", world.now)

    greeted = a.node.receive(link, Hello(PROTOCOL_VERSION, "m", b.node.identity), world.now)
    kept = a.link(b)
    chosen = a.node.receive(link, world.sent_by("b", "Follow")[0], world.now)

    assert not any(isinstance(effect, HangUp) for effect in greeted)
    assert kept == former
    assert HangUp(former) in chosen
    assert a.link(b) == link


def test_a_second_dial_to_a_followed_peer_is_hung_up():
    """The caller has a stream of that pair, so it does not choose another one."""
    world, (a, b) = joined("a", "b")
    former = b.link(a)
    b.node.addresses.propose("roster", ["a:1", "other.name:1"], 0.0, world.now)
    (dial,) = [effect for effect in b.node.tick(world.now) if isinstance(effect, Dial)]
    world._dial(b, dial.link, "a")

    world.settle()

    assert b.link(a) == former
    assert len(list(a.node.links)) == len(list(b.node.links)) == 1
    assert b.told(PeerLost) == []


def test_a_node_whose_port_is_closed_is_a_member_like_any_other():
    """The stream it has opened carries both journals, both proofs move, and flushes are acknowledged both ways."""
    world = World()
    world.closed.add("c")
    a, b, c = [world.add(name, max_staleness=5.0) for name in "abc"]
    world.propose(a, "b")
    world.propose(b, "a")
    world.propose(c, "a", "b")
    world.run(10)
    from_a, from_c = a.flush("from a"), c.flush("from c")
    world.run(1.5)

    assert c.keys == ["from a"]
    assert (a.keys, b.keys) == (["from c"], ["from a", "from c"])
    assert a.missing(from_a) == c.missing(from_c) == set()
    assert all(world.age(member) < 2 for member in (a, b, c))
    assert all(member.node.why(world.now) == "" for member in (a, b, c))


def test_a_node_whose_port_is_closed_is_followed_again_after_a_cut():
    """Only it can dial, and it does: nothing is lost on either side."""
    world = World()
    world.closed.add("c")
    a, c = world.add("a"), world.add("c")
    world.propose(c, "a")
    world.run(2)
    world.part("a", "c")
    a.flush("from a")
    c.flush("from c")
    world.run(10)
    world.mend("a", "c")
    world.run(6)

    assert (a.keys, c.keys) == (["from c"], ["from a"])
    assert a.distrusted == c.distrusted == []


def test_a_stream_on_which_the_sides_do_not_meet_is_ended():
    """A caller that says nothing is cut off after MEET_MAX, and a stream that is open is not."""
    world, (a, b) = joined("a", "b")
    silent = a.node.accept("elsewhere", world.now)
    a.effects.clear()
    opened = world.now
    while world.now < opened + MEET_MAX - 0.2:
        world.run(0.1)
    early = [effect.link for effect in a.told(HangUp)]
    world.run(2.0)

    assert silent not in early
    assert [effect.link for effect in a.told(HangUp)] == [silent]
    assert a.follows(b)
    assert a.node.next_message(silent, world.now) is None
