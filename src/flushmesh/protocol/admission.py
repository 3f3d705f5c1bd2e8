"""Admission: who is served, and why somebody is not."""

from __future__ import annotations

from flushmesh.protocol.journal import Journal
from flushmesh.protocol.messages import PROTOCOL_VERSION, Hello
from flushmesh.protocol.peers import Peers


def objection(hello: Hello, mesh: str, peers: Peers, journal: Journal) -> str | None:
    """Return why the sender of *hello* cannot be served by a node of *mesh*, or None."""
    if hello.protocol != PROTOCOL_VERSION:
        return f"protocol version {hello.protocol} is not spoken here, only {PROTOCOL_VERSION}"
    if hello.mesh != mesh:
        return f'this is a node of the mesh "{mesh}", not of "{hello.mesh}"'
    me = peers.me
    known = peers.get(hello.node.id)
    namesake = me if hello.node.id == me.id else known and known.identity
    if namesake and namesake.name != hello.node.name:
        return f'two nodes have the id {hello.node.id.hex()}: "{namesake.name}" and "{hello.node.name}"'
    if known is None and peers.full:
        return f"this node has {len(peers)} peers already, the most it takes"
    if hello.origin_id == me.id and hello.cursor > journal.head:
        return f"cursor {hello.cursor} is beyond the head {journal.head}"
    return None
