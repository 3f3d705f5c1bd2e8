"""What a node says of the mesh: what it waits for, that it is ready, alone, or that the mesh is split."""

from math import inf

from flushmesh.protocol.effects import Alone, Ready, Split, Stalled
from flushmesh.protocol.messages import PROTOCOL_VERSION, Hello, Identity
from flushmesh.protocol.trust import Phase, Source
from tests.protocol.world import World, joined

MDNS = {"mdns": Source(settles_after=2.0, names=False)}


def test_joining_lasts_until_the_expected_peers_are_followed():
    """With fewer peers than expected the proof stands still, however long that takes; with them it moves."""
    world = World()
    a = world.add("a", expect=2, lost_after=10.0)
    world.add("b")
    world.propose(a, "b", "c")
    world.run(30.0)
    waited, proof = a.node.waiting_for(), a.node.trust.at

    world.add("c")
    world.run(65.0)

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


def test_a_caller_that_has_not_chosen_a_stream_is_not_counted():
    """An expected peer has to be followed: a node that merely calls proves nothing of what it has flushed."""
    world = World()
    a = world.add("a", expect=1)
    caller = Identity(b"caller".ljust(16, b"-"), "caller", "caller:1")
    a.node.receive(a.node.accept("caller", world.now), Hello(PROTOCOL_VERSION, "m", caller), world.now)
    world.propose(a)
    world.run(3.0)

    assert a.known == {"caller"}
    assert a.node.trust.phase is Phase.JOINING


def test_waiting_for_peers_that_no_discovery_has_proposed_names_multicast():
    """Where mDNS has found too few, the likely cause is named."""
    world = World()
    a = world.add("a", expect=1, sources=MDNS)
    world.run(3.0)

    words = "0 of 1 expected peers are followed; no other address was proposed by mdns; is multicast blocked?"
    assert a.node.waiting_for() == words


def test_a_node_that_waits_has_nothing_to_do_in_the_past():
    """A time that joining might have ended at, and did not, makes no node tick again and again."""
    world = World()
    world.dark.add("silent")
    a = world.add("a", expect=1, sources={"roster": Source(), **MDNS}, lost_after=5.0)
    world.propose(a, "silent")

    due = []
    for _ in range(12):
        world.run(1.0)
        due.append(a.node.next_due() - world.now)

    assert min(due) > 0


def test_a_node_is_ready_once_every_address_was_tried():
    """An answer, a refusal and silence all count, once each; what comes later does not undo it."""
    world = World()
    world.dark.add("silent")
    a = world.add("a")
    world.add("b")
    ready_before = a.node.trust.ready
    world.propose(a, "b", "absent", "silent")
    world.settle()
    world.part("a", "b")
    world.run(20.0)

    assert ready_before is False
    assert a.node.trust.ready
    assert a.told(Ready) == [Ready()]
    assert a.node.trust.phase is Phase.JOINING


def test_a_node_is_not_ready_before_the_expected_peers_are_followed():
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


def test_a_node_without_an_answer_says_why_it_is_alone():
    """Once, when it has lasted; each address with what came of it; and once when it has ended."""
    world = World()
    a = world.add("a", max_staleness=2.0)
    other = world.add("other", mesh="blog")
    world.propose(a, "a", "other", "b")
    world.run(20.0)
    alone = a.told(Alone)
    world.add("b")
    world.run(6.0)

    refusal = 'other:1 refuses: this is a node of the mesh "blog", not of "m"'
    assert alone == [Alone(f"no peer is followed: {refusal}; nothing listens at b:1")]
    assert a.told(Alone)[1:] == [Alone("")]
    assert other.known == set()


def test_a_node_that_was_told_of_no_others_is_not_called_alone():
    """A single node on a laptop is nothing to worry about."""
    world = World()
    a = world.add("a")
    world.propose(a, "a")
    world.run(20.0)

    assert a.node.diagnosis.alone == ""
    assert a.told(Alone) == []


def test_a_cut_between_two_nodes_is_seen_by_every_third():
    """A node that sees both says which of them does not reach the other; once, and once when it has healed."""
    world, (a, b, c) = joined("a", "b", "c", max_staleness=inf)
    world.part("a", "b")
    world.run(20.0)
    text = c.node.diagnosis.split
    world.mend("a", "b")
    world.run(10.0)

    assert text == "of 3 nodes a reaches 2, not b; b reaches 2, not a"
    assert [effect.views for effect in c.told(Split)] == [text, ""]
    assert a.node.diagnosis.split == ""


def test_a_short_cut_is_no_split():
    """What heals before a few vouches have passed is not worth a line."""
    world, (a, b, c) = joined("a", "b", "c")
    world.part("a", "b")
    world.run(2.0)
    world.mend("a", "b")
    world.run(20.0)

    assert [node.told(Split) for node in (a, b, c)] == [[], [], []]


def test_a_node_that_is_gone_is_no_split():
    """A node that no other reaches is missing from every view alike."""
    world, (a, b, c) = joined("a", "b", "c")
    world.crash("c")
    world.run(20.0)

    assert a.told(Split) == b.told(Split) == []


def test_a_peer_that_has_not_vouched_lately_reports_no_split():
    """What a node last said before it was stopped is no view of the mesh."""
    world, (a, b, c) = joined("a", "b", "c")
    world.part("b", "c")
    world.run(2.0)
    world.freeze("b")
    world.mend("b", "c")
    world.run(40.0)

    assert a.told(Split) == []
    assert c.told(Split) == []


def test_a_node_that_nothing_is_wrong_with_explains_nothing():
    """A mesh that is healthy is silent."""
    world, (a, b) = joined("a", "b", max_staleness=5.0)
    world.run(60)

    for member in (a, b):
        assert member.node.why(world.now) == ""
        assert member.told(Stalled) == []
        assert member.told(Split) == member.told(Alone) == []


def test_a_line_names_a_few_and_counts_the_others():
    """However many addresses there are, a sentence stays one."""
    world = World()
    a = world.add("a", expect=1)
    world.propose(a, *(f"h{number}" for number in range(8)))
    world.run(3.0)

    assert a.node.waiting_for().endswith("nothing listens at h2:1; and 5 more")
