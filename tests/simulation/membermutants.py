"""The planted bugs of membership: who belongs to the mesh, what holds the proof, and when a node is given up."""

from __future__ import annotations

from tests.simulation.planting import RULES, mutant

ADDRESSES = "flushmesh.protocol.addresses:Addresses"
ADMISSION = "flushmesh.protocol.meeting:refusal_of"
EXCHANGE = "flushmesh.protocol.exchange:Exchange"
MEETING = "flushmesh.protocol.meeting:Meeting"
MEMBERSHIP = "flushmesh.protocol.membership:Membership"
NODE = "flushmesh.protocol.node:Node"
PEERS = "flushmesh.protocol.peers:Peers"
PEER = "flushmesh.protocol.peer:Peer"
TRUST = "flushmesh.protocol.trust:Trust"
STORE = "flushmesh.store:Store"

MEMBERS = (
    mutant(
        "a caller is recorded after it was answered",
        (
            f"{MEMBERSHIP}._add",
            "self._journal.append(Met(identity, direct))",
            "direct or self._journal.append(Met(identity, direct))",
        ),
        (
            f"{MEETING}.open",
            "link.move(Step.OPEN)",
            "met = self._membership.meet.__globals__['Met'](peer.identity, True)\n"
            "    peer.cursor is None and self._journal.append(met)\n"
            "    link.move(Step.OPEN)",
        ),
    ),
    mutant(
        "a member that was heard of is not relayed",
        (
            f"{MEMBERSHIP}._add",
            "self._journal.append(Met(identity, direct))",
            "direct and self._journal.append(Met(identity, direct))",
        ),
        seen_by="tests/protocol/test_membership.py::test_a_member_that_was_heard_of_is_relayed",
        because="a node knows the members of the one that it has met, and dials them",
    ),
    mutant(
        "no member is recorded",
        (f"{MEMBERSHIP}._add", "self._journal.append(Met(identity, direct))", "pass"),
    ),
    mutant(
        "the list of members is not read",
        (f"{EXCHANGE}._skip", "effects += self._membership.take_listing(peer, truncated.members, now)", "pass"),
    ),
    mutant(
        "the same members are taken for granted",
        (f"{EXCHANGE}._serve", "None if follow.known == self._peers.digest else", "None if follow.known else"),
    ),
    mutant(
        "a departure is not recorded",
        (f"{MEMBERSHIP}.said_goodbye", "self._journal.append(Gone(peer.identity.id, flushes))", "pass"),
        seen_by="tests/protocol/test_membership.py::test_a_departure_is_recorded_once_with_the_number_of_flushes",
        because="a node that leaves tells those it knows itself",
    ),
    mutant(
        "a departure with flushes missing is accepted",
        (f"{MEMBERSHIP}.said_goodbye", "if peer.flushes < flushes and not", "if False and not"),
        seen_by="tests/protocol/test_membership.py::test_a_visitor_that_came_wrote_and_went_costs_what_it_flushed",
        because="the proof stands for two seconds first, and in small worlds everything has run out by then",
    ),
    mutant(
        "a departure always costs trust",
        (f"{MEMBERSHIP}.said_goodbye", "if peer.flushes < flushes and not", "if not"),
    ),
    mutant(
        "a departure that is reported is believed at once",
        (
            f"{MEMBERSHIP}.hear_gone",
            "if not peer.followed and (peer.flushes >= gone.flushes or self._irrelevant(peer)):",
            "if True:",
        ),
    ),
    mutant(
        "a late Hello brings a node back that has left",
        (ADMISSION, "if peers.gone(hello.node.id) is State.LEFT:", "if False:"),
        seen_by="tests/protocol/test_leaving.py::test_a_hello_that_arrives_after_its_goodbye_brings_nothing_back",
        because="it shows seldom: a Hello has to be under way while its node says goodbye on another stream",
    ),
    mutant(
        "old news brings a node back that has left",
        (
            f"{MEMBERSHIP}.hear_of",
            "gone is State.LEFT or (gone is State.LOST and not alive)",
            "gone is State.LOST and not alive",
        ),
    ),
    mutant(
        "a node that was given up never comes back by news",
        (f"{MEMBERSHIP}.hear_of", "(gone is State.LOST and not alive)", "gone is State.LOST"),
        seen_by="tests/protocol/test_membership.py::test_a_lost_node_is_a_member_again_when_another_has_found_it_alive",
        because="the two dial each other for lost_after more, and meet",
    ),
    mutant(
        "a member just heard of does not hold the proof",
        (f"{PEERS}.add", "Peer(identity, trusted_at, now)", 'Peer(identity, float("inf"), now)'),
    ),
    mutant(
        "a member just heard of starts with a vouch of now",
        (f"{PEERS}.add", "Peer(identity, trusted_at, now)", "Peer(identity, now, now)"),
        seen_by="tests/protocol/test_trust.py::test_a_member_that_was_heard_of_holds_the_proof_until_it_vouches",
        because="it lets the proof run ahead by one ping at most",
    ),
    mutant(
        "a node that leaves waits for no member that it has not reached",
        (f"{NODE}._out_of_reach", "return address is None or address.refused_since is not None", "return True"),
        seen_by="tests/protocol/test_leaving.py::test_a_node_that_leaves_waits_for_a_member_it_has_not_reached",
        because="it waits for the dials that are under way in any case",
    ),
    mutant(
        "a node that leaves refuses members",
        (
            ADMISSION,
            "if known is None and hello.node.id != me.id:\n        if leaving:",
            "if leaving:\n"
            "        return Refusal(Why.LEAVING, 'this node is leaving')\n"
            "    if known is None and hello.node.id != me.id:\n"
            "        if leaving:",
        ),
        seen_by="tests/protocol/test_leaving.py::test_a_node_that_leaves_still_serves_members_that_call",
        because="it dials them as well",
    ),
    mutant(
        "a node that leaves says goodbye before it has heard of all members",
        (f"{NODE}._says_goodbye", "(now >= self._goodbye_due or self.membership.heard_all())", "True"),
        seen_by=f"{RULES}::test_a_node_that_leaves_first_hears_of_all_members",
        because="where nothing goes wrong the list comes faster than a script can leave",
    ),
    mutant(
        "two streams of a pair are kept",
        (f"{MEETING}.open", "if other is not link and (other.open or other.address is not None):", "if False:"),
        seen_by="tests/protocol/test_streams.py::test_a_stream_that_one_side_has_lost_is_replaced_by_a_new_dial",
        because="two streams carry the same, and cost memory alone",
    ),
)

