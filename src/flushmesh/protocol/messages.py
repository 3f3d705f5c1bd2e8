"""
The messages two nodes exchange, as the rest of the code sees them.

What they look like on the wire is the business of `flushmesh.net.codec` alone.
Sequences start at 1; 0 stands for "nothing yet".  Clock readings are seconds of the
clock of the node that took them and mean nothing to anybody else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import Final, NamedTuple

PROTOCOL_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """
    A node as others know it.

    The id is drawn at start, so it names the incarnation; the name is for people and
    need not be unique.
    """

    id: bytes
    name: str
    address: str

    def seen_at(self, host: str) -> Identity:
        """Complete the address of a node that listens everywhere, which names no host, with *host*."""
        return replace(self, address=host + self.address) if self.address.startswith(":") else self


@dataclass(frozen=True, slots=True)
class News:
    """A node, told of by another one; *reached* tells whether the teller has a stream with it."""

    node: Identity
    reached: bool

    def told_by(self, teller: Identity) -> News:
        """Complete what *teller* knows by its own loopback interface: from elsewhere, that is its host."""
        if _is_loopback(self.node.address) and not _is_loopback(teller.address):
            host, port = teller.address.rpartition(":")[0], self.node.address.rpartition(":")[2]
            return replace(self, node=replace(self.node, address=f"{host}:{port}"))
        return self


def _is_loopback(address: str) -> bool:
    return address.startswith(("127.", "[::1]:", "localhost:"))


class Flush(NamedTuple):
    """
    Forget a key, all keys with a tag, or a whole cache if neither is given.

    The one message of which there are millions: a tuple takes half the time to make.
    """

    cache: str
    key: str | None = None
    tag: str | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Hello:
    """
    Opens a stream: who follows, and from where.

    The cursor counts only for the origin whose id is *origin_id*: another one that
    answers at the same address starts from its beginning.  *max_staleness* is the
    follower's largest, *lost_after* how long it goes without a vouch before it gives an
    origin up; either may be infinite.
    """

    protocol: int
    mesh: str
    node: Identity
    origin_id: bytes
    cursor: int
    max_staleness: float = inf
    lost_after: float = inf
    known: tuple[News, ...] = ()


@dataclass(frozen=True, slots=True)
class Welcome:
    """Accepts a follower."""

    node: Identity
    head: int
    known: tuple[News, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive flushes; none if only an acknowledgement is asked for."""

    first: int
    flushes: tuple[Flush, ...]
    acknowledge: bool = False


@dataclass(frozen=True, slots=True)
class Truncated:
    """What the follower missed cannot be proven; it continues from *head*."""

    head: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks the origin to vouch, and acknowledges everything up to *cursor*."""

    clock: float
    cursor: int


@dataclass(frozen=True, slots=True)
class Vouch:
    """Everything the origin knew when the ping arrived was sent before this."""

    clock: float
    head: int
    known: tuple[News, ...] | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything up to *cursor* is applied."""

    cursor: int


@dataclass(frozen=True, slots=True)
class Leave:
    """The last message of a clean shutdown; whom the origin knows is told for the last time."""

    head: int
    known: tuple[News, ...] = ()


FollowerMessage = Hello | Ping | Ack
OriginMessage = Welcome | Batch | Truncated | Vouch | Leave
Message = FollowerMessage | OriginMessage
