"""
The checkers: they watch from outside, with the simulation's real time, and know everything.

Each holds one promise of docs/guarantees.md.  None of them is told anything by the code
under test but what an application or a wire tap could see.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from flushmesh.protocol.messages import Ack, Flush, Follow, Identity, Message, Ping, Truncated
from tests.simulation.acquaintance import Acquaintance
from tests.simulation.forgetting import Forgetting
from tests.simulation.outlook import check_calm, check_peace, unfounded
from tests.simulation.world import Violation

if TYPE_CHECKING:
    from flushmesh.write import Write
    from tests.simulation.process import Process
    from tests.simulation.run import Run
    from tests.simulation.source import Value

# Real seconds that a bound may be exceeded by: what rates that differ by 0.1 % amount to, and
# the time from reading a clock to acting on it, which here is none.
TOLERANCE = 1.0011

# What many processes learn at about the same time is reckoned once.
RECKON_EVERY = 0.001


@dataclass(eq=False)
class Flushed:
    """
    One flush: who, when, and which version of each key it covers was current then, or demanded.

    It is the *number*-th of its origin, and has a place in the journal once it is numbered
    there.  It counts for a reader from the moment in `counts`: when it was made, or when the
    reader could first have known of its origin, if that was later.  Before that nobody
    promises anything.
    """

    origin: Process
    number: int
    flush: Flush
    at: float
    versions: dict[str, int]
    sequence: int = 0
    counts: dict[Process, float] = field(default_factory=dict)
    done: dict[Process, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.origin}'s flush {self.number}, made {self.at:.3f}"


class Checkers:
    """All of them."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.world = run.world
        self.acquaintance = Acquaintance(run)
        self.violation: Violation | None = None
        self.hits = self.reads = self.served = 0
        self.stalest = 0.0
        self.oldest_proof = 0.0
        self.fences = self.receipts = self.complete = 0
        # By key and by tag.
        self._flushes: dict[str, list[Flushed]] = defaultdict(list)
        self._by_origin: dict[Process, list[Flushed]] = defaultdict(list)
        self._forgetting = Forgetting()
        self._applied_upto: dict[tuple[Process, Process], int] = {}
        self._applied: set[tuple[Process, Process, int]] = set()
        self._joined: set[Process] = set()
        self._reckoning = False

    def fail(self, promise: str, text: str) -> None:
        # Kept as well: what is raised in the callback of a future goes no further.
        self.violation = Violation(f"{promise} at {self.world.now:.3f}: {text}")
        raise self.violation

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

    def looked(self, process: Process, *, hit: bool) -> None:
        """An application has read."""
        self.reads += 1
        self.served += hit

    def _check_staleness(self, process: Process, key: str, value: Value, asked: int) -> None:
        for target in (key, *value.tags):
            for flushed in reversed(self._flushes[target]):
                if flushed.at < value.at:
                    # The load has seen what was written before this one, and before all earlier ones.
                    break
                if flushed.versions[key] <= value.version:
                    continue
                if flushed.done.get(process, inf) <= asked:
                    self.fail("G5", f"{process} served {value} after {flushed} was done there")
                counted = flushed.counts.get(process)
                if counted is not None:
                    self._check_age(process, value, flushed, self.world.now - counted)

    def _check_age(self, process: Process, value: Value, flushed: Flushed, age: float) -> None:
        bound = self.run.plan.max_staleness * TOLERANCE
        self.stalest = max(self.stalest, age / bound)
        if age > bound:
            self.fail("G4", f"{process} served {value}, {age:.3f} s after {flushed} counted; bound {bound:.3f}")

    def flushed(self, origin: Process, flush: Flush) -> Flushed:
        """Note that the application of *origin* has flushed."""
        versions = self.run.source.versions()
        if flush.key is not None and flush.version is not None:
            versions = {flush.key: flush.version}
        flushed = Flushed(origin, len(self._by_origin[origin]) + 1, flush, self.world.now, versions)
        self._reckon()
        for reader in self.run.processes:
            if reader.alive and reader is not origin and self._counts(reader, origin):
                flushed.counts[reader] = self.world.now
        for target in self._targets(flush):
            self._flushes[target].append(flushed)
        self._by_origin[origin].append(flushed)
        return flushed

    def _counts(self, reader: Process, origin: Process) -> bool:
        # The proof of a node that is joining stands, whatever it does not know.
        return reader not in self._joined or reader.joining or origin in self.acquaintance.linked(reader)

    # Which process could know of which.

    def entered(self, process: Process) -> None:
        self.acquaintance.entered(process)
        self.after_step(process)

    def after_step(self, process: Process) -> None:
        """Look whom *process* knows now."""
        if self.violation is not None:
            raise self.violation
        if process not in self._joined and not self._must_join(process):
            self._joined.add(process)
        self.acquaintance.look(process)
        self._reckon_soon()

    def proposed(self, process: Process) -> None:
        """Note that *process* is told of other addresses now."""
        self.acquaintance.stale = True
        self._reckon_soon()

    def _must_join(self, process: Process) -> bool:
        """Tell whether *process* was told of an address of which it cannot know yet whether a node is there."""
        if not process.naming:
            return process.joining
        if process.clock() - process.node.trust.started_at >= self.run.plan.lost_after:
            return False
        return process.proposed is None or not process.resolved.issuperset(process.proposed)

    def _reckon_soon(self) -> None:
        if self.acquaintance.stale and not self._reckoning:
            self._reckoning = True
            self.world.after(RECKON_EVERY, self._reckon)

    def _reckon(self) -> None:
        self._reckoning = False
        if not self.acquaintance.stale:
            return
        for reader, origin in self.acquaintance.reckon():
            # What a node flushed before it was known counts from now on, if it still lives.
            if origin.alive:
                for flushed in self._by_origin[origin]:
                    flushed.counts.setdefault(reader, self.world.now)

    def ending(self, process: Process) -> None:
        """Note that *process* is about to be gone."""
        self._reckon()
        self.acquaintance.stale = True
        self._reckon_soon()

    def parted(self, process: Process, peer: Identity, reason: str, *, gone: bool) -> None:
        """A living node is given up only under the assumptions; then it is beyond what is promised."""
        if not gone:
            return
        other = self.acquaintance.process(peer.id)
        self._applied_upto.pop((process, other), None)
        if other.alive and not other.closing:
            why = unfounded(process, other, peer.address)
            if why:
                self.fail("giving up", f"{process} gives up {other}, which lives ({reason}): {why}")
            self.acquaintance.excuse(process, other)
            self._reckon_soon()

    # G3: in order, once each.

    def applied(self, process: Process, origin_id: Identity, first: int, flushes: tuple[Flush, ...]) -> None:
        origin = self.acquaintance.process(origin_id.id)
        upto = self._applied_upto.get((process, origin), 0)
        if first != upto + 1:
            self.fail("G3", f"{process} applied {first} of {origin} after {upto}")
        issued = self._by_origin[origin][first - 1 : first - 1 + len(flushes)]
        if list(flushes) != [flushed.flush for flushed in issued]:
            self.fail("G3", f"{process} applied as {first} of {origin} what was not flushed there")
        self._applied_upto[process, origin] = upto + len(flushes)
        for number in range(first, first + len(flushes)):
            self._applied.add((process, origin, number))

    def skipped(self, process: Process, origin: Process, truncated: Truncated) -> None:
        """What the journal of *origin* no longer reaches back to is not expected any more."""
        upto = self._applied_upto.get((process, origin), 0)
        self._applied_upto[process, origin] = max(upto, truncated.flushes)

    def distrusted(self, process: Process, peer: Identity | None, before: int, after: int) -> None:
        """A gap is no longer silent; and no cache is emptied at once."""
        if after != before:
            self.fail("G8", f"{process} lost {before - after} of {before} entries at once to distrust")
        if peer is not None and self.run.calm and not self._came_too_early(process, peer):
            self.fail("G8", f"{process} distrusts {peer.name} although nothing went wrong")

    def _came_too_early(self, process: Process, peer: Identity) -> bool:
        """Return whether *peer* left before anybody knew of *process*, which was there and names nobody itself."""
        return self.acquaintance.process(peer.id).closed_at < process.first_met

    # G5: receipts tell the truth.

    def said(self, process: Process, other: Process, message: Message) -> None:
        """Watch the wire: nobody acknowledges, or follows from beyond, what it has not applied."""
        if not isinstance(message, Ack | Ping | Follow) or message.cursor is None:
            return
        sequences = [flushed.sequence or inf for flushed in self._by_origin[other]]
        claimed = bisect_right(sequences, message.cursor)
        if claimed > self._applied_upto.get((process, other), 0):
            self.fail("G5", f"{process} says {message} to {other}, and has not applied flush {claimed}")

    def delivered(self, origin: Process, upto: float = inf) -> None:
        """Look at the receipts up to *upto* that *origin* waits for, as `ReceiptWaiters` does."""
        for waiting in list(origin.waiting):
            flushed, local_at = waiting
            if flushed.sequence > upto:
                continue
            progress = origin.node.delivery(flushed.sequence, local_at, origin.clock())
            for peer in progress.acknowledged:
                process = self.acquaintance.process(peer.identity.id)
                if (process, origin, flushed.number) not in self._applied:
                    self.fail("G5", f"{origin} counts {process} as having {flushed}, which it has not applied")
                flushed.done.setdefault(process, self.world.stamp())
            for peer in progress.fenced:
                self.fences += 1
                flushed.done.setdefault(self.acquaintance.process(peer.identity.id), self.world.stamp())
            if not progress.missing and not progress.joining:
                origin.waiting.remove(waiting)
                self.receipts += 1
                self.complete += not progress.unreached and not progress.alone

    # What holds whenever nothing goes wrong, or no longer.

    def check_calm(self) -> None:
        check_calm(self.run)

    def check_peace(self) -> None:
        check_peace(self.run)

    def check_receipts(self) -> None:
        """Every receipt that was waited for has ended."""
        for process in self.run.alive():
            if process.waiting and not self.acquaintance.unreachable(process):
                flushed, at = process.waiting[0]
                progress = process.node.delivery(flushed.sequence, at, process.clock())
                missing = [peer.identity.name for peer in progress.missing]
                what = f"{'joining, ' if progress.joining else ''}missing {missing}"
                self.fail("ending", f"the receipt of {flushed} has not ended: {what}")

    # Memory.

    def bounds(self) -> None:
        """Nothing grows with time."""
        plan = self.run.plan
        for process in self.run.processes:
            if not process.alive:
                continue
            node = process.node
            if node.journal.head - node.journal.floor > plan.journal:
                self.fail("memory", f"{process} holds {node.journal.head - node.journal.floor} flushes")
            if process.cache.size() > plan.maxsize:
                self.fail("memory", f"{process} holds {process.cache.size()} entries")
            lately = sum(
                1
                for other in self.run.processes
                if other.alive or self.world.now < other.ended + 3 * plan.lost_after + 30
            )
            if len(node.addresses) > len(self.run.addresses) + lately:
                self.fail("memory", f"{process} has {len(node.addresses)} addresses")
            known = {peer.identity.id for peer in node.peers} | {node.identity.id}
            if len(node.links._links) > 4 * lately + len(node.addresses):
                self.fail("memory", f"{process} has {len(node.links._links)} links")
            for peer in node.peers:
                if not peer.knows <= known:
                    self.fail("memory", f"{process} holds of {peer.identity.name} whom it knows, who are no members")
