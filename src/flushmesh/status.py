"""
Status: what a mesh knows of itself, at one moment.

Frozen: a status is read, compared and serialised, and never changes under the reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class MeshState(StrEnum):
    """Where a mesh is in its life."""

    NEW = "new"
    RUNNING = "running"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """
    One peer, as this node sees it.

    *state* is "dialling" or "following"; *cursor* the sequence of its journal applied
    here, *acknowledged* the sequence of this node's journal applied there.
    """

    name: str
    node_id: str
    address: str
    state: str
    cursor: int
    acknowledged: int


@dataclass(frozen=True, slots=True)
class MeshStatus:
    """
    This node and its peers.

    *address* is empty until the node listens, *head* the sequence of its newest flush.
    *refusals* holds, for each address whose node would not serve this one, the reason.
    """

    mesh: str
    name: str
    node_id: str
    address: str
    state: MeshState
    head: int
    peers: tuple[PeerStatus, ...]
    refusals: dict[str, str]
