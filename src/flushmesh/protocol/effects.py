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
    """End the stream *link*; a *refusal* is told to the other side in these words."""

    link: int
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class Apply:
    """Forget what these flushes name; *first* is the sequence of the first."""

    origin: Identity
    first: int
    flushes: tuple[Flush, ...]


@dataclass(frozen=True, slots=True)
class Trust:
    """
    Every flush that any peer had issued by the time *at* has been applied.

    Comes after the flushes it speaks of, and after any `Distrust` it depends on.
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
    """The proof stands still and entries run out, as *why* explains; nothing if it moves again."""

    why: str


@dataclass(frozen=True, slots=True)
class Joined:
    """Joining has ended; *silent* names the addresses that neither answered nor refused."""

    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ready:
    """Every address that was proposed has been tried once, and whoever is expected is followed."""


@dataclass(frozen=True, slots=True)
class Split:
    """Nodes have seen different parts of the mesh for a while, as *who* says; nothing if that has ended."""

    who: str


@dataclass(frozen=True, slots=True)
class Alone:
    """Nobody has been followed for a while, as *why* explains; nothing if that has ended."""

    why: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Every peer has acknowledged everything up to *upto*."""

    upto: int


@dataclass(frozen=True, slots=True)
class Reconsider:
    """Time has passed or a peer is gone: look at every receipt again."""


@dataclass(frozen=True, slots=True)
class Met:
    """This node follows *peer* now."""

    peer: Identity


@dataclass(frozen=True, slots=True)
class Parted:
    """This node follows *peer* no longer; unless it is *gone* for good, it is dialled again."""

    peer: Identity
    gone: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Somebody was turned away, here or there; *who* is an address or a name."""

    who: str
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
    | Reconsider
    | Met
    | Parted
    | Refused
)
