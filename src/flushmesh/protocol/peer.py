"""
Peer: another node, as seen from this one.

Two streams lie between two nodes, one each way.  On one this node follows the peer's
journal: the cursor is here.  On the other the peer follows this node's: what it has
acknowledged is here too, and outlives the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from typing import Final

from flushmesh.protocol.messages import Ack, Batch, Flush, Identity, Ping


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


# Whatever stands in no row cannot happen: asking for it is a bug, and a KeyError.
TRANSITIONS: Final = {
    State.DIALLING: {Input.WELCOMED: State.FOLLOWING, Input.REPLACED: State.LOST},
    State.FOLLOWING: {Input.GONE: State.DIALLING, Input.GOODBYE: State.LEFT},
    State.LEFT: {},
    State.LOST: {},
}


@dataclass(slots=True)
class Peer:
    """
    What this node knows of one peer.

    `cursor` is the sequence of the peer's journal applied here, `acknowledged` the
    sequence of this node's journal that the peer says it has applied.
    """

    identity: Identity
    state: State = State.DIALLING
    cursor: int = 0
    head: int = 0
    acknowledged: int = 0
    asked: int = 0
    serving_link: int | None = None
    ping_due: float = 0.0
    _ping: bool = False
    _acknowledge: bool = False

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

    def ping(self, now: float, interval: float) -> None:
        """Owe the peer a ping, and plan the one after it."""
        self._ping = True
        self.ping_due = now + interval

    def next_message(self, now: float) -> Ack | Ping | None:
        """Return what this node tells the peer next as its follower, or None."""
        if self._ping:
            self._ping = self._acknowledge = False
            return Ping(clock=now, cursor=self.cursor)
        if self._acknowledge:
            self._acknowledge = False
            return Ack(self.cursor)
        return None
