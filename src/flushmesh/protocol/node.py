"""
Node: one node of a mesh, as pure state.

It owns the journal, the members, the addresses and every open stream.  Its driver hands in
what happened together with the time, and carries out the effects it answers with, in
their order.  Sending is pulled: `next_message` returns what a link sends next, so nothing
is ever queued for a slow peer.

A node is not thread-safe: one thread drives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

from flushmesh.protocol import effects as do
from flushmesh.protocol.addresses import REFUSED_MAX, Address, Addresses, Ending, Standing
from flushmesh.protocol.diagnosis import Diagnosis, explain, waiting_for
from flushmesh.protocol.effects import Effect
from flushmesh.protocol.exchange import Exchange
from flushmesh.protocol.journal import Journal
from flushmesh.protocol.link import MEET_MAX, Link, Links, LinkState
from flushmesh.protocol.meeting import Meeting
from flushmesh.protocol.membership import Membership
from flushmesh.protocol.messages import Flush, Follow, Hello, Identity, Message, Refusal, Welcome
from flushmesh.protocol.peer import Input, Peer
from flushmesh.protocol.peers import PEERS_MAX, Peers
from flushmesh.protocol.trust import Phase, Source, Step, Trust

# How often a node looks whether a member is gone or something is wrong; at most once per ping.
TIDY_MIN: Final = 1.0

# How long a goodbye waits for the members that others know: half of the second that closing may take.
HEAR_MAX: Final = 0.5

# A tick that comes later than this after its time, and two pings, means that the process slept.
SLEPT_MIN: Final = 1.0


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """
    What a node of the protocol can be told; durations in seconds.

    *max_staleness* is the largest that any cache of this node has.  A member from which
    nothing comes for *lost_after* is given up, or for *give_up_silent* if a roster or DNS
    still names it.  Each of them may be infinite.  *sources* are the discoveries whose
    proposals joining waits for, and *expect* how many peers, see `Trust`.
    """

    max_staleness: float = inf
    lost_after: float = inf
    give_up_silent: float = inf
    peers_max: int = PEERS_MAX
    sources: Mapping[str, Source] = field(default_factory=dict)
    expect: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """
    How far one flush has come.

    While this node is *joining* there may be peers it has not met.  *unreached* are named
    addresses from which nothing ever came back; *alone* is whether no other node was ever
    met although addresses are named.
    """

    acknowledged: list[Peer]
    fenced: list[Peer]
    missing: list[Peer]
    unreached: list[str]
    joining: bool
    alone: bool


class Node:
    """
    One node of the mesh *mesh*.

    Links are numbered here: `Dial` names a new outgoing one, `accept` an incoming one.
    `ping_interval` and `staleness_min`, the smallest finite bound of any cache, may be
    changed at any time.
    """

    def __init__(
        self,
        mesh: str,
        identity: Identity,
        journal: Journal,
        options: NodeOptions,
        now: float,
        ping_interval: float,
        staleness_min: float = inf,
    ) -> None:
        sources = options.sources
        self.mesh = mesh
        self.journal = journal
        self.options = options
        self.peers = Peers(identity, options.peers_max)
        self.addresses = Addresses(
            identity.id,
            naming=[name for name, source in sources.items() if source.names],
            passing=[name for name, source in sources.items() if source.passing],
        )
        self.trust = Trust(now, sources, options.lost_after, options.give_up_silent, options.expect)
        self.links = Links()
        self.diagnosis = Diagnosis()
        self.membership = Membership(
            journal, self.peers, self.addresses, self.trust, self.links, options.lost_after, options.give_up_silent
        )
        self._meeting = Meeting(mesh, options.max_staleness, journal, self.peers, self.membership, self.links, now)
        self._exchange = Exchange(journal, self.peers, self.membership)
        self._ping_due = self._tidy_due = now
        self._pinged_at = now
        self._goodbye_due = inf
        self._advance_due = now
        self._told: set[bytes] = set()
        self.ping_interval = ping_interval
        self.staleness_min = staleness_min

    @property
    def identity(self) -> Identity:
        """This node, as it introduces itself."""
        return self.peers.me

    @property
    def ping_interval(self) -> float:
        """Seconds between two pings to the same peer."""
        return self.membership.ping_interval

    @ping_interval.setter
    def ping_interval(self, seconds: float) -> None:
        self.membership.ping_interval = seconds

    @property
    def staleness_min(self) -> float:
        """The smallest finite bound of any cache, in seconds; infinite if there is none."""
        return self._staleness_min

    @staleness_min.setter
    def staleness_min(self, seconds: float) -> None:
        self._staleness_min = seconds
        # A refusal proves the moment at which the attempt began: it has to be renewed well within the bound.
        self.addresses.refused_max = min(REFUSED_MAX, seconds / 5)

    # What the application does.

    def flush(self, flush: Flush) -> int:
        """Number *flush* and return its sequence; every open link has something to send now."""
        return self.journal.append(flush)

    def ask(self, sequence: int) -> list[Effect]:
        """Have every peer acknowledge *sequence* as soon as it has applied it, also one that comes back."""
        for peer in self.peers:
            peer.asked = max(peer.asked, sequence)
        for link in self.links.open():
            link.follower.ask(sequence)
        return self.membership.wake()

    def delivery(self, sequence: int, flushed_at: float, now: float) -> Progress:
        """Return how far the flush *sequence*, made at *flushed_at*, has come."""
        progress = Progress([], [], [], [], joining=self.trust.phase is Phase.JOINING, alone=self._alone())
        for peer in self.peers:
            if sequence <= peer.begins_after:
                # It was started after that flush, and has loaded nothing older.
                continue
            if peer.has_applied(sequence):
                progress.acknowledged.append(peer)
            elif peer.fenced(sequence, flushed_at, now):
                progress.fenced.append(peer)
            else:
                progress.missing.append(peer)
        if not progress.joining:
            holding = self.trust.holding(self.peers, self.addresses, now)
            progress.unreached.extend(address.text for address in holding if not address.answered)
        return progress

    def _alone(self) -> bool:
        """Return whether no other member was ever known, although addresses of others are named."""
        return not self.peers.met_any and any(True for _ in self.addresses.named())

    def leave(self, now: float) -> list[Effect]:
        """Say goodbye to every member, after everything that is still to be sent."""
        self.trust.move(Step.CLOSING)
        self._goodbye_due = now + HEAR_MAX
        for peer in self.peers:
            if not peer.followed:
                self.addresses.hurry(peer.identity.address, now)
        return self.membership.wake() + self._dial_due(now)

    @property
    def leaving(self) -> bool:
        """Whether this node is saying goodbye, so that a further flush would reach no peer."""
        return self.trust.phase is Phase.LEAVING

    @property
    def parted(self) -> bool:
        """Whether every member that can be reached, or may have just met this node, has been told goodbye."""
        if any(link.state is LinkState.HELLO_SENT for link in self.links):
            return False
        return all(peer.identity.id in self._told or self._out_of_reach(peer) for peer in self.peers)

    def _out_of_reach(self, peer: Peer) -> bool:
        if self.links.of(peer):
            return False
        address = self.addresses.get(peer.identity.address)
        return address is None or address.refused_since is not None

    def moved(self, address: str) -> None:
        """Record that this node listens at *address* from now on."""
        self.peers.me = replace(self.peers.me, address=address)
        self.addresses.moved()

    def give_up(self, text: str, now: float) -> list[Effect]:
        """Give up, by hand, the address *text*, and the members there with which there is no stream."""
        effects: list[Effect] = []
        address = self.addresses.get(text)
        if address is not None and address.state is not Standing.FOLLOWED:
            if self.trust.doubts(address, self.peers, self.addresses, now):
                effects += self.membership.doubt(address)
            address.given_up = True
            self.trust.reconsider()
        for peer in self.peers.at(text):
            if not peer.followed:
                effects += self.membership.give_up(peer, Input.GIVEN_UP, "it was given up by hand", now)
        return effects + self.membership.advance(now)

    # What discovery and the clock do.

    def propose(self, source: str, addresses: Iterable[str], now: float) -> list[Effect]:
        """Take *addresses* for all that the discovery *source* proposes from now on."""
        doubtful = self.trust.doubtful(self.peers, self.addresses, now)
        self.addresses.propose(source, addresses, self.trust.at, now)
        self.trust.proposed(source)
        self.trust.reconsider()
        effects: list[Effect] = []
        for address in doubtful:
            if not address.named:
                effects += self.membership.doubt(address)
        return effects + self._dial_due(now) + self._settle(now) + self.membership.advance(now)

    def tick(self, now: float) -> list[Effect]:
        """Do what is due: dial addresses, ping peers, give up the members that are gone, end joining."""
        effects = self._dial_due(now)
        if self.leaving:
            if now >= self._goodbye_due:
                self._goodbye_due = -inf
                effects += self.membership.wake()
            return effects
        if now >= self._ping_due:
            effects += self._ping_all(now)
        if now >= self._tidy_due:
            effects += self._tidy(now)
        return effects + self._settle(now)

    def next_due(self) -> float:
        """Return when `tick` has something to do next, infinity if never again."""
        if self.leaving:
            return min(self.addresses.next_due(), self._goodbye_due if self._goodbye_due > -inf else inf)
        return min(self._ping_due, self._tidy_due, self.addresses.next_due(), self.trust.settle_due())

    def _ping_all(self, now: float) -> list[Effect]:
        """Ping every peer, all at once: the proof is the least of the answers."""
        gap = now - self._pinged_at - self.ping_interval
        if gap > self.ping_interval + SLEPT_MIN:
            self._woke(gap, now)
        self._pinged_at = self.trust.looked_at = now
        self.journal.mark(now)
        self._ping_due = now + self.ping_interval
        effects: list[Effect] = []
        for peer in self.peers:
            if peer.link is not None:
                peer.ping()
                effects.append(do.Wake(peer.link))
        return effects + self.membership.advance(now)

    def _woke(self, gap: float, now: float) -> None:
        """Count the time that this node slept as no other node's silence, and look who has come meanwhile."""
        for peer in self.peers:
            peer.slept(gap, now)
        self.addresses.slept(gap, now)
        if self.trust.rejoin(now):
            self.addresses.look_around(now)

    def _tidy(self, now: float) -> list[Effect]:
        self._tidy_due = now + max(TIDY_MIN, self.ping_interval)
        effects: list[Effect] = []
        for link in self.links.overdue(now):
            reason = f"the two sides have not met within {MEET_MAX:g} s"
            effects += [do.HangUp(link.number), *self.closed(link.number, reason, now, Ending.SILENT)]
        effects += self.membership.overdue(now)
        for address in self.trust.doubtful(self.peers, self.addresses, now):
            if self.trust.released(address, now):
                effects += self.membership.doubt(address)
                address.given_up = True
        self.addresses.tidy(now)
        effects += [do.RecheckReceipts(), *self.membership.advance(now)]
        if self.trust.stalls(self.options.max_staleness, now):
            effects.append(do.Stalled(self.why(now)))
        return effects + self.diagnosis.look(self.peers, self.addresses, self.trust, self.ping_interval, now)

    def _dial_due(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for address in self.addresses.due(now):
            if self.leaving and all(peer.identity.id in self._told for peer in self.peers.at(address.text)):
                continue
            link = self.links.dialled(address, now)
            self.addresses.dialled(address, link.number, now)
            effects.append(do.Dial(link.number, address.text))
        return effects

    def why(self, now: float) -> str:
        """Return in one sentence why entries are running out, empty if they are not."""
        return explain(self.trust, self.peers, self.addresses, self.options.max_staleness, now)

    def waiting_for(self) -> str:
        """Return what joining waits for, empty once it has ended."""
        return waiting_for(self.trust, self.membership.followed(), self.addresses)

    # What streams do.

    def accept(self, host: str, now: float) -> int:
        """Return a new link for a stream that was opened from *host*; a Hello must come on it soon."""
        return self.links.accepted(host, now).number

    def next_message(self, number: int, now: float) -> Message | None:
        """Return what is to be sent on the link *number* next, or None for now."""
        link = self.links.get(number)
        if link is None:
            return None
        message = self._meeting.next_message(link, now, leaving=self.leaving)
        return message or self._exchange.next_message(link, now, goodbye=self._says_goodbye(now))

    def _says_goodbye(self, now: float) -> bool:
        """Return whether a goodbye may be sent: other members may have to be heard of first, for a moment."""
        return self.leaving and (now >= self._goodbye_due or self.membership.heard_all())

    def receive(self, number: int, message: Message, now: float) -> list[Effect]:
        """Take *message* from the link *number*; one that cannot come there ends the link."""
        link = self.links.get(number)
        if link is None:
            return []
        if link.peer is not None:
            link.peer.heard_at = now
        handle = self._exchange.receive if link.open else self._meet
        effects = handle(link, message, now)
        if effects is None:
            return self.hang_up(number, f"did not expect this {type(message).__name__} here", now)
        return effects + self._dial_due(now) + self._settle(now)

    def _meet(self, link: Link, message: Message, now: float) -> list[Effect] | None:
        effects: list[Effect] | None = None
        match message:
            case Hello():
                # Until the first goodbye, every follower still learns of a caller.
                effects = self._meeting.admit(link, message, now, leaving=self._says_goodbye(now))
            case Welcome():
                effects = self._meeting.welcomed(link, message, self.addresses, now)
            case Refusal():
                effects = self._meeting.refused(link, message, self.addresses, now)
            case Follow():
                effects = self._meeting.chosen(link, self.addresses, now)
                if effects is not None:
                    effects += self._exchange.receive(link, message, now) or []
        return effects

    @property
    def _joining(self) -> bool:
        return self.trust.phase is Phase.JOINING

    def hang_up(self, number: int, reason: str, now: float) -> list[Effect]:
        """End the link *number* because of what the other side did there."""
        return [do.HangUp(number), *self.closed(number, reason, now)]

    def closed(self, number: int, reason: str, now: float, ending: Ending = Ending.BROKEN) -> list[Effect]:
        """Record that the link *number* has ended, or never came about."""
        link = self.links.pop(number)
        if link is None:
            return []
        effects: list[Effect] = []
        peer, address = link.peer, link.address
        if peer is not None and link.follower.finished:
            self._told.add(peer.identity.id)
        if address is not None and address.link == number:
            if link.open:
                self.addresses.again(address, now)
            else:
                effects += self._failed(address, ending, now)
        if peer is not None and peer.link == number:
            effects += self._parted(peer, reason, now)
        return effects + self._settle(now)

    def _failed(self, address: Address, ending: Ending, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if ending is Ending.REFUSED and address.named and self.trust.doubts(address, self.peers, self.addresses, now):
            effects += self.membership.doubt(address)
        self.addresses.failed(address, ending, now)
        if self.trust.raised(address.text) and now >= self._advance_due:
            # Not each time: a roster may name hundreds of addresses, and every ping moves the proof too.
            self._advance_due = now + self.ping_interval / 4
            effects += self.membership.advance(now)
        return effects + self.membership.not_found(address, now)

    def _parted(self, peer: Peer, reason: str, now: float) -> list[Effect]:
        peer.link = None
        self.peers.move(peer, Input.PARTED)
        self.addresses.free(peer.identity.id, now)
        return [do.PeerLost(peer.identity, gone=False, reason=reason)]

    def cut(self, reason: str, now: float) -> list[Effect]:
        """Record that every link was ended by this node itself, which says nothing of peers; dial again at once."""
        effects = [effect for link in self.links for effect in self.closed(link.number, reason, now)]
        for address in self.addresses:
            if address.state is Standing.WAITING:
                self.addresses.hurry(address.text, now)
        return effects

    def _settle(self, now: float) -> list[Effect]:
        """Report that the node is ready, and end joining, if that may be."""
        if self.trust.ready and not self._joining:
            return []
        followed = self.membership.followed()
        effects: list[Effect] = [do.Ready()] if self.trust.becomes_ready(followed, self.addresses, now) else []
        complete = self.membership.complete()
        if not self.trust.settles(followed, self.addresses, now, complete=complete):
            return effects
        self.trust.move(Step.SETTLED)
        # A node may have written, and died, before this one could meet it.
        reason = "it has joined, and what was flushed before is unknown"
        silent = tuple(address.text for address in self.addresses.unanswered())
        effects += [do.Distrust(None, self.trust.at, reason), do.Joined(silent), do.RecheckReceipts()]
        return effects + self.membership.advance(now)
