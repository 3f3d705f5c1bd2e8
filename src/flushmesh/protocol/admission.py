"""Admission: which callers are served, and why one is refused."""

from __future__ import annotations

from flushmesh.protocol.messages import PROTOCOL_VERSION, Hello, Refusal, Why
from flushmesh.protocol.peer import State
from flushmesh.protocol.peers import Peers


def refusal_of(hello: Hello, mesh: str, peers: Peers, *, leaving: bool) -> Refusal | None:
    """Return why the sender of *hello* is refused by a node of *mesh*, or None."""
    if hello.mesh != mesh:
        return Refusal(Why.MESH, f'this is a node of the mesh "{mesh}", not of "{hello.mesh}"')
    if hello.protocol != PROTOCOL_VERSION:
        return Refusal(Why.VERSION, f"protocol version {hello.protocol} is not supported here, only {PROTOCOL_VERSION}")
    me = peers.me
    known = peers.get(hello.node.id)
    namesake = me if hello.node.id == me.id else known and known.identity
    if namesake and namesake.name != hello.node.name:
        names = f'"{namesake.name}" and "{hello.node.name}"'
        return Refusal(Why.NAMESAKE, f"two nodes have the id {hello.node.id.hex()}: {names}")
    if peers.gone(hello.node.id) is State.LEFT:
        return Refusal(Why.GONE, "the caller has left this mesh")
    if known is None and hello.node.id != me.id:
        if leaving:
            return Refusal(Why.LEAVING, "this node is leaving")
        if peers.full:
            return Refusal(Why.FULL, f"this node has {len(peers)} peers already, the most it takes")
    return None
