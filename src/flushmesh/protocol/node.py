"""
Node: one node of a mesh, as pure state.

It owns the journal, one `Peer` for each other node and one link for each open stream.
Whoever drives it hands in what happened together with the time, and carries out the
effects it answers with, in their order.  Sending is pulled: `next_message` returns what
a link sends next, so nothing is ever queued for a slow peer.

A node is not thread-safe; its owner holds a lock around every call.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count
from math import inf

from flushmesh.protocol import effects as do
from flushmesh.protocol.admission import objection
from flushmesh.protocol.contacts import Contact, Contacts
from flushmesh.protocol.effects import Effect
from flushmesh.protocol.journal import Journal
from flushmesh.protocol.messages import (
    PROTOCOL_VERSION,
    Ack,
    Batch,
    Flush,
    Hello,
    Identity,
    Leave,
    Message,
    News,
    Ping,
    Truncated,
    Vouch,
    Welcome,
)
from flushmesh.protocol.outlook import Outlook
from flushmesh.protocol.peer import Input, Peer, State
from flushmesh.protocol.peers import PEERS_MAX, Peers
from flushmesh.protocol.serving import HELLO_MAX, Serving
from flushmesh.protocol.trust import Phase, Step, Trust


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """
    What a node of the protocol can be told; durations in seconds.

    *max_staleness* is the largest that any cache of this node has, *lost_after* how long
    nothing may come from a peer before it is given up; either may be infinite.  *sources*
    are the discoveries whose proposals joining waits for, and *expect* how many peers, see
    `Trust`.
    """

    max_staleness: float = inf
    lost_after: float = inf
    peers_max: int = PEERS_MAX
    sources: Mapping[str, float] = field(default_factory=dict)
    expect: int = 0


class Node:
    """
    One node of the mesh *mesh*.

    Links are numbered here: `Dial` names a new outgoing one, `accept` an incoming one.
    `ping_interval` may be changed at any time.
    """

    def __init__(
        self, mesh: str, identity: Identity, journal: Journal, options: NodeOptions, now: float, ping_interval: float
    ) -> None:
        self.mesh = mesh
        self.identity = identity
        self.journal = journal
        self.options = options
        self.ping_interval = ping_interval
        self.peers = Peers(identity, options.peers_max)
        self.serving = Serving(journal, self.peers)
        self.contacts = Contacts(identity.id)
        self.trust = Trust(now, options.sources, options.lost_after, options.expect)
        self.outlook = Outlook()
        self._tick_due = now
        self._links = count(1)

    # What the application does.

    def flush(self, flush: Flush) -> int:
        """Number *flush* and return its sequence; every serving link has something to send now."""
        return self.journal.append(flush)

    def ask(self, sequence: int) -> list[Effect]:
        """Have every peer acknowledge *sequence* as soon as it has applied it."""
        self.serving.ask(sequence)
        return [do.Wake(link) for link in self.serving]

    def leave(self) -> list[Effect]:
        """Say goodbye on every serving link, after everything that is still to be sent."""
        self.trust.move(Step.CLOSING)
        return [do.Wake(link) for link in self.serving]

    @property
    def parted(self) -> bool:
        """Whether every peer that is reached, or may have just met this node, has been told goodbye."""
        return self.serving.parted() and not self.contacts.hailing()

    @property
    def leaving(self) -> bool:
        """Whether this node is saying goodbye, so that a further flush would reach nobody."""
        return self.trust.phase is Phase.LEAVING

    # What discovery and the clock do.

    def propose(self, source: str, addresses: Iterable[str], now: float) -> list[Effect]:
        """Take *addresses* for all that the discovery *source* proposes from now on."""
        self.contacts.propose(source, addresses, now)
        self.trust.proposed(source)
        return self._dial_due(now) + self._settle(now)

    def tick(self, now: float) -> list[Effect]:
        """Do what is due: dial addresses, ping origins, give up who is lost, end joining."""
        if self.leaving:
            return []
        effects = self._dial_due(now) + self._tidy(now)
        for contact in self.contacts:
            if contact.link is not None and contact.peer is not None and contact.peer.ping_due <= now:
                contact.peer.ping(now, self.ping_interval)
                effects.append(do.Wake(contact.link))
        if any(not peer.has_applied(peer.asked) for peer in self.peers):
            # Whoever is waited for may be fenced by now.
            effects.append(do.Reconsider())
        self._tick_due = now + self.ping_interval
        effects += self._settle(now) + self._advance(now)
        if self.trust.stalls(self.options.max_staleness, now):
            effects.append(do.Stalled(self.why(now)))
        joined = self.trust.phase is Phase.JOINED
        return effects + self.outlook.look(self.peers, self.contacts, self.ping_interval, now, joined=joined)

    def why(self, now: float) -> str:
        """Say in one sentence why entries are running out, or nothing if they are not."""
        return self.trust.explain(self.peers, self.contacts, self.options.max_staleness, now)

    def waiting_for(self) -> str:
        """Say whom joining waits for, or nothing once it has ended."""
        return self.trust.waiting_for(self.peers, self.contacts)

    def next_due(self) -> float:
        """Return when `tick` has something to do next, infinity if never again."""
        if self.leaving:
            return inf
        dials = [contact.due for contact in self.contacts.waiting(self.peers.followed())]
        pings = [contact.peer.ping_due for contact in self.contacts if contact.peer is not None]
        return min([self._tick_due, self.trust.settle_due(), *dials, *pings])

    # What streams do.

    def accept(self, host: str, now: float) -> int:
        """Return a new link for a stream that was opened from *host*; it must say Hello soon."""
        link = next(self._links)
        self.serving.accept(link, host, now)
        return link

    def next_message(self, link: int, now: float) -> Message | None:
        """Return what is to be sent on *link* next, or None for now."""
        if link in self.serving:
            return self.serving.next_message(link, now, leaving=self.leaving)
        contact = self.contacts.of_link(link)
        if contact is None:
            return None
        if not contact.greeted:
            # Whoever met this node now would have to part from it in the same moment.
            return None if self.leaving else self._hello(contact)
        return contact.peer.next_message(now) if contact.peer is not None else None

    def receive(self, link: int, message: Message, now: float) -> list[Effect]:
        """Take *message* from *link*; one that cannot come there ends the link."""
        contact = self.contacts.of_link(link)
        if contact is not None and contact.greeted:
            if contact.peer is not None:
                return self._follow(contact.peer, link, message, now)
            if isinstance(message, Welcome):
                return self._welcomed(contact, link, message, now)
        elif self.serving.awaits_hello(link) and isinstance(message, Hello):
            return self._admit(link, message, now)
        elif link in self.serving and isinstance(message, Ping | Ack):
            return self._heard(link, message, now)
        return self.hang_up(link, f"did not expect a {type(message).__name__} here", now)

    def hang_up(self, link: int, reason: str, now: float) -> list[Effect]:
        """End *link* because of what the other side did there."""
        return [do.HangUp(link, reason), *self.closed(link, reason, now)]

    def closed(
        self, link: int, reason: str, now: float, *, refused: bool = False, silent: bool = False
    ) -> list[Effect]:
        """
        Note that *link* has ended, and why.

        *refused* tells that the origin would not serve, *silent* that nothing came back at
        all, not even a refused connection.
        """
        self.serving.close(link)
        contact = self.contacts.of_link(link)
        if contact is None:
            return []
        effects: list[Effect] = []
        if contact.peer is not None and contact.peer.state is State.FOLLOWING:
            contact.peer.move(Input.GONE)
            effects.append(do.Parted(contact.peer.identity, gone=False, reason=reason))
        if refused and contact.refusal != reason:
            effects.append(do.Refused(contact.address, reason))
        self.contacts.closed(contact, now, reason if refused else None, silent=silent)
        return effects + self._settle(now)

    # Being an origin.

    def _admit(self, link: int, hello: Hello, now: float) -> list[Effect]:
        host = self.serving.greeted(link)
        why_not = objection(hello, self.mesh, self.peers, self.journal)
        if why_not is not None:
            return [do.HangUp(link, why_not), do.Refused(hello.node.name or host, why_not)]
        if hello.node.id == self.identity.id:
            self.serving.open(link, hello, None, now)
            return [do.Wake(link)]
        peer = self._meet(hello.node.seen_at(host), now)
        # What it has told on the stream that is followed may be newer, although this came later.
        overtaken = peer.state is State.FOLLOWING
        self.serving.open(link, hello, peer, now)
        self.contacts.hurry(peer.identity.address, now)
        return [*self._learn(peer, hello.known, now, overtaken=overtaken), do.Wake(link)]

    def _heard(self, link: int, message: Ping | Ack, now: float) -> list[Effect]:
        effects: list[Effect] = []
        former = self.serving.stale_link(link)
        if former is not None:
            effects += [do.HangUp(former), *self.closed(former, "it follows anew", now)]
        if self.serving.heard(link, message, now):
            effects.append(do.Acknowledged(self.peers.acknowledged()))
        return [*effects, do.Wake(link)] if isinstance(message, Ping) else effects

    # Following origins.

    def _dial_due(self, now: float) -> list[Effect]:
        if self.leaving:
            return []
        due = [contact for contact in self.contacts.waiting(self.peers.followed()) if contact.due <= now]
        return [self._dial(contact) for contact in due]

    def _dial(self, contact: Contact) -> Effect:
        link = next(self._links)
        self.contacts.dialled(contact, link)
        return do.Dial(link, contact.address)

    def _hello(self, contact: Contact) -> Hello:
        peer = self.peers.get(contact.node_id)
        contact.greeted = True
        contact.hailed = contact.node_id if peer is not None else b""
        return Hello(
            protocol=PROTOCOL_VERSION,
            mesh=self.mesh,
            node=self.identity,
            origin_id=contact.hailed,
            cursor=peer.cursor if peer is not None else 0,
            max_staleness=self.options.max_staleness,
            lost_after=self.options.lost_after,
            known=self.peers.news(),
        )

    def _welcomed(self, contact: Contact, link: int, welcome: Welcome, now: float) -> list[Effect]:
        node = welcome.node.seen_at(contact.address.rpartition(":")[0])
        contact.answered = True
        if node.id == self.identity.id:
            contact.mine = True
            return [do.HangUp(link), *self.closed(link, "this is the node itself", now)]
        contact.node_id = node.id
        if self.peers.get(node.id) is None and self.peers.full:
            return [do.HangUp(link), *self.closed(link, f"this node has {len(self.peers)} peers already", now)]
        peer = self._meet(node, now)
        if peer.state is State.FOLLOWING:
            return [do.HangUp(link), *self.closed(link, "followed through another address", now)]
        if peer.cursor and contact.hailed != node.id:
            # The Hello could not know whom it would find; the next one has the cursor.
            effects = [do.HangUp(link), *self.closed(link, "known from another address", now)]
            self.contacts.hurry(contact.address, now)
            return effects + self._dial_due(now)
        effects = []
        for former in self.peers.replaced_at(contact.address, peer):
            effects += self._give_up(former, Input.REPLACED, f"{node.name} answers at its address now", now)
        contact.peer = peer
        contact.refusal = None
        peer.move(Input.WELCOMED)
        peer.head = max(peer.cursor, welcome.head)
        peer.ping(now, self.ping_interval)
        effects += [do.Met(peer.identity), *self._learn(peer, welcome.known, now), do.Wake(link)]
        return effects + self._settle(now)

    def _follow(self, peer: Peer, link: int, message: Message, now: float) -> list[Effect]:
        """Take what the origin *peer* sends on its stream."""
        peer.heard_at = now
        match message:
            case Batch():
                return self._take(peer, link, message, now)
            case Truncated(head=head):
                peer.cursor = peer.head = head
                reason = "its journal no longer reached back to what was missed here"
                return [do.Distrust(peer.identity, peer.vouched, reason)]
            case Vouch(clock=clock, head=head) if clock <= peer.pinged_at and head <= peer.cursor:
                # The news first: whom it tells of has not vouched for anything yet.
                effects = self._learn(peer, message.known, now) if message.known is not None else []
                peer.take_vouch(message, now)
                return effects + self._advance(now)
            case Leave(head=head, known=known):
                return [*self._learn(peer, known, now), *self._goodbye(peer, head, now)]
        return self.hang_up(link, f"did not expect this {type(message).__name__} here", now)

    def _take(self, peer: Peer, link: int, batch: Batch, now: float) -> list[Effect]:
        first = max(batch.first, peer.cursor + 1)
        fresh = peer.take(batch)
        if fresh is None:
            return self.hang_up(link, f"flushes are missing before {batch.first}", now)
        effects: list[Effect] = [do.Apply(peer.identity, first, fresh)] if fresh else []
        return [*effects, do.Wake(link)] if batch.acknowledge else effects

    def _goodbye(self, peer: Peer, head: int, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if peer.cursor != head:
            effects.append(do.Distrust(peer.identity, peer.vouched, "it left before all it had sent arrived here"))
        return effects + self._forget(peer, Input.GOODBYE, "it left", now)

    # Who is who, and what is proven.

    def _tidy(self, now: float) -> list[Effect]:
        """Give up whoever says nothing: streams without a Hello, peers without a word, rumours."""
        effects: list[Effect] = []
        for link in self.serving.overdue(now):
            effects += self.hang_up(link, f"no Hello within {HELLO_MAX:g} s", now)
        for peer in self.peers.lost(self.options.lost_after, now):
            effects += self._give_up(peer, Input.GIVEN_UP, f"no word for {self.options.lost_after:g} s", now)
        for peer in [peer for peer in self.peers if peer.state is State.DIALLING]:
            taken = self.contacts.taken(peer.identity.address, peer.identity.id)
            if taken and not self.peers.reached_by_others(peer):
                effects += self._give_up(peer, Input.REPLACED, "another node answers at its address now", now)
        for rumour in self.peers.unconfirmed():
            if self.contacts.deserted(rumour.identity.address):
                effects += self._give_up(rumour, Input.UNCONFIRMED, "nobody knows it any more", now)
        return effects

    def _meet(self, identity: Identity, now: float) -> Peer:
        """Return the peer that has just answered or dialled, known or new."""
        self.contacts.propose(identity.id, [identity.address], now)
        return self.peers.meet(identity, self.trust.at, now)

    def _learn(self, teller: Peer, known: tuple[News, ...], now: float, *, overtaken: bool = False) -> list[Effect]:
        """Meet whom the news are of, and note, unless they are *overtaken*, that *teller* knows or reaches them."""
        if not overtaken:
            teller.take_news(known)
        for news in (news.told_by(teller.identity) for news in known):
            if self.peers.hear_of(news, self.trust.at, now) is not None:
                self.contacts.propose(news.node.id, [news.node.address], now)
        return self._dial_due(now)

    def _give_up(self, peer: Peer, by: Input, reason: str, now: float) -> list[Effect]:
        """Forget *peer* without a goodbye: what it flushed since its last vouch may be missing."""
        return [do.Distrust(peer.identity, peer.vouched, reason), *self._forget(peer, by, reason, now)]

    def _forget(self, peer: Peer, by: Input, reason: str, now: float) -> list[Effect]:
        """Forget *peer*: nobody waits any more for its acknowledgement or its vouch."""
        self.peers.forget(peer, by)
        self.contacts.propose(peer.identity.id, [], now)
        effects: list[Effect] = []
        for contact in list(self.contacts):
            if contact.peer is peer and contact.link is not None:
                effects += [do.HangUp(contact.link), *self.closed(contact.link, reason, now)]
        # What it says on a stream from before would be taken for word of whoever it is when it comes back.
        for link in self.serving.links_of(peer.identity.id):
            effects += [do.HangUp(link), *self.closed(link, reason, now)]
        return [*effects, do.Parted(peer.identity, gone=True, reason=reason), do.Reconsider(), *self._advance(now)]

    def _settle(self, now: float) -> list[Effect]:
        """Note that the node is ready, and end joining, if that may be."""
        effects: list[Effect] = [do.Ready()] if self.trust.becomes_ready(self.peers, self.contacts, now) else []
        if not self.trust.settles(self.peers, self.contacts, now):
            return effects
        self.trust.move(Step.SETTLED)
        # A node may have written, and died, before this one could meet it.
        reason = "it has joined, and whoever wrote before is unknown"
        silent = tuple(contact.address for contact in self.contacts.unanswered())
        effects += [do.Distrust(None, self.trust.started_at, reason), do.Joined(silent)]
        return effects + self._advance(now)

    def _advance(self, now: float) -> list[Effect]:
        return [do.Trust(self.trust.at)] if self.trust.advance(self.peers, now) else []
