"""Joining, and the names that hold the proof: rosters, DNS and an application's own discovery."""

from math import inf

import pytest

from flushmesh.protocol.addresses import DIALS_MAX, Ending
from flushmesh.protocol.effects import Dial, Distrust, Joined, Refused, Trust
from flushmesh.protocol.messages import PROTOCOL_VERSION, Hello, Identity, Refusal, Why
from flushmesh.protocol.trust import STRANGER_FOR, Phase, Source
from tests.protocol.world import World, joined

DNS = {"dns": Source(passing=True)}
MDNS = {"mdns": Source(settles_after=2.0, names=False)}


def dial(member, address, now):
    """Let time come to dial; return the link to *address*."""
    effects = member.node.tick(now)
    return next(effect.link for effect in effects if isinstance(effect, Dial) and effect.address == address)


# Joining.


def test_joining_lasts_while_an_address_is_silent():
    """An address that neither answers nor refuses may be a node that cannot be seen."""
    world = World()
    world.dark.add("b")
    a = world.add("a", lost_after=30.0)
    began = world.now
    world.propose(a, "b")
    world.run(20)
    phase, proof = a.node.trust.phase, a.node.trust.at
    world.run(11)

    assert (phase, proof) == (Phase.JOINING, began)
    assert a.node.trust.phase is Phase.JOINED
    assert Joined(("b:1",)) in a.effects


def test_joining_that_has_taken_too_long_leaves_the_proof_held():
    """For receipts and status it ends at lost_after; the silent name holds the proof all the same."""
    world = World()
    world.dark.add("b")
    a = world.add("a", lost_after=30.0)
    began = world.now
    world.propose(a, "b")
    world.run(100)

    assert a.node.trust.phase is Phase.JOINED
    assert a.node.trust.at == began


def test_joining_waits_for_every_discovery():
    """Until each has proposed, or its time is over, it is not known whom to ask."""
    world = World()
    a = world.add("a", sources={"roster": Source(), **MDNS})
    world.run(1)
    early = a.node.trust.phase
    world.run(1.5)
    later = a.node.trust.phase
    a.node.propose("roster", [], world.now)

    assert early is later is Phase.JOINING
    assert a.node.trust.phase is Phase.JOINED


def test_a_discovery_that_has_proposed_nothing_keeps_the_node_joining():
    """A first look that failed is not the answer that there are no others: the node says so, and holds its proof."""
    world = World()
    a = world.add("a", lost_after=30.0, max_staleness=2.0, sources=DNS)
    began = world.now
    world.run(20)
    phase, words = a.node.trust.phase, a.node.waiting_for()
    world.run(20)

    assert (phase, words) == (Phase.JOINING, "dns has not named any address yet")
    assert a.node.trust.at == began
    assert "dns has not named any address yet" in a.node.why(world.now)


def test_a_discovery_that_answers_late_ends_joining():
    """What it names is tried like any other address, and then the proof moves."""
    world = World()
    a = world.add("a", lost_after=30.0, sources=DNS)
    world.run(40)
    world.propose(a, "b", source="dns")
    world.run(2)

    assert a.node.trust.phase is Phase.JOINED
    assert world.age(a) < 2


# A refusal.


def test_a_refusal_is_dated_when_its_dial_began():
    """A node may have come to the address while the attempt was under way."""
    world = World()
    a = world.add("a")
    began = world.now
    effects = a.node.propose("roster", ["b:1"], began)
    (link,) = [effect.link for effect in effects if isinstance(effect, Dial)]
    world.now += 3
    a.node.tick(world.now)

    a.node.closed(link, "refused", world.now, Ending.REFUSED)

    assert a.node.trust.phase is Phase.JOINED
    assert a.node.addresses.get("b:1").proven == began
    assert a.node.trust.at == began


@pytest.mark.parametrize("ending", [Ending.SILENT, Ending.BROKEN])
def test_only_a_refusal_proves_that_no_node_is_there(ending):
    """A time-out, an unreachable host or a stream that broke says nothing, and holds the proof."""
    world, (a,) = joined("a")
    world.propose(a, "a", "b")
    world.run(5)
    proof = a.node.trust.at
    link = None
    while link is None:
        world.now += 0.1
        effects = a.node.tick(world.now)
        link = next((effect.link for effect in effects if isinstance(effect, Dial)), None)
    stood = max(a.node.trust.at, proof)
    a.node.closed(link, "nothing", world.now, ending)
    for _ in range(30):
        world.now += 0.1
        a.node.tick(world.now)

    assert a.node.trust.at == stood


def test_an_address_that_falls_silent_holds_the_proof_where_it_stands():
    """A node that no one else knows may be behind it."""
    world, (a, b) = joined("a", "b")
    world.propose(a, "a", "b", "c")
    world.run(10)
    before = world.age(a)
    world.dark.add("c")
    fell = world.now
    # The refusals that were there are renewed ever more rarely when no bound asks for more.
    world.run(200)

    assert before < 70
    assert a.node.trust.at <= fell
    assert world.age(b) < 2


