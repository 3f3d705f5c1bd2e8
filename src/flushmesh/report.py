"""Report: how a node stands at one moment, in the words of its status and of receipts."""

from __future__ import annotations

from flushmesh.protocol.node import Node
from flushmesh.protocol.peer import Peer
from flushmesh.receipt import Delivery, Receipt
from flushmesh.status import MeshState, MeshStatus, PeerStatus


def report(node: Node, state: MeshState, now: float, events_dropped: int) -> MeshStatus:
    """Return the status of *node*, whose mesh is in *state*."""
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
        split=node.diagnosis.split,
        alone=node.diagnosis.alone,
        ready=node.trust.ready,
        peers=tuple(_peer_status(peer, now) for peer in sorted(node.peers, key=_by_name)),
        refusals={address.text: address.refusal for address in node.addresses if address.refusal},
        events_dropped=events_dropped,
    )


def delivery_of(node: Node, now: float, receipt: Receipt) -> Delivery:
    """Return how far the flush of *receipt* has come by *now*."""
    if not receipt.position:
        # The mesh ended, or this process was forked, before the flush came into the journal.
        return Delivery(missing=tuple(peer.identity.name for peer in node.peers), undecided=True)
    progress = node.delivery(receipt.position, receipt.flushed_at, now)
    return Delivery(
        acknowledged=_names(progress.acknowledged),
        fenced=_names(progress.fenced),
        missing=_names(progress.missing),
        unreached=tuple(progress.unreached),
        alone=progress.alone,
        undecided=progress.joining,
    )


def _names(peers: list[Peer]) -> tuple[str, ...]:
    return tuple(peer.identity.name for peer in peers)


def _by_name(peer: Peer) -> tuple[str, bytes]:
    return peer.identity.name, peer.identity.id


def _peer_status(peer: Peer, now: float) -> PeerStatus:
    cursor = peer.cursor or 0
    return PeerStatus(
        name=peer.identity.name,
        node_id=peer.identity.id.hex(),
        address=peer.identity.address,
        state=peer.state,
        cursor=cursor,
        lag=max(0, peer.head - cursor),
        acknowledged=peer.acknowledged,
        vouch_age=now - peer.vouched if peer.vouched_once else None,
        round_trip=peer.round_trip,
    )
