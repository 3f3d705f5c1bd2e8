"""A few nodes joined by function calls: no sockets, no threads, a clock that is set by hand."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from flushmesh.protocol.effects import Apply, Dial, Distrust, Effect, HangUp, Wake
from flushmesh.protocol.journal import Journal
from flushmesh.protocol.messages import Flush, Identity, Message
from flushmesh.protocol.node import Node, NodeOptions
from flushmesh.protocol.peer import Peer, State


@dataclass
class Member:
    """A node and what it has asked of the world."""

    node: Node
    effects: list[Effect] = field(default_factory=list)

    @property
    def applied(self) -> list[Flush]:
        return [flush for effect in self.effects if isinstance(effect, Apply) for flush in effect.flushes]

    @property
    def distrusted(self) -> list[Distrust]:
        """What was distrusted because of a peer, not because joining has ended."""
        return [effect for effect in self.effects if isinstance(effect, Distrust) and effect.peer is not None]

    def follows(self, other: "Member") -> bool:
        return self.peer(other) is not None and self.peer(other).state is State.FOLLOWING

    def peer(self, other: "Member") -> Peer | None:
        """Return what this node knows of the other."""
        return self.node.peers.get(other.node.identity.id)

    @property
    def known(self) -> set[str]:
        return {peer.identity.name for peer in self.node.peers}

    def missing(self, sequence: int) -> set[str]:
        """Return who has not acknowledged *sequence*."""
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
        self.frozen: dict[str, list[Callable[[], None]]] = {}
        self.log: list[tuple[str, str, Message]] = []
        self._todo: deque[tuple[str, Effect]] = deque()

    def add(self, name: str, *, mesh: str = "m", node_id: bytes = b"", journal: int = 1000, **options: Any) -> Member:
        """Add a node that listens at `name:1`; one of that name that was there before is gone without a word."""
        identity = Identity(node_id or name.encode().ljust(16, b"-"), name, f"{name}:1")
        self.crash(name)
        node = Node(mesh, identity, Journal(journal), NodeOptions(**options), self.now, ping_interval=1.0)
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

    def mend(self, one: str, other: str) -> None:
        self.cut.discard(frozenset({one, other}))

    def propose(self, member: Member, *names: str) -> None:
        effects = member.node.propose("roster", [f"{name}:1" for name in names], self.now)
        self.carry(member, effects)

    def carry(self, member: Member, effects: list[Effect]) -> None:
        """Carry out what *member* asks for."""
        member.effects.extend(effects)
        name = member.node.identity.name
        for effect in effects:
            match effect:
                case Dial(link, address):
                    self._dial(member, link, address.partition(":")[0])
                case HangUp(link, refusal):
                    self._close((name, link), refusal or "hung up", refused=refusal is not None)
                case Wake():
                    pass

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
        if other is None or name in self.frozen or frozenset({own, name}) in self.cut:
            silent = other is not None or name in self.dark
            self.carry(member, member.node.closed(link, "connection refused", self.now, silent=silent))
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

    def _close(self, end: tuple[str, int], reason: str, *, refused: bool = False) -> None:
        far = self.streams.pop(end, None)
        if far is None:
            return
        self.streams.pop(far, None)
        for (name, link), told in ((end, False), (far, refused)):
            if name in self.members:
                member = self.members[name]
                if name in self.frozen:
                    self.frozen[name].append(partial(self._tell_closed, member, link, reason))
                else:
                    self.carry(member, member.node.closed(link, reason, self.now, refused=told))

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
