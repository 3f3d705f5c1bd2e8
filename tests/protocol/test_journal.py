"""The journal: numbering, bounds, batches; and what one follower is sent of it."""

import pytest

from flushmesh.protocol.follower import Follower
from flushmesh.protocol.journal import BATCH_BYTES_MAX, BATCH_FLUSHES_MAX, Journal, record_bytes
from flushmesh.protocol.messages import Batch, Flush, Gone, Identity, Leave, Met, Ping, Truncated

MET = Met(Identity(b"x" * 16, "x", "x:1"), direct=True)


def keys(batch):
    return [flush.key for flush in batch.records]


def test_sequences_start_at_one_and_have_no_gap():
    """Each record gets the next sequence."""
    journal = Journal()

    assert [journal.append(record) for record in (Flush("c", "k"), MET, Flush("c", "k"))] == [1, 2, 3]
    assert journal.head == 3


def test_flushes_are_counted_apart_from_the_other_records():
    """The number of flushes says what a member has issued, whatever else its journal names."""
    journal = Journal(flushes_max=2)
    for record in (Flush("c", "k"), MET, Flush("c", "k"), Gone(b"x" * 16, 0), Flush("c", "k")):
        journal.append(record)

    assert (journal.flushes, journal.head) == (3, 5)


def test_a_batch_continues_a_cursor():
    """A batch holds what came after the cursor, in order."""
    journal = Journal()
    for key in "abcd":
        journal.append(Flush("c", key))

    assert (journal.batch(2).first, keys(journal.batch(2))) == (3, ["c", "d"])


def test_followers_at_one_place_share_a_batch():
    """The same cursor gives the same object, so that it is encoded once."""
    journal = Journal()
    journal.append(Flush("c", "k"))

    assert journal.batch(0) is journal.batch(0)


def test_a_shared_batch_is_never_served_to_another_cursor():
    """A follower elsewhere gets its own batch."""
    journal = Journal()
    for key in "abc":
        journal.append(Flush("c", key))
    journal.batch(0)

    assert keys(journal.batch(1)) == ["b", "c"]


def test_the_oldest_records_go_at_the_bound():
    """Beyond its bound the journal moves its floor, and reports that it no longer reaches back."""
    journal = Journal(flushes_max=3)
    for number in range(5):
        journal.append(Flush("c", f"k{number}"))

    assert (journal.floor, journal.head) == (2, 5)
    assert not journal.reaches(1)
    assert journal.reaches(2)
    assert keys(journal.batch(2)) == ["k2", "k3", "k4"]


def test_bytes_are_bounded_too():
    """Long keys fill the journal sooner."""
    flush = Flush("c", "k" * 100)
    journal = Journal(bytes_max=record_bytes(flush) * 2)
    for _ in range(5):
        journal.append(flush)

    assert journal.floor == 3


def test_bytes_count_what_travels():
    """A character outside ASCII counts with the bytes it has on the wire."""
    assert record_bytes(Flush("c", "ü" * 10)) == record_bytes(Flush("c", "u" * 20))


def test_a_member_with_a_long_name_takes_more_of_the_bound():
    """A record of a member counts its name and its address."""
    long = Met(Identity(b"x" * 16, "x" * 101, "x:1"), direct=True)

    assert record_bytes(long) == record_bytes(MET) + 100


def test_a_batch_is_bounded_in_records():
    """A batch has at most BATCH_FLUSHES_MAX records."""
    journal = Journal()
    for number in range(BATCH_FLUSHES_MAX + 1):
        journal.append(Flush("c", f"k{number}"))

    assert len(journal.batch(0).records) == BATCH_FLUSHES_MAX


def test_a_batch_is_bounded_in_bytes():
    """A batch of the longest keys stays below BATCH_BYTES_MAX."""
    journal = Journal()
    for _ in range(BATCH_FLUSHES_MAX):
        journal.append(Flush("c", "k" * 1024))

    batch = journal.batch(0)

    assert sum(map(record_bytes, batch.records)) <= BATCH_BYTES_MAX
    assert len(batch.records) > 200


def marked(*flushes_at, flushes_max=1000):
    """Return a journal with so many flushes at the times 1, 2, 3 and so on, marked after each."""
    journal = Journal(flushes_max=flushes_max)
    for at, count in enumerate(flushes_at, 1):
        for _ in range(count):
            journal.append(Flush("c", "k"))
        journal.mark(float(at))
    return journal


