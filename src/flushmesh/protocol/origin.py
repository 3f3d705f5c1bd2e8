"""
Origin: this node as the origin of one follower.

It serves the journal from the follower's cursor, one message at a time, when asked.
Nothing is queued: a slow follower is only a cursor that falls behind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from flushmesh.protocol.journal import Journal
from flushmesh.protocol.messages import Batch, Leave, News, OriginMessage, Ping, Truncated, Vouch


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
    told: tuple[News, ...] | None = None
    _flagged: int = 0
    _vouch: Vouch | None = None
    _next_vouch: Vouch | None = None

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

    def next_message(
        self, journal: Journal, news: Callable[[], tuple[News, ...]], *, leaving: bool
    ) -> OriginMessage | None:
        """Return what the follower gets next, or None; *news* is asked for only when it is told."""
        # The vouch comes after everything it speaks for, on a stream that keeps order; and before
        # what was flushed since, so that a journal which outruns the stream cannot hold it back.
        if self._vouch is not None and self.sent >= self._vouch.head:
            return self._give_vouch(self._vouch, news())
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
            return Leave(journal.head, news())
        return None

    def _give_vouch(self, vouch: Vouch, news: tuple[News, ...]) -> Vouch:
        # News of a node travels with the vouch at the latest, so that no proof outlives
        # the follower's ignorance of a newcomer.
        self._vouch, self._next_vouch = self._next_vouch, None
        if news == self.told:
            return vouch
        self.told = news
        return replace(vouch, known=news)

    def _hand_over(self, batch: Batch, *, acknowledge: bool) -> Batch:
        self.sent += len(batch.flushes)
        if not acknowledge:
            return batch
        self._flagged = self.sent
        return replace(batch, acknowledge=True)
