"""
Peers: every member this node knows, and those that are gone.

A node becomes known by answering, by dialling, or because the journal of another member
names it.  It is forgotten when it leaves, when it is replaced, and when it is given up;
without a goodbye, what it may have flushed is distrusted first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from flushmesh.protocol.messages import Identity
from flushmesh.protocol.peer import Input, Peer, State

# Each peer costs a stream and its buffers; a full mesh beyond this is the wrong tool.
PEERS_MAX: Final = 1_024

# Departures are remembered so that old news does not bring them back.  One that is forgotten too
# early costs a proof that stands still until the rumour is given up, never a stale hit.
GONE_MAX: Final = 4_096


class Peers:
    """
    The known members by id, at most *peers_max* of them.

    `me` is this node itself, which is not among them.  `digest` sums up all ids, this
    node's included: two nodes with the same digest know the same members.  `changes` counts
    changes of which peers this node reaches.
    """

    def __init__(self, me: Identity, peers_max: int = PEERS_MAX) -> None:
        self.me = me
        self.peers_max = peers_max
        self.digest = _number(me.id)
        self.changes = 0
        self._peers: dict[bytes, Peer] = {}
        self._gone: OrderedDict[bytes, State] = OrderedDict()
        self._at: dict[str, set[bytes]] = {}

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def __len__(self) -> int:
        return len(self._peers)

    def get(self, node_id: bytes) -> Peer | None:
        """Return the peer with this id, if it is known."""
        return self._peers.get(node_id)

    @property
    def full(self) -> bool:
        """Whether no more peers are taken."""
        return len(self._peers) >= self.peers_max

    @property
    def met_any(self) -> bool:
        """Whether any other member was ever known."""
        return bool(self._peers or self._gone)

    def gone(self, node_id: bytes) -> State | None:
        """Return LEFT or LOST if the node with this id is gone, else None."""
        return self._gone.get(node_id)

    def at(self, address: str) -> list[Peer]:
        """Return the peers that are known at *address*."""
        return [self._peers[node_id] for node_id in self._at.get(address, ())]

    def add(self, identity: Identity, trusted_at: float, now: float) -> Peer:
        """
        Return a new peer.

        It starts with the proof as it stands: the proof does not fall, and it goes no
        further until the newcomer itself has vouched.
        """
        self._gone.pop(identity.id, None)
        peer = self._peers[identity.id] = Peer(identity, trusted_at, now)
        self._at.setdefault(identity.address, set()).add(identity.id)
        self.digest ^= _number(identity.id)
        self.changes += 1
        return peer

    def update(self, peer: Peer, identity: Identity) -> None:
        """Record the name and address under which *peer* has just introduced itself."""
        self._leave_address(peer)
        peer.identity = identity
        self._at.setdefault(identity.address, set()).add(identity.id)

    def move(self, peer: Peer, by: Input) -> None:
        """Change the state of *peer*, which stays known."""
        before = peer.state
        peer.move(by)
        self.changes += peer.state is not before

    def listen(self, heard_since: float) -> None:
        """Look which peers are quiet: nothing has come from them since then."""
        for peer in self._peers.values():
            quiet = peer.heard_at is not None and peer.heard_at < heard_since
            self.changes += peer.followed and quiet is not peer.quiet
            peer.quiet = quiet

    def forget(self, peer: Peer, by: Input) -> None:
        """Move *peer* to the end of its life and forget it."""
        peer.move(by)
        del self._peers[peer.identity.id]
        self._leave_address(peer)
        self.digest ^= _number(peer.identity.id)
        self.changes += 1
        self.bury(peer.identity.id, peer.state)
        for other in self._peers.values():
            other.knows.discard(peer.identity.id)
            other.unreached.pop(peer.identity.id, None)

    def bury(self, node_id: bytes, state: State) -> None:
        """Remember that the node *node_id* is gone."""
        self._gone[node_id] = state
        while len(self._gone) > GONE_MAX:
            self._gone.popitem(last=False)

    def _leave_address(self, peer: Peer) -> None:
        ids = self._at[peer.identity.address]
        ids.discard(peer.identity.id)
        if not ids:
            del self._at[peer.identity.address]

    def acknowledged(self) -> int:
        """Return the sequence that every peer has acknowledged."""
        return min((peer.acknowledged for peer in self._peers.values()), default=0)

    def ids(self) -> set[bytes]:
        """Return the ids of all peers."""
        return set(self._peers)


def _number(node_id: bytes) -> int:
    return int.from_bytes(node_id, "big")
