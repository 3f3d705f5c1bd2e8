"""
The planted bugs: what this design is easiest to get wrong, each a few words of the shipped code.

A rule that can be broken without anybody noticing is a rule without a test.  `make mutants`
breaks each of these, and those of the store, and looks for the first seed, or the test, that
notices.
"""

from __future__ import annotations

from typing import Final

from tests.simulation.planting import RULES, Mutant, mutant
from tests.simulation.storemutants import CACHE, STORE, TAGS, VERSIONS

ORIGIN = "flushmesh.protocol.origin:Origin"
PEER = "flushmesh.protocol.peer:Peer"
PEERS = "flushmesh.protocol.peers:Peers"
NODE = "flushmesh.protocol.node:Node"
SERVING = "flushmesh.protocol.serving:Serving"
TRUST = "flushmesh.protocol.trust:Trust"
CONTACTS = "flushmesh.protocol.contacts:Contacts"
JOURNAL = "flushmesh.protocol.journal:Journal"

VOUCHES = (
    mutant(
        "a vouch counts from its receipt",
        (f"{PEER}.take_vouch", "max(self.vouched, vouch.clock)", "max(self.vouched, now)"),
    ),
    mutant(
        "a vouch is sent before the journal is drained",
        (f"{ORIGIN}.next_message", " and self.sent >= self._vouch.head", ""),
        (f"{NODE}._follow", " and head <= peer.cursor", ""),
    ),
    mutant(
        "a journal that outruns its stream holds back the vouch",
        (
            f"{ORIGIN}.next_message",
            "self._vouch is not None and",
            "self._vouch is not None and journal.reaches(self.sent) and",
        ),
        seen_by=f"{RULES}::test_a_journal_that_outruns_its_stream_does_not_hold_back_the_vouch",
        because="it shows seldom: the journal has to turn over between any two messages, to the very end",
    ),
    mutant(
        "a vouch speaks for less than the head",
        (f"{SERVING}.heard", "origin.pinged(message, self._journal.head)", "origin.pinged(message, 0)"),
    ),
    mutant(
        "a silent peer is left out of the minimum",
        (f"{TRUST}.advance", "for peer in peers)", "for peer in peers if peer.reached)"),
    ),
    mutant(
        "the proof moves while the node is joining",
        (f"{TRUST}.advance", "if self.phase is Phase.JOINING:", "if False:"),
    ),
    mutant(
        "news of a newcomer comes after the vouch",
        (
            f"{ORIGIN}._give_vouch",
            "self.told = news\n    return replace(vouch, known=news)",
            "before, self.told = self.told, news\n    return replace(vouch, known=before)",
        ),
        seen_by=f"{RULES}::test_news_of_a_newcomer_comes_with_the_vouch_at_the_latest",
        because="it lets the proof run ahead by one ping at most",
    ),
    mutant(
        "news of a newcomer comes with no vouch",
        (f"{ORIGIN}._give_vouch", "if news == self.told:", "if True:"),
    ),
    mutant(
        "the news of a vouch is taken after the vouch",
        (
            f"{NODE}._follow",
            "peer.take_vouch(message, now)\n            return effects + self._advance(now)",
            "return effects",
        ),
        (
            f"{NODE}._follow",
            "# The news first: whom it tells of has not vouched for anything yet.",
            "peer.take_vouch(message, now); early = self._advance(now)",
        ),
        (f"{NODE}._follow", "return effects\n", "return early + effects\n"),
        seen_by=f"{RULES}::test_a_node_just_learnt_of_holds_the_proof_where_it_stands",
        because="it lets the proof run ahead by one ping at most",
    ),
    mutant(
        "a node just learnt of does not hold the proof",
        (f"{PEERS}.hear_of", "Peer(node, trusted_at, now)", 'Peer(node, float("inf"), now)'),
    ),
    mutant(
        "a node just learnt of starts with a vouch of now",
        (f"{PEERS}.hear_of", "Peer(node, trusted_at, now)", "Peer(node, now, now)"),
        seen_by=f"{RULES}::test_a_node_just_learnt_of_holds_the_proof_where_it_stands",
        because="it lets the proof run ahead by one ping at most",
    ),
    mutant(
        "a Hello takes back the news of a vouch",
        (f"{NODE}._admit", "overtaken=overtaken", "overtaken=False"),
        seen_by="tests/protocol/test_meeting.py::test_a_hello_that_was_overtaken_takes_no_news_back",
        because="whoever is given up for it is distrusted first",
    ),
    mutant(
        "the news of a leaving node is not taken",
        (
            f"{NODE}._follow",
            "[*self._learn(peer, known, now), *self._goodbye(peer, head, now)]",
            "self._goodbye(peer, head, now)",
        ),
        seen_by=f"{RULES}::test_a_goodbye_tells_of_whom_its_node_has_met_last",
        because="it matters only between a node's last vouch and its goodbye",
    ),
)

