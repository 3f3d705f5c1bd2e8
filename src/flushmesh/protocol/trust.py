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
from flushmesh.protocol.outlook import waiting_for
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

    def __init__(self, started_at: float, sources: Mapping[str, float], lost_after: float, expect: int = 0) -> None:
        self.at = started_at
        self.phase = Phase.JOINING
        self.started_at = started_at
        self.ready = False
        self._looked_at = started_at
        self._lost_after = lost_after
        self._expect = expect
        self._sources = tuple(sources)
        self._awaited = dict(sources)
        self._stalled = False

    def move(self, by: Step) -> None:
        """Change phase as the table says."""
        self.phase = PHASES[self.phase][by]

    def proposed(self, source: str) -> None:
        """Note that *source* has made a proposal; one that is given time may make more."""
        if self._awaited.get(source) == 0:
            del self._awaited[source]

    def settles(self, peers: Iterable[Peer], contacts: Contacts, now: float) -> bool:
        """Tell whether joining may end now."""
        self._looked_at = now
        if self.phase is not Phase.JOINING or _followed(peers) < self._expect:
            return False
        if now >= self.started_at + self._lost_after:
            return True
        return self._all_proposed(now) and not any(contacts.unanswered())

    def becomes_ready(self, peers: Iterable[Peer], contacts: Contacts, now: float) -> bool:
        """Tell whether by now every address that was proposed has been tried, and whoever is expected met."""
        if self.ready or _followed(peers) < self._expect:
            return False
        self.ready = now >= self.started_at + self._lost_after or (
            self._all_proposed(now) and not any(contacts.untried())
        )
        return self.ready

    def _all_proposed(self, now: float) -> bool:
        """Tell whether every discovery has proposed, or has had its time."""
        for source, given in list(self._awaited.items()):
            if given and now >= self.started_at + given:
                del self._awaited[source]
        return not self._awaited

    def settle_due(self) -> float:
        """Return when joining may end although nothing happens."""
        if self.phase is not Phase.JOINING:
            return inf
        due = [self.started_at + given for given in (self._lost_after, *self._awaited.values()) if given]
        return min((at for at in due if at > self._looked_at), default=inf)

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

    def waiting_for(self, peers: Iterable[Peer], contacts: Contacts) -> str:
        """Say whom joining waits for, or nothing once it has ended."""
        if self.phase is not Phase.JOINING:
            return ""
        return waiting_for(self._expect, _followed(peers), contacts, self._sources)

    def explain(self, peers: Iterable[Peer], contacts: Contacts, max_staleness: float, now: float) -> str:
        """Say why entries are running out, or nothing if they are not."""
        if now - self.at < max_staleness / 2:
            return ""
        if self.phase is Phase.JOINING:
            return f"joining for {now - self.started_at:.0f} s: {self.waiting_for(peers, contacts)}"
        last = min(peers, key=lambda peer: peer.vouched, default=None)
        if last is None:
            return f"this node itself has been idle for {now - self.at:.0f} s"
        contact = "is connected but does not answer" if last.state is State.FOLLOWING else "is out of reach"
        name, address = last.identity.name, last.identity.address
        return f"{name} at {address} {contact}; it last vouched {now - last.vouched:.0f} s ago"


def _followed(peers: Iterable[Peer]) -> int:
    """Count the peers that are followed, or have been."""
    return sum(peer.state is State.FOLLOWING or peer.vouched_once for peer in peers)
