"""Rules that a run seldom shows broken, each as a script of its own."""

from flushmesh.flight import Flight
from flushmesh.fresh import Fresh
from flushmesh.protocol.journal import Journal
from flushmesh.protocol.messages import Flush, Identity, Ping, Truncated, Vouch
from flushmesh.protocol.origin import Origin
from flushmesh.protocol.peer import Peer
from flushmesh.store import MISS, Store
from flushmesh.versions import LAG_MAX, Versions
from flushmesh.write import Write
from tests.protocol.world import joined


def test_news_of_a_newcomer_comes_with_the_vouch_at_the_latest():
    """The first vouch that a peer gives after it has met somebody tells of that one."""
    world, (a, b) = joined("a", "b")
    newcomer = world.add("c")
    world.part("a", "c")
    world.propose(newcomer, "b")
    world.settle()
    assert b.peer(newcomer) is not None
    assert a.peer(newcomer) is None
    world.log.clear()
    world.run(1.5)

    vouches = [
        message for sender, to, message in world.log if (sender, to) == ("b", "a") and isinstance(message, Vouch)
    ]
    assert [news.node.name for news in vouches[0].known or ()] == ["a", "c"]


def test_a_node_just_learnt_of_holds_the_proof_where_it_stands():
    """The proof neither falls nor moves, from the vouch that brings news of a node until that one has vouched."""
    world, (a, b) = joined("a", "b")
    newcomer = world.add("c")
    world.part("a", "c")
    world.propose(newcomer, "b")
    world.settle()
    proven = a.node.trust.at
    world.run(3)
    assert a.known == {"b", "c"}
    assert a.node.trust.at == proven

    world.mend("a", "c")
    world.run(8)
    assert a.node.trust.at > world.now - 2


def test_a_goodbye_tells_of_whom_its_node_has_met_last():
    """A node that leaves passes on whom it knew, so that nobody's proof moves past a newcomer's flush."""
    world, (a, b) = joined("a", "b")
    newcomer = world.add("c")
    world.part("a", "c")
    world.propose(newcomer, "b")
    world.settle()
    newcomer.flush("k")
    proven = a.node.trust.at
    world.carry(b, b.node.leave())
    world.settle()
    world.run(3)

    assert a.known == {"c"}
    assert a.node.trust.at == proven


def test_a_journal_that_outruns_its_stream_does_not_hold_back_the_vouch():
    """Where more is flushed between two messages than the journal holds, the follower is still vouched for."""
    journal = Journal(flushes_max=2)
    origin = Origin(b"a" * 16, sent=0)
    sent = []
    for number in range(4):
        origin.pinged(Ping(float(number), 0), journal.head)
        for key in "abc":
            journal.append(Flush("c", key))
        sent.append(origin.next_message(journal, tuple, leaving=False))

    assert [type(message) for message in sent] == [Vouch, Truncated, Vouch, Vouch]


def test_a_peer_that_may_have_given_this_node_up_is_not_fenced():
    """Who was last given a vouch nearly `lost_after` before a flush may serve what it likes, without end."""
    peer = Peer(Identity(b"b" * 16, "b", "b:1"), vouched=0.0, heard_at=0.0)
    peer.vouch_given_at = 100.0
    peer.max_staleness, peer.lost_after = 5.0, 20.0

    assert peer.fenced(1, flushed_at=118.0, now=125.0)
    assert not peer.fenced(1, flushed_at=119.5, now=1e6)


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
