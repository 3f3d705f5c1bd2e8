"""
Peer: another member of the mesh, as seen from this node.

One stream lies between two nodes and carries both journals.  As a follower of the peer's
journal this node has a cursor and vouches; as its origin it has what the peer has
acknowledged.  Both outlive the stream.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from math import inf
from typing import Final

from flushmesh.protocol.messages import Ack, Batch, Identity, Ping, Record, Unreached, Vouch


class State(StrEnum):
    """How this node stands to a peer."""

    DIALLING = "dialling"
    FOLLOWING = "following"
    LEFT = "left"
    LOST = "lost"


class Input(Enum):
    """What moves a peer from one state to another."""

    FOLLOWED = auto()
    PARTED = auto()
    GOODBYE = auto()
    REPLACED = auto()
    GIVEN_UP = auto()


# What stands in no row cannot happen: asking for it is a bug, and a KeyError.
TRANSITIONS: Final = {
    State.DIALLING: {
        Input.FOLLOWED: State.FOLLOWING,
        Input.GOODBYE: State.LEFT,
        Input.REPLACED: State.LOST,
        Input.GIVEN_UP: State.LOST,
    },
    State.FOLLOWING: {
        Input.FOLLOWED: State.FOLLOWING,
        Input.PARTED: State.DIALLING,
        Input.GOODBYE: State.LEFT,
        Input.GIVEN_UP: State.LOST,
    },
    State.LEFT: {},
    State.LOST: {},
}


@dataclass(slots=True)
class Peer:
    """
    What this node knows of one peer; times are this node's own clock.

    As follower: `cursor` is the sequence of the peer's journal applied here, None until
    that journal is followed, `flushes` how many flushes that includes; `vouched` is the
    time up to which everything the peer issued is known to be applied, `vouched_once`
    whether the peer itself has ever said so.  It is `quiet` if nothing has come lately on a
    stream that stands.  `heard_at` is when anything last came from
    it, None if it is known by hearsay alone, since `learnt_at`; `reported_at` is when, by the
    report of others, they last heard from it.  `knows` are the members that its journal
    names, `unreached` those of them that it has no stream with, and whether it knows them by
    hearsay alone.  `gone_after` is set once another member has reported that this one left,
    after so many flushes.

    As origin: `acknowledged` is the sequence of this node's journal that the peer has
    applied; the peer was started after `begins_after` had been flushed.  `vouch_given_at` is
    when it was last given a vouch, `vouch_had_at` when it was given the last one of which it
    has said that it arrived.
    """

    identity: Identity
    vouched: float
    learnt_at: float
    heard_at: float | None = None
    reported_at: float | None = None
    state: State = State.DIALLING
    link: int | None = None
    cursor: int | None = None
    head: int = 0
    flushes: int = 0
    vouched_once: bool = False
    round_trip: float | None = None
    quiet: bool = False
    knows: set[bytes] = field(default_factory=set)
    unreached: dict[bytes, bool] = field(default_factory=dict)
    gone_after: int | None = None
    gone_heard_at: float = 0.0

    acknowledged: int = 0
    begins_after: int = 0
    asked: int = 0
    vouch_given_at: float | None = None
    vouch_had_at: float | None = None
    max_staleness: float = inf
    give_up_after: float = 0.0

    pinged_at: float = 0.0
    _had: float = 0.0
    _ping: bool = False
    _acknowledge: bool = False
    _skipped_after: int = 0
    _skipped_upto: int = 0
    _distrusted_at: float = 0.0

    @property
    def followed(self) -> bool:
        """Whether this node has a stream with the peer."""
        return self.state is State.FOLLOWING

    @property
    def reached(self) -> bool:
        """Whether this node has a stream with the peer on which something has come lately."""
        return self.followed and not self.quiet

    @property
    def hearsay(self) -> bool:
        """Whether the peer is known only because others have reported it."""
        return self.heard_at is None

    @property
    def last_heard(self) -> float:
        """When anything was last heard of the peer, here or by a member that reports it."""
        if self.heard_at is not None:
            return self.heard_at if self.reported_at is None else max(self.heard_at, self.reported_at)
        return self.learnt_at if self.reported_at is None else self.reported_at

    def move(self, by: Input) -> None:
        """Change state as the table says."""
        self.state = TRANSITIONS[self.state][by]

    # Following its journal.

    def fresh(self, batch: Batch) -> tuple[Record, ...] | None:
        """Return what is new in *batch*; None if records before it are missing."""
        if self.cursor is None or batch.first > self.cursor + 1:
            return None
        return batch.records[self.cursor + 1 - batch.first :]

    def take(self, batch: Batch, fresh: int) -> None:
        """Advance the cursor over the *fresh* last records of *batch*."""
        assert self.cursor is not None
        self.cursor += fresh
        self.head = max(self.head, self.cursor)
        self._acknowledge |= batch.acknowledge

    def begin_at(self, head: int, flushes: int) -> None:
        """Follow the journal from *head* on, up to which the peer has issued so many *flushes*."""
        self.cursor = head
        self.head = max(self.head, head)
        self.flushes = flushes

    def take_vouch(self, vouch: Vouch, now: float) -> None:
        """Record that everything the peer had issued when the ping was *sent* is applied here."""
        self.vouched = max(self.vouched, vouch.clock)
        self.vouched_once = True
        self.head = max(self.head, vouch.head)
        self.round_trip = now - vouch.clock
        self._had = vouch.given
        if vouch.unreached is not None:
            self.unreached = {each.node_id: each.hearsay for each in vouch.unreached}

    def reaches(self, node_id: bytes) -> bool:
        """Return whether the peer has a stream with the node *node_id*, by its last vouch."""
        return node_id in self.knows and node_id not in self.unreached

    def has_met(self, node_id: bytes) -> bool:
        """Return whether the peer counts the node *node_id* as a member, and not by hearsay alone."""
        return node_id in self.knows and not self.unreached.get(node_id)

    def slept(self, gap: float, now: float) -> None:
        """Do not count *gap* seconds, in which this node itself slept, as the peer's silence."""
        self.learnt_at = min(now, self.learnt_at + gap)
        if self.heard_at is not None:
            self.heard_at = min(now, self.heard_at + gap)
        if self.reported_at is not None:
            self.reported_at = min(now, self.reported_at + gap)

    def ping(self) -> None:
        """Owe the peer a ping."""
        self._ping = True

    def next_message(self, now: float) -> Ack | Ping | None:
        """Return what this node tells the peer next as its follower, or None."""
        if self.cursor is None:
            return None
        if self._ping:
            self._ping = self._acknowledge = False
            self.pinged_at = now
            return Ping(clock=now, cursor=self.cursor, had=self._had)
        if self._acknowledge:
            self._acknowledge = False
            return Ack(self.cursor)
        return None

    # Being its origin.

    def skip(self, after: int, upto: int) -> None:
        """Record that flushes *after* one sequence and up to another may never have been applied by the peer."""
        if self._skipped_upto == 0:
            self._skipped_after = after
        self._skipped_after = min(self._skipped_after, after)
        self._skipped_upto = max(self._skipped_upto, upto)
        self._distrusted_at = inf

    def acknowledge(self, cursor: int, now: float) -> bool:
        """Record that the peer is done with everything up to *cursor*; return whether that is more than before."""
        if self._skipped_upto <= cursor and self._distrusted_at == inf:
            self._distrusted_at = now
        before, self.acknowledged = self.acknowledged, max(self.acknowledged, cursor)
        return cursor > before

    def skipped(self, sequence: int) -> bool:
        """Return whether the peer may have skipped *sequence*: then it distrusts, but has not applied it."""
        return self._skipped_after < sequence <= self._skipped_upto

    def has_applied(self, sequence: int) -> bool:
        """Return whether the peer has applied the flush *sequence* of this node."""
        return sequence <= self.acknowledged and not self.skipped(sequence)

    def had(self, given: float) -> None:
        """Record that the vouch that was *given* then has arrived at the peer."""
        if self.vouch_given_at is not None and 0.0 < given <= self.vouch_given_at:
            self.vouch_had_at = max(self.vouch_had_at or given, given)

    def fenced(self, sequence: int, flushed_at: float, now: float) -> bool:
        """
        Return whether the peer can no longer serve anything older than the flush *sequence*.

        The last vouch it was given lets it serve for its `max_staleness`, and so does a load
        that began just before the flush was made, at *flushed_at*.  That holds only if it
        certainly had not given this node up by then: it counts silence from the last vouch
        that has arrived there, at the earliest.  A peer that skipped the flush lets everything
        run out that was there when it learnt of that.  Clock rates may differ by 0.1 % each; a
        second is added for what happens between reading a clock and acting on it.
        """
        if self.skipped(sequence):
            last = self._distrusted_at
        elif self.vouch_given_at is None or not self._surely_followed(flushed_at):
            return False
        else:
            last = max(self.vouch_given_at, flushed_at)
        return now >= last + self.max_staleness * 1.002 + 1.0

    def _surely_followed(self, at: float) -> bool:
        """Return whether the peer cannot have given this node up by the time *at*."""
        return self.vouch_had_at is not None and at < self.vouch_had_at + self.give_up_after / 1.002 - 1.0


def unreached(peers: list[Peer], now: float) -> tuple[Unreached, ...]:
    """Return what a vouch reports of *peers*, with which there is no stream."""
    return tuple(Unreached(peer.identity.id, max(0.0, now - peer.last_heard), peer.hearsay) for peer in peers)
