"""
Serving: the streams on which others follow this node.

Each is an `Origin`, found by its link; what a follower says of itself is kept with the
peer, because it outlives the stream.
"""

from __future__ import annotations

from collections.abc import Iterator

from flushmesh.protocol.journal import Journal
from flushmesh.protocol.messages import Ack, Hello, Message, Ping, Truncated, Vouch, Welcome
from flushmesh.protocol.origin import Origin
from flushmesh.protocol.peer import Peer
from flushmesh.protocol.peers import Peers


class Serving:
    """Every follower's stream, by link."""

    def __init__(self, journal: Journal, peers: Peers) -> None:
        self._journal = journal
        self._peers = peers
        self._origins: dict[int, Origin] = {}

    def __iter__(self) -> Iterator[int]:
        return iter(self._origins)

    def __contains__(self, link: int) -> bool:
        return link in self._origins

    def open(self, link: int, hello: Hello, peer: Peer | None) -> None:
        """Serve who said *hello* on *link*, from its cursor if that is one of this incarnation."""
        resumes = hello.origin_id == self._peers.me.id
        origin = self._origins[link] = Origin(hello.node.id, sent=hello.cursor if resumes else 0)
        # A node that finds itself at an address is served like anybody, and is nobody's peer.
        if peer is not None:
            peer.serving_link = link
            peer.acknowledged = max(peer.acknowledged, origin.sent)
            peer.max_staleness, peer.lost_after = hello.max_staleness, hello.lost_after
            origin.ask(peer.asked)

    def close(self, link: int) -> None:
        """Note that *link* has ended, if it was one of these."""
        origin = self._origins.pop(link, None)
        peer = self._peers.get(origin.follower_id) if origin is not None else None
        if peer is not None and peer.serving_link == link:
            peer.serving_link = None

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
            peer.skip(before, message.head, now)
        return message

    def heard(self, link: int, message: Ping | Ack, now: float) -> bool:
        """Take what the follower says on *link*; tell whether it has acknowledged more than before."""
        origin = self._origins[link]
        if isinstance(message, Ping):
            origin.pinged(message, self._journal.head)
        peer = self._peers.get(origin.follower_id)
        if peer is None:
            return False
        peer.heard_at = now
        before = peer.acknowledged
        # Nobody can have applied what was never sent.
        peer.acknowledged = max(before, min(message.cursor, origin.sent))
        return peer.acknowledged > before
