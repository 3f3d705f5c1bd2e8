"""
The journal: every flush this node has issued lately, numbered.

A flush gets the next sequence the moment it is appended.  Followers ask for what
came after their cursor and get a batch, or nothing when the journal no longer reaches
back that far: then they are told Truncated.

The journal is bounded in flushes and in bytes.  At either bound the oldest flushes go,
and a follower that still needed them must distrust what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from flushmesh.protocol.messages import Batch, Flush

# Minutes of heavy writing, a second of a storm; about 10 MB of memory when full.
JOURNAL_FLUSHES_MAX: Final = 65_536
JOURNAL_BYTES_MAX: Final = 16 * 1024 * 1024

# A batch is one message: large enough to make its overhead small, small enough that
# applying it does not keep the receiver's thread from anything else for long.
BATCH_FLUSHES_MAX: Final = 1_024
BATCH_BYTES_MAX: Final = 256 * 1024

# What a flush costs on the wire beside its text.
_FLUSH_OVERHEAD: Final = 16


def flush_bytes(flush: Flush) -> int:
    """Tell how much of the byte bounds *flush* takes; never less than its size on the wire."""
    text = flush.cache + (flush.key or "") + (flush.tag or "")
    return _FLUSH_OVERHEAD + (len(text) if text.isascii() else len(text.encode()))


class Journal:
    """
    The bounded numbered list of recent flushes; takes up to twice its bound in memory.

    `head` is the newest sequence, `floor` the newest one no longer held.
    """

    def __init__(self, flushes_max: int = JOURNAL_FLUSHES_MAX, bytes_max: int = JOURNAL_BYTES_MAX) -> None:
        self.head = 0
        self.floor = 0
        self._flushes_max = flushes_max
        self._bytes_max = bytes_max
        self._bytes = 0
        # The oldest lies at `_start`; what lies before it is cut off now and then, all at once.
        self._flushes: list[Flush] = []
        self._start = 0
        self._dropped = 0
        self._newest: Batch | None = None

    def append(self, flush: Flush) -> int:
        """Number *flush* and return its sequence; forget the oldest beyond the bounds."""
        self._flushes.append(flush)
        self._bytes += flush_bytes(flush)
        self.head += 1
        while self.head - self.floor > self._flushes_max or self._bytes > self._bytes_max:
            size = flush_bytes(self._flushes[self._start])
            self._bytes -= size
            self._dropped += size
            self._start += 1
            self.floor += 1
        if self._start > len(self._flushes) // 2 or self._dropped > self._bytes_max:
            del self._flushes[: self._start]
            self._start = self._dropped = 0
        return self.head

    def reaches(self, cursor: int) -> bool:
        """Tell whether everything after *cursor* is still held."""
        return cursor >= self.floor

    def batch(self, cursor: int) -> Batch:
        """
        Return flushes that follow *cursor*, as many as one message takes.

        Followers that stand at the same place get the same object, so that whoever
        encodes it needs to do so only once.  The caller has checked `reaches(cursor)`
        and that there is something to send.
        """
        if self._newest is None or self._newest.first != cursor + 1:
            self._newest = Batch(cursor + 1, tuple(self._after(cursor)))
        return self._newest

    def _after(self, cursor: int) -> Iterator[Flush]:
        first = self._start + cursor - self.floor
        size = 0
        for flush in self._flushes[first : first + BATCH_FLUSHES_MAX]:
            size += flush_bytes(flush)
            if size > BATCH_BYTES_MAX:
                return
            yield flush
