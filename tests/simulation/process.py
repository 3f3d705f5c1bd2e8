"""
A process of a simulation: the shipped node and store, driven as `Mesh` and the driver do.

Its clock runs at a rate of its own from a start of its own.  While it is paused nothing of
it happens, and everything that comes waits.  While it is suspended, as around a fork, its
application goes on and its driver is away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flushmesh.protocol import effects as do
from flushmesh.protocol.addresses import Ending
from flushmesh.protocol.effects import Effect
from flushmesh.protocol.journal import Journal
from flushmesh.protocol.messages import PROTOCOL_VERSION, Flush, Hello, Identity, Message, Truncated, Welcome
from flushmesh.protocol.node import Node, NodeOptions
from flushmesh.protocol.trust import Phase, Source
from tests.simulation.cache import Cache
from tests.simulation.network import End, Port

if TYPE_CHECKING:
    from tests.simulation.checkers import Flushed
    from tests.simulation.run import Run

# How the driver spends its two seconds when it closes: until somebody is met, and until all are told goodbye.
MEET_MAX = 1.2
GOODBYE_MAX = 1.0
STOP_MAX = 1.5


@dataclass(frozen=True)
class Site:
    """
    Where a process runs, and as what.

    *advertised* is the address it introduces itself with, which is empty for a node that only
    dials and names no host for one that listens everywhere.  *version* is how far its
    protocol is ahead.
    """

    address: str
    advertised: str
    port: Port = Port.OPEN
    version: int = 0
    visitor: bool = False

    @property
    def host(self) -> str:
        return self.address.partition(":")[0]


class Process:
    """One node with its cache and its application."""

    def __init__(self, run: Run, name: str, site: Site, sources: dict[str, Source], *, rate: float) -> None:
        self.run = run
        self.world = run.world
        self.name = name
        self.site = site
        self.address, self.host, self.port = site.address, site.host, site.port
        self.rate = rate
        self.offset = self.world.random.uniform(0, 1e5)
        self.started = self.world.now
        self.ended = self.first_met = self.closed_at = float("inf")
        self.alive = True
        self.paused = False
        self.closing = False
        self.met_any = False
        self.ends: dict[int, End] = {}
        self.waiting: list[tuple[Flushed, float]] = []
        # What a wire tap could see: which addresses it was told of, when each was last proposed, which of
        # them have shown any life, and when anything last came from each process.
        self.proposed: list[str] | None = None
        self.named_until: dict[str, float] = {}
        self.resolved: set[str] = set()
        self.heard: dict[Process, float] = {}
        self.learnt: dict[Process, float] = {}
        self.heard_of = -float("inf")
        self.naming = any(source.names for source in sources.values())
        self._inbox: deque[Callable[[], object]] = deque()
        self._stopped: list[Callable[[], object]] = []
        self._unnumbered: deque[tuple[Flushed, bool]] = deque()
        self._driving = False
        self._timer = float("inf")
        self.node = self._make_node(sources)
        self.cache = Cache(self)
        self.cache.store.trusted_at = self.node.trust.at
        run.network.listeners[site.address] = self

    def _make_node(self, sources: dict[str, Source]) -> Node:
        plan = self.run.plan
        identity = Identity(self.world.random.randbytes(16), self.name, self.site.advertised)
        options = NodeOptions(plan.max_staleness, plan.lost_after, plan.give_up_silent, 256, sources)
        journal = Journal(flushes_max=plan.journal)
        return Node("m", identity, journal, options, self.clock(), plan.ping_interval, plan.max_staleness)

    def __repr__(self) -> str:
        return f"{self.name}@{self.address}"

    def clock(self) -> float:
        return self.offset + self.rate * self.world.now

    @property
    def suspended(self) -> bool:
        return self in self.run.network.suspended

    @property
    def joining(self) -> bool:
        return self.node.trust.phase is Phase.JOINING

    def met_at(self, other: Process) -> float:
        """Return when this process has first known of *other*, by its own clock."""
        return self.learnt.get(other, self.clock())

    @property
    def names(self) -> frozenset[str]:
        """The addresses that hold its proof."""
        return frozenset(self.proposed or ()) if self.naming else frozenset()

    def deliver(self, action: Callable[[], object]) -> None:
        """Have the driver do *action*: in its turn, and not while the process is paused or suspended."""
        self._inbox.append(action)
        self._drive()

    def _drive(self) -> None:
        if self._driving:
            return
        self._driving = True
        while self._inbox and self.alive and not self.paused and not self.suspended:
            self._inbox.popleft()()
        self._driving = False

    def thread(self, action: Callable[[], object]) -> None:
        """Have a thread of the application do *action*: beside the driver, but not while the process is paused."""
        if self.paused:
            self._stopped.append(action)
        elif self.alive:
            action()

    # What befalls it.

    def pause(self, seconds: float) -> None:
        if self.alive and not self.paused:
            self.paused = True
            self.world.note(f"{self} is paused for {seconds:.1f} s")
            self.world.after(seconds, self.resume)

    def resume(self) -> None:
        if self.paused and self.alive:
            self.paused = False
            self.world.note(f"{self} goes on")
            stopped, self._stopped = self._stopped, []
            for action in stopped:
                self.thread(action)
            self._drive()

    def suspend(self, seconds: float) -> None:
        """Let go of the driver's thread, its streams and its listener for a while, as around a fork."""
        self.deliver(lambda: self._suspend(seconds))

    def _suspend(self, seconds: float) -> None:
        if self.closing:
            return
        self.world.note(f"{self} is suspended for {seconds:.2f} s")
        self.run.network.suspended.add(self)
        self.run.network.close_port(self)
        for end in self.ends.values():
            self.run.network.hang_up(end)
        self.ends.clear()
        self.act(self.node.cut("interrupted by a fork", self.clock()))
        self.world.after(seconds, self._return)

    def _return(self) -> None:
        if self.alive:
            self.run.network.suspended.discard(self)
            self.node.moved(self.site.advertised)
            self._number()
            self.deliver(self.tick)

    # The driver.

    def accept(self, caller: End) -> None:
        link = self.node.accept(caller.process.host, self.clock())
        end = self.ends[link] = End(self, link)
        self.run.network.joined(caller, end)

    def receive(self, link: int, message: Message) -> None:
        end = self.ends.get(link)
        if end is None or end.far is None:
            return
        sender = end.far.process
        self.heard[sender] = self.clock()
        sender.heard_of = self.world.now
        if isinstance(message, Hello):
            self.world.note(f"{self} hears {message.node.name} say Hello")
            message = replace(message, protocol=message.protocol - self.site.version)
        if isinstance(message, Welcome) and end.address:
            self.resolved.add(end.address)
        if isinstance(message, Truncated):
            self.run.checkers.skipped(self, sender, message)
        self.act(self.node.receive(link, message, self.clock()))
        self.pump(link)

    def answered(self, address: str, ending: Ending, began: float) -> None:
        """Note what came of a dial, as a wire tap would."""
        if ending is not Ending.SILENT:
            self.resolved.add(address)

    def closed(self, link: int, reason: str, ending: Ending) -> None:
        self.ends.pop(link, None)
        self.act(self.node.closed(link, reason, self.clock(), ending))

    def propose(self, source: str, addresses: Iterable[str]) -> None:
        before = set(self.proposed or ())
        self.proposed = list(addresses)
        for address in before - set(self.proposed):
            self.named_until[address] = self.clock()
        self.run.checkers.proposed(self)
        self.act(self.node.propose(source, self.proposed, self.clock()))

    def tick(self) -> None:
        self.act(self.node.tick(self.clock()))

    def pump(self, link: int) -> None:
        """Send what the node has to say on *link*, as far as the stream takes it."""
        end = self.ends.get(link)
        while end is not None and end.open and end.far is not None and end.under_way < self.run.plan.window:
            message = self.node.next_message(link, self.clock())
            if message is None:
                break
            self.run.checkers.said(self, end.far.process, message)
            if self.world.loud:
                self.world.note(f"{self} tells {end.far.process} {message}")
            if isinstance(message, Hello):
                message = replace(message, protocol=PROTOCOL_VERSION + self.site.version)
            self.run.network.send(end, message)

    def plan_tick(self) -> None:
        due = self.node.next_due()
        if due == float("inf"):
            return
        at = max(self.world.now, (due - self.offset) / self.rate) + 1e-6
        if at < self._timer or self._timer < self.world.now:
            self._timer = at
            self.world.after(at - self.world.now, lambda: self._fire(at))

    def _fire(self, at: float) -> None:
        if self._timer == at:
            self._timer = float("inf")
            self.deliver(self.tick)

    def act(self, effects: list[Effect]) -> None:
        """Carry out *effects*, with the application's threads looking in between."""
        self.run.checkers.after_step(self)
        for effect in effects:
            if isinstance(effect, do.Trust | do.Distrust):
                self.run.application.glance(self)
            self.carry_out(effect)
            if isinstance(effect, do.Trust | do.Distrust):
                self.run.application.glance(self)
        self.plan_tick()

    def carry_out(self, effect: Effect) -> None:
        match effect:
            case do.Wake(link):
                self.pump(link)
            case do.Dial(link, address):
                if not self.suspended:
                    self.run.network.dial(self, link, address)
            case do.HangUp(link):
                end = self.ends.pop(link, None)
                if end is not None:
                    self.run.network.hang_up(end)
            case do.Apply(origin, first, flushes):
                self.run.checkers.applied(self, origin, first, flushes)
                for flush in flushes:
                    self.cache.apply(flush)
            case do.Trust(at):
                if self.world.loud:
                    self.world.note(f"{self} trusts what it had {self.clock() - at:.3f} s ago")
                self.cache.store.trusted_at = at
            case do.Distrust(peer, since, reason):
                self.world.note(f"{self} distrusts {peer and peer.name}: {reason}")
                before = len(self.cache.store.snapshot())
                self.cache.store.distrust(since)
                self.run.checkers.distrusted(self, peer, before, len(self.cache.store.snapshot()))
            case _:
                self._report(effect)

    def _report(self, effect: Effect) -> None:
        match effect:
            case do.Acknowledged(upto):
                self.run.checkers.delivered(self, upto)
            case do.RecheckReceipts():
                self.run.checkers.delivered(self)
            case do.PeerLost(peer, gone, reason):
                self.world.note(f"{self} {'forgets' if gone else 'loses'} {peer.name}: {reason}")
                self.run.checkers.parted(self, peer, reason, gone=gone)
            case do.PeerFollowed(peer):
                self.met_any = True
                self.first_met = min(self.first_met, self.world.now)
                self.world.note(f"{self} follows {peer.name}")
            case do.Joined(silent):
                self.world.note(f"{self} has joined{', without ' if silent else ''}{', '.join(silent)}")
            case do.Refused(peer, reason):
                self.world.note(f"{self} and {peer}: {reason}")
            case _:
                pass

    # Flushing.

    def broadcast(self, flush: Flush, *, watch: bool) -> None:
        """Have *flush* numbered, and wake the driver."""
        if self.closing or not self.alive:
            return
        self._unnumbered.append((self.run.checkers.flushed(self, flush), watch))
        if not self.suspended:
            self._number()

    def _number(self) -> None:
        """Put what was flushed by now into the journal."""
        while self._unnumbered:
            flushed, watch = self._unnumbered.popleft()
            flushed.sequence = self.node.flush(flushed.flush)
            self.world.after(0.0005, lambda: self.deliver(self.wake))
            if watch:
                self.waiting.append((flushed, self.clock()))
                self.deliver(lambda sequence=flushed.sequence: self.act(self.node.ask(sequence)))
                self.deliver(lambda: self.run.checkers.delivered(self))

    def wake(self) -> None:
        for link in list(self.ends):
            self.pump(link)

    # Its end.

    def leave(self) -> None:
        """Say goodbye and end, as the driver does."""
        if not self.closing and self.alive:
            self.closing = True
            self.closed_at = self.world.now
            self.world.note(f"{self} leaves")
            self.deliver(lambda: self._meet_somebody(self.world.now))

    def _meet_somebody(self, began: float) -> None:
        """What was flushed must have met somebody first."""
        node = self.node
        looks = node.journal.flushes > 0 and self.joining and not self.met_any
        if looks and self.world.now < began + MEET_MAX:
            self.world.after(0.01, lambda: self.deliver(lambda: self._meet_somebody(began)))
            return
        self.act(node.leave(self.clock()))
        deadline = min(self.world.now + GOODBYE_MAX, began + STOP_MAX)
        self._say_goodbye(deadline)

    def _say_goodbye(self, deadline: float) -> None:
        busy = any(end.open and end.far is not None for end in self.ends.values())
        if (busy or not self.node.parted) and self.world.now < deadline:
            self.world.after(0.01, lambda: self.deliver(lambda: self._say_goodbye(deadline)))
        else:
            self.world.note(f"{self} has left")
            self.end(tell=True)

    def end(self, *, tell: bool) -> None:
        if self.alive:
            self.run.checkers.ending(self)
            self.alive = False
            self.ended = self.world.now
            self.run.network.vanish(self, tell=tell)
