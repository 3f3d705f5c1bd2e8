"""What a node says of the mesh: whom it waits for, that it is ready, alone, or that the mesh is split."""

from math import inf

from flushmesh.protocol.effects import Alone, Ready, Split
from flushmesh.protocol.messages import PROTOCOL_VERSION, Hello, Identity
from flushmesh.protocol.trust import Phase
from tests.protocol.world import World, joined


def told(member, kind):
    """Return the effects of *kind* that *member* has asked for."""
    return [effect for effect in member.effects if isinstance(effect, kind)]


def test_joining_lasts_until_whoever_is_expected_is_followed():
    """With fewer peers than expected the proof stands still, however long that takes; with them it moves."""
    world = World()
    a = world.add("a", expect=2, lost_after=10.0)
    world.add("b")
    world.propose(a, "b", "c")
    world.run(30.0)
    waited, proof = a.node.waiting_for(), a.node.trust.at

    world.add("c")
    world.run(6.0)

    assert waited == "1 of 2 expected peers are followed; nothing listens at c:1"
    assert proof == 100.0
    assert a.node.trust.phase is Phase.JOINED
    assert a.node.trust.at > 130.0
    assert a.node.waiting_for() == ""


def test_a_peer_that_was_restarted_counts_once():
    """An expected number is of nodes that are there, not of incarnations."""
    world = World()
    a, _ = world.add("a", expect=2), world.add("b")
    world.propose(a, "b", "c")
    world.run(2.0)
    b = world.add("b", node_id=b"b again".ljust(16, b"-"))
    world.run(8.0)

    assert a.follows(b)
    assert a.node.trust.phase is Phase.JOINING


def test_a_peer_that_only_follows_this_node_is_not_counted():
    """Who is expected has to be followed: a node that merely calls proves nothing of what it has flushed."""
    world = World()
    a = world.add("a", expect=1)
    caller = Identity(b"caller".ljust(16, b"-"), "caller", "caller:1")
    a.node.receive(a.node.accept("caller", world.now), Hello(PROTOCOL_VERSION, "m", caller, b"", cursor=0), world.now)
    world.propose(a)
    world.run(3.0)

    assert a.known == {"caller"}
    assert a.node.trust.phase is Phase.JOINING


def test_waiting_for_nobody_that_was_proposed_names_multicast():
    """Where mDNS has found too few, the likely cause is said."""
    world = World()
    a = world.add("a", expect=1, sources={"mdns": 2.0})
    world.run(3.0)

    words = "0 of 1 expected peers are followed; no other address was proposed by mdns; is multicast blocked?"
    assert a.node.waiting_for() == words


def test_a_node_that_waits_has_nothing_to_do_in_the_past():
    """A time that joining might have ended at, and did not, makes no node tick again and again."""
    world = World()
    world.dark.add("silent")
    a = world.add("a", expect=1, sources={"mdns": 2.0}, lost_after=5.0)
    world.propose(a, "silent")

    for _ in range(12):
        world.run(1.0)
        assert a.node.next_due() > world.now


def test_a_node_is_ready_once_every_address_was_tried():
    """An answer, a refusal and silence all count, once each; what comes later does not undo it."""
    world = World()
    world.dark.add("silent")
    a = world.add("a", sources={"roster": 0.0})
    world.add("b")
    ready_before = a.node.trust.ready
    world.propose(a, "b", "nobody", "silent")
    world.settle()
    world.part("a", "b")
    world.run(20.0)

    assert ready_before is False
    assert a.node.trust.ready
    assert told(a, Ready) == [Ready()]
    assert a.node.trust.phase is Phase.JOINING


def test_a_node_is_not_ready_before_whoever_is_expected_is_followed():
    """A start-up probe holds back an instance that has not met its peers."""
    world = World()
    a = world.add("a", expect=1)
    world.propose(a, "b")
    world.run(3.0)
    before = a.node.trust.ready
    world.add("b")
    world.run(6.0)

    assert before is False
    assert a.node.trust.ready


def test_a_node_that_nobody_answers_says_why_it_is_alone():
    """Once, when it has lasted; each address with what came of it; and once when it has ended."""
    world = World()
    a = world.add("a", sources={"roster": 0.0})
    other = world.add("other", mesh="blog")
    world.propose(a, "a", "other", "b")
    world.run(20.0)
    alone = told(a, Alone)
    world.add("b")
    world.run(6.0)

    refusal = 'other:1 refuses: this is a node of the mesh "blog", not of "m"'
    assert alone == [Alone(f"nobody is followed: {refusal}; nothing listens at b:1")]
    assert told(a, Alone)[1:] == [Alone("")]
    assert other.known == set()


def test_a_node_that_nobody_told_of_others_is_not_called_alone():
    """A single node on a laptop is nothing to worry about."""
    world = World()
    a = world.add("a")
    world.propose(a, "a")
    world.run(20.0)

    assert a.node.outlook.alone == ""
    assert told(a, Alone) == []


def test_a_cut_between_two_nodes_is_seen_by_every_third():
    """Whoever sees both says which of them does not see the other; once, and once when it has healed."""
    world, (a, b, c) = joined("a", "b", "c", max_staleness=inf)
    world.part("a", "b")
    world.run(20.0)
    text = c.node.outlook.split
    world.mend("a", "b")
    world.run(10.0)

    assert text == "of 3 nodes a sees 2, without b; b sees 2, without a"
    assert [effect.who for effect in told(c, Split)] == [text, ""]
    assert a.node.outlook.split == ""


def test_a_short_cut_is_no_split():
    """What heals before a few vouches have passed is not worth a line."""
    world, (a, b, c) = joined("a", "b", "c")
    world.part("a", "b")
    world.run(2.0)
    world.mend("a", "b")
    world.run(20.0)

    assert [told(node, Split) for node in (a, b, c)] == [[], [], []]


def test_a_node_that_is_gone_is_no_split():
    """A node that nobody reaches is missing from everybody's sight alike."""
    world, (a, b, c) = joined("a", "b", "c")
    world.crash("c")
    world.run(20.0)

    assert told(a, Split) == told(b, Split) == []


def test_a_line_names_a_few_and_counts_the_others():
    """However many addresses there are, a sentence stays one."""
    world = World()
    a = world.add("a", expect=1)
    world.propose(a, *(f"h{number}" for number in range(8)))
    world.run(3.0)

    assert a.node.waiting_for().endswith("nothing listens at h2:1; and 5 more")