JOINING = (
    mutant(
        "the proof moves while the node is joining",
        (f"{TRUST}.advance", "if not self._proves:", "if False:"),
        seen_by="tests/protocol/test_trust.py::test_a_late_tick_with_multicast_only_has_the_node_look_around_again",
        because="names and members that are not known yet hold the proof by themselves, but for those of mDNS",
    ),
    mutant(
        "joining ends without distrust",
        (
            f"{NODE}._settle",
            "[do.Distrust(None, self.trust.at, reason), do.Joined(silent), do.RecheckReceipts()]",
            "[do.Joined(silent), do.RecheckReceipts()]",
        ),
    ),
    mutant(
        "joining does not wait for what members know",
        (f"{TRUST}.settles", "return complete and ", "return "),
        seen_by=f"{RULES}::test_joining_lasts_until_the_first_member_has_told_of_the_others",
        because="the members that it does not know yet hold the proof a moment later",
    ),
    mutant(
        "an address that does not answer counts as nobody",
        (
            f"{ADDRESSES}.failed",
            "address.answered |= ending in (Ending.REFUSED, Ending.FOREIGN)",
            "address.answered = True",
        ),
        (f"{ADDRESSES}.failed", "if ending is Ending.REFUSED:", "if ending in (Ending.REFUSED, Ending.SILENT):"),
    ),
    mutant(
        "a first look that failed is nobody",
        (f"{TRUST}._all_proposed", "return not self._awaited", "return True"),
        (f"{TRUST}._proven", "for source in self.awaited():", "for source in ():"),
    ),
    mutant(
        "a discovery that is silent for long holds no proof",
        (f"{TRUST}._proven", "for source in self.awaited():", "for source in ():"),
        seen_by="tests/protocol/test_names.py::test_a_discovery_that_has_proposed_nothing_keeps_the_node_joining",
        because="nothing is promised of nodes that no discovery has named yet",
    ),
)

