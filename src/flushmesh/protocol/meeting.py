"""
Meeting: what two nodes say until they agree on a stream.

The caller introduces itself, the other side answers with a Welcome or a Refusal, and the
caller chooses the stream by asking for the journal.  It does not if the two have a stream
already.  The side that is called learns of the caller, and appends that to its journal,
before it answers: from then on no proof that rests on its vouch passes what the caller
flushes.
"""

from __future__ import annotations

from typing import Final

from flushmesh.protocol import effects as do
from flushmesh.protocol.addresses import Address, Addresses
from flushmesh.protocol.admission import refusal_of
from flushmesh.protocol.effects import Effect
from flushmesh.protocol.journal import Journal
from flushmesh.protocol.link import Link, Links, LinkState, Step
from flushmesh.protocol.membership import Membership
from flushmesh.protocol.messages import PROTOCOL_VERSION, Follow, Hello, Message, Refusal, Welcome, Why
from flushmesh.protocol.peer import Input, Peer, State
from flushmesh.protocol.peers import Peers

# Refusals of so many callers are remembered, so that each is reported once.
REFUSED_MAX: Final = 256


class Meeting:
    """The streams of this node that are not open yet."""

    def __init__(
        self,
        mesh: str,
        max_staleness: float,
        journal: Journal,
        peers: Peers,
        membership: Membership,
        links: Links,
        now: float,
    ) -> None:
        self._mesh = mesh
        self._max_staleness = max_staleness
        self._journal = journal
        self._peers = peers
        self._membership = membership
        self._links = links
        self._started_at = now
        self._refused: dict[str, str] = {}

    def next_message(self, link: Link, now: float, *, leaving: bool) -> Message | None:
        """Return what is owed on *link* before it is open, or None."""
        if link.state is LinkState.DIALLED:
            if leaving and link.address is not None and not self._peers.at(link.address.text):
                # A node that met this one now would have to part from it at the same moment.
                return None
            link.move(Step.SEND_HELLO)
            self._speak(link, now)
            return Hello(PROTOCOL_VERSION, self._mesh, self._peers.me, self._max_staleness, self._give_up_after)
        if link.refusal is not None:
            refusal, link.refusal = link.refusal, None
            return refusal
        if link.welcome_owed:
            link.welcome_owed = False
            self._speak(link, now)
            return Welcome(self._peers.me, self._max_staleness, self._give_up_after)
        if link.follow_owed:
            return self._follow(link)
        return None

    @property
    def _give_up_after(self) -> float:
        return self._membership.give_up_after

    def _follow(self, link: Link) -> Follow:
        assert link.peer is not None
        link.follow_owed = False
        link.asked_with = frozenset(self._peers.ids())
        return Follow(link.peer.cursor, self._peers.digest, max(0.0, link.heard_at - self._started_at))

    def _speak(self, link: Link, now: float) -> None:
        link.spoke_at = now
        self._journal.mark(now)

    def admit(self, link: Link, hello: Hello, now: float, *, leaving: bool) -> list[Effect] | None:
        """Welcome or refuse the sender of *hello*."""
        if link.state is not LinkState.ACCEPTED:
            return None
        refusal = refusal_of(hello, self._mesh, self._peers, leaving=leaving)
        if refusal is not None:
            link.move(Step.REFUSE)
            link.refusal = refusal
            if refusal.why is Why.VERSION:
                self._membership.stranger(now)
            return [do.Wake(link.number), *self._report(hello.node.name or link.host, refusal)]
        link.move(Step.WELCOME)
        link.welcome_owed = True
        effects: list[Effect] = [do.Wake(link.number)]
        # A node that finds itself at an address is answered like any other, and is not its own peer.
        if hello.node.id != self._peers.me.id:
            link.peer, met = self._membership.meet(hello.node.seen_at(link.host), now)
            self._introduce(link, hello, now)
            effects += met
        return effects

    def _introduce(self, link: Link, other: Hello | Welcome, now: float) -> None:
        assert link.peer is not None
        link.peer.max_staleness = other.max_staleness
        link.peer.give_up_after = other.give_up_after
        link.stamp = self._links.stamp()
        link.heard_at = now

    def _report(self, name: str, refusal: Refusal) -> list[Effect]:
        if refusal.why in (Why.LEAVING, Why.GONE) or self._refused.get(name) == refusal.reason:
            return []
        self._refused[name] = refusal.reason
        while len(self._refused) > REFUSED_MAX:
            del self._refused[next(iter(self._refused))]
        return [do.Refused(name, refusal.reason)]

    def welcomed(self, link: Link, welcome: Welcome, addresses: Addresses, now: float) -> list[Effect] | None:
        """Choose *link*, unless there is a stream with that node already."""
        address = link.address
        if link.state is not LinkState.HELLO_SENT or address is None:
            return None
        node = welcome.node.seen_at(address.host)
        if node.id == self._peers.me.id:
            addresses.is_self(address)
            self._membership.reconsider()
            return self._drop(link) + self._membership.advance(now)
        if self._peers.gone(node.id) is State.LEFT or (self._peers.get(node.id) is None and self._peers.full):
            if self._peers.gone(node.id) is State.LEFT:
                # It has said goodbye, and stays for a moment: no unknown node is there.
                addresses.turned_away(address, "", foreign=False)
                addresses.proves(address)
            else:
                reason = f"this node has {len(self._peers)} peers already, the most it takes"
                addresses.turned_away(address, reason, foreign=False)
            return self._end(link, address, addresses, now)
        peer, effects = self._membership.meet(node, now)
        effects += self._membership.replaced_at(address, peer, now)
        addresses.answered(address, node.id)
        self._membership.reconsider()
        link.peer = peer
        self._introduce(link, welcome, now)
        if peer.link is not None:
            addresses.follow(address)
            return effects + self._drop(link)
        if self._crossed(peer, link):
            # The other stream may never be chosen.
            return effects + self._end(link, address, addresses, now)
        return effects + self.open(link, addresses, now)

    def _crossed(self, peer: Peer, link: Link) -> bool:
        """Return whether *peer* has dialled this node at the same time, and its stream is the one to stay."""
        called = any(each is not link and each.state is LinkState.WELCOMED for each in self._links.of(peer))
        return called and peer.identity.id < self._peers.me.id

    def _overtaken(self, link: Link, peer: Peer) -> bool:
        """Return whether this node has dialled *peer* at the same time, and its own stream is the one to stay."""
        mine = self._links.get(peer.link) if peer.link is not None else None
        return (
            mine is not None
            and mine.address is not None
            and mine.stamp > link.stamp
            and self._peers.me.id < peer.identity.id
        )

    def _drop(self, link: Link) -> list[Effect]:
        self._links.pop(link.number)
        return [do.HangUp(link.number)]

    def _end(self, link: Link, address: Address, addresses: Addresses, now: float) -> list[Effect]:
        addresses.again(address, now)
        return self._drop(link) + self._membership.advance(now)

    def refused(self, link: Link, refusal: Refusal, addresses: Addresses, now: float) -> list[Effect] | None:
        """Take the *refusal* of the node that was dialled; unless it is of another mesh, it holds the proof."""
        address = link.address
        if link.state is not LinkState.HELLO_SENT or address is None:
            return None
        known = address.refusal
        foreign = refusal.why is Why.MESH
        leaving = refusal.why in (Why.LEAVING, Why.GONE)
        addresses.turned_away(address, "" if leaving else refusal.reason, foreign=foreign)
        self._membership.reconsider()
        effects: list[Effect] = []
        if not leaving and known != refusal.reason:
            effects.append(do.Refused(address.text, refusal.reason))
        return effects + self._end(link, address, addresses, now)

    def chosen(self, link: Link, addresses: Addresses, now: float) -> list[Effect] | None:
        """Take the stream that the caller has chosen."""
        if link.state is not LinkState.WELCOMED or link.peer is None:
            return None
        if self._overtaken(link, link.peer):
            return self._drop(link)
        return self.open(link, addresses, now)

    def open(self, link: Link, addresses: Addresses, now: float) -> list[Effect]:
        """Have *link* carry both journals from now on, in place of any other stream with that node."""
        peer = link.peer
        assert peer is not None
        effects: list[Effect] = []
        for other in self._links.of(peer):
            if other is not link and (other.open or other.address is not None):
                effects += self._membership.hang_up(other, now)
        link.move(Step.OPEN)
        link.follow_owed = True
        peer.link = link.number
        self._peers.move(peer, Input.FOLLOWED)
        if link.address is not None:
            addresses.follow(link.address)
        addresses.leave_alone(peer.identity.id)
        link.follower.ask(peer.asked)
        peer.ping()
        return [*effects, do.PeerFollowed(peer.identity), do.Wake(link.number)]