DELIVERY = (
    mutant(
        "acknowledged before it is applied",
        (f"{NODE}._take", "[*effects, do.Wake(link)]", "[do.Wake(link), *effects]"),
    ),
    mutant(
        "acknowledged because it was sent",
        (f"{SERVING}.heard", "min(message.cursor, origin.sent)", "origin.sent"),
    ),
    mutant(
        "a gap is applied and the cursor advanced",
        (f"{PEER}.take", "return None", "self.cursor = batch.first - 1"),
        seen_by="tests/protocol/test_node.py::test_a_gap_ends_the_stream_and_changes_nothing",
        because="no origin of this code leaves a gap",
    ),
    mutant(
        "a truncated journal costs no trust",
        (f"{NODE}._follow", "return [do.Distrust(peer.identity, peer.vouched, reason)]", "return []"),
    ),
    mutant(
        "the journal lets go without moving its floor",
        (
            f"{JOURNAL}.append",
            "self.head - self.floor > self._flushes_max",
            "len(self._flushes) - self._start > self._flushes_max",
        ),
        (f"{JOURNAL}.append", "self.floor += 1", "pass"),
    ),
    mutant(
        "a cursor of an old id counts for a new one",
        (f"{SERVING}.open", "hello.origin_id == self._peers.me.id", "True"),
    ),
    mutant(
        "an id is kept across a restart",
        (
            "tests.simulation.process:Process.__init__",
            "Identity(self.world.random.randbytes(16), name, address)",
            'Identity(address.encode().ljust(16, b"-"), address, address)',
        ),
    ),
    mutant(
        "a goodbye with flushes missing is accepted",
        (f"{NODE}._goodbye", "if peer.cursor != head:", "if False:"),
        seen_by="tests/protocol/test_node.py::test_a_goodbye_with_flushes_missing_is_distrusted",
        because="no origin of this code says goodbye before its journal is drained",
    ),
    mutant(
        "a goodbye overtakes the journal",
        (
            f"{ORIGIN}.next_message",
            "acknowledge = self._flagged < self.asked",
            "acknowledge = self._flagged < self.asked and not leaving",
        ),
        (f"{ORIGIN}.next_message", "if self.sent < journal.head:", "if self.sent < journal.head and not leaving:"),
    ),
)

COMING_AND_GOING = (
    mutant(
        "a lost peer is forgotten without distrust",
        (
            f"{NODE}._give_up",
            "[do.Distrust(peer.identity, peer.vouched, reason), *self._forget(peer, by, reason, now)]",
            "self._forget(peer, by, reason, now)",
        ),
    ),
    mutant(
        "a goodbye costs trust",
        (f"{NODE}._goodbye", "if peer.cursor != head:", "if True:"),
    ),
    mutant(
        "an address that does not answer counts as nobody",
        (f"{CONTACTS}.closed", "contact.answered |= not silent", "contact.answered = True"),
    ),
    mutant(
        "joining ends without distrust",
        (f"{NODE}._settle", "[do.Distrust(None, self.trust.started_at, reason), do.Joined", "[do.Joined"),
    ),
    mutant(
        "two dead nodes keep each other alive",
        (f"{PEERS}.reached_by_others", "other.state is State.FOLLOWING and ", ""),
    ),
    mutant(
        "a forgotten peer keeps its old stream",
        (f"{NODE}._forget", "for link in self.serving.links_of(peer.identity.id):", "for link in ():"),
    ),
    mutant(
        "a later proof is published before the distrust it rests on",
        (
            f"{NODE}._give_up",
            "[do.Distrust(peer.identity, peer.vouched, reason), *self._forget(peer, by, reason, now)]",
            "[*self._forget(peer, by, reason, now), do.Distrust(peer.identity, peer.vouched, reason)]",
        ),
    ),
    mutant(
        "distrust empties the cache at once",
        (f"{STORE}.distrust", "if self._max_staleness == inf:", "if True:"),
    ),
    mutant(
        "distrust spares the loads that are running",
        (f"{STORE}.distrust", "self._guard.run(self._revoke_all_locked)", "pass"),
        seen_by=f"{RULES}::test_distrust_revokes_the_loads_that_are_running",
        because="it shows seldom: a load has to span both a lost flush and the moment its origin is given up",
    ),
)

RECEIPTS = (
    mutant(
        # From the flush alone would do no harm: a vouch that is given after a flush which is not
        # applied answers a ping from before it.
        "a fence is reckoned from the vouch alone",
        (f"{PEER}.fenced", "last = max(self.vouch_given_at, flushed_at)", "last = self.vouch_given_at"),
    ),
    mutant(
        "a fence holds for a peer that may have given this node up",
        (f"{PEER}.fenced", " or flushed_at >= self.vouch_given_at + self.lost_after / 1.002 - 1.0", ""),
        seen_by=f"{RULES}::test_a_peer_that_may_have_given_this_node_up_is_not_fenced",
        because="it shows seldom: a peer has to hear nothing for lost_after while this node hears it",
    ),
    mutant(
        "who was told Truncated has applied it",
        (f"{PEER}.has_applied", " and not self.skipped(sequence)", ""),
    ),
)

MUTANTS: Final[dict[str, Mutant]] = {
    each.name: each
    for group in (VOUCHES, DELIVERY, COMING_AND_GOING, RECEIPTS, CACHE, TAGS, VERSIONS)
    for each in group
}
