"""
Membership: who belongs to the mesh, as this node and its journal know it.

Each member is named in the journal once when it was met or heard of, and once when it is
gone, in the order in which this node has learnt it.  So a follower's proof cannot pass
a member's life of which the follower has not heard: the vouch that would prove more comes
after the record.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flushmesh.protocol import effects as do
from flushmesh.protocol.addresses import CONFIRM_AFTER, Address, Addresses
from flushmesh.protocol.effects import Effect
from flushmesh.protocol.journal import Journal
from flushmesh.protocol.link import Link, Links
from flushmesh.protocol.messages import Gone, Identity, Known, Lost, Met, Unreached
from flushmesh.protocol.peer import Input, Peer, State
from flushmesh.protocol.peers import Peers
from flushmesh.protocol.trust import Phase, Trust

# Longer than the pause in which a process that forks does not listen.
REFUSED_FOR: Final = 5.0

# A peer that has vouched within so many pings is up to date about whom it reaches.
FRESH_PINGS: Final = 3

# How long a name server may go on naming a host whose last node has said goodbye.
PASSING_FOR: Final = 60.0

# How long a node that another member has reported gone may take to say so itself: closing takes no longer.
GOODBYE_MAX: Final = 2.0


class Membership:
    """The members, and the rules by which one is learnt of, given up and forgotten."""

    def __init__(
        self,
        journal: Journal,
        peers: Peers,
        addresses: Addresses,
        trust: Trust,
        links: Links,
        lost_after: float,
        give_up_silent: float,
    ) -> None:
        self.ping_interval = 1.0
        self._journal = journal
        self._peers = peers
        self._addresses = addresses
        self._trust = trust
        self._links = links
        self._lost_after = lost_after
        self._give_up_silent = give_up_silent

    @property
    def refused_after(self) -> float:
        """Seconds without a word after which a peer whose address refuses may be given up."""
        return max(REFUSED_FOR, FRESH_PINGS * self.ping_interval)

    @property
    def give_up_after(self) -> float:
        """The shortest silence after which any peer may be given up: what peers are told."""
        return min(self._lost_after, self._give_up_silent, self.refused_after)

    # Learning of members.

    def meet(self, identity: Identity, now: float) -> tuple[Peer, list[Effect]]:
        """Return the peer that has just introduced itself, known or new."""
        peer = self._peers.get(identity.id)
        effects: list[Effect] = []
        if peer is None:
            peer = self._add(identity, now, direct=True)
            effects = self.wake()
        elif peer.identity != identity:
            self._move(peer, identity, now)
        peer.heard_at = now
        address = self._addresses.get(identity.address)
        if address is not None:
            address.refused_since = None
            address.unseen = False
        if address is not None and address.node_id != identity.id:
            # Another peer that was known there has been replaced, if this one answers.
            soon = any(other is not peer for other in self._peers.at(identity.address))
            self._addresses.confirm(address, now if soon else now + CONFIRM_AFTER)
        return peer, effects

    def hear_of(self, identity: Identity, teller: Peer, now: float, *, alive: bool) -> bool:
        """
        Take the report of *teller* that *identity* is a member; return whether it was not known here.

        A node that left stays gone.  One that was given up is a member again if the teller
        has found it *alive*.
        """
        if identity.id == self._peers.me.id:
            return False
        gone = self._peers.gone(identity.id)
        if gone is State.LEFT or (gone is State.LOST and not alive):
            return False
        teller.knows.add(identity.id)
        if self._peers.get(identity.id) is not None or self._peers.full:
            return False
        self._add(identity.told_by(teller.identity), now, direct=False)
        return True

    def _add(self, identity: Identity, now: float, *, direct: bool) -> Peer:
        peer = self._peers.add(identity, self._trust.at, now)
        self._trust.reconsider()
        self._addresses.propose(identity.id, [identity.address], self._trust.at, now)
        self._addresses.hurry(identity.address, now)
        self._journal.append(Met(identity, direct))
        return peer

    def _move(self, peer: Peer, identity: Identity, now: float) -> None:
        """Record that *peer* is known under another name or address now."""
        before = peer.identity.address
        self._peers.update(peer, identity)
        self._trust.reconsider()
        self._addresses.propose(identity.id, [identity.address], self._trust.at, now)
        self._uncover(before, peer, now)

    def wake(self) -> list[Effect]:
        """Have every follower told what was appended."""
        return [do.Wake(link.number) for link in self._links.open()]

    # Members that are gone.

    def said_goodbye(self, peer: Peer, flushes: int, now: float) -> list[Effect]:
        """Forget *peer*, which has left after so many *flushes* in all."""
        effects: list[Effect] = []
        if peer.flushes < flushes and not self._irrelevant(peer):
            effects.append(do.Distrust(peer.identity, peer.vouched, "it left before all it had flushed arrived here"))
        self._excuse(peer, now)
        effects += self._forget(peer, Input.GOODBYE, "it left", now)
        self._journal.append(Gone(peer.identity.id, flushes))
        return effects + self.wake()

    def hear_gone(self, gone: Gone, teller: Peer, now: float) -> list[Effect]:
        """Take the report of *teller* that a node has left."""
        teller.knows.discard(gone.node_id)
        peer = self._peers.get(gone.node_id)
        if peer is None:
            if gone.node_id != self._peers.me.id:
                self._peers.bury(gone.node_id, State.LEFT)
            return []
        if not peer.followed and (peer.flushes >= gone.flushes or self._irrelevant(peer)):
            return self.said_goodbye(peer, gone.flushes, now)
        if peer.gone_after is None:
            # Its last flushes and its own goodbye are on their way, or can still be had from it.
            peer.gone_after, peer.gone_heard_at = gone.flushes, now
            self._addresses.hurry(peer.identity.address, now)
        return []

    def _irrelevant(self, peer: Peer) -> bool:
        """Return whether nothing rests on the journal of *peer*: this node is joining, and has never followed it."""
        return peer.cursor is None and self._trust.phase is Phase.JOINING

    def not_found(self, address: Address, now: float) -> list[Effect]:
        """Forget the peers at *address*, where an attempt has just failed, that were reported gone."""
        effects: list[Effect] = []
        for peer in self._peers.at(address.text):
            # One that was never reached there may call by itself.
            reached = address.node_id == peer.identity.id
            if peer.gone_after is not None and reached and not self._links.of(peer):
                effects += self.said_goodbye(peer, peer.gone_after, now)
        return effects

    def give_up(self, peer: Peer, by: Input, reason: str, now: float) -> list[Effect]:
        """Forget *peer* without a goodbye: what it flushed since its last vouch may be missing."""
        effects: list[Effect] = [do.Distrust(peer.identity, peer.vouched, reason)]
        self._addresses.keep(peer.identity.address, now + min(self._lost_after, 1e9))
        effects += self._forget(peer, by, reason, now)
        self._journal.append(Lost(peer.identity.id))
        return effects + self.wake()

    def _forget(self, peer: Peer, by: Input, reason: str, now: float) -> list[Effect]:
        """Forget *peer*: its acknowledgement and its vouch are not waited for any more."""
        effects: list[Effect] = []
        for link in self._links.of(peer):
            effects += self.hang_up(link, now)
        self._peers.forget(peer, by)
        self._trust.reconsider()
        self._addresses.free(peer.identity.id, now)
        self._uncover(peer.identity.address, peer, now)
        for address in self._addresses:
            if address.node_id == peer.identity.id:
                self._uncover(address.text, peer, now)
            if peer.identity.id in address.sources:
                self._addresses.withdraw(peer.identity.id, address, now)
        effects += [do.PeerLost(peer.identity, gone=True, reason=reason), do.RecheckReceipts()]
        return effects + self.advance(now, peer.identity.id)

    def doubt(self, address: Address) -> list[Effect]:
        """Distrust what an unseen node at the named *address* may have flushed: the proof moves on without it."""
        address.unseen = False
        return [do.Distrust(None, self._trust.at, f"a node at {address.text} may have been missed")]

    def _uncover(self, text: str, peer: Peer, now: float) -> None:
        """Have the address at which *peer* was known prove for itself again that no other node is there."""
        address = self._addresses.get(text)
        if address is not None:
            address.proven = max(address.proven, peer.vouched)
            address.refused_since = None
            self._addresses.hurry(text, now)

    def _excuse(self, peer: Peer, now: float) -> None:
        """If the last member on a host has said goodbye, its addresses may fall silent while DNS still names them."""
        host = peer.identity.address.rpartition(":")[0]
        if any(other is not peer and other.identity.address.rpartition(":")[0] == host for other in self._peers):
            return
        for address in self._addresses:
            if address.host == host:
                address.excused_until = now + PASSING_FOR

    def hang_up(self, link: Link, now: float) -> list[Effect]:
        """End *link* by this node's own decision."""
        self._links.pop(link.number)
        if link.address is not None and link.address.link == link.number:
            self._addresses.again(link.address, now)
        if link.peer is not None and link.peer.link == link.number:
            link.peer.link = None
        return [do.HangUp(link.number)]

    # Giving up.

    def overdue(self, now: float) -> list[Effect]:
        """Forget the members that are gone by what is known now."""
        effects: list[Effect] = []
        self._peers.listen(self._fresh(now))
        for peer in self._peers:
            if self._peers.get(peer.identity.id) is not peer:
                continue
            if peer.gone_after is not None and now >= peer.gone_heard_at + GOODBYE_MAX:
                effects += self.said_goodbye(peer, peer.gone_after, now)
            elif reason := self._reason_to_give_up(peer, now):
                by, words = reason
                effects += self.give_up(peer, by, words, now)
        return effects

    def _reason_to_give_up(self, peer: Peer, now: float) -> tuple[Input, str] | None:
        silence = now - peer.last_heard
        place = peer.identity.address
        taken = not peer.followed and self._taken(peer)
        if (silence < self.give_up_after and not taken) or self.reached_by_others(peer, now):
            return None
        if taken:
            return Input.REPLACED, "another node answers at its address now"
        if not peer.followed and silence >= self.refused_after and self._refused(peer):
            return Input.GIVEN_UP, f"its address has refused connections for {REFUSED_FOR:g} s"
        patience = self._lost_after
        if self._addresses.is_silent(place) and self._addresses.still_named(place, now - self._lost_after):
            patience = self._give_up_silent
        if silence >= patience:
            return Input.GIVEN_UP, f"no word for {patience:g} s"
        return None

    def _fresh(self, now: float) -> float:
        """Return since when a peer must have been heard to be up to date."""
        return now - FRESH_PINGS * self.ping_interval - 1.0

    def _taken(self, peer: Peer) -> bool:
        """Return whether this node or a later member answers at the address of *peer*."""
        address = self._addresses.get(peer.identity.address)
        if address is None or address.node_id == peer.identity.id:
            return False
        other = self._peers.get(address.node_id)
        if self._addresses.is_own(address.text) or other is None:
            return self._addresses.is_own(address.text)
        # A rumour, or last words, may be older than what they are heard after: a stream to that address that is
        # alive is newer.
        since = peer.learnt_at if peer.hearsay else peer.last_heard + self.refused_after
        later = other.learnt_at > peer.learnt_at or (other.followed and other.vouched > since)
        return other.identity.address == address.text and later

    def _refused(self, peer: Peer) -> bool:
        """
        Return whether the address of *peer* has refused for long enough, and proves by that that it is gone.

        It does if this node has reached the peer there.  One that is known by hearsay alone is gone
        if, besides, no peer that has met it counts it as a member any more.
        """
        address = self._addresses.get(peer.identity.address)
        if address is None or address.refused_since is None:
            return False
        if address.refused_at < address.refused_since + REFUSED_FOR:
            return False
        if address.node_id == peer.identity.id:
            return True
        return peer.hearsay and not any(other.has_met(peer.identity.id) for other in self._peers)

    def reached_by_others(self, peer: Peer, now: float) -> bool:
        """Return whether a peer that has vouched lately has a stream with *peer*."""
        fresh = self._fresh(now)
        return any(
            other.followed and other.vouched >= fresh and other.reaches(peer.identity.id)
            for other in self._peers
            if other is not peer
        )

    def replaced_at(self, address: Address, successor: Peer, now: float) -> list[Effect]:
        """Give up the peers that were known at *address*, where *successor* answers now: they were restarted."""
        effects: list[Effect] = []
        answered = self._peers.get(address.node_id)
        for peer in [*self._peers.at(address.text), *([answered] if answered is not None else [])]:
            known = self._peers.get(peer.identity.id) is peer and peer is not successor
            if known and not peer.followed and not self.reached_by_others(peer, now):
                effects += self.give_up(peer, Input.REPLACED, f"{successor.identity.name} answers at its address", now)
        return effects

    # What is proven, and what others are told.

    def reconsider(self) -> None:
        """Have the proof be reckoned from the beginning: what is at an address has changed."""
        self._trust.reconsider()

    def stranger(self, now: float) -> None:
        """Record that a node of this mesh calls that cannot be followed."""
        self._trust.stranger(now)

    def advance(self, now: float, raised: bytes | str | None = None) -> list[Effect]:
        """Move the proof as far as it goes."""
        if self._trust.advance(self._peers, self._addresses, now, raised):
            return [do.Trust(self._trust.at)]
        return []

    def listing(self) -> tuple[Known, ...]:
        """Return every member, as a follower that begins at the head needs to know them."""
        return tuple(Known(peer.identity, peer.reached) for peer in self._peers)

    def take_listing(self, teller: Peer, members: Iterable[Known], now: float) -> list[Effect]:
        """Learn the members that *teller* knows."""
        teller.knows.clear()
        new = [self.hear_of(known.node, teller, now, alive=known.reached) for known in members]
        return self.wake() if any(new) else []

    def take_reports(self, reports: Iterable[Unreached], now: float) -> None:
        """Note when another member, which has no stream with them either, last heard of some peers."""
        for report in reports:
            peer = self._peers.get(report.node_id)
            if peer is not None:
                heard_at = now - report.age
                peer.reported_at = heard_at if peer.reported_at is None else max(heard_at, peer.reported_at)

    def heard_all(self) -> bool:
        """Return whether every peer that is followed has listed its members."""
        return not any(peer.followed and peer.cursor is None for peer in self._peers)

    def complete(self) -> bool:
        """Return whether every member is followed, or an attempt to reach it has failed."""
        return not any(self._expected(peer) for peer in self._peers)

    def _expected(self, peer: Peer) -> bool:
        if peer.followed:
            # What it knows of other members comes first.
            return peer.cursor is None
        address = self._addresses.get(peer.identity.address)
        return address is not None and not peer.vouched_once and not address.tried

    def followed(self) -> int:
        """Count the peers that are followed, or have been."""
        return sum(peer.followed or peer.vouched_once for peer in self._peers)