NAMES = (
    mutant(
        "names do not count",
        (f"{TRUST}._proven", "for address in self.holding(peers, addresses, now):", "for address in ():"),
    ),
    mutant(
        "silence counts as a refusal",
        (f"{ADDRESSES}.failed", "if ending is Ending.REFUSED:", "if ending in (Ending.REFUSED, Ending.SILENT):"),
    ),
    mutant(
        "a refusal is dated when it came",
        (f"{ADDRESSES}.proves", "max(address.proven, address.dialled_at)", 'float("inf")'),
        seen_by="tests/protocol/test_names.py::test_a_refusal_is_dated_when_its_dial_began",
        because="a node has to start, meet another and flush while the answer is under way",
    ),
    mutant(
        "a name that is let go after silence costs no trust",
        (
            f"{TRUST}.doubts",
            "if not address.unseen or address.given_up or not self._proves or peers.at(address.text):",
            "if True:",
        ),
        seen_by="tests/protocol/test_names.py::test_a_name_that_was_silent_and_refuses_now_costs_distrust",
        because="it shows seldom: a named node has to be out of reach for as long as it lives",
    ),
    mutant(
        "a member's address proves nothing new after the member",
        (
            f"{MEMBERSHIP}._uncover",
            "address.proven = max(address.proven, peer.vouched)",
            "address.proven = float('inf')",
        ),
        seen_by="tests/protocol/test_names.py::test_a_host_that_only_dns_names_is_excused_for_a_minute",
        because="it shows seldom: another node has to come to an address from which nothing comes back",
    ),
    mutant(
        "a pod that was not heard to leave is excused",
        (f"{ADDRESSES}.excuses", "now < address.excused_until", "True"),
    ),
    mutant(
        "a refusal for the version is nobody",
        (f"{MEETING}.refused", "foreign = refusal.why is Why.MESH", "foreign = refusal.why in (Why.MESH, Why.VERSION)"),
    ),
    mutant(
        "a caller with another version does not hold the proof",
        (f"{MEETING}.admit", "if refusal.why is Why.VERSION:", "if False:"),
        seen_by="tests/protocol/test_names.py::test_a_caller_of_another_version_holds_the_proof_for_as_long_as_it_calls",
        because="where each names the other the name holds it as well",
    ),
    mutant(
        "alone is proven now",
        (f"{TRUST}.advance", "default=self.looked_at", "default=now"),
        seen_by=f"{RULES}::test_a_node_that_is_alone_has_proven_its_last_tick",
        because="it lets the proof run ahead by one ping at most",
    ),
    mutant(
        "a late tick proves",
        (f"{TRUST}.rejoin", "if self.phase is not Phase.JOINED or not hints:", "if True:"),
        seen_by="tests/protocol/test_trust.py::test_a_late_tick_with_multicast_only_has_the_node_look_around_again",
        because="multicast names nothing, so nothing is promised before the two have met",
    ),
)

