"""
Discovery: whatever proposes addresses.

It only proposes.  A peer is a node that has answered; one that no discovery proposes any
more stays a peer for as long as it answers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a discovery may tell others of this node."""

    mesh: str
    node_id: bytes
    address: str


class Discovery(Protocol):
    """
    Finds addresses.

    *source* names it in logs and status.  *settles_after* is how many seconds after the
    start its proposals count as complete; 0 if its first one does.
    """

    source: str
    settles_after: float

    async def run(self, announcement: Announcement, propose: Callable[[Collection[str]], None]) -> None:
        """
        Call *propose* with all addresses known at the moment, whenever they change.

        Runs on the mesh's own thread and loop, and is cancelled when the mesh closes.
        """
