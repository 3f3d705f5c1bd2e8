"""
Trust: up to when this node's entries are proven.

A peer that answers a ping vouches that everything it had issued when the ping was sent
has been applied here.  The least of all peers' vouches is `at`: by then, nothing was
missing from anybody.  Only this node's own clock is read, and a delay or a pause anywhere
only makes the proof older.

A node that has just started does not know whom it may have missed.  It is *joining*, and
its proof stands at its start, until every address that was proposed has answered or
refused the connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, StrEnum, auto
from math import inf
from typing import Final

from flushmesh.protocol.contacts import Contacts
from flushmesh.protocol.peer import Peer, State


class Phase(StrEnum):
    """Where a node is in its life."""

    JOINING = "joining"
    JOINED = "joined"
    LEAVING = "leaving"


class Step(Enum):
    """What moves a node from one phase to another."""

    SETTLED = auto()
    CLOSING = auto()


PHASES: Final = {
    Phase.JOINING: {Step.SETTLED: Phase.JOINED, Step.CLOSING: Phase.LEAVING},
    Phase.JOINED: {Step.CLOSING: Phase.LEAVING},
    Phase.LEAVING: {Step.CLOSING: Phase.LEAVING},
}


class Trust:
    """
    The proof, and whether it may move yet.

    *sources* holds, for each discovery that has not proposed anything yet, how many seconds
    it is given; 0 waits for its first proposal.  `at` never falls.
    """

    def __init__(self, started_at: float, sources: Mapping[str, float], lost_after: float) -> None:
        self.at = started_at
        self.phase = Phase.JOINING
        self.started_at = started_at
        self._lost_after = lost_after
        self._awaited = dict(sources)
        self._stalled = False

    def move(self, by: Step) -> None:
        """Change phase as the table says."""
        self.phase = PHASES[self.phase][by]

    def proposed(self, source: str) -> None:
        """Note that *source* has made a proposal; one that is given time may make more."""
        if self._awaited.get(source) == 0:
            del self._awaited[source]

    def settles(self, contacts: Contacts, now: float) -> bool:
        """Tell whether joining may end now."""
        if self.phase is not Phase.JOINING:
            return False
        if now >= self.started_at + self._lost_after:
            return True
        waiting = any(given == 0 or now < self.started_at + given for given in self._awaited.values())
        return not waiting and not any(contacts.unanswered())

    def settle_due(self) -> float:
        """Return when joining may end although nothing happens."""
        if self.phase is not Phase.JOINING:
            return inf
        return self.started_at + min([self._lost_after, *(given for given in self._awaited.values() if given)])

    def advance(self, peers: Iterable[Peer], now: float) -> bool:
        """Move the proof as far as it goes; tell whether it moved."""
        if self.phase is Phase.JOINING:
            return False
        before = self.at
        # Without a peer there is nobody whose flushes could be missing.
        self.at = max(before, min((peer.vouched for peer in peers), default=now))
        return self.at > before

    def stalls(self, max_staleness: float, now: float) -> bool:
        """Tell whether entries have begun, or ceased, to run out since this was last asked."""
        stalled = now - self.at >= max_staleness / 2
        changed = stalled is not self._stalled
        self._stalled = stalled
        return changed

    def explain(self, peers: Iterable[Peer], contacts: Contacts, max_staleness: float, now: float) -> str:
        """Say why entries are running out, or nothing if they are not."""
        if now - self.at < max_staleness / 2:
            return ""
        if self.phase is Phase.JOINING:
            silent = ", ".join(contact.address for contact in contacts.unanswered())
            return f"joining for {now - self.started_at:.0f} s: nothing comes back from {silent or 'discovery'}"
        last = min(peers, key=lambda peer: peer.vouched, default=None)
        if last is None:
            return f"this node itself has been idle for {now - self.at:.0f} s"
        contact = "is connected but does not answer" if last.state is State.FOLLOWING else "is out of reach"
        name, address = last.identity.name, last.identity.address
        return f"{name} at {address} {contact}; it last vouched {now - last.vouched:.0f} s ago"