GIVING_UP = (
    mutant(
        "a lost peer is forgotten without distrust",
        (f"{MEMBERSHIP}.give_up", "[do.Distrust(peer.identity, peer.vouched, reason)]", "[]"),
    ),
    mutant(
        "giving up distrusts since the last word",
        (
            f"{MEMBERSHIP}.give_up",
            "do.Distrust(peer.identity, peer.vouched, reason)",
            "do.Distrust(peer.identity, peer.last_heard, reason)",
        ),
    ),
    mutant(
        "a later proof is published before the distrust it rests on",
        (
            f"{MEMBERSHIP}.give_up",
            "effects: list[Effect] = [do.Distrust(peer.identity, peer.vouched, reason)]",
            "effects: list[Effect] = []",
        ),
        (
            f"{MEMBERSHIP}.give_up",
            "self._journal.append(Lost(peer.identity.id))",
            "effects.append(do.Distrust(peer.identity, peer.vouched, reason))\n"
            "    self._journal.append(Lost(peer.identity.id))",
        ),
    ),
    mutant(
        "what a peer says is no sign of life",
        (f"{NODE}.receive", "link.peer.heard_at = now", "pass"),
    ),
    mutant(
        "a silent peer that is still named is given up",
        (f"{MEMBERSHIP}._reason_to_give_up", "patience = self._give_up_silent", "pass"),
    ),
    mutant(
        "a peer that another one reaches is given up",
        (f"{MEMBERSHIP}._reason_to_give_up", " or self.reached_by_others(peer, now)", ""),
        seen_by="tests/protocol/test_giving_up.py::test_a_member_that_a_fresh_peer_reaches_is_not_given_up",
        because="a node that is given up is excused, and is a member again by news",
    ),
    mutant(
        "two dead nodes keep each other alive",
        (f"{MEMBERSHIP}.reached_by_others", "other.followed and other.vouched >= fresh and ", ""),
    ),
    mutant(
        "a peer that has not vouched lately reaches what it reached",
        (f"{MEMBERSHIP}.reached_by_others", " and other.vouched >= fresh", ""),
        seen_by="tests/protocol/test_giving_up.py::test_a_hung_peer_is_given_up_although_the_streams_of_others_hang_too",
        because="it is silent itself, and the stream to it ends soon",
    ),
    mutant(
        "rumours do not age",
        (f"{MEMBERSHIP}.take_reports", "heard_at = now - report.age", "heard_at = now"),
    ),
    mutant(
        "a member that only dialled in is given up for a refusal",
        (f"{MEMBERSHIP}._refused", "if address.node_id == peer.identity.id:", "if True:"),
    ),
    mutant(
        "one refusal is enough",
        (f"{MEMBERSHIP}._refused", "if address.refused_at < address.refused_since + REFUSED_FOR:", "if False:"),
        seen_by=f"{RULES}::test_a_peer_whose_address_refused_once_is_not_given_up_while_the_next_dial_hangs",
        because="the dials that follow a refusal in five seconds have to hang, all of them",
    ),
    mutant(
        "a refusal outlives the return of its node",
        (f"{ADDRESSES}.leave_alone", "address.refused_since = None", "pass"),
        (f"{MEMBERSHIP}.meet", "address.refused_since = None", "pass"),
    ),
    mutant(
        "hearsay keeps itself alive",
        (f"{PEER}.has_met", " and not self.unreached.get(node_id)", ""),
    ),
    mutant(
        "a long sleep gives its peers up",
        (f"{NODE}._woke", "peer.slept(gap, now)", "pass"),
        seen_by="tests/protocol/test_giving_up.py::test_a_long_sleep_gives_no_member_up_at_the_first_tick",
        because="what has come meanwhile is read before the clock is looked at, in the order of a run",
    ),
    mutant(
        "the dead incarnation replaces the living one",
        (f"{MEMBERSHIP}._taken", "other.identity.address == address.text and later", "True"),
    ),
    mutant(
        "a forgotten peer keeps its stream",
        (f"{MEMBERSHIP}._forget", "for link in self._links.of(peer):", "for link in ():"),
    ),
    mutant(
        "a lost node's address is not dialled any more",
        (
            f"{MEMBERSHIP}.give_up",
            "self._addresses.keep(peer.identity.address, now + min(self._lost_after, 1e9))",
            "pass",
        ),
        seen_by=f"{RULES}::test_a_lost_node_is_dialled_for_a_while",
        because="the other one dials as well, and most are named",
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
