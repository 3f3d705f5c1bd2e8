"""
What the protocol asks of the world: the outputs of `Node`.

Effects are carried out in the order given.  That order is part of the protocol: a
flush is applied before it is acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass

from flushmesh.protocol.messages import Flush, Identity


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a stream to *address*; from now on it is called *link*."""

    link: int
    address: str


@dataclass(frozen=True, slots=True)
class Wake:
    """There is something to send on *link*: ask `Node.next_message` for it."""

    link: int


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the stream *link*; the node has forgotten it already."""

    link: int


@dataclass(frozen=True, slots=True)
class Apply:
    """Forget what these flushes name; *first* is the number of the first among the origin's flushes."""

    origin: Identity
    first: int
    flushes: tuple[Flush, ...]


@dataclass(frozen=True, slots=True)
class Trust:
    """
    Every flush that any member had issued by the time *at* has been applied.

    Comes after the flushes it covers, and after any `Distrust` it depends on.
    """

    at: float


@dataclass(frozen=True, slots=True)
class Distrust:
    """
    Flushes of *peer*, or of nodes that were never met, may have been missed *since* then.

    Every entry ends its own bound after *since*, or after its load if that was later.
    """

    peer: Identity | None
    since: float
    reason: str


@dataclass(frozen=True, slots=True)
class Stalled:
    """The proof stands still and entries run out, as *why* explains; empty if it moves again."""

    why: str


@dataclass(frozen=True, slots=True)
class Joined:
    """Joining has ended; *silent* names the addresses that neither answered nor refused."""

    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """Every address that was proposed has been tried once, and as many peers as expected are followed."""


@dataclass(frozen=True, slots=True)
class Split:
    """Nodes have seen different parts of the mesh for a while, as *views* explains; empty if that has ended."""

    views: str


@dataclass(frozen=True, slots=True)
class Alone:
    """No peer has been followed for a while, as *why* explains; empty if that has ended."""

    why: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Every peer has acknowledged everything up to *upto*."""

    upto: int


@dataclass(frozen=True, slots=True)
class RecheckReceipts:
    """Time has passed or a peer is gone: look at every receipt again."""


@dataclass(frozen=True, slots=True)
class PeerFollowed:
    """This node and *peer* have a stream now."""

    peer: Identity


@dataclass(frozen=True, slots=True)
class PeerLost:
    """The stream with *peer* has ended; unless the peer is *gone* for good, it is dialled again."""

    peer: Identity
    gone: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A stream was refused, here or by the node at the other end; *peer* is an address or a name."""

    peer: str
    reason: str


Effect = (
    Dial
    | Wake
    | HangUp
    | Apply
    | Trust
    | Distrust
    | Stalled
    | Joined
    | Ready
    | Split
    | Alone
    | Acknowledged
    | RecheckReceipts
    | PeerFollowed
    | PeerLost
    | Refused
)
