"""
Follower: the other end of a stream, as one that follows this node's journal.

It is served from its cursor, one message at a time, when the stream asks.  Nothing is
queued: a slow follower is only a cursor that falls behind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from flushmesh.protocol.journal import Journal
from flushmesh.protocol.messages import Batch, Leave, Ping, Truncated, Vouch


@dataclass(slots=True)
class Follower:
    """
    What was sent to one follower, and what it has asked for.

    `sent` is the sequence up to which records were handed to the stream, None until the
    follower has said where to begin.  What it has *applied* only the follower can tell: that
    is the peer's acknowledgement.  `truncated` is what it must be told first, if the journal
    is not sent from its cursor on.  `told_changes` is how far it has been told which members
    this node does not reach.
    """

    sent: int | None = None
    truncated: Truncated | None = None
    asked: int = 0
    finished: bool = False
    told_changes: int = 0
    told_unreached: bool = False
    _flagged: int = 0
    _vouch: Vouch | None = None
    _next_vouch: Vouch | None = None

    def begin(self, cursor: int) -> None:
        """Send what comes after *cursor*."""
        self.sent = cursor

    def begin_at(self, truncated: Truncated) -> None:
        """Send *truncated*, and what comes after it."""
        self.sent = truncated.head
        self.truncated = truncated

    def ask(self, sequence: int) -> None:
        """Have the follower acknowledge *sequence* as soon as it has applied it."""
        self.asked = max(self.asked, sequence)

    def pinged(self, ping: Ping, head: int) -> None:
        """
        Owe the follower a vouch for everything up to *head*.

        A second ping that comes before the first is answered replaces any third: the newest
        proves most, but the one that is owed must not recede before a steady stream of
        flushes.
        """
        vouch = Vouch(ping.clock, head)
        if self._vouch is None:
            self._vouch = vouch
        else:
            self._next_vouch = vouch

    def due_vouch(self) -> Vouch | None:
        """Return the vouch that may be given now, once everything it covers has been sent."""
        # Before what was flushed since: a journal which outruns the stream cannot hold it back.
        vouch = self._vouch
        if vouch is None or self.sent is None or self.truncated is not None or self.sent < vouch.head:
            return None
        self._vouch, self._next_vouch = self._next_vouch, None
        return vouch

    def next_batch(self, journal: Journal) -> Batch | None:
        """Return the next records, or an empty batch if only an acknowledgement is asked for."""
        assert self.sent is not None
        acknowledge = self._flagged < self.asked
        if self.sent < journal.head:
            return self._hand_over(journal.batch(self.sent), acknowledge=acknowledge)
        if acknowledge:
            return self._hand_over(Batch(self.sent + 1, ()), acknowledge=True)
        return None

    def goodbye(self, journal: Journal) -> Leave | None:
        """Return the goodbye, once."""
        if self.finished:
            return None
        self.finished = True
        return Leave(journal.flushes)

    def _hand_over(self, batch: Batch, *, acknowledge: bool) -> Batch:
        assert self.sent is not None
        self.sent += len(batch.records)
        if not acknowledge:
            return batch
        self._flagged = self.sent
        return replace(batch, acknowledge=True)
