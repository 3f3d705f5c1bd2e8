"""
The checkers: they watch from outside, with the simulation's real time, and know everything.

Each holds one promise of docs/guarantees.md.  None of them is told anything by the code
under test but what an application or a wire tap could see.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from flushmesh.protocol.messages import Ack, Flush, Hello, Identity, Message, Ping
from flushmesh.protocol.trust import Phase
from tests.simulation.forgetting import Forgetting
from tests.simulation.world import Violation

if TYPE_CHECKING:
    from flushmesh.write import Write
    from tests.simulation.process import Process
    from tests.simulation.run import Run
    from tests.simulation.source import Value

# Real seconds that a bound may be exceeded by: what rates that differ by 0.1 % amount to, and
# the time from reading a clock to acting on it, which here is none.
TOLERANCE = 1.0011


@dataclass(eq=False)
class Flushed:
    """
    One flush: who, when, and which version of each key it covers was current then, or demanded.

    It counts for a reader from the moment in `counts`: when it was made, or when the reader
    could first have known of its origin, if that was later.  Before that nobody promises
    anything.
    """

    origin: Process
    sequence: int
    flush: Flush
    at: float
    versions: dict[str, int]
    counts: dict[Process, float] = field(default_factory=dict)
    done: dict[Process, int] = field(default_factory=dict)


class Checkers:
    """All of them."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.world = run.world
        self.violation: Violation | None = None
        self.hits = 0
        self.stalest = 0.0
        self.fences = 0
        self._processes: dict[bytes, Process] = {}
        # By key and by tag.
        self._flushes: dict[str, list[Flushed]] = defaultdict(list)
        self._by_origin: dict[Process, list[Flushed]] = defaultdict(list)
        self._forgetting = Forgetting()
        self._applied_upto: dict[tuple[Process, bytes], int] = {}
        self._applied: set[tuple[Process, bytes, int]] = set()
        self._knows: dict[Process, frozenset[bytes]] = {}
        self._joined: set[Process] = set()
        self._linked: set[tuple[Process, Process]] = set()
        self._given_up: set[tuple[Process, Process]] = set()

    def fail(self, promise: str, text: str) -> None:
        # Kept as well: what is raised in the callback of a future goes no further.
        self.violation = Violation(f"{promise} at {self.world.now:.3f}: {text}")
        raise self.violation

    def _process(self, node_id: bytes) -> Process:
        if node_id not in self._processes:
            self._processes = {process.node.identity.id: process for process in self.run.processes}
        return self._processes[node_id]

    def _targets(self, flush: Flush) -> Sequence[str]:
        target = flush.key if flush.key is not None else flush.tag
        return self.run.keys if target is None else (target,)

    # G1, G2: nothing whose load began before a flush is served after it, and nothing older than was demanded.

    def forgot(self, process: Process, flush: Flush) -> None:
        self._forgetting.flushed(process, self._targets(flush), flush.version, self.world.stamp())

    def write_began(self, process: Process, write: Write) -> None:
        self._forgetting.write_began(process, write, self.world.stamp())

    def write_ended(self, process: Process, write: Write, flushes: Iterable[Flush], stamp: int) -> None:
        """A write has flushed at *stamp* what it was of."""
        self._forgetting.write_ended(process, write)
        for flush in flushes:
            self._forgetting.flushed(process, self._targets(flush), flush.version, stamp)

    def filled(self, process: Process, value: Value) -> None:
        now, forgetting = self.world.stamp(), self._forgetting
        why = forgetting.too_early(process, value, now) or forgetting.too_old(process, value, now)
        if why := why or forgetting.inside(process, value, now):
            self.fail("G2", f"{process} stored {value}: {why}")

    def kept(self, process: Process, write: Write, value: Value) -> None:
        """What *write* has set is in the store; its own flush at the end is not told of yet."""
        now = self.world.stamp()
        why = self._forgetting.meanwhile(process, value, write, now) or self._forgetting.too_old(process, value, now)
        if why:
            self.fail("G2", f"{process} kept {value}: {why}")

    def joined(self, process: Process, value: Value, asked: int) -> None:
        """A caller that waited for somebody else's load has got its value."""
        why = self._forgetting.too_early(process, value, asked)
        if why:
            self.fail("G2", f"{process} gave {value} to a caller that came later: {why}")

    # G4 and the fences: how old what is served may be.

    def hit(self, process: Process, key: str, value: Value, asked: int) -> None:
        """A read that began at *asked* was served from the store."""
        self.hits += 1
        if process.rate * (self.world.now - value.at) > self.run.plan.ttl + 1e-6:
            self.fail("TTL", f"{process} served {value}, whose load began at {value.at:.3f}")
        forgetting = self._forgetting
        why = forgetting.too_early(process, value, asked) or forgetting.too_old(process, value, asked)
        if why := why or forgetting.inside(process, value, asked):
            self.fail("G1", f"{process} served {value} to a read that came later: {why}")
        if not value.lagged:
            # Of what a replica returned late, nobody promises more than that it is not older than was demanded.
            self._check_staleness(process, key, value, asked)

    def _check_staleness(self, process: Process, key: str, value: Value, asked: int) -> None:
        for target in (key, *value.tags):
            for flushed in reversed(self._flushes[target]):
                if flushed.at < value.at:
                    # The load has seen what was written before this one, and before all earlier ones.
                    break
                if flushed.versions[key] <= value.version:
                    continue
                if flushed.done.get(process, inf) <= asked:
                    where = f"{flushed.origin}'s flush {flushed.sequence}"
                    self.fail("G5", f"{process} served {value} after {where} was done there")
                counted = flushed.counts.get(process)
                if counted is not None:
                    self._check_age(process, value, flushed, self.world.now - counted)

    def _check_age(self, process: Process, value: Value, flushed: Flushed, age: float) -> None:
        bound = self.run.plan.max_staleness * TOLERANCE
        self.stalest = max(self.stalest, age / bound)
        if age > bound:
            where = f"{flushed.origin}'s flush {flushed.sequence}, made {flushed.at:.3f}"
            self.fail("G4", f"{process} served {value}, {age:.3f} s after {where}; bound {bound:.3f}")

    def flushed(self, origin: Process, sequence: int, flush: Flush) -> None:
        """A flush was numbered."""
        versions = self.run.source.versions()
        if flush.key is not None and flush.version is not None:
            versions = {flush.key: flush.version}
        flushed = Flushed(origin, sequence, flush, self.world.now, versions)
        for reader in self.run.processes:
            joining = reader not in self._joined or reader.node.trust.phase is Phase.JOINING
            if reader.alive and reader is not origin and (joining or (reader, origin) in self._linked):
                flushed.counts[reader] = self.world.now
        for target in self._targets(flush):
            self._flushes[target].append(flushed)
        self._by_origin[origin].append(flushed)

    # Who could know of whom.

    def after_step(self, process: Process) -> None:
        """Look whom *process* knows now."""
        if self.violation is not None:
            raise self.violation
        if process not in self._joined and not self._must_join(process):
            self._joined.add(process)
        known = frozenset(peer.identity.id for peer in process.node.peers)
        if known != self._knows.get(process):
            self._knows[process] = known
            for origin in self.run.processes:
                if origin.node.identity.id in known:
                    self._given_up.discard((process, origin))
            self._relink()

    def _must_join(self, process: Process) -> bool:
        """Tell whether *process* was told of an address of which it cannot know yet whether anybody is there."""
        if process.clock() - process.node.trust.started_at >= self.run.plan.lost_after:
            return False
        return process.proposed is None or not process.resolved.issuperset(process.proposed)

    def _relink(self) -> None:
        by_id = {process.node.identity.id: process for process in self.run.processes}
        linked = set()
        for reader in self.run.processes:
            if not reader.alive:
                continue
            reached, todo = set(), [reader]
            while todo:
                for node_id in self._knows.get(todo.pop(), ()):
                    other = by_id.get(node_id)
                    if other is not None and other not in reached:
                        reached.add(other)
                        todo.append(other)
            linked |= {(reader, origin) for origin in reached}
        linked -= self._given_up
        for reader, origin in linked - self._linked:
            # What a node flushed before anybody knew it counts from now on, if it still lives.
            if origin.alive:
                for flushed in self._by_origin[origin]:
                    flushed.counts.setdefault(reader, self.world.now)
        self._linked = linked

    def parted(self, process: Process, peer: Identity, *, gone: bool) -> None:
        """Whoever gives a living node up is beyond what is promised, until it knows it again."""
        for other in self.run.processes:
            if other.node.identity.id == peer.id and gone:
                self._forget_order(process, peer.id)
                if other.alive and not other.node.leaving:
                    self._given_up.add((process, other))
                    self._relink()

    def ended(self, process: Process) -> None:
        self._knows.setdefault(process, frozenset())

    # G3: in order, once each.

    def applied(self, process: Process, origin: Identity, first: int, flushes: tuple[Flush, ...]) -> None:
        upto = self._applied_upto.get((process, origin.id), 0)
        if first != upto + 1:
            self.fail("G3", f"{process} applied {first} of {origin.name} after {upto}")
        issued = self._by_origin[self._process(origin.id)][first - 1 : first - 1 + len(flushes)]
        if list(flushes) != [flushed.flush for flushed in issued]:
            self.fail("G3", f"{process} applied as {first} of {origin.name} what was not flushed there")
        self._applied_upto[process, origin.id] = upto + len(flushes)
        for sequence in range(first, first + len(flushes)):
            self._applied.add((process, origin.id, sequence))

    def distrusted(self, process: Process, peer: Identity | None, before: int, after: int) -> None:
        """A gap is no longer silent; and no cache is emptied at once."""
        if after != before:
            self.fail("G8", f"{process} lost {before - after} of {before} entries at once to distrust")
        if peer is None:
            return
        if self.run.plan.calm:
            self.fail("G8", f"{process} distrusts {peer.name} although nothing went wrong")
        known = process.node.peers.get(peer.id)
        if known is not None:
            self._applied_upto[process, peer.id] = known.cursor

    def _forget_order(self, process: Process, node_id: bytes) -> None:
        self._applied_upto.pop((process, node_id), None)

    # G5: receipts tell the truth.

    def said(self, process: Process, other: Process, message: Message) -> None:
        """Watch the wire: nobody acknowledges, or follows from beyond, what it has not applied."""
        origin_id = other.node.identity.id
        claims = isinstance(message, Ack | Ping) or (isinstance(message, Hello) and message.origin_id == origin_id)
        if claims and message.cursor > self._applied_upto.get((process, origin_id), 0):
            self.fail("G5", f"{process} says {message} to {other}, which it has not applied")

    def delivered(self, origin: Process) -> None:
        """Look at the receipts that *origin* waits for, as `Deliveries` does."""
        for sequence, local_at in list(origin.waiting):
            applied, fenced, missing = origin.node.peers.delivery(sequence, local_at, origin.clock())
            flushed = self._by_origin[origin][sequence - 1]
            for peer in applied:
                process = self._process(peer.identity.id)
                if (process, origin.node.identity.id, sequence) not in self._applied:
                    self.fail(
                        "G5", f"{origin} counts {process} as acknowledged for {sequence}, which it has not applied"
                    )
                flushed.done.setdefault(process, self.world.stamp())
            for peer in fenced:
                self.fences += 1
                flushed.done.setdefault(self._process(peer.identity.id), self.world.stamp())
            if not missing:
                origin.waiting.remove((sequence, local_at))

    # Memory.

    def bounds(self) -> None:
        """Nothing grows with time."""
        plan = self.run.plan
        for process in self.run.processes:
            if not process.alive:
                continue
            journal = process.node.journal
            if journal.head - journal.floor > plan.journal:
                self.fail("memory", f"{process} holds {journal.head - journal.floor} flushes")
            if process.cache.size() > plan.maxsize:
                self.fail("memory", f"{process} holds {process.cache.size()} entries")
            contacts = sum(1 for _ in process.node.contacts)
            if contacts > 3 * len(self.run.addresses) + len(process.node.peers):
                self.fail("memory", f"{process} has {contacts} contacts")
