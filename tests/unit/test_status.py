"""The status: a frozen record, and a table for people that says why entries run out."""

import dataclasses
from math import inf

import pytest

from flushmesh import Mesh
from flushmesh.protocol.trust import Source
from flushmesh.status import MeshState, MeshStatus, PeerStatus
from tests.protocol.world import World, joined

FOLLOWED = PeerStatus("app-2", "22" * 16, "10.0.0.2:7946", "following", 41, 3, 7, 0.25, 0.0004)
UNMET = PeerStatus("app-11", "33" * 16, "10.0.0.11:7946", "dialling", 0, 0, 0, None, None)
STATUS = MeshStatus(
    mesh="shop",
    name="app-1",
    node_id="11" * 16,
    address="10.0.0.1:7946",
    state=MeshState.JOINED,
    head=7,
    proof_age=21.25,
    running_out="app-11 at 10.0.0.11:7946 is out of reach; it last vouched 21 s ago",
    waiting_for="",
    split="of 3 nodes app-2 sees 2, without app-11",
    alone="",
    ready=True,
    peers=(FOLLOWED, UNMET),
    refusals={"10.0.0.9:7946": 'this is a node of the mesh "blog", not of "shop"'},
)
TABLE = """
app-1 of shop, joined, at 10.0.0.1:7946, head 7, proof 21.2 s old
entries are running out: app-11 at 10.0.0.11:7946 is out of reach; it last vouched 21 s ago
the mesh is split: of 3 nodes app-2 sees 2, without app-11
PEER    ADDRESS         STATE      CURSOR  LAG  ACKNOWLEDGED  VOUCH     ROUND TRIP
app-2   10.0.0.2:7946   following  41      3    7             250.0 ms  0.4 ms
app-11  10.0.0.11:7946  dialling   0       0    0             -         -
refused by 10.0.0.9:7946: this is a node of the mesh "blog", not of "shop"
"""


def test_a_status_is_a_table_for_people():
    """One line for the node, one for what is wrong, one for each peer, one for each refusal; columns are aligned."""
    assert f"\n{STATUS}\n" == TABLE


def test_a_status_of_a_mesh_that_never_started_is_two_lines():
    """Without a start there are no address, no proof and no peers, and nothing starts by asking."""
    mesh = Mesh("shop", name="app-1")

    assert str(mesh.status()) == (
        "app-1 of shop, new, at no address, head 0, nothing is proven yet\n"
        "PEER  ADDRESS  STATE  CURSOR  LAG  ACKNOWLEDGED  VOUCH  ROUND TRIP"
    )


def test_a_status_says_nothing_of_running_out_while_all_is_proven():
    """The line about running out is there only if there is a reason."""
    assert "running out" not in str(dataclasses.replace(STATUS, running_out="", proof_age=0.4))


@pytest.mark.parametrize("record", [STATUS, FOLLOWED], ids=["mesh", "peer"])
def test_a_status_is_frozen(record):
    """Nothing changes under the reader, and nothing can be added."""
    for field in dataclasses.fields(record):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, field.name, None)
    with pytest.raises((AttributeError, TypeError)):
        record.other = None


def test_equal_statuses_are_equal():
    """Two moments at which nothing changed compare equal, and the next one does not."""
    assert dataclasses.replace(STATUS) == STATUS
    assert dataclasses.replace(STATUS, head=8) != STATUS


# Why entries run out: the sentence in the status, made by the node itself.

OPTIONS = {"max_staleness": 10.0, "lost_after": 120.0}


def why(world, member):
    return member.node.why(world.now)


def test_nobody_is_named_while_everybody_vouches():
    """The sentence is empty for as long as the proof is younger than half of max_staleness."""
    world, (a, b) = joined("a", "b", **OPTIONS)
    world.run(30)
    assert why(world, a) == why(world, b) == ""

    world.part("a", "b")
    world.run(3)

    assert why(world, a) == ""


def test_who_is_out_of_reach_is_named():
    """A peer without a stream is named with its address and how long it has been silent."""
    world, (a, _b, _c) = joined("a", "b", "c", **OPTIONS)
    world.run(30)
    world.part("a", "b")
    world.run(6)

    assert why(world, a) == (
        f"b at b:1 is out of reach; it last vouched {world.now - a.node.trust.at:.0f} s ago; "
        "if it is gone for good, take it out of the roster or give it up by hand"
    )


def test_who_is_connected_and_silent_is_named():
    """A peer whose stream is open but who answers no ping is told from one that is out of reach."""
    world, (a, _b) = joined("a", "b", **OPTIONS)
    world.run(30)
    # Frozen: its streams stay, and neither take nor give anything.
    world.members.pop("b")
    world.streams.clear()
    world.run(6)

    assert why(world, a).startswith("b at b:1 is connected but does not answer; it last vouched ")


def test_of_several_the_one_that_vouched_longest_ago_is_named():
    """The sentence names whoever holds the proof."""
    world, (a, _b, _c) = joined("a", "b", "c", **OPTIONS)
    world.part("a", "c")
    world.run(3)
    world.part("a", "b")
    world.run(6)

    assert why(world, a).startswith("c at c:1 is out of reach; ")


def test_an_address_that_is_silent_while_joining_is_named():
    """A node that cannot join says which addresses neither answer nor refuse."""
    world = World()
    world.dark |= {"x", "y"}
    a = world.add("a", **OPTIONS)
    world.propose(a, "a", "x", "y")
    world.run(6)

    silent = "nothing comes back from {}:1; is it down, or behind a firewall?"
    assert why(world, a) == f"joining for 6 s: {silent.format('x')}; {silent.format('y')}"


def test_a_discovery_that_is_silent_is_named():
    """A node whose discovery has proposed nothing yet waits for that, and says so."""
    world = World()
    a = world.add("a", sources={"roster": Source()}, **OPTIONS)
    world.run(6)

    assert why(world, a) == "joining for 6 s: roster has not named any address yet"


def test_a_node_without_peers_that_slept_says_so():
    """Without anybody to blame, it is the node itself that has not ticked."""
    world = World()
    a = world.add("a", **OPTIONS)
    world.propose(a)
    world.run(1)
    assert why(world, a) == ""

    world.now += 20

    assert why(world, a) == "this node itself has been idle for 21 s"


def test_nothing_runs_out_without_a_bound():
    """With max_staleness off there is no reason to name, however old the proof is."""
    world, (a, _b) = joined("a", "b", max_staleness=inf, lost_after=inf)
    world.part("a", "b")
    world.run(60)

    assert why(world, a) == ""
