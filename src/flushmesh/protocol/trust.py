"""
Trust: up to when this node's entries are proven.

A peer that answers a ping vouches that everything it had issued when the ping was sent
has been applied here.  The proof is the least over all members' vouches and over all
*names*: an address that a roster or DNS names is a member's, refused the connection
lately, or holds the proof where it stands, since an unknown node may be there.  Only this
node's own clock is read, and a delay or a pause anywhere only makes the proof older.

A node that has just started does not know whom it may have missed.  It is *joining*, and
its proof stands at its start, until every address that was proposed has answered or
refused the connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from math import inf
from typing import Final

from flushmesh.protocol.addresses import Address, Addresses
from flushmesh.protocol.peers import Peers

# A node that was refused calls again within a few seconds, for as long as it lives.
STRANGER_FOR: Final = 15.0


@dataclass(frozen=True, slots=True)
class Source:
    """
    One discovery, as joining and the proof see it.

    *settles_after* is how many seconds after the start its proposals count as complete; 0 if
    the first one does.  It *names* nodes if what it proposes holds the proof; what mDNS hears
    is only a hint.  It is *passing*, as DNS is, if it may name a host for a while after that
    is gone.
    """

    settles_after: float = 0.0
    names: bool = True
    passing: bool = False


class Phase(StrEnum):
    """Where a node is in its life."""

    JOINING = "joining"
    JOINED = "joined"
    LEAVING = "leaving"


class Step(Enum):
    """What moves a node from one phase to another."""

    SETTLED = auto()
    SLEPT = auto()
    CLOSING = auto()


PHASES: Final = {
    Phase.JOINING: {Step.SETTLED: Phase.JOINED, Step.SLEPT: Phase.JOINING, Step.CLOSING: Phase.LEAVING},
    Phase.JOINED: {Step.SLEPT: Phase.JOINING, Step.CLOSING: Phase.LEAVING},
    Phase.LEAVING: {Step.CLOSING: Phase.LEAVING},
}


class Trust:
    """
    The proof, and whether it may move yet.

    `at` never falls.  `looked_at` is the last moment at which this node was awake and alone:
    without members and names there is nothing else that it could miss.
    """

    def __init__(
        self,
        started_at: float,
        sources: Mapping[str, Source],
        lost_after: float,
        give_up_silent: float = inf,
        expect: int = 0,
    ) -> None:
        self.at = started_at
        self.phase = Phase.JOINING
        self.started_at = started_at
        self.looked_at = started_at
        self.ready = False
        self.sources = sources
        self.expect = expect
        self._lost_after = lost_after
        self._give_up_silent = give_up_silent
        self._began_at = started_at
        self._asked_at = started_at
        self._awaited = {name: source.settles_after for name, source in sources.items()}
        self._holders: set[bytes | str] = set()
        self._stranger_since = self._stranger_until = -inf
        self._stalled = False
        self._proves = False

    def move(self, by: Step) -> None:
        """Change phase as the table says."""
        self.phase = PHASES[self.phase][by]
        if by is not Step.CLOSING:
            # A node that leaves while it is joining has proven nothing.
            self._proves = self.phase is Phase.JOINED

    # Joining.

    def proposed(self, source: str) -> None:
        """Record that *source* has made a proposal; one that is given time may make more."""
        if self._awaited.get(source) == 0:
            del self._awaited[source]

    def rejoin(self, now: float) -> bool:
        """Look around again after a sleep; return whether there is need to: what only multicast finds is not named."""
        hints = {name: source.settles_after for name, source in self.sources.items() if not source.names}
        if self.phase is not Phase.JOINED or not hints:
            return False
        self.move(Step.SLEPT)
        self._began_at = now
        self._awaited.update(hints)
        return True

    def settles(self, followed: int, addresses: Addresses, now: float, *, complete: bool) -> bool:
        """Return whether joining may end now; *complete* is whether every member that is known has been tried."""
        self._asked_at = now
        if self.phase is not Phase.JOINING or followed < self.expect:
            return False
        if now >= self._began_at + self._lost_after:
            return True
        return complete and self._all_proposed(now) and not any(addresses.unanswered())

    def becomes_ready(self, followed: int, addresses: Addresses, now: float) -> bool:
        """Return whether by now every address that was proposed has been tried, and the expected peers met."""
        if self.ready or followed < self.expect:
            return False
        self.ready = now >= self.started_at + self._lost_after or (
            self._all_proposed(now) and not any(addresses.untried())
        )
        return self.ready

    def awaited(self) -> list[str]:
        """Return the discoveries that have proposed nothing yet."""
        return [name for name, given in self._awaited.items() if not given]

    def _all_proposed(self, now: float) -> bool:
        """Return whether every discovery has proposed, or has had its time."""
        for source, given in list(self._awaited.items()):
            if given and now >= self._began_at + given:
                del self._awaited[source]
        return not self._awaited

    def settle_due(self) -> float:
        """Return when joining may end although nothing happens."""
        if self.phase is not Phase.JOINING:
            return inf
        due = [self._began_at + given for given in (self._lost_after, *self._awaited.values()) if given]
        return min((at for at in due if at > self._asked_at), default=inf)

    # The proof.

    def reconsider(self) -> None:
        """Record that members or names have come or gone: what held the proof so far may not hold it any more."""
        self._holders.clear()

    def raised(self, holder: bytes | str) -> bool:
        """Record that *holder* proves more than before; return whether nothing holds the proof where it stands."""
        self._holders.discard(holder)
        return not self._holders

    def stranger(self, now: float) -> None:
        """Record that a node of this mesh calls that cannot be followed: it holds the proof for as long as it does."""
        if now >= self._stranger_until:
            self._stranger_since = self.at
        self._stranger_until = now + STRANGER_FOR
        self.reconsider()

    def has_stranger(self, now: float) -> bool:
        """Return whether a node of this mesh that cannot be followed has called lately."""
        return now < self._stranger_until

    def advance(self, peers: Peers, addresses: Addresses, now: float, raised: bytes | str | None = None) -> bool:
        """
        Move the proof as far as it goes; return whether it moved.

        If only *raised* has changed, that is in vain while another one still holds the proof.
        """
        if not self._proves:
            return False
        if raised is not None and self._holders:
            self._holders.discard(raised)
            if self._holders:
                return False
        proven = dict(self._proven(peers, addresses, now))
        least = min(proven.values(), default=self.looked_at)
        before, self.at = self.at, max(self.at, least)
        self._holders = {holder for holder, at in proven.items() if at <= self.at}
        return self.at > before

    def _proven(self, peers: Peers, addresses: Addresses, now: float) -> Iterator[tuple[bytes | str, float]]:
        for peer in peers:
            yield peer.identity.id, peer.vouched
        for address in self.holding(peers, addresses, now):
            yield address.text, address.proven
        for source in self.awaited():
            # What it would name is not known yet.
            yield source, self.started_at
        if self.has_stranger(now):
            yield "", self._stranger_since

    def holding(self, peers: Peers, addresses: Addresses, now: float) -> Iterator[Address]:
        """Return the named addresses at which no member is known."""
        for address in addresses.named():
            if peers.at(address.text) or peers.get(address.node_id) is not None:
                continue
            if address.refused_since is None and addresses.excuses(address, now):
                continue
            if address.refused_since is None and self.released(address, now):
                continue
            yield address

    def released(self, address: Address, now: float) -> bool:
        """Return whether a silent *address* holds the proof no longer: it was given up, by time or by hand."""
        return address.given_up or now >= max(address.proven, address.since) + self._give_up_silent

    def doubtful(self, peers: Peers, addresses: Addresses, now: float) -> list[Address]:
        """
        Return the named addresses that have been silent since they last proved anything.

        An unseen node may have lived there meanwhile: when such an address holds the proof no longer,
        what it may have flushed is distrusted.  While joining, nothing has been proven yet.
        """
        return [address for address in addresses.named() if self.doubts(address, peers, addresses, now)]

    def doubts(self, address: Address, peers: Peers, addresses: Addresses, now: float) -> bool:
        """Return whether *address* is one of the `doubtful` ones."""
        if not address.unseen or address.given_up or not self._proves or peers.at(address.text):
            return False
        return not addresses.excuses(address, now)

    def stalls(self, max_staleness: float, now: float) -> bool:
        """Return whether entries have begun, or ceased, to run out since this was last asked."""
        stalled = now - self.at >= max_staleness / 2
        changed = stalled is not self._stalled
        self._stalled = stalled
        return changed
