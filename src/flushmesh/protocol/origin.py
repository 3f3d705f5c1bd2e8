"""
Origin: this node as the origin of one follower.

It serves the journal from the follower's cursor, one message at a time, when asked.
Nothing is queued: a slow follower is only a cursor that falls behind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from flushmesh.protocol.journal import Journal
from flushmesh.protocol.messages import Batch, Leave, OriginMessage, Truncated


@dataclass(slots=True)
class Origin:
    """
    What was sent to one follower, and what it was asked for.

    `sent` is the sequence up to which flushes were handed to the stream.  What the
    follower has *applied* only the follower can tell: that is the peer's acknowledgement.
    """

    follower_id: bytes
    sent: int
    asked: int = 0
    welcomed: bool = False
    finished: bool = False
    _flagged: int = 0

    def ask(self, sequence: int) -> None:
        """Have the follower acknowledge *sequence* as soon as it has applied it."""
        self.asked = max(self.asked, sequence)

    def next_message(self, journal: Journal, *, leaving: bool) -> OriginMessage | None:
        """Return what the follower gets next, or None if it has everything."""
        if not journal.reaches(self.sent):
            self.sent = journal.head
            return Truncated(journal.head)
        acknowledge = self._flagged < self.asked
        if self.sent < journal.head:
            return self._hand_over(journal.batch(self.sent), acknowledge=acknowledge)
        if acknowledge:
            return self._hand_over(Batch(self.sent + 1, ()), acknowledge=True)
        if leaving and not self.finished:
            self.finished = True
            return Leave(journal.head)
        return None

    def _hand_over(self, batch: Batch, *, acknowledge: bool) -> Batch:
        self.sent += len(batch.flushes)
        if not acknowledge:
            return batch
        self._flagged = self.sent
        return replace(batch, acknowledge=True)
