"""Membership as records of the journal: who is met, heard of and gone, and what follows from that."""

import pytest

from flushmesh.protocol.effects import Apply, Distrust
from flushmesh.protocol.journal import BATCH_FLUSHES_MAX
from flushmesh.protocol.messages import (
    PROTOCOL_VERSION,
    Batch,
    Flush,
    Follow,
    Gone,
    Hello,
    Identity,
    Lost,
    Met,
    Truncated,
    Welcome,
)
from flushmesh.protocol.trust import Phase, Source
from tests.protocol.world import World, joined

STRANGER = Identity(b"s" * 16, "s", "s:1")


def named(member, kind):
    """Return the ids that records of *kind* in the journal of *member* name, in their order."""
    nodes = [record.node.id if kind is Met else record.node_id for record in member.records if isinstance(record, kind)]
    return [node_id.rstrip(b"-").decode() for node_id in nodes]


def visited(reader, hub):
    """Add a visitor that the *hub* meets and the *reader* does not."""
    world, (a, b) = joined(reader, hub, max_staleness=10.0, lost_after=120.0)
    world.run(3)
    c = world.add("c")
    world.part(reader, "c")
    world.propose(c, hub)
    return world, a, b, c


def tell(world, member, teller, *records):
    """Let *member* receive records of *teller* that *teller* itself knows nothing of."""
    batch = Batch(member.peer(teller).cursor + 1, records)
    world.carry(member, member.node.receive(member.link(teller), batch, world.now))


# When a member is recorded.


def test_a_caller_is_recorded_before_it_is_answered():
    """When the Welcome is sent the journal names the caller already: no later vouch can pass that."""
    world = World()
    a = world.add("a")
    link = a.node.accept("s", world.now)
    a.node.receive(link, Hello(PROTOCOL_VERSION, "m", STRANGER), world.now)
    before = a.records
    answer = a.node.next_message(link, world.now)

    assert isinstance(answer, Welcome)
    assert before == (Met(STRANGER, direct=True),)


def test_a_member_that_was_heard_of_is_relayed():
    """A member that one node has met is in the journal of every node that heard of it, as hearsay."""
    world, a, b, _ = visited("a", "b")
    world.settle()

    assert [record.direct for record in b.records if isinstance(record, Met) and record.node.name == "c"] == [True]
    assert [record.direct for record in a.records if isinstance(record, Met) and record.node.name == "c"] == [False]


def test_a_member_is_recorded_once_in_each_journal():
    """However many others name it, and although it was heard of before it was met, one record is enough."""
    world, members = joined("a", "b", "c", "d", "e")
    world.run(5)

    for member in members:
        assert sorted(named(member, Met)) == sorted({"a", "b", "c", "d", "e"} - {member.node.identity.name})


def test_a_departure_is_recorded_once_with_the_number_of_flushes():
    """What a member has issued in all is part of the record, and counts no records of members."""
    world, (a, b, c) = joined("a", "b", "c")
    for number in range(3):
        c.flush(f"k{number}")
    world.leave(c)
    world.run(5)

    for member in (a, b):
        assert [record for record in member.records if isinstance(record, Gone)] == [Gone(c.node.identity.id, 3)]


def test_a_member_is_named_before_the_end_of_the_one_that_named_it():
    """A node that left was perhaps the only one that could report another: its followers record that first."""
    world, a, b, _c = visited("a", "b")
    world.settle()
    world.leave(b)
    records = a.records

    assert a.known == {"c"}
    kinds = [type(record) for record in records if STRANGER not in record]
    assert kinds.index(Gone) > max(place for place, kind in enumerate(kinds) if kind is Met)


def test_what_a_member_flushed_is_applied_before_it_is_taken_for_gone():
    """In one batch the flushes come first, in their order among the records of members."""
    world, (a, b) = joined("a", "b")
    b.effects.clear()

    tell(world, b, a, Flush("c", "k1"), Met(STRANGER, direct=False), Flush("c", "k2"))

    assert [effect.first for effect in b.told(Apply)] == [1, 2]
    assert b.known == {"a", "s"}


# What a departure costs.


