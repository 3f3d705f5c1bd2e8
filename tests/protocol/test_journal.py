"""The journal: numbering, bounds, batches."""

from flushmesh.protocol.journal import BATCH_BYTES_MAX, BATCH_FLUSHES_MAX, Journal, flush_bytes
from flushmesh.protocol.messages import Batch, Flush, Leave, Truncated
from flushmesh.protocol.origin import Origin


def keys(batch):
    return [flush.key for flush in batch.flushes]


def test_sequences_start_at_one_and_have_no_gap():
    """Each flush gets the next sequence."""
    journal = Journal()

    assert [journal.append(Flush("c", "k")) for _ in range(3)] == [1, 2, 3]
    assert journal.head == 3


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


def test_the_oldest_flushes_go_at_the_bound():
    """Beyond its flushes the journal moves its floor, and says that it no longer reaches back."""
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
    journal = Journal(bytes_max=flush_bytes(flush) * 2)
    for _ in range(5):
        journal.append(flush)

    assert journal.floor == 3


def test_bytes_count_what_travels():
    """A character outside ASCII counts with the bytes it has on the wire."""
    assert flush_bytes(Flush("c", "ü" * 10)) == flush_bytes(Flush("c", "u" * 20))


def test_a_batch_is_bounded_in_flushes():
    """A batch has at most BATCH_FLUSHES_MAX flushes."""
    journal = Journal()
    for number in range(BATCH_FLUSHES_MAX + 1):
        journal.append(Flush("c", f"k{number}"))

    assert len(journal.batch(0).flushes) == BATCH_FLUSHES_MAX


def test_a_batch_is_bounded_in_bytes():
    """A batch of the longest keys stays below BATCH_BYTES_MAX."""
    journal = Journal()
    for _ in range(BATCH_FLUSHES_MAX):
        journal.append(Flush("c", "k" * 1024))

    batch = journal.batch(0)
    assert sum(map(flush_bytes, batch.flushes)) <= BATCH_BYTES_MAX
    assert len(batch.flushes) > 200


def test_an_origin_sends_each_flush_once():
    """What was handed over is not handed over again."""
    journal = Journal()
    origin = Origin(b"follower", sent=0)
    journal.append(Flush("c", "a"))
    first = origin.next_message(journal, tuple, leaving=False)
    journal.append(Flush("c", "b"))
    second = origin.next_message(journal, tuple, leaving=False)

    assert isinstance(first, Batch)
    assert isinstance(second, Batch)
    assert (keys(first), keys(second)) == (["a"], ["b"])
    assert origin.next_message(journal, tuple, leaving=False) is None


def test_an_origin_says_goodbye_last_and_once():
    """The goodbye comes after the last flush and carries the head."""
    journal = Journal()
    origin = Origin(b"follower", sent=0)
    journal.append(Flush("c", "a"))

    messages = [origin.next_message(journal, tuple, leaving=True) for _ in range(3)]
    assert isinstance(messages[0], Batch)
    assert messages[1:] == [Leave(1), None]


def test_a_slow_follower_is_told_that_the_journal_moved_on():
    """A stream that stalls while the journal turns over gets Truncated, then what comes next."""
    journal = Journal(flushes_max=2)
    origin = Origin(b"follower", sent=0)
    for key in "abc":
        journal.append(Flush("c", key))

    assert origin.next_message(journal, tuple, leaving=False) == Truncated(3)
    journal.append(Flush("c", "d"))
    batch = origin.next_message(journal, tuple, leaving=False)
    assert isinstance(batch, Batch)
    assert (batch.first, keys(batch)) == (4, ["d"])


def test_memory_stays_within_twice_the_bound_of_flushes():
    """What was let go of is freed before it is as much as what is held."""
    journal = Journal(flushes_max=100)
    for number in range(1000):
        journal.append(Flush("c", f"k{number}"))
        assert len(journal._flushes) <= 200

    assert keys(journal.batch(900)) == [f"k{number}" for number in range(900, 1000)]


def test_memory_stays_within_twice_the_bound_of_bytes():
    """Also when keys grow shorter and shorter, so that few of what was let go of outweigh many that are held."""
    bound = 32 * 1024
    journal = Journal(bytes_max=bound)
    for length in (1024, 512, 256, 128):
        flush = Flush("c", "k" * length)
        for _ in range(bound // flush_bytes(flush)):
            journal.append(flush)
            assert sum(map(flush_bytes, journal._flushes)) <= 2 * bound

    assert len(journal.batch(journal.floor).flushes) == journal.head - journal.floor
