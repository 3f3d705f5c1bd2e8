"""A few nodes joined by function calls: no sockets, no threads, a clock that is set by hand."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flushmesh.protocol.addresses import Ending
from flushmesh.protocol.effects import Apply, Dial, Distrust, Effect, HangUp
from flushmesh.protocol.journal import Journal
from flushmesh.protocol.messages import Flush, Identity, Message, Record
from flushmesh.protocol.node import Node, NodeOptions
from flushmesh.protocol.peer import Peer
from flushmesh.protocol.trust import Source


@dataclass
class Member:
    """A node and what it has asked of the world."""

    node: Node
    effects: list[Effect] = field(default_factory=list)

    @property
    def applied(self) -> list[Flush]:
        return [flush for effect in self.effects if isinstance(effect, Apply) for flush in effect.flushes]

    @property
    def keys(self) -> list[str | None]:
        """The keys of the flushes that were applied, in their order."""
        return [flush.key for flush in self.applied]

    @property
    def records(self) -> tuple[Record, ...]:
        """What this node's journal holds."""
        journal = self.node.journal
        return tuple(journal._records[journal._start :])

    @property
    def dials(self) -> list[str]:
        return [effect.address for effect in self.effects if isinstance(effect, Dial)]

    def told(self, kind: type[Effect]) -> list[Any]:
        """Return the effects of *kind* that this node has asked for."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def distrusted(self) -> list[Distrust]:
        """What was distrusted because of a peer, not because joining has ended."""
        return [effect for effect in self.effects if isinstance(effect, Distrust) and effect.peer is not None]

    def follows(self, other: "Member") -> bool:
        return self.peer(other) is not None and self.peer(other).followed

    def peer(self, other: "Member") -> Peer | None:
        """Return what this node knows of the other."""
        return self.node.peers.get(other.node.identity.id)

    @property
    def known(self) -> set[str]:
        return {peer.identity.name for peer in self.node.peers}

    def link(self, other: "Member") -> int:
        """Return the stream that this node has with the other."""
        peer = self.peer(other)
        assert peer is not None
        assert peer.link is not None
        return peer.link

    def missing(self, sequence: int) -> set[str]:
        """Return the names of the peers that have not acknowledged *sequence*."""
        return {peer.identity.name for peer in self.node.peers if not peer.has_applied(sequence)}

    def flush(self, key: str) -> int:
        return self.node.flush(Flush("c", key))


class World:
    """
    Carries messages between members until nothing is left to say.

    A stream is a pair of ends; an end is a member and its link.
    """

    def __init__(self) -> None:
        self.now = 100.0
        self.members: dict[str, Member] = {}
        self.streams: dict[tuple[str, int], tuple[str, int]] = {}
        self.cut: set[frozenset[str]] = set()
        self.dark: set[str] = set()
        # Nodes whose inbound port is closed: they dial, and nothing comes back from their address.
        self.closed: set[str] = set()
        self.frozen: dict[str, list[Callable[[], None]]] = {}
        self.log: list[tuple[str, str, Message]] = []
        self._todo: deque[tuple[str, Effect]] = deque()

    def add(self, name: str, *, mesh: str = "m", node_id: bytes = b"", journal: int = 1000, **options: Any) -> Member:
        """Add a node that listens at `name:1`; one of that name that was there before is gone without a word."""
        identity = Identity(node_id or name.encode().ljust(16, b"-"), name, f"{name}:1")
        self.crash(name)
        options.setdefault("sources", {"roster": Source()})
        staleness = options.get("max_staleness", float("inf"))
        node = Node(mesh, identity, Journal(journal), NodeOptions(**options), self.now, 1.0, staleness)
        member = self.members[name] = Member(node)
        return member

    def crash(self, name: str) -> None:
        """Take a node away without a goodbye."""
        self.members.pop(name, None)
        for end in [end for end in self.streams if end[0] == name]:
            self._close(end, "crashed")

    def part(self, one: str, other: str) -> None:
        """Cut the two nodes off from each other."""
        self.cut.add(frozenset({one, other}))
        for end, far in list(self.streams.items()):
            if {end[0], far[0]} == {one, other}:
                self._close(end, "cut")

    def freeze(self, name: str) -> None:
        """Stop a node: its streams stay open, and it neither hears nor says anything."""
        self.frozen[name] = []

    def thaw(self, name: str) -> None:
        """Let a node go on; first it hears what is in its streams, then which of them have ended."""
        ended = self.frozen.pop(name)
        self.settle()
        for tell in ended:
            tell()

    def age(self, member: Member) -> float:
        """Return how old the proof of *member* is."""
        return self.now - member.node.trust.at

    def sent(self, kind: type[Message]) -> list[Any]:
        """Return the messages of *kind* that were carried, in their order."""
        return [message for _, _, message in self.log if isinstance(message, kind)]

    def sent_by(self, name: str, kind: str) -> list[Any]:
        """Return the messages of the type *kind* that the node *name* has sent."""
        return [message for sender, _, message in self.log if sender == name and type(message).__name__ == kind]

    def leave(self, member: Member) -> None:
        """Let *member* say goodbye, and carry what that needs."""
        self.carry(member, member.node.leave(self.now))
        self.settle()

    def mend(self, one: str, other: str) -> None:
        self.cut.discard(frozenset({one, other}))

    def propose(self, member: Member, *names: str, source: str = "roster") -> None:
        effects = member.node.propose(source, [f"{name}:1" for name in names], self.now)
        self.carry(member, effects)

    def carry(self, member: Member, effects: list[Effect]) -> None:
        """Carry out what *member* asks for."""
        member.effects.extend(effects)
        name = member.node.identity.name
        for effect in effects:
            match effect:
                case Dial(link, address):
                    self._dial(member, link, address.partition(":")[0])
                case HangUp(link):
                    self._close((name, link), "hung up")

    def settle(self) -> None:
        """Move messages until every link has said all it has to say."""
        while any(self._move(end) for end in list(self.streams)):
            pass

    def run(self, seconds: float) -> None:
        """Let time pass, in steps of a tenth of a second."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.1
            for name, member in list(self.members.items()):
                if name not in self.frozen:
                    self.carry(member, member.node.tick(self.now))
            self.settle()

    def _dial(self, member: Member, link: int, name: str) -> None:
        own = member.node.identity.name
        other = self.members.get(name)
        apart = name in self.closed or name in self.frozen or frozenset({own, name}) in self.cut
        if other is None or apart:
            silent = other is not None or name in self.dark
            ending = Ending.SILENT if silent else Ending.REFUSED
            self.carry(member, member.node.closed(link, "no connection", self.now, ending))
            return
        far = (name, other.node.accept(own, self.now))
        self.streams[own, link] = far
        self.streams[far] = (own, link)

    def _move(self, end: tuple[str, int]) -> bool:
        if end not in self.streams or {end[0], self.streams[end][0]} & self.frozen.keys():
            return False
        (name, link), (far_name, far_link) = end, self.streams[end]
        message = self.members[name].node.next_message(link, self.now)
        if message is None:
            return False
        self.log.append((name, far_name, message))
        far = self.members[far_name]
        self.carry(far, far.node.receive(far_link, message, self.now))
        return True

    def _close(self, end: tuple[str, int], reason: str) -> None:
        far = self.streams.pop(end, None)
        if far is None:
            return
        self.streams.pop(far, None)
        for name, link in (end, far):
            if name in self.members:
                member = self.members[name]
                if name in self.frozen:
                    self.frozen[name].append(partial(self._tell_closed, member, link, reason))
                else:
                    self._tell_closed(member, link, reason)

    def _tell_closed(self, member: Member, link: int, reason: str) -> None:
        self.carry(member, member.node.closed(link, reason, self.now))


def joined(*names: str, journal: int = 1000, **options: Any) -> tuple[World, list[Member]]:
    """Return a world of nodes that follow each other."""
    world = World()
    members = [world.add(name, journal=journal, **options) for name in names]
    for member in members:
        world.propose(member, *names)
    world.run(1.0)
    return world, members
