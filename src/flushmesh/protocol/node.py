"""
Node: one node of a mesh, as pure state.

It owns the journal, one `Peer` for each other node and one link for each open stream.
Whoever drives it hands in what happened together with the time, and carries out the
effects it answers with, in their order.  Sending is pulled: `next_message` returns what
a link sends next, so nothing is ever queued for a slow peer.

A node is not thread-safe; its owner holds a lock around every call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from flushmesh.protocol.contacts import Contact, Contacts
from flushmesh.protocol.effects import Apply, Dial, Distrust, Effect, HangUp, Met, Parted, Progress, Refused, Wake
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
    Ping,
    Truncated,
    Vouch,
    Welcome,
)
from flushmesh.protocol.origin import Origin
from flushmesh.protocol.peer import Input, Peer, State

# Each peer costs two streams and their buffers; a full mesh beyond this is the wrong tool.
PEERS_MAX: Final = 1_024

# Ids of nodes that left are remembered so that old news of them does not bring them back.
_DEPARTED_MAX: Final = 1_024

# How nodes that were heard of from other nodes are proposed.
_HEARSAY: Final = "mesh"


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What a node of the protocol can be told; durations in seconds."""

    ping_interval: float = 1.0
    peers_max: int = PEERS_MAX


@dataclass(slots=True)
class Node:
    """
    One node of the mesh *mesh*.

    Links are numbered here: `Dial` names a new outgoing one, `accept` an incoming one.
    """

    mesh: str
    identity: Identity
    journal: Journal = field(default_factory=Journal)
    options: NodeOptions = field(default_factory=NodeOptions)
    peers: dict[bytes, Peer] = field(default_factory=dict)
    leaving: bool = False
    contacts: Contacts = field(init=False)
    _links: int = 0
    _callers: dict[int, str] = field(default_factory=dict)
    _serving: dict[int, Origin] = field(default_factory=dict)
    _departed: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self.contacts = Contacts(self.identity.id)

    # What the application does.

    def flush(self, flush: Flush) -> int:
        """Number *flush* and return its sequence; every serving link has something to send now."""
        return self.journal.append(flush)

    def missing(self, sequence: int) -> tuple[Identity, ...]:
        """Return the peers that have not acknowledged *sequence*."""
        return tuple(peer.identity for peer in self.peers.values() if peer.acknowledged < sequence)

    def ask(self, sequence: int) -> list[Effect]:
        """Have every peer acknowledge *sequence* as soon as it has applied it."""
        for peer in self.peers.values():
            peer.asked = max(peer.asked, sequence)
        for origin in self._serving.values():
            origin.ask(sequence)
        return [Wake(link) for link in self._serving]

    def leave(self) -> list[Effect]:
        """Say goodbye on every serving link, after everything that is still to be sent."""
        self.leaving = True
        return [Wake(link) for link in self._serving]

    # What discovery and the clock do.

    def propose(self, source: str, addresses: Iterable[str], now: float) -> list[Effect]:
        """Take *addresses* for all that the discovery *source* proposes from now on."""
        self.contacts.propose(source, addresses, now)
        return self.tick(now)

    def tick(self, now: float) -> list[Effect]:
        """Do what is due: dial addresses, ping origins."""
        if self.leaving:
            return []
        effects: list[Effect] = []
        due = [contact for contact in self.contacts.waiting(self._followed()) if contact.due <= now]
        effects.extend(map(self._dial, due))
        for contact in self.contacts:
            if contact.link is not None and contact.peer is not None and contact.peer.ping_due <= now:
                contact.peer.ping(now, self.options.ping_interval)
                effects.append(Wake(contact.link))
        return effects

    def next_due(self) -> float | None:
        """Return when `tick` has something to do next, or None."""
        dials = [contact.due for contact in self.contacts.waiting(self._followed())]
        pings = [contact.peer.ping_due for contact in self.contacts if contact.peer is not None]
        return min(dials + pings, default=None)

    # What streams do.

    def accept(self, host: str) -> int:
        """Return a new link for a stream that was opened from *host*."""
        link = self._new_link()
        self._callers[link] = host
        return link

    def next_message(self, link: int, now: float) -> Message | None:
        """Return what is to be sent on *link* next, or None for now."""
        if (origin := self._serving.get(link)) is not None:
            if not origin.welcomed:
                origin.welcomed = True
                return Welcome(self.identity, self.journal.head, self._known())
            return origin.next_message(self.journal, leaving=self.leaving)
        if (contact := self.contacts.of_link(link)) is not None:
            if not contact.greeted:
                contact.greeted = True
                return self._hello(contact)
            if contact.peer is not None:
                return contact.peer.next_message(now)
        return None

    def receive(self, link: int, message: Message, now: float) -> list[Effect]:
        """Take *message* from *link*; one that cannot come there ends the link."""
        contact = self.contacts.of_link(link)
        if contact is not None and contact.greeted:
            return self._receive_from_origin(contact, link, message, now)
        if link in self._callers and isinstance(message, Hello):
            return self._admit(link, message, now)
        if link in self._serving and isinstance(message, Ping | Ack):
            return self._acknowledged(link, message)
        return self.hang_up(link, f"did not expect a {type(message).__name__} here", now)

    def hang_up(self, link: int, reason: str, now: float) -> list[Effect]:
        """End *link* because of what the other side did there."""
        return [HangUp(link, reason), *self.closed(link, reason, now)]

    def closed(self, link: int, reason: str, now: float, *, refused: bool = False) -> list[Effect]:
        """Note that *link* has ended, and why; *refused* tells that the origin would not serve."""
        self._callers.pop(link, None)
        if (origin := self._serving.pop(link, None)) is not None:
            follower = self.peers.get(origin.follower_id)
            if follower is not None and follower.serving_link == link:
                follower.serving_link = None
        contact = self.contacts.of_link(link)
        if contact is None:
            return []
        effects: list[Effect] = []
        if contact.peer is not None and contact.peer.state is State.FOLLOWING:
            contact.peer.move(Input.GONE)
            effects.append(Parted(contact.peer.identity, left=False, reason=reason))
        if refused and contact.refusal != reason:
            effects.append(Refused(contact.address, reason))
        self.contacts.closed(contact, now, reason if refused else None)
        return effects

    # Being an origin.

    def _admit(self, link: int, hello: Hello, now: float) -> list[Effect]:
        host = self._callers.pop(link)
        if self.leaving:
            return [HangUp(link)]
        objection = self._objection(hello)
        if objection is not None:
            return [HangUp(link, objection), Refused(hello.node.name or host, objection)]
        resumes = hello.origin_id == self.identity.id
        origin = Origin(hello.node.id, sent=hello.cursor if resumes else 0)
        self._serving[link] = origin
        effects: list[Effect] = []
        if hello.node.id != self.identity.id:
            peer = self._meet(_placed(hello.node, host), now)
            if peer.serving_link is not None:
                effects += [HangUp(peer.serving_link), *self.closed(peer.serving_link, "it follows anew", now)]
            peer.serving_link = link
            peer.acknowledged = max(peer.acknowledged, origin.sent)
            self.contacts.hurry(peer.identity.address, now)
            origin.ask(peer.asked)
            effects += self._learn(hello.known, now)
        return [*effects, Wake(link)]

    def _objection(self, hello: Hello) -> str | None:
        """Return why the sender of *hello* cannot be served, or None."""
        if hello.protocol != PROTOCOL_VERSION:
            return f"protocol version {hello.protocol} is not spoken here, only {PROTOCOL_VERSION}"
        if hello.mesh != self.mesh:
            return f'this is a node of the mesh "{self.mesh}", not of "{hello.mesh}"'
        known = self.peers.get(hello.node.id)
        namesake = self.identity if hello.node.id == self.identity.id else known and known.identity
        if namesake and namesake.name != hello.node.name:
            return f'two nodes have the id {hello.node.id.hex()}: "{namesake.name}" and "{hello.node.name}"'
        if known is None and len(self.peers) >= self.options.peers_max:
            return f"this node has {len(self.peers)} peers already, the most it takes"
        if hello.origin_id == self.identity.id and hello.cursor > self.journal.head:
            return f"cursor {hello.cursor} is beyond the head {self.journal.head}"
        return None

    def _acknowledged(self, link: int, message: Ping | Ack) -> list[Effect]:
        origin = self._serving[link]
        peer = self.peers.get(origin.follower_id)
        if peer is None or message.cursor <= peer.acknowledged:
            return []
        peer.acknowledged = min(message.cursor, origin.sent)
        return [Progress()]

    # Following origins.

    def _dial(self, contact: Contact) -> Dial:
        link = self._new_link()
        self.contacts.dialled(contact, link)
        return Dial(link, contact.address)

    def _hello(self, contact: Contact) -> Hello:
        peer = self.peers.get(contact.node_id)
        return Hello(
            protocol=PROTOCOL_VERSION,
            mesh=self.mesh,
            node=self.identity,
            origin_id=contact.node_id if peer is not None else b"",
            cursor=peer.cursor if peer is not None else 0,
            known=self._known(),
        )

    def _receive_from_origin(self, contact: Contact, link: int, message: Message, now: float) -> list[Effect]:
        peer = contact.peer
        if peer is None:
            if isinstance(message, Welcome):
                return self._welcomed(contact, link, message, now)
            return self.hang_up(link, f"expected a Welcome, not a {type(message).__name__}", now)
        match message:
            case Batch():
                return self._take(peer, link, message, now)
            case Truncated(head=head):
                peer.cursor = peer.head = head
                return [Distrust(peer.identity, "its journal no longer reached back to what was missed here")]
            case Vouch():
                return []
            case Leave(head=head):
                return self._goodbye(contact, peer, link, head, now)
        return self.hang_up(link, f"did not expect a {type(message).__name__} here", now)

    def _welcomed(self, contact: Contact, link: int, welcome: Welcome, now: float) -> list[Effect]:
        node = _placed(welcome.node, contact.address.rpartition(":")[0])
        if node.id == self.identity.id:
            contact.mine = True
            return [HangUp(link), *self.closed(link, "this is the node itself", now)]
        contact.node_id = node.id
        peer = self._meet(node, now)
        if peer.state is State.FOLLOWING:
            return [HangUp(link), *self.closed(link, "followed through another address", now)]
        effects = self._replace_others_at(contact.address, peer)
        contact.peer = peer
        contact.refusal = None
        peer.move(Input.WELCOMED)
        peer.head = max(peer.cursor, welcome.head)
        peer.ping(now, self.options.ping_interval)
        return [*effects, Met(peer.identity), *self._learn(welcome.known, now), Wake(link)]

    def _take(self, peer: Peer, link: int, batch: Batch, now: float) -> list[Effect]:
        first = max(batch.first, peer.cursor + 1)
        fresh = peer.take(batch)
        if fresh is None:
            return self.hang_up(link, f"flushes are missing before {batch.first}", now)
        effects: list[Effect] = [Apply(peer.identity, first, fresh)] if fresh else []
        return [*effects, Wake(link)] if batch.acknowledge else effects

    def _goodbye(self, contact: Contact, peer: Peer, link: int, head: int, now: float) -> list[Effect]:
        missed = peer.cursor != head
        peer.move(Input.GOODBYE)
        self._forget(peer)
        effects: list[Effect] = [HangUp(link), *self.closed(link, "it left", now)]
        self.contacts.withdraw(_HEARSAY, contact)
        if missed:
            effects.append(Distrust(peer.identity, "it left before everything it sent had arrived here"))
        return [*effects, Parted(peer.identity, left=True, reason="it left"), Progress()]

    # Who is who.

    def _meet(self, identity: Identity, now: float) -> Peer:
        """Return the peer of *identity*, known or new, with its name and address brought up to date."""
        peer = self.peers.setdefault(identity.id, Peer(identity))
        peer.identity = identity
        self._departed.pop(identity.id, None)
        self.contacts.add(_HEARSAY, identity.address, now)
        return peer

    def _learn(self, known: Iterable[Identity], now: float) -> list[Effect]:
        """Take news of nodes from another node: their addresses are worth a try."""
        for identity in known:
            strange = identity.id not in self.peers and identity.id not in self._departed
            if strange and identity.id != self.identity.id and len(self.peers) < self.options.peers_max:
                self.contacts.add(_HEARSAY, identity.address, now)
        return self.tick(now)

    def _replace_others_at(self, address: str, peer: Peer) -> list[Effect]:
        """Give up every other peer whose address answers as *peer* now: it was restarted."""
        effects: list[Effect] = []
        for other in list(self.peers.values()):
            if other is not peer and other.identity.address == address and other.state is State.DIALLING:
                other.move(Input.REPLACED)
                self._forget(other)
                effects.append(Distrust(other.identity, "another node answers at its address"))
        return [*effects, Progress()] if effects else []

    def _forget(self, peer: Peer) -> None:
        self.peers.pop(peer.identity.id, None)
        self._departed[peer.identity.id] = None
        while len(self._departed) > _DEPARTED_MAX:
            self._departed.popitem(last=False)

    def _known(self) -> tuple[Identity, ...]:
        return tuple(peer.identity for peer in self.peers.values())

    def _followed(self) -> set[bytes]:
        return {peer.identity.id for peer in self.peers.values() if peer.state is State.FOLLOWING}

    def _new_link(self) -> int:
        self._links += 1
        return self._links


def _placed(identity: Identity, host: str) -> Identity:
    """Complete the address of a node that listens everywhere with the *host* it was seen at."""
    return replace(identity, address=host + identity.address) if identity.address.startswith(":") else identity