def test_a_visitor_that_one_node_has_met_is_not_passed_by_the_proof_of_another():
    """The reader hears of the visitor before any vouch for what came after, and its proof stands."""
    world, a, _b, c = visited("a", "b")
    c.flush("k")
    flushed_at = world.now
    world.settle()
    world.run(8)

    assert a.known == {"b", "c"}
    assert a.keys == []
    assert a.node.trust.at <= flushed_at


@pytest.mark.parametrize("flushes", [0, 1])
def test_a_visitor_that_came_wrote_and_went_costs_what_it_flushed(flushes):
    """A reader that it never reached distrusts since before its flush, and nothing if it flushed nothing."""
    world, a, b, c = visited("a", "b")
    proof = a.node.trust.at
    for _ in range(flushes):
        c.flush("k")
    world.settle()
    world.leave(c)
    world.crash("c")
    world.run(10)

    assert b.keys == ["k"] * flushes
    assert a.keys == []
    assert [distrust.since <= proof for distrust in a.distrusted] == [True] * flushes
    assert a.known == {"b"}
    assert world.age(a) < 2


def test_a_visitor_that_crashed_and_was_replaced_costs_what_it_may_have_flushed():
    """Another node at its address ends its life; a reader that never followed it distrusts since before it came."""
    world, a, _b, c = visited("a", "b")
    proof = a.node.trust.at
    c.flush("k")
    world.settle()
    world.crash("c")
    new = world.add("c", node_id=b"second life-----")
    world.propose(new, "b")
    world.run(0.3)
    world.mend("a", "c")
    world.run(30)

    assert [distrust.since <= proof for distrust in a.distrusted] == [True]
    assert {peer.identity.id for peer in a.node.peers} == {b"b".ljust(16, b"-"), b"second life-----"}
    assert world.age(a) < 2


def test_a_visitor_that_came_and_went_while_a_node_slept_is_not_passed():
    """A node that wakes hears of the visitor's life before any vouch that covers it."""
    world, (a, b) = joined("a", "b", max_staleness=10.0)
    world.run(3)
    proof = a.node.trust.at
    world.freeze("a")
    world.run(1)
    c = world.add("c")
    world.propose(c, "b")
    world.run(2)
    c.flush("k")
    world.settle()
    world.leave(c)
    world.crash("c")
    world.run(1)
    world.thaw("a")
    world.run(10)

    assert b.keys == ["k"]
    assert a.keys == []
    assert [distrust.since <= proof for distrust in a.distrusted] == [True]
    assert world.age(a) < 2


def test_a_departure_after_flushes_that_were_applied_costs_nothing():
    """A node that has lost the stream and holds all that was flushed believes another's report."""
    world, (a, b, c) = joined("a", "b", "c")
    c.flush("k")
    world.settle()
    world.part("a", "c")
    world.leave(c)
    world.crash("c")
    world.run(3)

    assert a.known == {"b"}
    assert a.distrusted == b.distrusted == []


def test_a_departure_that_another_reports_first_costs_nothing():
    """Its own last flushes and its goodbye are on their way on a stream that stands: they are waited for."""
    world, (a, b, c) = joined("a", "b", "c")
    a_link, far = a.link(c), world.streams["a", a.link(c)]
    c.flush("last words")
    held = world.streams.pop(("a", a_link)), world.streams.pop(far)
    world.carry(c, c.node.leave(world.now))
    world.settle()
    told = a.peer(c).gone_after
    world.streams["a", a_link], world.streams[far] = held
    world.settle()

    assert told == 1
    assert a.keys == ["last words"]
    assert a.distrusted == []
    assert a.known == {"b"}


def test_a_departure_whose_goodbye_never_comes_is_believed_after_a_while():
    """A stream that stands and is silent does not hold the proof for longer than closing takes."""
    world, (a, b, c) = joined("a", "b", "c", max_staleness=10.0)
    c.flush("k")
    for end in (("a", a.link(c)), world.streams["a", a.link(c)]):
        world.streams.pop(end)
    world.carry(c, c.node.leave(world.now))
    world.settle()
    world.crash("c")
    world.run(5)

    assert a.known == {"b"}
    assert len(a.distrusted) == 1
    assert world.age(a) < 2


