"""
Contacts: the addresses that were proposed, and what came of each.

Whatever finds addresses (a roster, mDNS, another node) proposes them under its own
name; an address stays as long as anyone proposes it.  An address is dialled whenever
nobody is followed through it: soon at first, then with a growing delay that is capped,
because a node that comes up should be met within seconds.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final
from zlib import crc32

from flushmesh.protocol.peer import Peer

# mDNS announces an address before the server behind it accepts; the first refusals are normal.
REDIAL_MIN: Final = 0.2
REDIAL_MAX: Final = 5.0
REDIAL_FACTOR: Final = 1.6


# Who proposes an address: a discovery by its name, or a node by its id, because it was met or
# heard of.
Source = str | bytes


@dataclass(slots=True)
class Contact:
    """
    One proposed address.

    `node_id` is who answered there last; `mine` is set once this node itself did.
    `answered` tells whether anything ever came back: an answer, or a refused connection.
    `hailed` is the id that the last Hello gave a cursor for; `deserted` tells that the last
    connection was refused because nobody listens there.
    """

    address: str
    sources: set[Source] = field(default_factory=set)
    link: int | None = None
    peer: Peer | None = None
    node_id: bytes = b""
    greeted: bool = False
    hailed: bytes = b""
    answered: bool = False
    deserted: bool = False
    mine: bool = False
    refusal: str | None = None
    failures: int = 0
    due: float = 0.0


class Contacts:
    """
    The proposed addresses, each at most once.

    *salt* makes the delays of different nodes differ, so that a mesh that starts at
    once does not dial in step; the same salt always gives the same delays.
    """

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._contacts: dict[str, Contact] = {}
        self._links: dict[int, Contact] = {}

    def __iter__(self) -> Iterator[Contact]:
        return iter(self._contacts.values())

    def of_link(self, link: int) -> Contact | None:
        """Return the contact that was dialled as *link*, if it still is."""
        return self._links.get(link)

    def propose(self, source: Source, addresses: Iterable[str], now: float) -> None:
        """Take *addresses* for all that *source* proposes from now on."""
        proposed = dict.fromkeys(addresses)  # In their order: the same input gives the same run.
        for address in proposed:
            contact = self._contacts.setdefault(address, Contact(address, due=now))
            contact.sources.add(source)
        for contact in [c for c in self if source in c.sources and c.address not in proposed]:
            contact.sources.discard(source)
            self._drop_if_unwanted(contact)

    def hurry(self, address: str, now: float) -> None:
        """Dial *address* at once: somebody who listens there has just been heard of."""
        contact = self._contacts[address]
        contact.failures = 0
        contact.due = min(contact.due, now)

    def waiting(self, followed: Container[bytes]) -> Iterator[Contact]:
        """
        Return the contacts that are to be dialled at their `due` time.

        An address at which a node in *followed* answered is left alone: that node is
        already followed through another of its addresses.
        """
        return (c for c in self if c.link is None and not c.mine and c.node_id not in followed)

    def unanswered(self) -> Iterator[Contact]:
        """
        Return the contacts from which nothing has ever come back: there may be a node that one cannot see.

        Nodes that others tell of are not among them; they are peers, and hold the proof themselves.
        """
        return (c for c in self if not c.answered and any(isinstance(source, str) for source in c.sources))

    def untried(self) -> Iterator[Contact]:
        """Return the contacts that were proposed by a discovery and of which no attempt has ended yet."""
        return (c for c in self.unanswered() if not c.failures)

    def deserted(self, address: str) -> bool:
        """Tell whether nobody listened at *address* when it was last dialled."""
        contact = self._contacts.get(address)
        return contact is not None and contact.deserted

    def hailing(self) -> bool:
        """Tell whether a Hello is under way, so that somebody may know this node without being known."""
        return any(c.link is not None and c.greeted and c.peer is None for c in self)

    def taken(self, address: str, node_id: bytes) -> bool:
        """Tell whether another node than that of *node_id* answers at *address* now, this one included."""
        contact = self._contacts.get(address)
        if contact is None:
            return False
        return contact.mine or (contact.peer is not None and contact.peer.identity.id != node_id)

    def dialled(self, contact: Contact, link: int) -> None:
        """Note that *contact* is being dialled as *link*."""
        contact.link = link
        contact.greeted = False
        self._links[link] = contact

    def closed(self, contact: Contact, now: float, refusal: str | None = None, *, silent: bool = False) -> None:
        """Note that the stream of *contact* has ended, or never came about; plan the next attempt."""
        contact.answered |= not silent
        contact.deserted = not (silent or contact.greeted or refusal)
        if contact.link is not None:
            self._links.pop(contact.link, None)
        contact.failures = 0 if contact.peer is not None else contact.failures + 1
        contact.link = None
        contact.peer = None
        contact.refusal = refusal
        contact.due = now + self._delay(contact)
        self._drop_if_unwanted(contact)

    def _drop_if_unwanted(self, contact: Contact) -> None:
        """Forget *contact* if nobody proposes it any more; an open stream is kept."""
        if not contact.sources and contact.link is None:
            self._contacts.pop(contact.address, None)

    def _delay(self, contact: Contact) -> float:
        grown = REDIAL_MIN * REDIAL_FACTOR ** min(contact.failures, 16)
        if contact.refusal is not None:
            grown = REDIAL_MAX
        spread = crc32(b"%s %s %d" % (self._salt, contact.address.encode(), contact.failures)) / 2**32
        return min(grown, REDIAL_MAX) * (0.75 + 0.25 * spread)
