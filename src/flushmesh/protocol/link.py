"""
Link: one stream, from the call until its end.

Two nodes keep one stream between them.  While they meet there can be two, because both
have dialled: the one that was dialled by the node with the lower id stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Final

from flushmesh.protocol.addresses import Address
from flushmesh.protocol.follower import Follower
from flushmesh.protocol.messages import Refusal
from flushmesh.protocol.peer import Peer

# A stream on which nothing comes costs memory for nothing, and keeps its address from being dialled again.
MEET_MAX: Final = 5.0


class LinkState(StrEnum):
    """How far a stream has come."""

    DIALLED = "dialled"
    HELLO_SENT = "hello sent"
    ACCEPTED = "accepted"
    WELCOMED = "welcomed"
    REFUSED = "refused"
    OPEN = "open"


class Step(Enum):
    """What moves a stream from one state to another."""

    SEND_HELLO = auto()
    WELCOME = auto()
    REFUSE = auto()
    OPEN = auto()


LINK_STATES: Final = {
    LinkState.DIALLED: {Step.SEND_HELLO: LinkState.HELLO_SENT},
    LinkState.HELLO_SENT: {Step.OPEN: LinkState.OPEN},
    LinkState.ACCEPTED: {Step.WELCOME: LinkState.WELCOMED, Step.REFUSE: LinkState.REFUSED},
    LinkState.WELCOMED: {Step.OPEN: LinkState.OPEN},
    LinkState.REFUSED: {},
    LinkState.OPEN: {},
}


@dataclass(slots=True, eq=False)
class Link:
    """
    One stream, called *number*.

    `address` is what was dialled, None on the side that was called; `host` is where a
    caller called from.  `spoke_at` is when this node handed out its first message there,
    `heard_at` when it received the other's.  `stamp` orders the moments at which streams were
    agreed on here.
    """

    number: int
    since: float
    host: str = ""
    address: Address | None = None
    state: LinkState = LinkState.DIALLED
    peer: Peer | None = None
    follower: Follower = field(default_factory=Follower)
    spoke_at: float = 0.0
    heard_at: float = 0.0
    stamp: int = 0
    spoke_as_follower: bool = False
    welcome_owed: bool = False
    follow_owed: bool = False
    refusal: Refusal | None = None
    asked_with: frozenset[bytes] = frozenset()

    def move(self, by: Step) -> None:
        """Change state as the table says."""
        self.state = LINK_STATES[self.state][by]

    @property
    def open(self) -> bool:
        """Whether both sides have agreed on this stream."""
        return self.state is LinkState.OPEN


class Links:
    """Every stream, by its number."""

    def __init__(self) -> None:
        self._count = self._stamps = 0
        self._links: dict[int, Link] = {}

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._links.values()))

    def get(self, number: int) -> Link | None:
        """Return the stream called *number*, if it is still there."""
        return self._links.get(number)

    def dialled(self, address: Address, now: float) -> Link:
        """Return a new stream to *address*."""
        return self._add(Link(self._next(), now, address=address))

    def accepted(self, host: str, now: float) -> Link:
        """Return a new stream that was opened from *host*."""
        return self._add(Link(self._next(), now, host=host, state=LinkState.ACCEPTED))

    def pop(self, number: int) -> Link | None:
        """Forget the stream called *number* and return it, if it is still there."""
        return self._links.pop(number, None)

    def stamp(self) -> int:
        """Return a number that orders what happens to streams."""
        self._stamps += 1
        return self._stamps

    def of(self, peer: Peer) -> list[Link]:
        """Return the streams with *peer*, open or not yet."""
        return [link for link in self._links.values() if link.peer is peer]

    def open(self) -> Iterator[Link]:
        """Return the streams that carry journals."""
        return (link for link in self._links.values() if link.open)

    def overdue(self, now: float) -> list[Link]:
        """Return the streams on which the two sides should have met by now."""
        # The transport ends a call that is not answered; a call that is answered may still say nothing.
        return [
            link
            for link in self._links.values()
            if not link.open and link.state is not LinkState.DIALLED and now >= link.since + MEET_MAX
        ]

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _add(self, link: Link) -> Link:
        self._links[link.number] = link
        return link