# Gone and lost.


def test_a_node_that_left_is_not_brought_back_by_old_news():
    """The report of a node that has not heard the goodbye yet changes nothing."""
    world, (a, b, c) = joined("a", "b", "c")
    world.leave(c)

    tell(world, b, a, Met(c.node.identity, direct=True))

    assert b.known == {"a"}


def test_news_of_a_departure_that_comes_before_the_news_of_the_arrival_is_final():
    """A node that was never known is remembered as gone, whichever journal names it later."""
    world, (a, b, c) = joined("a", "b", "c")
    tell(world, a, b, Gone(STRANGER.id, 0))

    tell(world, a, c, Met(STRANGER, direct=True))

    assert a.known == {"b", "c"}


def test_a_lost_record_obliges_no_other_member():
    """Each node decides by itself: what another has given up stays a member here, and is followed."""
    world, (a, b, c) = joined("a", "b", "c")

    tell(world, b, a, Lost(c.node.identity.id))

    assert b.known == {"a", "c"}
    assert b.follows(c)
    assert not b.peer(a).reaches(c.node.identity.id)


@pytest.fixture
def given_up():
    """Two nodes, of which the first has given up the second, which was frozen and still lives."""
    world = World()
    a = world.add("a", lost_after=20.0, sources={"mdns": Source(settles_after=1.0, names=False)})
    b = world.add("b", lost_after=1000.0)
    world.propose(a, "b", source="mdns")
    world.propose(b, "a")
    world.run(5)
    world.propose(a, source="mdns")
    world.freeze("b")
    world.run(40)
    assert named(a, Lost) == ["b"]
    return world, a, b


def test_a_lost_node_is_a_member_again_when_it_calls(given_up):
    """A node that was stopped for longer than lost_after says Hello, and is followed as before."""
    world, a, b = given_up
    world.thaw("b")
    world.run(8)
    b.flush("k")
    world.run(2)

    assert a.known == {"b"}
    assert a.follows(b)
    assert a.keys == ["k"]
    assert named(a, Met) == ["b", "b"]


@pytest.mark.parametrize("direct", [True, False])
def test_a_lost_node_is_a_member_again_when_another_has_found_it_alive(given_up, direct):
    """A member that has spoken with it brings it back; one that only heard of it does not."""
    world, a, b = given_up
    c = world.add("c")
    world.propose(c, "a")
    world.run(1)

    tell(world, a, c, Met(b.node.identity, direct=direct))

    assert ("b" in a.known) is direct


def test_giving_up_is_recorded(given_up):
    """The journal names the member as lost, once."""
    world, a, _b = given_up
    world.run(40)

    assert named(a, Lost) == ["b"]


# Where a journal begins.


def test_a_node_that_joins_starts_at_the_head():
    """It is sent at most one batch of what came before, not whole journals, and the members as a list."""
    world, (a, b) = joined("a", "b", journal=20_000)
    for number in range(5 * BATCH_FLUSHES_MAX):
        a.flush(f"k{number}")
    world.settle()
    world.log.clear()
    c = world.add("c")
    world.propose(c, "a")
    world.settle()

    assert world.sent_by("c", "Follow")[0].cursor is None
    assert len(c.applied) <= BATCH_FLUSHES_MAX
    assert c.peer(a).flushes == a.node.journal.flushes
    assert c.known == {"a", "b"}


@pytest.mark.parametrize("seconds", [0.5, 20.0])
def test_a_joined_node_is_sent_all_that_was_flushed_since_its_own_start(seconds):
    """Its entries may be as old as itself: it asks for what was appended since then, and distrusts nothing."""
    world = World()
    hub = world.add("hub")
    world.propose(hub)
    world.run(5)
    hub.flush("before")
    world.run(5)
    a = world.add("a")
    world.propose(a)
    world.run(seconds)
    hub.flush("since")
    world.run(2)
    world.propose(a, "hub")
    world.run(2)

    assert a.node.trust.phase is Phase.JOINED
    assert world.sent_by("a", "Follow")[0].age >= seconds
    assert a.keys[-1] == "since"
    assert a.distrusted == []