@pytest.mark.parametrize("bound", [2.0, 9.0, 60.0])
def test_a_refusal_is_renewed_at_least_every_third_of_the_smallest_bound(bound):
    """However long an address has refused, its refusals hold no hit back."""
    world = World()
    a = world.add("a", max_staleness=bound)
    world.propose(a, "b")
    world.run(30)
    ages = []
    for _ in range(20):
        world.run(bound / 5)
        ages.append(world.age(a))

    assert max(ages) <= bound / 3 + 1.0


def test_addresses_that_refuse_are_tried_ever_more_rarely():
    """Hundreds of unused ports cost a bounded number of attempts."""
    world = World()
    a = world.add("a")
    world.propose(a, "b")
    world.run(120)
    a.effects.clear()
    world.run(120)

    assert 1 <= len(a.dials) <= 4


def test_a_refused_address_that_no_discovery_names_holds_nothing():
    """What mDNS has heard is a hint, whether it refuses or is silent."""
    world = World()
    world.dark.add("c")
    a = world.add("a", lost_after=10.0, sources=MDNS)
    world.propose(a, "b", "c", source="mdns")
    world.run(15)

    assert world.age(a) < 2


def test_no_more_dials_are_under_way_at_once_than_the_bound():
    """A roster of a thousand addresses is worked through, not opened all at once."""
    world = World()
    a = world.add("a")
    effects = a.node.propose("roster", [f"h{number}:1" for number in range(1000)], world.now)
    links = [effect.link for effect in effects if isinstance(effect, Dial)]
    due = a.node.next_due()
    a.node.closed(links[0], "refused", world.now, Ending.REFUSED)
    more = [effect for effect in a.node.tick(world.now) if isinstance(effect, Dial)]

    assert len(links) == DIALS_MAX
    assert due > world.now or len(a.node.tick(world.now)) == 0
    assert len(more) == 1


# What answers there.


def test_an_own_address_holds_no_proof():
    """The node finds itself there."""
    world = World()
    a = world.add("a")
    world.propose(a, "a")
    world.run(10)

    assert world.age(a) < 2


def test_an_own_address_is_tried_again_after_the_node_has_moved():
    """Another node may listen there now."""
    world = World()
    a = world.add("a")
    world.propose(a, "a")
    world.run(5)

    a.node.moved("z:1")
    a.effects.clear()
    world.run(6)

    assert "a:1" in a.dials


def test_a_node_of_another_mesh_holds_no_proof():
    """Its flushes are no concern of this mesh."""
    world = World()
    a, _ = world.add("a"), world.add("b", mesh="blog")
    world.propose(a, "b")
    world.run(10)

    assert a.node.trust.phase is Phase.JOINED
    assert world.age(a) < 2


def test_a_service_that_is_no_node_holds_no_proof():
    """Something else that answers at the address is not a member of any mesh."""
    world = World()
    a = world.add("a")
    effects = a.node.propose("roster", ["b:1"], world.now)
    (link,) = [effect.link for effect in effects if isinstance(effect, Dial)]

    a.node.closed(link, "unimplemented", world.now, Ending.FOREIGN)
    a.node.tick(world.now + 5)

    assert a.node.trust.phase is Phase.JOINED
    assert a.node.trust.at == world.now + 5


@pytest.mark.parametrize("why", [Why.VERSION, Why.FULL, Why.LEAVING, Why.NAMESAKE])
def test_a_node_of_this_mesh_that_refuses_holds_the_proof(why):
    """Its flushes cannot be followed, so the node keeps joining, and reports the reason."""
    world = World()
    a = world.add("a")
    began = world.now
    effects = a.node.propose("roster", ["b:1"], world.now)
    (link,) = [effect.link for effect in effects if isinstance(effect, Dial)]
    a.node.next_message(link, world.now)

    effects = a.node.receive(link, Refusal(why, "words"), world.now)
    a.node.tick(world.now + 0.1)

    assert a.node.trust.phase is Phase.JOINING
    assert a.node.trust.at == began
    assert [effect.reason for effect in effects if isinstance(effect, Refused)] == (
        [] if why is Why.LEAVING else ["words"]
    )


def test_a_caller_of_another_version_holds_the_proof_for_as_long_as_it_calls():
    """In a rolling deploy the two halves cannot follow each other, and neither may call itself alone."""
    world, (a, _b) = joined("a", "b")
    world.run(3)
    proof = a.node.trust.at
    for _ in range(4):
        link = a.node.accept("old", world.now)
        a.node.receive(link, Hello(PROTOCOL_VERSION - 1, "m", Identity(b"o" * 16, "old", "old:1")), world.now)
        world.run(5)
    stood = a.node.trust.at
    why = a.node.trust.has_stranger(world.now)
    world.run(STRANGER_FOR)

    assert stood == proof
    assert why
    assert world.age(a) < 2


