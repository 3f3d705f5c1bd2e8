"""
The planted bugs: what this design is easiest to get wrong, each a few words of the shipped code.

A rule that can be broken without anybody noticing is a rule without a test.  `make mutants`
breaks each of these, and those of the members and of the store, and looks for the first
seed, or the test, that notices.
"""

from __future__ import annotations

from typing import Final

from tests.simulation.membermutants import GIVING_UP, JOINING, MEMBERS, NAMES
from tests.simulation.planting import RULES, Mutant, mutant
from tests.simulation.storemutants import CACHE, TAGS, VERSIONS

JOURNAL = "flushmesh.protocol.journal:Journal"
FOLLOWER = "flushmesh.protocol.follower:Follower"
EXCHANGE = "flushmesh.protocol.exchange:Exchange"
PEER = "flushmesh.protocol.peer:Peer"
TRUST = "flushmesh.protocol.trust:Trust"
MEMBERSHIP = "flushmesh.protocol.membership:Membership"
NODE = "flushmesh.protocol.node:Node"

FENCES = "tests/protocol/test_fences.py"

VOUCHES = (
    mutant(
        "a vouch counts from its receipt",
        (f"{PEER}.take_vouch", "max(self.vouched, vouch.clock)", "max(self.vouched, now)"),
    ),
    mutant(
        "a vouch is sent before the journal is drained",
        (f"{FOLLOWER}.due_vouch", " or self.sent < vouch.head", ""),
        (f"{EXCHANGE}.receive", " or head > peer.cursor", ""),
    ),
    mutant(
        "a vouch speaks for less than the head",
        (f"{EXCHANGE}.receive", "pinged(message, self._journal.head)", "pinged(message, 0)"),
    ),
    mutant(
        "a silent peer is left out of the minimum",
        (f"{TRUST}._proven", "for peer in peers:", "for peer in (each for each in peers if each.followed):"),
    ),
    mutant(
        "pings come before vouches on a slow stream",
        (
            f"{EXCHANGE}.next_message",
            "None if link.spoke_as_follower else peer.next_message(now)",
            "peer.next_message(now)",
        ),
    ),
    mutant(
        "the proof moves with any vouch",
        (
            f"{TRUST}.advance",
            "min(proven.values(), default=self.looked_at)",
            "max(proven.values(), default=self.looked_at)",
        ),
    ),
)

DELIVERY = (
    mutant(
        "acknowledged before it is applied",
        (f"{EXCHANGE}._take", "isinstance(effect, do.Wake)", "not isinstance(effect, do.Wake)"),
    ),
    mutant(
        "acknowledged because it was sent",
        (f"{EXCHANGE}._acknowledged", "min(cursor, link.follower.sent or 0)", "link.follower.sent or 0"),
    ),
    mutant(
        "a gap is applied and the cursor advanced",
        (
            f"{PEER}.fresh",
            "or batch.first > self.cursor + 1:",
            "or False:\n"
            "        pass\n"
            "    if batch.first > self.cursor + 1:\n"
            "        self.cursor = batch.first - 1\n"
            "    if False:",
        ),
        seen_by="tests/protocol/test_node.py::test_a_gap_ends_the_stream_and_changes_nothing",
        because="no origin of this code leaves a gap",
    ),
    mutant(
        "a truncated journal costs no trust",
        (f"{EXCHANGE}._skip", "if not truncated.complete:", "if False:"),
    ),
    mutant(
        "a journal that reaches back too little counts as complete",
        (f"{EXCHANGE}._serve", "complete=mark is not None", "complete=True"),
    ),
    mutant(
        "the journal lets go without moving its floor",
        (
            f"{JOURNAL}.append",
            "self.head - self.floor > self._flushes_max",
            "len(self._records) - self._start > self._flushes_max",
        ),
        (f"{JOURNAL}.append", "self.floor += 1", "pass"),
    ),
    mutant(
        "a follower is served from its meeting, not from its start",
        (f"{EXCHANGE}._serve", "link.spoke_at - follow.age * 1.002", "link.spoke_at"),
    ),
    mutant(
        "an id is kept across a restart",
        (
            "tests.simulation.process:Process._make_node",
            "Identity(self.world.random.randbytes(16), self.name, ",
            'Identity(self.host.encode().ljust(16, b"-"), self.host, ',
        ),
    ),
    mutant(
        "flushes are numbered with the other records",
        (f"{EXCHANGE}._apply", "first = peer.flushes + 1", "first = (peer.cursor or 0) + 1"),
    ),
    mutant(
        "a goodbye overtakes the journal",
        (
            f"{EXCHANGE}._as_origin",
            "follower.next_batch(journal) or (follower.goodbye(journal) if goodbye else None)",
            "(follower.goodbye(journal) if goodbye else None) or follower.next_batch(journal)",
        ),
    ),
    mutant(
        "a node flushes while it leaves",
        ("tests.simulation.process:Process.broadcast", "if self.closing or not self.alive:", "if not self.alive:"),
    ),
)