@pytest.mark.parametrize(
    ("at", "head"),
    [
        (0.5, 0),
        (1.0, 2),
        (1.9, 2),
        (2.0, 5),
        (9.0, 9),
    ],
)
def test_the_place_of_a_moment_is_the_last_mark_before_it(at, head):
    """Everything that was appended since then follows; a little of what came before may, too."""
    mark = marked(2, 3, 4).since(at)

    assert (mark.head, mark.flushes) == (head, head)


def test_the_place_of_a_moment_counts_flushes_apart_from_records():
    """A newcomer is told how many flushes came before, to know what a goodbye covers."""
    journal = Journal()
    for record in (Flush("c", "k"), MET, Flush("c", "k")):
        journal.append(record)
    journal.mark(1.0)

    assert (journal.since(2.0).head, journal.since(2.0).flushes) == (3, 2)


def test_a_moment_that_the_journal_no_longer_reaches_has_no_place():
    """What was forgotten cannot be promised to a newcomer; the mark at the floor still stands."""
    journal = marked(2, 3, 4, flushes_max=4)

    assert journal.since(1.5) is None
    assert journal.since(2.5).head == journal.floor == 5


def test_a_journal_in_which_nothing_happens_holds_one_mark():
    """An idle node remembers the last moment only, and places of before are not lost by that."""
    journal = marked(1, *[0] * 100)

    assert len(journal._marks) == 1
    assert journal.since(50.0).head == 0
    assert journal.since(101.0).head == 1


def test_a_follower_is_sent_each_record_once():
    """What was handed over is not handed over again."""
    journal, follower = Journal(), Follower(sent=0)
    journal.append(Flush("c", "a"))
    first = follower.next_batch(journal)
    journal.append(Flush("c", "b"))
    second = follower.next_batch(journal)

    assert isinstance(first, Batch)
    assert isinstance(second, Batch)
    assert (keys(first), keys(second)) == (["a"], ["b"])
    assert follower.next_batch(journal) is None


def test_a_follower_is_asked_once_to_acknowledge():
    """One request flags one batch, and a later request flags an empty one if there is nothing to send."""
    journal, follower = Journal(), Follower(sent=0)
    follower.ask(journal.append(Flush("c", "a")))
    first = follower.next_batch(journal)
    again = follower.next_batch(journal)
    follower.ask(journal.append(Flush("c", "b")))
    follower.next_batch(journal)

    assert (first.acknowledge, again) == (True, None)
    assert follower.next_batch(journal) is None


def test_a_follower_is_told_goodbye_once():
    """The goodbye carries the number of flushes, not of records."""
    journal, follower = Journal(), Follower(sent=2)
    journal.append(MET)
    journal.append(Flush("c", "a"))

    assert [follower.goodbye(journal), follower.goodbye(journal)] == [Leave(1), None]


def test_a_vouch_waits_for_what_it_covers():
    """Until everything that was there when the ping came has been sent, none is due."""
    follower = Follower(sent=3)
    follower.pinged(Ping(7.0, 0), head=4)
    early = follower.due_vouch()
    follower.begin(4)

    assert early is None
    assert follower.due_vouch() is not None


def test_a_vouch_waits_for_the_beginning():
    """A follower that has not been told where the journal begins for it is given no vouch."""
    follower = Follower()
    follower.begin_at(Truncated(4, 4))
    follower.pinged(Ping(7.0, 0), head=4)

    assert follower.due_vouch() is None


def test_memory_stays_within_twice_the_bound_of_records():
    """What was let go of is freed before it is as much as what is held."""
    journal = Journal(flushes_max=100)
    for number in range(1000):
        journal.append(Flush("c", f"k{number}"))
        assert len(journal._records) <= 200

    assert keys(journal.batch(900)) == [f"k{number}" for number in range(900, 1000)]


def test_memory_stays_within_twice_the_bound_of_bytes():
    """Also when keys grow shorter and shorter, so that few of what was let go of outweigh many that are held."""
    bound = 32 * 1024
    journal = Journal(bytes_max=bound)
    for length in (1024, 512, 256, 128):
        flush = Flush("c", "k" * length)
        for _ in range(bound // record_bytes(flush)):
            journal.append(flush)
            assert sum(map(record_bytes, journal._records)) <= 2 * bound

    assert len(journal.batch(journal.floor).records) == journal.head - journal.floor
