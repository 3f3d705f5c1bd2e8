"""
Diagnosis: what is wrong with the mesh as it looks from here, in words for people.

A node that is alone although it was told of addresses, and a mesh whose nodes do not all
reach each other, are worth a word once they last; a restart or a short cut is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flushmesh.protocol.addresses import Address, Addresses, Standing
from flushmesh.protocol.effects import Alone, Effect, Split
from flushmesh.protocol.peer import Peer
from flushmesh.protocol.peers import Peers
from flushmesh.protocol.trust import Phase, Trust

# A peer that was stopped is reported as out of reach a few pings later; what lasts longer is no passing difference.
LASTING_PINGS: Final = 6
LASTING_MIN: Final = 10.0
# A peer that has not vouched within so many reports nothing: it may be dead, and its stream not know it yet.
FRESH_PINGS: Final = 2
# However many nodes or addresses there are, a line names so many.
NAMED_MAX: Final = 3


class Diagnosis:
    """How the mesh looks from here: `split` and `alone` explain what is wrong, and are empty if nothing is."""

    def __init__(self) -> None:
        self._split = _Sustained()
        self._alone = _Sustained()

    @property
    def split(self) -> str:
        """Which node does not reach which."""
        return self._split.text

    @property
    def alone(self) -> str:
        """Why no peer is followed although there are addresses to try."""
        return self._alone.text

    def look(self, peers: Peers, addresses: Addresses, trust: Trust, ping_interval: float, now: float) -> list[Effect]:
        """Look around; report what has begun to last, and what has ended."""
        effects: list[Effect] = []
        patience = max(LASTING_MIN, LASTING_PINGS * ping_interval)
        fresh = now - FRESH_PINGS * ping_interval
        if self._split.look(_split(peers, fresh), patience, now):
            effects.append(Split(self.split))
        if self._alone.look(_alone(peers, addresses) if trust.phase is Phase.JOINED else "", patience, now):
            effects.append(Alone(self.alone))
        return effects


class _Sustained:
    """A condition in words, empty while there is nothing to report."""

    def __init__(self) -> None:
        self.text = ""
        self._since: float | None = None
        self._told = False

    def look(self, text: str, patience: float, now: float) -> bool:
        """Take *text* as it is now; return whether it has just lasted for *patience* seconds, or ended after it had."""
        self.text = text
        if not text:
            ended, self._told, self._since = self._told, False, None
            return ended
        if self._since is None:
            self._since = now
        if self._told or now < self._since + patience:
            return False
        self._told = True
        return True


def _split(peers: Peers, fresh: float) -> str:
    """
    Return which node does not reach which, empty if all reach the same nodes.

    Only a peer that has vouched since *fresh* reports anything.  A node that none of them
    reaches is not there, rather than not seen.
    """
    reporting = [peer for peer in peers if peer.followed and peer.vouched >= fresh]
    out_of_reach = [peer for peer in peers if not peer.reached]
    if not out_of_reach and not any(peer.unreached for peer in reporting):
        return ""
    blind: dict[str, set[str]] = {}
    for peer in out_of_reach:
        if any(other.reaches(peer.identity.id) for other in reporting):
            blind.setdefault(peers.me.name, set()).add(peer.identity.name)
    for peer in reporting:
        for node_id in peer.unreached:
            other = peers.get(node_id)
            if other is not None and (other in reporting or any(each.reaches(node_id) for each in reporting)):
                blind.setdefault(peer.identity.name, set()).add(other.identity.name)
    seen = 1 + len(peers)
    views = [
        f"{name} reaches {seen - len(unseen)}, not {_some(sorted(unseen))}" for name, unseen in sorted(blind.items())
    ]
    return f"of {seen} nodes {_some(views, '; ')}" if views else ""


def _alone(peers: Peers, addresses: Addresses) -> str:
    """Return why no peer is followed although there are addresses to try, empty if that is not so."""
    tried = [address for address in addresses if address.state is not Standing.SELF]
    if len(peers) or not tried:
        return ""
    return f"no peer is followed: {_some(map(_why_not, tried), '; ')}"


def waiting_for(trust: Trust, followed: int, addresses: Addresses) -> str:
    """Return what joining waits for, empty once it has ended."""
    if trust.phase is not Phase.JOINING:
        return ""
    if trust.awaited():
        return f"{_some(trust.awaited())} has not named any address yet"
    if followed >= trust.expect:
        waiting = [_why_not(address) for address in addresses.unanswered()]
        return _some(waiting, "; ") or "discovery may still find peers"
    missing = [
        _why_not(address)
        for address in addresses
        if address.state in (Standing.WAITING, Standing.DIALLING) and not address.node_id
    ]
    if not missing:
        hint = "; is multicast blocked?" if "mdns" in trust.sources else ""
        missing = [f"no other address was proposed by {_some(trust.sources) or 'any discovery'}{hint}"]
    return f"{followed} of {trust.expect} expected peers are followed; {_some(missing, '; ')}"


def explain(trust: Trust, peers: Peers, addresses: Addresses, max_staleness: float, now: float) -> str:
    """Return why entries are running out, empty if they are not."""
    if now - trust.at < max_staleness / 2:
        return ""
    if trust.phase is Phase.JOINING:
        followed = sum(peer.followed for peer in peers)
        return f"joining for {now - trust.started_at:.0f} s: {waiting_for(trust, followed, addresses)}"
    last = min(peers, key=lambda peer: peer.vouched, default=None)
    named = min(trust.holding(peers, addresses, now), key=lambda address: address.proven, default=None)
    if named is not None and (last is None or named.proven < last.vouched):
        cure = "take it out of the roster if no node is there, or set give_up_silent"
        return f"{_why_not(named)}; a node there cannot be ruled out since {now - named.proven:.0f} s: {cure}"
    if trust.awaited():
        return f"{_some(trust.awaited())} has not named any address yet"
    if trust.has_stranger(now):
        return "a node of this mesh calls that speaks another version of the protocol, and cannot be followed"
    if last is None:
        return f"this node itself has been idle for {now - trust.at:.0f} s"
    return _silence(last, peers.me.name, now)


def _silence(peer: Peer, me: str, now: float) -> str:
    name, address = peer.identity.name, peer.identity.address or "no address of its own"
    if peer.hearsay:
        cure = "let one of the two be dialled, by its listen address or the firewall"
        return f"{name} at {address} is a member, and neither it nor {me} can reach the other: {cure}"
    contact = "is connected but does not answer" if peer.followed else "is out of reach"
    cure = "" if peer.followed else "; if it is gone for good, take it out of the roster or give it up by hand"
    return f"{name} at {address} {contact}; it last vouched {now - peer.vouched:.0f} s ago{cure}"


def _why_not(address: Address) -> str:
    if address.refusal:
        return f"{address.text} refuses: {address.refusal}"
    if address.refused_since is not None:
        return f"nothing listens at {address.text}"
    if address.silent:
        return f"nothing comes back from {address.text}; is it down, or behind a firewall?"
    return f"{address.text} has not been reached yet"


def _some(words: Iterable[str], separator: str = ", ") -> str:
    """Return the first few of *words*, and how many more there are."""
    named = list(words)
    more = len(named) - NAMED_MAX
    return separator.join([*named[:NAMED_MAX], f"and {more} more"] if more > 0 else named)
