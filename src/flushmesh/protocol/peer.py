"""
Peer: another node, as seen from this one.

Two streams lie between two nodes, one each way.  On one this node follows the peer's
journal: the cursor and the vouches are here.  On the other the peer follows this node's:
what it has acknowledged is here too, and outlives the stream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from math import inf
from typing import Final

from flushmesh.protocol.messages import Ack, Batch, Flush, Identity, News, Ping, Vouch


class State(StrEnum):
    """How this node stands to a peer."""

    DIALLING = "dialling"
    FOLLOWING = "following"
    LEFT = "left"
    LOST = "lost"


class Input(Enum):
    """What moves a peer from one state to another."""

    WELCOMED = auto()
    GONE = auto()
    GOODBYE = auto()
    REPLACED = auto()
    GIVEN_UP = auto()
    UNCONFIRMED = auto()


# Whatever stands in no row cannot happen: asking for it is a bug, and a KeyError.
TRANSITIONS: Final = {
    State.DIALLING: {
        Input.WELCOMED: State.FOLLOWING,
        Input.REPLACED: State.LOST,
        Input.GIVEN_UP: State.LOST,
        Input.UNCONFIRMED: State.LOST,
    },
    State.FOLLOWING: {
        Input.GONE: State.DIALLING,
        Input.GOODBYE: State.LEFT,
        Input.GIVEN_UP: State.LOST,
    },
    State.LEFT: {},
    State.LOST: {},
}


@dataclass(slots=True)
class Peer:
    """
    What this node knows of one peer; times are this node's own clock.

    As follower: `cursor` is the sequence of the peer's journal applied here, `vouched` the
    time up to which everything the peer issued is known to be applied, `vouched_once`
    whether the peer itself has ever said so, `heard_at` when anything last came from it.
    `met` tells it from one of whom others have told.  `knows` holds whom it knows, and
    whether it has a stream with them.  As origin:
    `acknowledged` is the sequence of this node's journal that the peer has applied,
    `vouch_given_at` when it was last given a vouch.
    """

    identity: Identity
    vouched: float
    heard_at: float
    met: bool = False
    state: State = State.DIALLING
    cursor: int = 0
    head: int = 0
    vouched_once: bool = False
    round_trip: float | None = None
    knows: dict[bytes, bool] = field(default_factory=dict)

    serving_link: int | None = None
    acknowledged: int = 0
    asked: int = 0
    vouch_given_at: float | None = None
    max_staleness: float = inf
    lost_after: float = inf

    ping_due: float = 0.0
    pinged_at: float = 0.0
    _ping: bool = False
    _acknowledge: bool = False
    _skipped_after: int = 0
    _skipped_upto: int = 0
    _distrusted_at: float = 0.0

    @property
    def reached(self) -> bool:
        """Whether there is a stream with the peer, in either direction."""
        return self.state is State.FOLLOWING or self.serving_link is not None

    def move(self, by: Input) -> None:
        """Change state as the table says."""
        self.state = TRANSITIONS[self.state][by]

    def take(self, batch: Batch) -> tuple[Flush, ...] | None:
        """
        Advance the cursor over *batch* and return what is new in it.

        None stands for a gap: flushes before the batch are missing, and nothing was
        changed.
        """
        if batch.first > self.cursor + 1:
            return None
        fresh = batch.flushes[self.cursor + 1 - batch.first :]
        self.cursor += len(fresh)
        self.head = max(self.head, self.cursor)
        self._acknowledge |= batch.acknowledge
        return fresh

    def take_vouch(self, vouch: Vouch, now: float) -> None:
        """Note that everything the peer had issued when the ping was *sent* is applied here."""
        self.vouched = max(self.vouched, vouch.clock)
        self.vouched_once = True
        self.head = max(self.head, vouch.head)
        self.round_trip = now - vouch.clock

    def take_news(self, known: tuple[News, ...]) -> None:
        """Note whom the peer knows, and whom of them it has a stream with."""
        self.knows = {news.node.id: news.reached for news in known}

    def skip(self, after: int, upto: int) -> None:
        """Note that flushes *after* one and up to another may never have been applied by the peer."""
        if self._skipped_upto == 0:
            self._skipped_after = after
        self._skipped_after = min(self._skipped_after, after)
        self._skipped_upto = upto
        self._distrusted_at = inf

    def acknowledge(self, cursor: int, now: float) -> bool:
        """Note that the peer is done with everything up to *cursor*; tell whether that is more than before."""
        if self._skipped_upto <= cursor and self._distrusted_at == inf:
            self._distrusted_at = now
        before, self.acknowledged = self.acknowledged, max(self.acknowledged, cursor)
        return cursor > before

    def skipped(self, sequence: int) -> bool:
        """Tell whether the peer may have skipped *sequence*: then it distrusts, but has not applied it."""
        return self._skipped_after < sequence <= self._skipped_upto

    def has_applied(self, sequence: int) -> bool:
        """Tell whether the peer has applied the flush *sequence* of this node."""
        return sequence <= self.acknowledged and not self.skipped(sequence)

    def fenced(self, sequence: int, flushed_at: float, now: float) -> bool:
        """
        Tell whether the peer can no longer serve anything older than the flush *sequence*.

        The last vouch it was given lets it serve for its `max_staleness`, and so does a load
        that began just before the flush was made, at *flushed_at*.  That holds only if it
        certainly had not given this node up by then.  Who skipped the flush lets everything
        run out that was there when it learnt of that.  Clock rates may differ by 0.1 % each; a
        second is added for what happens between reading a clock and acting on it.
        """
        if self.skipped(sequence):
            last = self._distrusted_at
        elif self.vouch_given_at is None or flushed_at >= self.vouch_given_at + self.lost_after / 1.002 - 1.0:
            return False
        else:
            last = max(self.vouch_given_at, flushed_at)
        return now >= last + self.max_staleness * 1.002 + 1.0

    def ping(self, now: float, interval: float) -> None:
        """Owe the peer a ping, and plan the one after it."""
        self._ping = True
        self.ping_due = now + interval

    def next_message(self, now: float) -> Ack | Ping | None:
        """Return what this node tells the peer next as its follower, or None."""
        if self._ping:
            self._ping = self._acknowledge = False
            self.pinged_at = now
            return Ping(clock=now, cursor=self.cursor)
        if self._acknowledge:
            self._acknowledge = False
            return Ack(self.cursor)
        return None
