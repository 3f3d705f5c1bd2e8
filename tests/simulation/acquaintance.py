"""
Acquaintance: which process could know of which, as somebody sees it who looks into all of them.

A flush counts for a reader from the moment at which its origin has met a node that is
connected with the reader: one that the reader's own discovery names, a member, and whatever
a chain of living members knows.  Nodes that no such chain connects are islands, and nothing
is promised between them.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from tests.simulation.network import Port

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.run import Run


class Acquaintance:
    """
    The chains between processes.

    A reader that has given up a living node, under the assumptions that the docs name, is
    excused for that one until it knows it again.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.stale = False
        self._linked: dict[Process, frozenset[Process]] = {}
        self._excused: set[tuple[Process, Process]] = set()
        self._knows: dict[Process, tuple[Process, ...]] = {}
        self._digests: dict[Process, tuple[int, int]] = {}
        self._by_id: dict[bytes, Process] = {}

    def entered(self, process: Process) -> None:
        self._by_id[process.node.identity.id] = process
        self.stale = True

    def process(self, node_id: bytes) -> Process:
        return self._by_id[node_id]

    def look(self, process: Process) -> None:
        """Look which members *process* knows now."""
        peers = process.node.peers
        digest = (len(peers), peers.digest)
        if digest != self._digests.get(process):
            self._digests[process] = digest
            self._knows[process] = known = tuple(self._by_id[peer.identity.id] for peer in peers)
            for other in known:
                process.learnt.setdefault(other, process.clock())
            if self._excused:
                self._excused -= {(process, other) for other in known}
            self.stale = True

    def excuse(self, reader: Process, origin: Process) -> None:
        """Promise nothing of *origin* to *reader*, until that knows it again."""
        self._excused.add((reader, origin))
        self.stale = True

    def knows(self, process: Process) -> tuple[Process, ...]:
        """Return the members that *process* knows."""
        return self._knows.get(process, ())

    def unreachable(self, process: Process) -> bool:
        """Return whether *process* has a member with which it can never have a stream: neither can be dialled."""
        return process.port is not Port.OPEN and any(
            other.alive and other.port is not Port.OPEN for other in self.knows(process)
        )

    def linked(self, reader: Process) -> frozenset[Process]:
        """Return the processes that *reader* could know of, as of the last `reckon`."""
        return self._linked.get(reader, frozenset())

    def reckon(self) -> list[tuple[Process, Process]]:
        """Find all chains; return the pairs of a reader and an origin that none connected before."""
        self.stale = False
        alive = [process for process in self.run.processes if process.alive]
        new: list[tuple[Process, Process]] = []
        linked: dict[Process, frozenset[Process]] = {}
        for reader in alive:
            linked[reader] = found = frozenset(self._follow(reader))
            before = self.linked(reader)
            if found != before:
                # In their order: the same seed gives the same run.
                new += [(reader, origin) for origin in self.run.processes if origin in found and origin not in before]
        self._linked = linked
        return new

    def _follow(self, reader: Process) -> set[Process]:
        """Return whom the living nodes know that chains from *reader* lead to."""
        met: set[Process] = set()
        todo = [reader, *self._named(reader)]
        seen = set(todo)
        while todo:
            known = self.knows(todo.pop())
            met.update(known)
            for other in known:
                if other.alive and other not in seen:
                    seen.add(other)
                    todo.append(other)
        met.discard(reader)
        if self._excused:
            met -= {origin for origin in met if (reader, origin) in self._excused}
        return met

    def _named(self, process: Process) -> list[Process]:
        """Return what listens at the addresses that hold the proof of *process*."""
        if self.run.plan.give_up_silent < inf:
            # Then a silent address does not hold it for long, and nothing is promised of what is there.
            return []
        listeners = self.run.network.listeners
        named = [listeners[address] for address in process.names if address in listeners]
        # A firewall that refuses on behalf of a living node is one of the assumptions.
        return sorted((other for other in named if other.port is not Port.REFUSING), key=lambda other: other.name)
