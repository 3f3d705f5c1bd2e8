"""
Peers: everybody this node knows.

A node becomes known by answering, by dialling, or by news from another node.  It is
forgotten when it leaves, when it is replaced, and when it is given up; whoever forgets
one without a goodbye must distrust first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from flushmesh.protocol.messages import Identity, News
from flushmesh.protocol.peer import Input, Peer, State

# Each peer costs two streams and their buffers; a full mesh beyond this is the wrong tool.
PEERS_MAX: Final = 1_024

# Ids of nodes that are gone are remembered so that old news of them does not bring them back.
_GONE_MAX: Final = 1_024


class Peers:
    """
    The known nodes by id, at most *peers_max* of them.

    `me` is this node itself, which is nobody's peer.
    """

    def __init__(self, me: Identity, peers_max: int = PEERS_MAX) -> None:
        self.me = me
        self.peers_max = peers_max
        self._peers: dict[bytes, Peer] = {}
        self._gone: OrderedDict[bytes, State] = OrderedDict()

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def __len__(self) -> int:
        return len(self._peers)

    def get(self, node_id: bytes) -> Peer | None:
        """Return the peer with this id, if it is known."""
        return self._peers.get(node_id)

    @property
    def full(self) -> bool:
        """Whether no more peers are taken."""
        return len(self._peers) >= self.peers_max

    def meet(self, identity: Identity, trusted_at: float, now: float) -> Peer:
        """Return the peer that has just answered or dialled, with its name and address brought up to date."""
        self._gone.pop(identity.id, None)
        peer = self._peers.setdefault(identity.id, Peer(identity, trusted_at, now))
        peer.identity = identity
        peer.met = True
        peer.heard_at = now
        return peer

    def hear_of(self, news: News, trusted_at: float, now: float) -> Peer | None:
        """
        Return a new peer if *news* tells of one that was not known, and None otherwise.

        It starts with the proof as it stands: the proof does not fall, and it goes no
        further until the newcomer itself has vouched.  A node that left stays forgotten; one
        that was given up is known again if somebody reaches it.
        """
        node = news.node
        gone = self._gone.get(node.id)
        if node.id in self._peers or node.id == self.me.id or self.full:
            return None
        if gone is State.LEFT or (gone is State.LOST and not news.reached):
            return None
        self._gone.pop(node.id, None)
        peer = self._peers[node.id] = Peer(node, trusted_at, now)
        return peer

    def forget(self, peer: Peer, by: Input) -> None:
        """Move *peer* to the end of its life and forget it."""
        peer.move(by)
        del self._peers[peer.identity.id]
        self._gone[peer.identity.id] = peer.state
        while len(self._gone) > _GONE_MAX:
            self._gone.popitem(last=False)

    def acknowledged(self) -> int:
        """Return the sequence that every peer has acknowledged."""
        return min((peer.acknowledged for peer in self), default=0)

    def delivery(self, sequence: int, flushed_at: float, now: float) -> tuple[list[Peer], list[Peer], list[Peer]]:
        """Return who has applied a flush, who is fenced from serving anything older, and who is missing."""
        applied, fenced, missing = [], [], []
        for peer in self:
            if peer.has_applied(sequence):
                applied.append(peer)
            elif peer.fenced(sequence, flushed_at, now):
                fenced.append(peer)
            else:
                missing.append(peer)
        return applied, fenced, missing

    def followed(self) -> set[bytes]:
        """Return the ids of those this node follows."""
        return {peer.identity.id for peer in self if peer.state is State.FOLLOWING}

    def news(self) -> tuple[News, ...]:
        """Return what other nodes are told of them."""
        return tuple(News(peer.identity, peer.reached) for peer in self)

    def replaced_at(self, address: str, successor: Peer) -> list[Peer]:
        """Return those who were known at *address*, where *successor* answers now: they were restarted."""
        return [
            peer
            for peer in self
            if peer is not successor and peer.identity.address == address and peer.state is State.DIALLING
        ]

    def lost(self, lost_after: float, now: float) -> list[Peer]:
        """Return those of whom no word has come for *lost_after*, and whom nobody else reaches."""
        return [peer for peer in self if now >= peer.heard_at + lost_after and not self.reached_by_others(peer)]

    def reached_by_others(self, peer: Peer) -> bool:
        """Tell whether anybody who is followed says that it has a stream with *peer*."""
        # Only who is followed tells how things stand; two dead nodes would vouch for each other for ever.
        return any(other.state is State.FOLLOWING and other.knows.get(peer.identity.id) for other in self)

    def unconfirmed(self) -> list[Peer]:
        """Return those who were only ever heard of, and of whom nobody knows any more."""
        return [
            peer
            for peer in self
            if not peer.met and not any(peer.identity.id in other.knows for other in self if other is not peer)
        ]
