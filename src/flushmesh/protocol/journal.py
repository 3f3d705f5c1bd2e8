"""
The journal: what this node has flushed lately and whom it has met and lost, numbered.

A record gets the next sequence the moment it is appended.  Followers ask for what
came after their cursor and get a batch, or Truncated when the journal no longer reaches
back that far.  Membership is recorded here, among the flushes, so that it inherits their
order: a follower that has applied a flush knows every member its origin had met before.

The journal is bounded in records and in bytes.  At either bound the oldest records go,
and a follower that still needed them must distrust what it holds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from flushmesh.protocol.messages import Batch, Flush, Met, Record

# Minutes of heavy writing, a second of a storm; about 10 MB of memory when full.
JOURNAL_FLUSHES_MAX: Final = 65_536
JOURNAL_BYTES_MAX: Final = 16 * 1024 * 1024

# A batch is one message: large enough to make its overhead small, small enough that
# applying it does not keep the receiver's thread from anything else for long.
BATCH_FLUSHES_MAX: Final = 1_024
BATCH_BYTES_MAX: Final = 256 * 1024

# What a flush costs on the wire next to its text, and a record of a member next to name and address.
_FLUSH_OVERHEAD: Final = 16
_MEMBER_OVERHEAD: Final = 40


def record_bytes(record: Record) -> int:
    """Return how much of the byte bounds *record* takes; never less than its size on the wire."""
    if isinstance(record, Flush):
        text = record.cache + (record.key or "") + (record.tag or "")
        return _FLUSH_OVERHEAD + (len(text) if text.isascii() else len(text.encode()))
    if isinstance(record, Met):
        return _MEMBER_OVERHEAD + len(record.node.name.encode()) + len(record.node.address.encode())
    return _MEMBER_OVERHEAD


# How many moments are remembered: hours at one a ping.  A newcomer is seldom older than that.
MARKS_MAX: Final = 4_096


class Mark(NamedTuple):
    """Where a journal stood at the time *at*: its head, and the number of flushes up to there."""

    at: float
    head: int
    flushes: int


class Journal:
    """
    The bounded numbered list of recent records; takes up to twice its bound in memory.

    `head` is the newest sequence, `floor` the newest one no longer held, `flushes` the
    number of flushes ever appended.
    """

    def __init__(self, flushes_max: int = JOURNAL_FLUSHES_MAX, bytes_max: int = JOURNAL_BYTES_MAX) -> None:
        self.head = 0
        self.floor = 0
        self.flushes = 0
        self._flushes_max = flushes_max
        self._bytes_max = bytes_max
        self._bytes = 0
        # The oldest lies at `_start`; what lies before it is cut off now and then, all at once.
        self._records: list[Record] = []
        self._start = 0
        self._dropped = 0
        self._newest: Batch | None = None
        self._marks: deque[Mark] = deque(maxlen=MARKS_MAX)

    def append(self, record: Record) -> int:
        """Number *record* and return its sequence; forget the oldest beyond the bounds."""
        self._records.append(record)
        self._bytes += record_bytes(record)
        self.flushes += type(record) is Flush
        self.head += 1
        while self.head - self.floor > self._flushes_max or self._bytes > self._bytes_max:
            size = record_bytes(self._records[self._start])
            self._bytes -= size
            self._dropped += size
            self._start += 1
            self.floor += 1
        if self._start > len(self._records) // 2 or self._dropped > self._bytes_max:
            del self._records[: self._start]
            self._start = self._dropped = 0
        return self.head

    def reaches(self, cursor: int) -> bool:
        """Return whether everything after *cursor* is still held."""
        return cursor >= self.floor

    def mark(self, now: float) -> None:
        """Remember where the journal stands *now*."""
        if self._marks and self._marks[-1].head == self.head:
            # Nothing was appended meanwhile: the later time is as true of that place.
            self._marks.pop()
        self._marks.append(Mark(now, self.head, self.flushes))
        while self._marks[0].head < self.floor:
            self._marks.popleft()

    def since(self, at: float) -> Mark | None:
        """Return a place after which everything follows that was appended since *at*; None if that is not held."""
        place = bisect_right(self._marks, at, key=lambda mark: mark.at)
        if place:
            return self._marks[place - 1]
        return Mark(at, 0, 0) if self.floor == 0 else None

    def batch(self, cursor: int) -> Batch:
        """
        Return records that follow *cursor*, as many as one message takes.

        Followers that stand at the same place get the same object, so that it needs to be
        encoded only once.  The caller has checked `reaches(cursor)`
        and that there is something to send.
        """
        if self._newest is None or self._newest.first != cursor + 1:
            self._newest = Batch(cursor + 1, tuple(self._after(cursor)))
        return self._newest

    def _after(self, cursor: int) -> Iterator[Record]:
        first = self._start + cursor - self.floor
        size = 0
        for record in self._records[first : first + BATCH_FLUSHES_MAX]:
            size += record_bytes(record)
            if size > BATCH_BYTES_MAX:
                return
            yield record