RECEIPTS = (
    mutant(
        "a fence is reckoned from the vouch alone",
        (f"{PEER}.fenced", "last = max(self.vouch_given_at, flushed_at)", "last = self.vouch_given_at"),
    ),
    mutant(
        "a fence is reckoned from the first vouch",
        (f"{EXCHANGE}._vouch", "peer.vouch_given_at = now", "peer.vouch_given_at = peer.vouch_given_at or now"),
        seen_by=f"{RULES}::test_a_fence_is_reckoned_from_the_last_vouch",
        because="a vouch that is given after a flush which is not applied answers a ping from before it",
    ),
    mutant(
        "a fence holds for a peer that may have given this node up",
        (f"{PEER}.fenced", " or not self._surely_followed(flushed_at)", ""),
        seen_by=f"{FENCES}::test_a_peer_that_may_have_given_this_node_up_is_never_fenced",
        because="it shows seldom: a peer has to hear nothing for lost_after while this node hears it",
    ),
    mutant(
        "a vouch that never arrived makes a fence valid",
        (
            f"{PEER}._surely_followed",
            "self.vouch_had_at is not None and at < self.vouch_had_at",
            "self.vouch_given_at is not None and at < self.vouch_given_at",
        ),
        seen_by=f"{FENCES}::test_a_vouch_that_was_given_and_never_arrived_makes_no_fence_valid",
        because="it shows seldom: a peer has to hear nothing for lost_after while this node hears it",
    ),
    mutant(
        "a skipped flush counts as acknowledged",
        (f"{PEER}.has_applied", " and not self.skipped(sequence)", ""),
    ),
    mutant(
        "a follower that starts at the head acknowledges what came before",
        (f"{EXCHANGE}._serve", "peer.skip(min(peer.acknowledged, cursor or 0), journal.head)", "pass"),
    ),
    mutant(
        "a follower that was forgotten once has skipped nothing",
        (f"{EXCHANGE}._serve", "peer.skip(0, cursor)", "pass"),
        seen_by=f"{FENCES}::test_a_cursor_from_before_the_node_was_forgotten_proves_nothing",
        because="a receipt has to be open from before the follower was given up until it is back",
    ),
    mutant(
        "a receipt does not count the nodes that may still be met",
        (f"{NODE}.delivery", "joining=self.trust.phase is Phase.JOINING", "joining=False"),
        seen_by="tests/protocol/test_fences.py::test_delivery_is_open_while_the_node_joins",
        because="nothing is promised of a node that is not a member yet",
    ),
    mutant(
        "receipts are not looked at again when a peer is gone",
        (
            f"{MEMBERSHIP}._forget",
            "do.PeerLost(peer.identity, gone=True, reason=reason), do.RecheckReceipts()",
            "do.PeerLost(peer.identity, gone=True, reason=reason)",
        ),
        seen_by=f"{RULES}::test_receipts_are_looked_at_again_when_a_peer_is_gone",
        because="they are looked at again every second in any case",
    ),
    mutant(
        "receipts are looked at again only when a peer is gone",
        (f"{NODE}._tidy", "do.RecheckReceipts(), ", ""),
        seen_by=f"{RULES}::test_receipts_are_looked_at_again_as_time_passes",
        because="every acknowledgement has them looked at as well, and in the peace of a run there are many",
    ),
)

MUTANTS: Final[dict[str, Mutant]] = {
    each.name: each
    for group in (VOUCHES, DELIVERY, RECEIPTS, MEMBERS, JOINING, NAMES, GIVING_UP, CACHE, TAGS, VERSIONS)
    for each in group
}