def test_a_joined_node_applies_all_that_a_newcomer_has_flushed():
    """What the newcomer has flushed since its own start may be news to entries that were loaded long before."""
    world, (a, b) = joined("a", "b")
    world.run(2)
    c = world.add("c")
    for number in range(3):
        c.flush(f"k{number}")
    world.propose(c, "a")
    world.settle()

    assert a.keys == b.keys == ["k0", "k1", "k2"]
    assert a.distrusted == []


def test_a_node_that_is_older_than_a_journal_reaches_distrusts():
    """What was flushed since its start is no longer held: it goes on from the head, and may have missed anything."""
    world = World()
    a = world.add("a")
    world.propose(a)
    world.run(5)
    hub = world.add("hub", journal=2)
    sequences = [hub.flush(f"k{number}") for number in range(5)]
    world.propose(hub, "a")
    world.run(3)

    assert len(a.distrusted) == 1
    assert hub.missing(sequences[0]) == {"a"}


def test_a_newcomer_cannot_have_missed_what_was_flushed_before_its_start():
    """It is not sent that, and no receipt waits for it; what was flushed since then has to be acknowledged."""
    world, (a, _b) = joined("a", "b")
    before = a.flush("before")
    world.run(3)
    c = world.add("c")
    since = a.flush("since")
    world.run(3)
    world.propose(c, "a")
    (link,) = [end for end in world.streams if end[0] == "c"]
    while a.peer(c) is None or not a.follows(c) or a.node.links.get(a.link(c)).follower.sent is None:
        world._move(link)
        world._move(world.streams[link])
    missing = [a.node.delivery(sequence, 0.0, world.now).missing for sequence in (before, since)]
    world.run(2)

    assert [a.peer(c) in peers for peers in missing] == [False, True]
    assert a.peer(c) not in a.node.delivery(before, 0.0, world.now).acknowledged
    assert "before" not in c.keys
    assert c.keys == ["since"]
    assert a.missing(since) == set()


def test_a_flush_made_before_a_newcomer_was_met_is_sent_to_it():
    """It was made while the newcomer was there, and a receipt may be waiting for it."""
    world = World()
    a, b = world.add("a"), world.add("b")
    sequence = a.flush("k")
    world.propose(a, "b")
    world.run(2)

    assert b.keys == ["k"]
    assert a.missing(sequence) == set()


def test_members_are_not_listed_to_a_follower_that_knows_the_same():
    """A digest that is the same saves the list, and the follower takes its own for it."""
    world, (a, b) = joined("a", "b")
    (to_first,) = world.sent_by("a", "Truncated")
    world.log.clear()
    c = world.add("c")
    world.propose(c, "a")
    world.settle()

    assert to_first.members is None
    assert [len(truncated.members) for truncated in world.sent_by("a", "Truncated")] == [2]
    assert b.peer(a).knows == {c.node.identity.id}
    assert c.peer(a).knows == {b.node.identity.id}


def test_a_follow_beyond_the_head_starts_at_the_head():
    """A cursor of another life cannot be served: the follower is told where the journal begins for it."""
    world = World()
    a = world.add("a")
    link = a.node.accept("s", world.now)
    a.node.receive(link, Hello(PROTOCOL_VERSION, "m", STRANGER), world.now)
    a.node.next_message(link, world.now)

    a.node.receive(link, Follow(99), world.now)
    sent = [a.node.next_message(link, world.now) for _ in range(3)]

    head = a.node.journal.head
    assert any(isinstance(message, Truncated) and message.head == head for message in sent)


def test_a_follower_that_returns_after_the_journal_has_gone_on_distrusts_since_its_last_vouch():
    """It learns the members from the list, and what it has missed ends its entries' bounds."""
    world, (a, b) = joined("a", "b", journal=3)
    world.part("a", "b")
    vouched = b.peer(a).vouched
    for number in range(9):
        a.flush(f"k{number}")
    world.mend("a", "b")
    world.run(6)

    assert [(distrust.peer.name, distrust.since) for distrust in b.told(Distrust) if distrust.peer] == [("a", vouched)]
