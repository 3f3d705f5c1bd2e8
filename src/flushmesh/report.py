"""Report: how a node stands at one moment, in the words of its status."""

from __future__ import annotations

from flushmesh.protocol.node import Node
from flushmesh.protocol.peer import Peer
from flushmesh.status import MeshState, MeshStatus, PeerStatus


def report(node: Node, state: MeshState, now: float) -> MeshStatus:
    """Return the status of *node*, whose mesh is in *state*; the caller holds the node's lock."""
    return MeshStatus(
        mesh=node.mesh,
        name=node.identity.name,
        node_id=node.identity.id.hex(),
        address=node.identity.address,
        state=state if state is MeshState.CLOSED else MeshState(node.trust.phase),
        head=node.journal.head,
        proof_age=now - node.trust.at,
        running_out=node.why(now),
        waiting_for=node.waiting_for(),
        split=node.outlook.split,
        alone=node.outlook.alone,
        ready=node.trust.ready,
        peers=tuple(_peer_status(peer, now) for peer in sorted(node.peers, key=_by_name)),
        refusals={contact.address: contact.refusal for contact in node.contacts if contact.refusal},
    )


def _by_name(peer: Peer) -> tuple[str, bytes]:
    return peer.identity.name, peer.identity.id


def _peer_status(peer: Peer, now: float) -> PeerStatus:
    return PeerStatus(
        name=peer.identity.name,
        node_id=peer.identity.id.hex(),
        address=peer.identity.address,
        state=peer.state,
        cursor=peer.cursor,
        lag=peer.head - peer.cursor,
        acknowledged=peer.acknowledged,
        vouch_age=now - peer.vouched if peer.vouched_once else None,
        round_trip=peer.round_trip,
    )
