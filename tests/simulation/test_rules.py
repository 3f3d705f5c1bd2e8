"""Rules that a run seldom shows broken, each as a script of its own."""

from flushmesh.flight import Flight
from flushmesh.fresh import Fresh
from flushmesh.protocol.effects import RecheckReceipts
from flushmesh.protocol.trust import Phase
from flushmesh.store import MISS, Store
from flushmesh.versions import LAG_MAX, Versions
from flushmesh.write import Write
from tests.protocol.world import World, joined


def test_receipts_are_looked_at_again_when_a_peer_is_gone():
    """A peer that leaves, or is given up, is the last that a receipt has waited for: it is looked at again at once."""
    world, (a, b, _c) = joined("a", "b", "c")
    a.effects.clear()
    world.carry(b, b.node.leave(world.now))
    world.settle()

    assert any(isinstance(effect, RecheckReceipts) for effect in a.effects)


def test_receipts_are_looked_at_again_as_time_passes():
    """A receipt for a flush that was skipped ends by a fence: no message comes then."""
    world, (a, _b) = joined("a", "b")
    a.effects.clear()
    world.run(2.5)

    assert sum(isinstance(effect, RecheckReceipts) for effect in a.effects) >= 2


def test_a_fence_is_reckoned_from_the_last_vouch():
    """A peer that was given a vouch lately may serve for a bound from then on, and has not given this node up."""
    world, (a, b) = joined("a", "b", max_staleness=5.0)
    world.run(60)
    peer = a.peer(b)
    world.freeze("b")

    assert peer.vouch_given_at > world.now - 2
    assert peer.fenced(a.flush("k"), world.now, world.now + 10)


def test_a_node_that_is_alone_has_proven_its_last_tick():
    """Without members and names the proof is the last moment at which the node was awake, not now."""
    world = World()
    a = world.add("a")
    world.propose(a)
    world.run(3)
    ticked = world.now
    world.now += 0.7
    world.propose(a)

    assert a.node.trust.at <= ticked


def test_a_peer_whose_address_refused_once_is_not_given_up_while_the_next_dial_hangs(monkeypatch):
    """A refusal, as in the pause of a fork, proves death only if another one follows five seconds later."""
    world, (a, b) = joined("a", "b")
    world.run(3)
    world.crash("b")
    world.run(0.1)
    assert a.node.addresses.get("b:1").refused_since is not None
    monkeypatch.setattr(world, "_dial", lambda member, link, name: None)
    world.run(8)

    assert a.peer(b) is not None


def test_a_lost_node_is_dialled_for_a_while():
    """A node that was given up may be alive: its address is dialled for a while, although nothing names it."""
    world, (a, b) = joined("a", "b", lost_after=10.0)
    world.propose(a, "a")
    world.propose(b, "b")
    world.run(3)
    world.part("a", "b")
    world.run(15)
    assert a.peer(b) is None
    world.mend("a", "b")
    world.run(6)

    assert a.follows(b)


def test_joining_lasts_until_the_first_member_has_told_of_the_others():
    """A newcomer whose names have all answered is joining until it has heard, and tried, whom they know."""
    world, (_a, b) = joined("a", "b")
    newcomer = world.add("c")
    world.propose(newcomer, "b")
    while not newcomer.follows(b):
        any(world._move(end) for end in list(world.streams) if end[0] == "c" or world.streams[end][0] == "c")
    assert newcomer.node.trust.phase is Phase.JOINING
    world.settle()
    world.run(0.5)

    assert newcomer.node.trust.phase is Phase.JOINED
    assert newcomer.known == {"a", "b"}


def test_a_node_that_leaves_first_hears_of_all_members():
    """A visitor that leaves before it was told who else there is waits for that, and is distrusted by none of them."""
    world, (a, b) = joined("a", "b")
    visitor = world.add("c")
    world.propose(visitor, "b")
    while not visitor.follows(b):
        any(world._move(end) for end in list(world.streams) if end[0] == "c" or world.streams[end][0] == "c")
    assert visitor.known == {"b"}
    visitor.flush("k")
    world.carry(visitor, visitor.node.leave(world.now))
    world.settle()
    world.run(1)

    assert [flush.key for flush in a.applied] == ["k"]
    assert a.distrusted == []


def test_distrust_revokes_the_loads_that_are_running():
    """A load that began before a doubt is not stored after it: a flush that it covers may have been missed."""
    store = Store(10, 300.0, lambda: 100.0, 5.0)
    flight = store.take_off(Flight("k"))

    store.distrust(90.0)

    assert store.end(flight, Fresh("old")).stored is False
    assert store.get("k", MISS) is MISS


def test_who_comes_between_two_flushes_of_a_tag_starts_anew():
    """A caller that joined a load after a flush of its tag is not given its value because the tag is flushed again."""
    store = Store(10, 300.0, lambda: 100.0)
    flight = store.take_off(Flight("k"))
    early = store.take_off(Flight("k"))
    store.flush_tag("t")
    between = store.take_off(Flight("k"))
    store.flush_tag("t")
    store.end(flight, Fresh("old", tags=["t"]))

    assert early.takes(early.landing)
    assert not between.takes(between.landing)


def test_a_late_flush_of_an_older_version_does_not_undo_a_demand_that_was_lost():
    """While a lost demand may matter, a key that is demanded anew may have been demanded in a newer version."""
    versions = Versions(demands_max=1)
    versions.demand("k", 9, 0.0)
    versions.demand("other", 1, 1.0)
    versions.demand("k", 8, 2.0)

    assert not versions.allow("k", 8, 3.0)
    versions.demand("k", 10, 4.0)
    assert not versions.allow("k", 10, LAG_MAX - 1)
    assert versions.allow("k", 10, LAG_MAX + 1)
    assert not versions.allow("k", 9, LAG_MAX + 1)


def test_what_runs_is_revoked_when_no_more_flushed_tags_can_be_remembered(monkeypatch):
    """A load and a write that were open when a flushed tag had to be forgotten store nothing that could carry it."""
    monkeypatch.setattr("flushmesh.tags.REMEMBERED_MAX", 1)
    store = Store(10, 300.0, lambda: 100.0)
    flight, write = store.take_off(Flight("loaded")), store.begin_write(Write(["written"]))
    store.flush_tag("t")
    store.flush_tag("other")
    store.end_write(write, {"written": (Fresh("old", tags=["t"]), 1)})

    assert store.end(flight, Fresh("old", tags=["t"])).stored is False
    assert store.snapshot() == {}


def test_a_flush_of_a_tag_spares_what_carries_it_no_longer():
    """The index of tags follows the entries: a key that was moved to another tag is not found by its former one."""
    store = Store(10, 300.0, lambda: 100.0)
    store.end(store.take_off(Flight("k")), Fresh("old", tags=["former"]))
    store.flush("k")
    store.end(store.take_off(Flight("k")), Fresh("new", tags=["t"]))

    assert store.flush_tag("former") is False
    assert store.snapshot() == {"k": "new"}
    assert store.flush_tag("t") is True


def test_a_flush_with_a_version_spares_what_is_as_new():
    """A flush tells of a write that an entry of its version or a newer one has seen already."""
    store = Store(10, 300.0, lambda: 100.0)
    store.end(store.take_off(Flight("k")), Fresh("v7", version=7))

    assert [store.flush("k", version) for version in (6, 7)] == [False, False]
    assert store.snapshot() == {"k": "v7"}
    assert store.flush("k", 8) is True
