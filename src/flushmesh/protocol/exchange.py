"""
Exchange: what two nodes say on an open stream.

Each side is the origin of one journal and the follower of the other.  The vouch comes
after everything it covers, on a stream that keeps order.
"""

from __future__ import annotations

from dataclasses import replace

from flushmesh.protocol import effects as do
from flushmesh.protocol.effects import Effect
from flushmesh.protocol.journal import Journal
from flushmesh.protocol.link import Link
from flushmesh.protocol.membership import Membership
from flushmesh.protocol.messages import (
    Ack,
    Batch,
    Flush,
    Follow,
    Gone,
    Leave,
    Lost,
    Message,
    Met,
    Ping,
    Record,
    Truncated,
    Vouch,
)
from flushmesh.protocol.peer import Peer, unreached
from flushmesh.protocol.peers import Peers


class Exchange:
    """The open streams of this node."""

    def __init__(self, journal: Journal, peers: Peers, membership: Membership) -> None:
        self._journal = journal
        self._peers = peers
        self._membership = membership

    # Sending.

    def next_message(self, link: Link, now: float, *, goodbye: bool) -> Message | None:
        """Return what the open *link* sends next, or None for now."""
        peer = link.peer
        if not link.open or peer is None:
            return None
        # As follower and as origin in turn: a stream that takes one message now and then must carry both.
        as_follower = None if link.spoke_as_follower else peer.next_message(now)
        message = as_follower or self._as_origin(link, peer, now, goodbye=goodbye) or peer.next_message(now)
        link.spoke_as_follower = isinstance(message, Ping | Ack)
        return message

    def _as_origin(self, link: Link, peer: Peer, now: float, *, goodbye: bool) -> Message | None:
        follower, journal = link.follower, self._journal
        vouch = follower.due_vouch()
        if vouch is not None:
            return self._vouch(link, peer, vouch, now)
        if follower.sent is None:
            return None
        if follower.truncated is not None:
            truncated, follower.truncated = follower.truncated, None
            return truncated
        if not journal.reaches(follower.sent):
            peer.skip(follower.sent, journal.head)
            follower.sent = journal.head
            return Truncated(journal.head, journal.flushes, self._membership.listing())
        return follower.next_batch(journal) or (follower.goodbye(journal) if goodbye else None)

    def _vouch(self, link: Link, peer: Peer, vouch: Vouch, now: float) -> Vouch:
        peer.vouch_given_at = now
        vouch = replace(vouch, given=now)
        follower = link.follower
        if follower.told_changes == self._peers.changes:
            return vouch
        follower.told_changes = self._peers.changes
        out_of_reach = [other for other in self._peers if not other.reached and other is not peer]
        if not out_of_reach and not follower.told_unreached:
            return vouch
        follower.told_unreached = bool(out_of_reach)
        return replace(vouch, unreached=unreached(out_of_reach, now))

    # Receiving.

    def receive(self, link: Link, message: Message, now: float) -> list[Effect] | None:
        """Take *message* from the open *link*; return None if it cannot come there."""
        peer = link.peer
        assert peer is not None
        match message:
            case Batch():
                return self._take(peer, link, message, now)
            case Vouch(clock=clock, head=head) if peer.cursor is not None:
                if clock > peer.pinged_at or head > peer.cursor:
                    return None
                peer.take_vouch(message, now)
                self._membership.take_reports(message.unreached or (), now)
                return self._membership.advance(now, peer.identity.id)
            case Ping():
                peer.had(message.had)
                link.follower.pinged(message, self._journal.head)
                return [*self._acknowledged(peer, link, message.cursor, now), do.Wake(link.number)]
            case Ack(cursor):
                return self._acknowledged(peer, link, cursor, now)
            case Follow() if link.follower.sent is None:
                return self._serve(peer, link, message)
            case Truncated():
                return self._skip(peer, link, message, now)
            case Leave(flushes):
                return self._membership.said_goodbye(peer, flushes, now)
        return None

    def _serve(self, peer: Peer, link: Link, follow: Follow) -> list[Effect]:
        """Send the journal from where the follower wants it."""
        journal, cursor = self._journal, follow.cursor
        if cursor is not None and journal.floor <= cursor <= journal.head:
            link.follower.begin(cursor)
            if cursor and not peer.acknowledged:
                # This node has forgotten it once; whether it skipped anything is forgotten too.
                peer.skip(0, cursor)
            return [do.Wake(link.number)]
        # The first message of this node left before it arrived, so the follower's start cannot have been earlier.
        mark = journal.since(link.spoke_at - follow.age * 1.002) if cursor is None else None
        if mark is not None:
            # What was flushed before its start it cannot have missed.
            peer.begins_after = mark.head
        else:
            peer.skip(min(peer.acknowledged, cursor or 0), journal.head)
        head, flushes = (journal.head, journal.flushes) if mark is None else (mark.head, mark.flushes)
        members = None if follow.known == self._peers.digest else self._membership.listing()
        link.follower.begin_at(Truncated(head, flushes, members, complete=mark is not None))
        return [do.Wake(link.number)]

    def _acknowledged(self, peer: Peer, link: Link, cursor: int, now: float) -> list[Effect]:
        # A follower cannot have applied what was never sent.
        if not peer.acknowledge(min(cursor, link.follower.sent or 0), now):
            return []
        return [do.Acknowledged(self._peers.acknowledged())]

    def _skip(self, peer: Peer, link: Link, truncated: Truncated, now: float) -> list[Effect]:
        """Go on from where the origin's journal begins for this node."""
        effects: list[Effect] = []
        if not truncated.complete:
            reason = "its journal no longer reached back to what was missed here"
            effects.append(do.Distrust(peer.identity, peer.vouched, reason))
        peer.begin_at(truncated.head, truncated.flushes)
        if truncated.members is None:
            peer.knows = (self._peers.ids() & link.asked_with) - {peer.identity.id}
        else:
            effects += self._membership.take_listing(peer, truncated.members, now)
        link.asked_with = frozenset()
        # A node that leaves may have waited for this before it says goodbye to any other.
        return [*effects, *self._membership.wake()]

    def _take(self, peer: Peer, link: Link, batch: Batch, now: float) -> list[Effect] | None:
        """Apply what is new in *batch*, in order."""
        fresh = peer.fresh(batch)
        if fresh is None:
            return None
        effects: list[Effect] = []
        flushes: list[Flush] = []
        learnt = False
        for record in fresh:
            if type(record) is Flush:
                flushes.append(record)
                continue
            effects += self._apply(peer, flushes)
            flushes = []
            changed, told = self._learn(peer, record, now)
            learnt |= changed
            effects += told
        effects += self._apply(peer, flushes)
        peer.take(batch, len(fresh))
        if learnt:
            effects += self._membership.wake()
        if batch.acknowledge:
            effects.append(do.Wake(link.number))
        # Nothing is said before all of it is applied: what is said first may be an acknowledgement.
        return sorted(effects, key=lambda effect: isinstance(effect, do.Wake))

    def _apply(self, peer: Peer, flushes: list[Flush]) -> list[Effect]:
        if not flushes:
            return []
        first = peer.flushes + 1
        peer.flushes += len(flushes)
        return [do.Apply(peer.identity, first, tuple(flushes))]

    def _learn(self, peer: Peer, record: Record, now: float) -> tuple[bool, list[Effect]]:
        match record:
            case Met(node, direct):
                return self._membership.hear_of(node, peer, now, alive=direct), []
            case Gone():
                return True, self._membership.hear_gone(record, peer, now)
            case Lost(node_id):
                peer.knows.discard(node_id)
        return False, []