def test_a_caller_of_another_mesh_holds_nothing():
    """It is refused, whatever its version is."""
    world, (a, _b) = joined("a", "b")
    link = a.node.accept("old", world.now)
    a.node.receive(link, Hello(PROTOCOL_VERSION - 1, "blog", Identity(b"o" * 16, "old", "old:1")), world.now)
    world.run(5)

    assert world.age(a) < 2


# When silence is excused.


@pytest.fixture(params=["dns", "roster", "both"])
def named_by(request):
    return {
        "dns": DNS,
        "roster": {"roster": Source()},
        "both": {**DNS, "roster": Source()},
    }[request.param]


def goodbye(sources, name="b"):
    """Let *name* say goodbye and its host fall silent while the sources still name it."""
    world = World()
    a, b = world.add("a", sources=sources), world.add(name, sources=sources)
    for source in sources:
        world.propose(a, name, source=source)
        world.propose(b, "a", source=source)
    world.run(5)
    world.dark.add(name)
    world.leave(b)
    left = world.now
    world.crash(name)
    return world, a, left


def test_a_host_that_only_dns_names_is_excused_for_a_minute(named_by):
    """Its last node said goodbye, so its silence is no doubt; a roster that names it as well gets no such grace."""
    world, a, left = goodbye(named_by)
    world.run(55)
    during = world.age(a)
    world.run(30)

    assert (during < 2) is ("roster" not in named_by)
    assert a.node.trust.at <= left + 62
    assert world.age(a) > 20


def test_a_host_is_not_excused_while_another_member_is_on_it():
    """Its silence would be that member's too."""
    world = World()
    a = world.add("a", sources=DNS)
    nodes = [Identity(bytes([66 + port]) * 16, f"b{port}", f"b:{port}") for port in (1, 2)]
    world.propose(a, source="dns")
    for node in nodes:
        a.node.receive(a.node.accept("b", world.now), Hello(PROTOCOL_VERSION, "m", node), world.now)
    a.node.addresses.propose("dns", ["b:1", "b:2"], 0.0, world.now)
    first, last = (a.node.peers.get(node.id) for node in nodes)

    a.node.membership.said_goodbye(first, 0, world.now)
    with_another = a.node.addresses.get("b:1").excused_until
    a.node.membership.said_goodbye(last, 0, world.now)

    assert with_another == -inf
    assert a.node.addresses.get("b:1").excused_until == world.now + 60


def test_an_address_that_is_named_no_longer_holds_nothing():
    """DNS has caught up: the host is gone for good."""
    world, a, _ = goodbye({"roster": Source()})
    world.run(20)
    held = world.age(a)
    world.propose(a)
    world.run(2)

    assert held > 15
    assert world.age(a) < 2


def test_a_silent_name_is_given_up_after_give_up_silent():
    """People who prefer hits to the bound say after how long."""
    world = World()
    world.dark.add("x")
    a = world.add("a", lost_after=10.0, give_up_silent=30.0)
    world.propose(a, "x")
    world.run(28)
    before = world.age(a)
    world.run(5)

    assert before > 25
    assert world.age(a) < 2


def test_a_name_that_holds_the_proof_is_explained_with_the_cure():
    """One sentence names the address and says what to do."""
    world = World()
    world.dark.add("x")
    a = world.add("a", lost_after=10.0, max_staleness=4.0)
    world.propose(a, "x")
    world.run(20)
    why = a.node.why(world.now)

    assert why.startswith("nothing comes back from x:1")
    assert why.endswith("take it out of the roster if no node is there, or set give_up_silent")


# What a silence that ends costs.


def test_a_name_that_was_silent_and_refuses_now_costs_distrust():
    """A node may have lived there unseen and be gone: what was loaded since the silence began ends its own bound."""
    world, (a,) = joined("a")
    world.propose(a, "a", "x")
    world.run(10)
    world.dark.add("x")
    world.run(100)
    stood = a.node.trust.at
    a.effects.clear()
    world.dark.discard("x")
    world.run(10)

    assert [distrust.since for distrust in a.told(Distrust)] == [stood]
    assert a.effects.index(a.told(Distrust)[0]) < a.effects.index(a.told(Trust)[0])
    assert world.age(a) < 10


def test_a_name_that_has_always_refused_costs_no_distrust():
    """An unused port of a range is no doubt."""
    world, (a,) = joined("a")
    world.propose(a, "a", "x")
    world.run(10)
    a.effects.clear()
    world.run(200)

    assert a.told(Distrust) == []


def test_a_leaving_node_at_a_name_holds_the_proof_for_a_moment_only():
    """It is gone within a second, so its address is dialled again soon, not after the time for other refusals."""
    world, (a, b) = joined("a", "b", max_staleness=4.0)
    world.run(5)
    world.leave(b)
    world.run(1)
    world.crash("b")
    ages = []
    for _ in range(40):
        world.run(0.1)
        ages.append(world.age(a))

    assert max(ages) < 3
    assert world.age(a) < 2
