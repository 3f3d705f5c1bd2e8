"""
Serving: the streams on which others follow this node.

Each is an `Origin`, found by its link; what a follower says of itself is kept with the
peer, because it outlives the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from flushmesh.protocol.journal import Journal
from flushmesh.protocol.messages import Ack, Hello, Message, Ping, Truncated, Vouch, Welcome
from flushmesh.protocol.origin import Origin
from flushmesh.protocol.peer import Peer
from flushmesh.protocol.peers import Peers

# A stream whose opener says nothing costs memory for nothing.
HELLO_MAX: Final = 5.0


class Serving:
    """Every follower's stream, by link."""

    def __init__(self, journal: Journal, peers: Peers) -> None:
        self._journal = journal
        self._peers = peers
        self._origins: dict[int, Origin] = {}
        self._parted: set[bytes] = set()
        self._callers: dict[int, tuple[str, float]] = {}

    def __iter__(self) -> Iterator[int]:
        return iter(self._origins)

    def __contains__(self, link: int) -> bool:
        return link in self._origins

    def accept(self, link: int, host: str, now: float) -> None:
        """Expect a Hello on *link*, which was opened from *host*."""
        self._callers[link] = (host, now)

    def awaits_hello(self, link: int) -> bool:
        """Tell whether nothing has come on *link* yet."""
        return link in self._callers

    def greeted(self, link: int) -> str:
        """Expect no Hello on *link* any more; return the host that opened it."""
        return self._callers.pop(link)[0]

    def overdue(self, now: float) -> list[int]:
        """Return the links whose Hello should have come by now."""
        return [link for link, (_, since) in self._callers.items() if now >= since + HELLO_MAX]

    def open(self, link: int, hello: Hello, peer: Peer | None, now: float) -> None:
        """Serve who said *hello* on *link*, from its cursor if that is one of this incarnation."""
        resumes = hello.origin_id == self._peers.me.id
        origin = self._origins[link] = Origin(hello.node.id, sent=hello.cursor if resumes else 0)
        # A node that finds itself at an address is served like anybody, and is nobody's peer.
        if peer is not None:
            if peer.serving_link is None:
                peer.serving_link = link
            if origin.sent > peer.acknowledged and not peer.acknowledged:
                # This node has forgotten it once; whether it skipped anything is forgotten too.
                peer.skip(0, origin.sent)
            peer.acknowledge(origin.sent, now)
            peer.max_staleness, peer.lost_after = hello.max_staleness, hello.lost_after
            origin.ask(peer.asked)

    def close(self, link: int) -> None:
        """Note that *link* has ended, if it was one of these."""
        self._callers.pop(link, None)
        origin = self._origins.pop(link, None)
        if origin is not None and origin.finished:
            self._parted.add(origin.follower_id)
        peer = self._peers.get(origin.follower_id) if origin is not None else None
        if peer is not None and peer.serving_link == link:
            peer.serving_link = None

    def links(self) -> list[int]:
        """Return every link that others have opened, also those on which nothing has come yet."""
        return [*self._origins, *self._callers]

    def links_of(self, node_id: bytes) -> list[int]:
        """Return the links on which the node with this id follows."""
        return [link for link, origin in self._origins.items() if origin.follower_id == node_id]

    def ask(self, sequence: int) -> None:
        """Have every follower acknowledge *sequence* as soon as it has applied it, also one that comes back."""
        for peer in self._peers:
            peer.asked = max(peer.asked, sequence)
        for origin in self._origins.values():
            origin.ask(sequence)

    def next_message(self, link: int, now: float, *, leaving: bool) -> Message | None:
        """Return what *link* sends next, or None for now."""
        origin = self._origins[link]
        if not origin.welcomed:
            origin.welcomed = True
            origin.told = self._peers.news()
            return Welcome(self._peers.me, self._journal.head, origin.told)
        before = origin.sent
        message = origin.next_message(self._journal, self._peers.news, leaving=leaving)
        peer = self._peers.get(origin.follower_id)
        if peer is not None and isinstance(message, Vouch):
            peer.vouch_given_at = now
        elif peer is not None and isinstance(message, Truncated):
            peer.skip(before, message.head)
        return message

    def stale_link(self, link: int) -> int | None:
        """
        Return the link that *link* has made needless, if there is one.

        A follower that comes anew has one stream too many until it speaks on the new one: the
        new one may only be a look at another of this node's addresses.
        """
        peer = self._peers.get(self._origins[link].follower_id)
        if peer is None or peer.serving_link == link:
            return None
        former, peer.serving_link = peer.serving_link, link
        return former

    def parted(self) -> bool:
        """Tell whether every peer that is reached has been told goodbye."""
        told = {origin.follower_id for origin in self._origins.values() if origin.finished} | self._parted
        return all(peer.identity.id in told for peer in self._peers if peer.reached)

    def heard(self, link: int, message: Ping | Ack, now: float) -> bool:
        """Take what the follower says on *link*; tell whether it has acknowledged more than before."""
        origin = self._origins[link]
        if isinstance(message, Ping):
            origin.pinged(message, self._journal.head)
        peer = self._peers.get(origin.follower_id)
        if peer is None:
            return False
        peer.heard_at = now
        # Nobody can have applied what was never sent.
        return peer.acknowledge(min(message.cursor, origin.sent), now)
