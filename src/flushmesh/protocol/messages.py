"""
The messages two nodes exchange, and the records of a journal, as the rest of the code sees them.

What they look like on the wire is known to `flushmesh.net.codec` alone.  Sequences start
at 1; 0 means "nothing yet".  Clock readings are seconds of the clock of the node that took
them and mean nothing to any other node.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from typing import Final, NamedTuple

PROTOCOL_VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class Identity:
    """
    A node as others know it.

    The id is drawn at start, so it names the incarnation; the name is for people and
    need not be unique.  An empty address is that of a node that only dials.
    """

    id: bytes
    name: str
    address: str

    def seen_at(self, host: str) -> Identity:
        """Complete the address of a node that listens everywhere, which names no host, with *host*."""
        return replace(self, address=host + self.address) if self.address.startswith(":") else self

    def told_by(self, teller: Identity) -> Identity:
        """Return this identity as a receiver elsewhere needs it: *teller*'s host in place of a loopback address."""
        if is_loopback(self.address) and teller.address and not is_loopback(teller.address):
            host, port = teller.address.rpartition(":")[0], self.address.rpartition(":")[2]
            return replace(self, address=f"{host}:{port}")
        return self


def is_loopback(address: str) -> bool:
    """Return whether *address* means another machine to every machine."""
    return address.startswith(("127.", "[::1]:", "localhost:"))


# What a journal numbers.


class Flush(NamedTuple):
    """
    Forget a key, all keys with a tag, or a whole cache if neither is given.

    The one record of which there are millions: a tuple takes half the time to make.
    """

    cache: str
    key: str | None = None
    tag: str | None = None
    version: int | None = None


class Met(NamedTuple):
    """
    The origin knows *node* from now on.

    *direct* if the two have spoken, else the origin has heard of it from another node.
    """

    node: Identity
    direct: bool


class Gone(NamedTuple):
    """The node *node_id* has left for good, after *flushes* flushes."""

    node_id: bytes
    flushes: int


class Lost(NamedTuple):
    """The origin has given up the node *node_id*; its followers decide for themselves."""

    node_id: bytes


Record = Flush | Met | Gone | Lost


# What a stream carries.


@dataclass(frozen=True, slots=True)
class Hello:
    """
    Opens a stream: the caller introduces itself.

    *max_staleness* is the largest of its caches, *give_up_after* the shortest silence
    after which it may give the other node up; both in seconds, either may be infinite.
    """

    protocol: int
    mesh: str
    node: Identity
    max_staleness: float = inf
    give_up_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Welcome:
    """Accepts a caller, whom the journal has named before this is sent; the fields are as in `Hello`."""

    node: Identity
    max_staleness: float = inf
    give_up_after: float = 0.0


class Why(StrEnum):
    """Why a caller is refused."""

    MESH = "mesh"
    VERSION = "version"
    NAMESAKE = "namesake"
    FULL = "full"
    LEAVING = "leaving"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Refuses a caller, with the *reason* in words; the last message on its stream."""

    why: Why
    reason: str


@dataclass(frozen=True, slots=True)
class Follow:
    """
    Asks for the other node's journal after *cursor*.

    A sender that has never followed it has no cursor, and asks for what was appended since
    its own start: that is *age* seconds before the first message of this stream arrived at
    it.  *known* is the digest of all members the sender knows, itself included: a node that
    knows the same ones need not list them.
    """

    cursor: int | None
    known: int = 0
    age: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of the sender's journal; none if only an acknowledgement is asked for."""

    first: int
    records: tuple[Record, ...]
    acknowledge: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """A member, as the sender knows it; *reached* if the two have a stream."""

    node: Identity
    reached: bool


@dataclass(frozen=True, slots=True)
class Truncated:
    """
    The journal continues after *head* for this follower; what came before is not sent.

    *flushes* is the number of flushes up to there.  *members* are all that the sender
    knows, None if they are the same as the follower's.  If it is *complete*, all of what
    the follower has asked for comes after *head*.
    """

    head: int
    flushes: int
    members: tuple[Known, ...] | None = ()
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Ping:
    """
    Asks for a vouch, and acknowledges everything up to *cursor*.

    *had* is the `given` of the newest vouch that has arrived here, 0 before the first.
    """

    clock: float
    cursor: int
    had: float = 0.0


class Unreached(NamedTuple):
    """
    A member with which the sender has no stream.

    *age* is how many seconds ago it last heard of it, *hearsay* whether never from itself.
    """

    node_id: bytes
    age: float
    hearsay: bool = False


@dataclass(frozen=True, slots=True)
class Vouch:
    """
    Everything the sender had appended when the ping arrived was sent before this.

    *clock* comes from the ping, *given* is the sender's own clock.  *unreached* are the
    members it has no stream with, None if they are the same ones as last time.
    """

    clock: float
    head: int
    given: float = 0.0
    unreached: tuple[Unreached, ...] | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything up to *cursor* is applied."""

    cursor: int


@dataclass(frozen=True, slots=True)
class Leave:
    """The last message of a clean shutdown, after *flushes* flushes in all."""

    flushes: int


Message = Hello | Welcome | Refusal | Follow | Batch | Truncated | Ping | Vouch | Ack | Leave
