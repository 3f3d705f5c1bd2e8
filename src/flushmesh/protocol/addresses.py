"""
Addresses: where nodes may be, and what came of each attempt to reach one.

Whatever finds addresses (a roster, mDNS, another node) proposes them under its own
name; an address stays as long as anything proposes it.  It is dialled whenever no peer is
followed through it: soon at first, then with a growing delay that is capped.

An address that a roster or DNS *names* is part of the proof: `proven` is the time by
which no unknown node can have been there.  A refused connection proves that for the
moment at which the attempt began; silence proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from heapq import heapify, heappop, heappush
from math import inf
from typing import Final
from zlib import crc32

# mDNS announces an address before the server behind it accepts; the first refusals are normal.
REDIAL_MIN: Final = 0.2
REDIAL_MAX: Final = 5.0
REDIAL_FACTOR: Final = 1.6

# How often an address that refuses is tried, if no bound on staleness asks for more.
REFUSED_MAX: Final = 60.0

# A peer that is followed over a stream which it has opened itself: whether it can be reached at its
# address decides how soon its death is noticed, and is not urgent.
CONFIRM_AFTER: Final = 1.0

# A roster may name hundreds of addresses of one machine: no more attempts than this are under way at once.
DIALS_MAX: Final = 256

# What proposes an address: a discovery by its name, or a member by its id.
Origin = str | bytes


class Ending(Enum):
    """How a stream ended, or why there was none."""

    BROKEN = auto()
    REFUSED = auto()
    SILENT = auto()
    FOREIGN = auto()


class Standing(StrEnum):
    """What is being done about an address."""

    WAITING = "waiting"
    DIALLING = "dialling"
    FOLLOWED = "followed"
    SELF = "self"


@dataclass(slots=True, eq=False)
class Address:
    """
    One proposed address; times are this node's own clock.

    `node_id` is the node that answered there last.  `tried` is whether any attempt has ended
    with an answer or without one.  `answered` is whether anything has come back since this
    node began to look around, `silent` whether the last attempt got no answer at all,
    `unseen` whether a node may be there since the address last proved anything, `given_up`
    whether that is not held against it any more, `foreign` whether another mesh is there.
    `refused_since` and `refused_at` are the first and the last of the refusals that have not
    been interrupted.  `excused_until` is until when silence is no doubt: its last node said
    goodbye, and only DNS still names it.
    """

    text: str
    proven: float
    due: float
    since: float
    sources: set[Origin] = field(default_factory=set)
    state: Standing = Standing.WAITING
    link: int | None = None
    dialled_at: float = 0.0
    node_id: bytes = b""
    tried: bool = False
    answered: bool = False
    silent: bool = False
    unseen: bool = False
    given_up: bool = False
    foreign: bool = False
    refused_since: float | None = None
    refused_at: float = -inf
    named: bool = False
    named_at: float = -inf
    excused_until: float = -inf
    kept_until: float = -inf
    refusal: str = ""
    failures: int = 0

    @property
    def host(self) -> str:
        """The part before the port."""
        return self.text.rpartition(":")[0]


class Addresses:
    """
    The proposed addresses, each at most once.

    *naming* are the discoveries whose addresses hold the proof, *passing* those of them
    that go on naming a host for a while after it is gone.  *salt* makes the delays of
    different nodes differ, so that a mesh that starts at once does not dial in step; the
    same salt always gives the same delays.
    """

    def __init__(self, salt: bytes, naming: Iterable[str] = (), passing: Iterable[str] = ()) -> None:
        self.refused_max = REFUSED_MAX
        self._salt = salt
        self._naming = frozenset(naming)
        self._passing = frozenset(passing)
        self._addresses: dict[str, Address] = {}
        self._queue: list[tuple[float, str]] = []
        self._dialling = 0

    def __iter__(self) -> Iterator[Address]:
        return iter(list(self._addresses.values()))

    def __len__(self) -> int:
        return len(self._addresses)

    def get(self, text: str) -> Address | None:
        """Return the address, if it is proposed."""
        return self._addresses.get(text)

    # Who proposes what.

    def propose(self, source: Origin, texts: Iterable[str], proven: float, now: float) -> None:
        """Take *texts* for all that *source* proposes from now on; new ones hold the proof at *proven*."""
        proposed = dict.fromkeys(text for text in texts if text)  # In their order: the same input gives the same run.
        for text in proposed:
            address = self._addresses.get(text)
            if address is None:
                address = self._addresses[text] = Address(text, proven, now, now)
                self.schedule(address, now)
            if source not in address.sources:
                address.sources.add(source)
                self._name(address, proven, now)
        for address in [each for each in self if source in each.sources and each.text not in proposed]:
            self.withdraw(source, address, now)

    def withdraw(self, source: Origin, address: Address, now: float) -> None:
        """Record that *source* proposes *address* no longer."""
        address.sources.discard(source)
        self._name(address, address.proven, now)
        self._drop_if_unwanted(address, now)

    def _name(self, address: Address, proven: float, now: float) -> None:
        named = not self._naming.isdisjoint(address.sources)
        if address.named and not named:
            address.named_at = now
        if named and not address.named:
            # Until now it was no part of the proof, so what it had proven before is worth no less.
            address.proven = max(address.proven, proven)
        address.named = named

    def excuses(self, address: Address, now: float) -> bool:
        """
        Return whether the silence of *address* is no doubt now.

        The last node there has said goodbye, and only discoveries name it that may go on for a while.
        """
        return now < address.excused_until and self._naming.intersection(address.sources) <= self._passing

    # When to dial.

    def schedule(self, address: Address, due: float) -> None:
        """Dial *address* at *due*."""
        address.due = due
        heappush(self._queue, (due, address.text))
        if len(self._queue) > 4 * len(self._addresses) + 64:
            self._queue = [(each.due, each.text) for each in self if each.state is Standing.WAITING]
            heapify(self._queue)

    def next_due(self) -> float:
        """Return when the next address is to be dialled, infinity if none is."""
        if self._dialling >= DIALS_MAX:
            return inf
        while self._queue and not self._waits(*self._queue[0]):
            heappop(self._queue)
        return self._queue[0][0] if self._queue else inf

    def due(self, now: float) -> list[Address]:
        """Return the addresses that are to be dialled by *now*, and take them from the queue."""
        due: list[Address] = []
        while self.next_due() <= now and self._dialling + len(due) < DIALS_MAX:
            _, text = heappop(self._queue)
            address = self._addresses[text]
            if address not in due:
                due.append(address)
        return due

    def _waits(self, due: float, text: str) -> bool:
        address = self._addresses.get(text)
        return address is not None and address.state is Standing.WAITING and address.due == due

    def hurry(self, text: str, now: float) -> None:
        """Dial the address at once, unless that is under way: something about it has just changed."""
        address = self._addresses.get(text)
        if address is not None and address.state is Standing.WAITING:
            address.failures = 0
            self.schedule(address, min(address.due, now))

    def confirm(self, address: Address, due: float) -> None:
        """Dial *address* at *due*, although the peer that has given it has a stream."""
        if address.state is Standing.WAITING:
            address.failures = 0
            self.schedule(address, due)

    def look_around(self, now: float) -> None:
        """Ask every address again, as when joining, except for those that are being dialled or followed."""
        for address in self:
            if address.state is Standing.WAITING:
                address.answered = False
                address.failures = 0
                self.schedule(address, now)

    def slept(self, gap: float, now: float) -> None:
        """Do not count *gap* seconds, in which this node itself slept, as a refusal that lasts."""
        for address in self:
            if address.refused_since is not None:
                address.refused_since = min(now, address.refused_since + gap)
                address.refused_at = min(now, address.refused_at + gap)

    def moved(self) -> None:
        """Take no address for this node's own any more: it listens elsewhere."""
        for address in self:
            if address.state is Standing.SELF:
                self._wait(address, address.due)

    def leave_alone(self, node_id: bytes) -> None:
        """Dial no address at which the node *node_id* has answered: it is followed."""
        for address in self:
            if address.node_id == node_id:
                address.refused_since = None
                if address.state is Standing.WAITING:
                    address.state = Standing.FOLLOWED

    def free(self, node_id: bytes, now: float) -> None:
        """Dial the addresses at which the node *node_id* answered again: its stream has ended."""
        for address in self:
            if address.node_id == node_id and address.state is Standing.FOLLOWED:
                self._wait(address, now)

    # What came of it.

    def dialled(self, address: Address, link: int, now: float) -> None:
        """Record that *address* is being dialled as *link*."""
        address.state = Standing.DIALLING
        address.link = link
        address.dialled_at = now
        self._dialling += 1

    def answered(self, address: Address, node_id: bytes) -> None:
        """Record that the node *node_id* answers at *address*."""
        address.node_id = node_id
        address.answered = address.tried = True
        address.silent = address.unseen = address.foreign = address.given_up = False
        address.refused_since = None
        address.refusal = ""
        address.failures = 0

    def follow(self, address: Address) -> None:
        """Leave *address* alone while the node that answered there is followed."""
        self._settle(address, Standing.FOLLOWED)

    def is_self(self, address: Address) -> None:
        """Record that this node itself answers at *address*."""
        address.answered = address.tried = True
        self._settle(address, Standing.SELF)

    def failed(self, address: Address, ending: Ending, now: float) -> None:
        """Record that an attempt has ended without a stream that is kept; plan the next."""
        if ending is Ending.REFUSED:
            address.refused_since = now if address.refused_since is None else address.refused_since
            address.refused_at = now
            self.proves(address)
            address.foreign = False
            address.refusal = ""
        else:
            address.refused_since = None
        address.silent = ending is Ending.SILENT
        address.unseen = address.silent or (address.unseen and ending is Ending.BROKEN)
        address.foreign |= ending is Ending.FOREIGN
        address.answered |= ending in (Ending.REFUSED, Ending.FOREIGN)
        address.tried = True
        address.failures += 1
        self._wait(address, now + self._delay(address))

    def turned_away(self, address: Address, reason: str, *, foreign: bool) -> None:
        """Record that a node answers at *address* and refuses this one; one of another mesh is *foreign*."""
        address.tried = True
        address.refusal = reason
        address.foreign = foreign
        address.answered |= foreign
        address.refused_since = None
        address.silent = False
        # A node is there that cannot be followed.
        address.unseen = not foreign

    def proves(self, address: Address) -> None:
        """Record that no unknown node was at *address* when it was last dialled."""
        address.proven = max(address.proven, address.dialled_at)
        address.unseen = address.given_up = False

    def again(self, address: Address, now: float) -> None:
        """Dial *address* again soon: the attempt that has ended says nothing about it."""
        self._wait(address, now + self._delay(address))

    def _settle(self, address: Address, state: Standing) -> None:
        if address.state is Standing.DIALLING:
            self._dialling -= 1
        address.link = None
        address.state = state

    def _wait(self, address: Address, due: float) -> None:
        self._settle(address, Standing.WAITING)
        self.schedule(address, due)

    def keep(self, text: str, until: float) -> None:
        """Go on dialling the address of a lost node, which may be alive, for a while."""
        address = self._addresses.get(text)
        if address is not None:
            address.kept_until = max(address.kept_until, until)

    def tidy(self, now: float) -> None:
        """Forget the addresses that nothing proposes any more."""
        for address in self:
            self._drop_if_unwanted(address, now)

    def _drop_if_unwanted(self, address: Address, now: float) -> None:
        if not address.sources and now >= address.kept_until and address.state is not Standing.DIALLING:
            self._addresses.pop(address.text, None)

    def _delay(self, address: Address) -> float:
        grown = REDIAL_MIN * REDIAL_FACTOR ** min(address.failures, 16)
        longest = REDIAL_MAX
        if address.refusal:
            grown = REDIAL_MAX
        elif address.refused_since is not None:
            # One that is named only by another node or by mDNS is no part of the proof.
            longest = self.refused_max
        spread = crc32(b"%s %s %d" % (self._salt, address.text.encode(), address.failures)) / 2**32
        return min(grown, longest) * (0.75 + 0.25 * spread)

    # What holds the proof.

    def unanswered(self) -> Iterator[Address]:
        """Return the addresses of discoveries from which nothing has come back: an unseen node may be there."""
        return (
            each
            for each in self._addresses.values()
            if not each.answered
            and each.state is not Standing.FOLLOWED
            and any(isinstance(s, str) for s in each.sources)
        )

    def untried(self) -> Iterator[Address]:
        """Return the addresses of discoveries of which no attempt has ended yet."""
        return (each for each in self.unanswered() if not each.tried)

    def named(self) -> Iterator[Address]:
        """Return the addresses that are part of the proof, except for this node's own and another mesh's."""
        return (
            each
            for each in self._addresses.values()
            if each.named and not each.foreign and each.state is not Standing.SELF
        )

    def is_silent(self, text: str) -> bool:
        """Return whether nothing comes back from the address, not even refusals."""
        address = self._addresses.get(text)
        return address is not None and address.refused_since is None

    def still_named(self, text: str, since: float) -> bool:
        """Return whether a roster or DNS has named the address since then."""
        address = self._addresses.get(text)
        return address is not None and (address.named or address.named_at > since)

    def is_own(self, text: str) -> bool:
        """Return whether this node itself answers at the address."""
        address = self._addresses.get(text)
        return address is not None and address.state is Standing.SELF
