"""
Outlook: what is wrong with the mesh as it looks from here, in words for people.

A node that is alone although it was told of addresses, and a mesh whose nodes do not all
see each other, are worth a word once they last; a restart or a short cut is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flushmesh.protocol.contacts import Contact, Contacts
from flushmesh.protocol.effects import Alone, Effect, Split
from flushmesh.protocol.peer import State
from flushmesh.protocol.peers import Peers

# News travels with vouches; what a few of them have not mended is no passing difference.
LASTING_PINGS: Final = 3
LASTING_MIN: Final = 5.0
# However many nodes or addresses there are, a line names so many.
NAMED_MAX: Final = 3


class Outlook:
    """How the mesh looks from here: `split` and `alone` say what is wrong, and are empty if nothing is."""

    def __init__(self) -> None:
        self._split = _Lasting()
        self._alone = _Lasting()

    @property
    def split(self) -> str:
        """Who does not see whom."""
        return self._split.text

    @property
    def alone(self) -> str:
        """Why nobody is followed although there are addresses to try."""
        return self._alone.text

    def look(self, peers: Peers, contacts: Contacts, ping_interval: float, now: float, *, joined: bool) -> list[Effect]:
        """Look around; tell of what has begun to last, and of what has ended."""
        effects: list[Effect] = []
        patience = max(LASTING_MIN, LASTING_PINGS * ping_interval)
        if self._split.look(_split(peers), patience, now):
            effects.append(Split(self.split))
        if self._alone.look(_alone(peers, contacts) if joined else "", patience, now):
            effects.append(Alone(self.alone))
        return effects


class _Lasting:
    """A condition in words, empty while there is nothing to say."""

    def __init__(self) -> None:
        self.text = ""
        self._since: float | None = None
        self._told = False

    def look(self, text: str, patience: float, now: float) -> bool:
        """Take *text* as it is now; tell whether that has just lasted for *patience* seconds, or ended after it had."""
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


def _split(peers: Peers) -> str:
    """
    Say who does not see whom, or nothing if all see the same nodes.

    A node that nobody has a stream with is not there, rather than not seen.
    """
    me = peers.me
    views = {me.id: {me.id} | {peer.identity.id for peer in peers if peer.reached}}
    names = {me.id: me.name} | {peer.identity.id: peer.identity.name for peer in peers}
    for peer in peers:
        if peer.state is State.FOLLOWING and peer.vouched_once:
            seen = {node_id for node_id, reached in peer.knows.items() if reached}
            views[peer.identity.id] = {peer.identity.id} | seen
    everybody = set(names).intersection(set[bytes]().union(*views.values()))
    blind = []
    for viewer, seen in sorted(views.items(), key=lambda view: names[view[0]]):
        unseen = sorted(names[node_id] for node_id in everybody - seen)
        if unseen:
            blind.append(f"{names[viewer]} sees {len(everybody) - len(unseen)}, without {_some(unseen)}")
    return f"of {len(everybody)} nodes {_some(blind, '; ')}" if blind else ""


def _alone(peers: Peers, contacts: Contacts) -> str:
    """Say why nobody is followed although there are addresses to try, or nothing if that is not so."""
    tried = [contact for contact in contacts if not contact.mine]
    if len(peers) or not tried:
        return ""
    return f"nobody is followed: {_some(map(_why_not, tried), '; ')}"


def waiting_for(expected: int, followed: int, contacts: Contacts, sources: Iterable[str]) -> str:
    """Say whom joining waits for."""
    if followed >= expected:
        silent = [contact.address for contact in contacts.unanswered()]
        return f"nothing comes back from {_some(silent) or 'discovery'}"
    nobody = [_why_not(contact) for contact in contacts if contact.peer is None and not contact.mine]
    if not nobody:
        hint = "; is multicast blocked?" if "mdns" in sources else ""
        nobody = [f"no other address was proposed by {_some(sources) or 'anybody'}{hint}"]
    return f"{followed} of {expected} expected peers are followed; {_some(nobody, '; ')}"


def _why_not(contact: Contact) -> str:
    if contact.refusal is not None:
        return f"{contact.address} refuses: {contact.refusal}"
    if contact.deserted:
        return f"nothing listens at {contact.address}"
    if not contact.answered and contact.failures:
        return f"nothing comes back from {contact.address}; is it down, or behind a firewall?"
    return f"{contact.address} has not been reached yet"


def _some(words: Iterable[str], separator: str = ", ") -> str:
    """Return the first few of *words*, and how many more there are."""
    named = list(words)
    more = len(named) - NAMED_MAX
    return separator.join([*named[:NAMED_MAX], f"and {more} more"] if more > 0 else named)
