"""
Status: what a mesh knows of itself, at one moment.

Frozen: a status is read, compared and serialised, and never changes under the reader.
`str(status)` is a table for people.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class MeshState(StrEnum):
    """
    Where a mesh is in its life.

    A joining one serves as a joined one does, on its own loads alone.  An isolated one was
    forked from a process in which gRPC ran, and is nobody's peer: see `Isolated`.
    """

    NEW = "new"
    JOINING = "joining"
    JOINED = "joined"
    LEAVING = "leaving"
    CLOSED = "closed"
    ISOLATED = "isolated"


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """
    One peer, as this node sees it; durations in seconds.

    *state* is "dialling" or "following".  *cursor* is the sequence of its journal applied
    here, *lag* how many flushes it is known to be ahead of that; *acknowledged* the sequence
    of this node's journal applied there.  *vouch_age* is the age of its last vouch and
    *round_trip* what that took, None before the first.
    """

    name: str
    node_id: str
    address: str
    state: str
    cursor: int
    lag: int
    acknowledged: int
    vouch_age: float | None
    round_trip: float | None


@dataclass(frozen=True, slots=True)
class MeshStatus:
    """
    This node and its peers; durations in seconds.

    *address* is empty until the node listens, *head* the sequence of its newest flush.
    *proof_age* is how long ago it is certain that nothing was missing from anybody, None
    before the start.  Four things that may be wrong are said in a sentence each, empty if they
    are not: *running_out* why entries run out, *waiting_for* whom joining waits for, *split* who
    does not see whom, *alone* why nobody is followed.  *ready* is as in `Mesh.ready`.  *refusals*
    holds, for each address whose node would not serve this one, the reason.  *events_dropped*
    counts the events that were left out because `on_flushed` was slower than they came.
    """

    mesh: str
    name: str
    node_id: str
    address: str
    state: MeshState
    head: int
    proof_age: float | None
    running_out: str
    waiting_for: str
    split: str
    alone: str
    ready: bool
    peers: tuple[PeerStatus, ...]
    refusals: dict[str, str]
    events_dropped: int = 0

    def __str__(self) -> str:
        proof = "nothing is proven yet" if self.proof_age is None else f"proof {_seconds(self.proof_age)} old"
        where = self.address or "no address"
        lines = [f"{self.name} of {self.mesh}, {self.state}, at {where}, head {self.head}, {proof}"]
        lines += [f"{words}: {getattr(self, what)}" for what, words in _WRONG.items() if getattr(self, what)]
        rows = [_HEADINGS, *map(_row, self.peers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines += [f"refused by {address}: {reason}" for address, reason in self.refusals.items()]
        return "\n".join(lines)


def not_started(mesh: str, name: str, state: MeshState) -> MeshStatus:
    """Return the status of a mesh that has no node."""
    return MeshStatus(mesh, name, "", "", state, 0, None, "", "", "", "", ready=False, peers=(), refusals={})


_WRONG: Final = {
    "running_out": "entries are running out",
    "waiting_for": "joining waits",
    "split": "the mesh is split",
    "alone": "alone",
}
_HEADINGS: Final = ("PEER", "ADDRESS", "STATE", "CURSOR", "LAG", "ACKNOWLEDGED", "VOUCH", "ROUND TRIP")


def _row(peer: PeerStatus) -> tuple[str, ...]:
    counts = (str(peer.cursor), str(peer.lag), str(peer.acknowledged))
    return (peer.name, peer.address, peer.state, *counts, _seconds(peer.vouch_age), _seconds(peer.round_trip))


def _seconds(duration: float | None) -> str:
    if duration is None:
        return "-"
    return f"{duration:.1f} s" if duration >= 1 else f"{duration * 1000:.1f} ms"


@dataclass(frozen=True, slots=True)
class CacheInfo:
    """
    Counters of one cache since it was made.

    `fills_refused` were loaded and not stored, because a flush came meanwhile or the value
    was too old or too large.  `flushes_applied` came from peers.  `evictions` had to make
    room, `expiries` had run out when room was made.  `demands_lost` versioned flushes were
    forgotten before a lagging replica had time to catch up: until it has, no versioned value of
    their keys is kept.  `currsize` is the size of all that is held, as cachetools counts it.

    Hits are counted without a lock: threads that hit one entry at the same moment may lose a
    count.  The others are exact.
    """

    hits: int
    misses: int
    loads: int
    load_errors: int
    fills_refused: int
    flushes_applied: int
    evictions: int
    expiries: int
    demands_lost: int
    maxsize: int
    currsize: float


@dataclass(frozen=True, slots=True)
class EntryInfo:
    """
    One entry, as it was at one moment.

    `age` is in seconds since its load began, `ttl_left` in seconds.  `unserved` says why a
    read would not get it, and is empty if one would.
    """

    key: str
    age: float
    ttl_left: float
    tags: tuple[str, ...]
    version: int | None
    hits: int
    unserved: str
