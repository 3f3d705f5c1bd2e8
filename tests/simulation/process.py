"""
A process of a simulation: the shipped node and store, driven as `Mesh` and the driver do.

Its clock runs at a rate of its own from a start of its own.  While it is paused nothing of
it happens, and everything that comes waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from flushmesh.protocol import effects as do
from flushmesh.protocol.effects import Effect
from flushmesh.protocol.journal import Journal
from flushmesh.protocol.messages import Flush, Hello, Identity, Message
from flushmesh.protocol.node import Node, NodeOptions
from tests.simulation.cache import Cache
from tests.simulation.network import End

if TYPE_CHECKING:
    from tests.simulation.run import Run


class Process:
    """One node with its cache and its application."""

    def __init__(self, run: Run, name: str, address: str, *, rate: float) -> None:
        self.run = run
        self.world = run.world
        self.name = name
        self.address = address
        self.rate = rate
        self.offset = self.world.random.uniform(0, 1e5)
        self.alive = True
        self.paused = False
        self.ends: dict[int, End] = {}
        self.waiting: list[tuple[int, float]] = []
        # What a wire tap could see: which addresses it was told of, and which have shown any life.
        self.proposed: list[str] | None = None
        self.resolved: set[str] = set()
        self._inbox: deque[Callable[[], object]] = deque()
        self._stopped: list[Callable[[], object]] = []
        self._driving = False
        self._timer = float("inf")
        plan = run.plan
        identity = Identity(self.world.random.randbytes(16), name, address)
        self.node = Node(
            "m",
            identity,
            Journal(flushes_max=plan.journal),
            NodeOptions(plan.max_staleness, plan.lost_after, 64, {"roster": 0.0}),
            self.clock(),
            plan.ping_interval,
        )
        self.cache = Cache(self)
        self.cache.store.trusted_at = self.node.trust.at
        run.network.listeners[address] = self

    def __repr__(self) -> str:
        return f"{self.name}@{self.address}"

    def clock(self) -> float:
        return self.offset + self.rate * self.world.now

    def deliver(self, action: Callable[[], object]) -> None:
        """Have the driver do *action*: in its turn, and not while the process is paused."""
        self._inbox.append(action)
        self._drive()

    def _drive(self) -> None:
        if self._driving:
            return
        self._driving = True
        while self._inbox and self.alive and not self.paused:
            self._inbox.popleft()()
        self._driving = False

    def thread(self, action: Callable[[], object]) -> None:
        """Have a thread of the application do *action*: beside the driver, but not while the process is paused."""
        if self.paused:
            self._stopped.append(action)
        elif self.alive:
            action()

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

    # The driver.

    def accept(self, caller: End) -> None:
        if not caller.open:
            return
        link = self.node.accept(caller.process.address.partition(":")[0], self.clock())
        end = self.ends[link] = End(self, link)
        self.run.network.joined(caller, end)

    def receive(self, link: int, message: Message) -> None:
        if isinstance(message, Hello):
            self.world.note(f"{self} hears {message.node.name} say Hello from {message.cursor}")
        self.act(self.node.receive(link, message, self.clock()))
        self.pump(link)

    def closed(self, link: int, reason: str, *, refused: bool, silent: bool) -> None:
        self.ends.pop(link, None)
        self.act(self.node.closed(link, reason, self.clock(), refused=refused, silent=silent))

    def propose(self, addresses: list[str]) -> None:
        self.proposed = addresses
        self.act(self.node.propose("roster", addresses, self.clock()))

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
        self.run.after_step(self)
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
                self.run.network.dial(self, link, address)
            case do.HangUp(link, refusal):
                end = self.ends.pop(link, None)
                if end is not None:
                    self.run.network.hang_up(end, refusal)
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
            case do.Acknowledged() | do.Reconsider():
                self.run.checkers.delivered(self)
            case do.Parted(peer, gone, reason):
                self.run.checkers.parted(self, peer, gone=gone)
                self.world.note(f"{self} parts from {peer.name}: {reason}")
            case do.Met(peer):
                self.world.note(f"{self} follows {peer.name}")

    def broadcast(self, flush: Flush, *, watch: bool) -> None:
        """Number *flush* and wake the driver."""
        if self.node.leaving:
            return
        sequence = self.node.flush(flush)
        self.run.checkers.flushed(self, sequence, flush)
        self.world.after(0.0005, lambda: self.deliver(self.wake))
        if watch:
            self.waiting.append((sequence, self.clock()))
            self.deliver(lambda: self.act(self.node.ask(sequence)))

    def wake(self) -> None:
        for link in list(self.ends):
            self.pump(link)

    # Its end.

    def leave(self) -> None:
        """Say goodbye and end, as the driver does."""
        self.world.note(f"{self} leaves")
        self.deliver(lambda: self.act(self.node.leave()))
        deadline = self.world.now + 1.0

        def end() -> None:
            listening = any(end.open and end.link in self.node.serving for end in self.ends.values())
            if (listening or not self.node.parted) and self.world.now < deadline:
                self.world.after(0.01, lambda: self.deliver(end))
            else:
                self.world.note(f"{self} has left")
                self.end(tell=True)

        self.deliver(end)

    def end(self, *, tell: bool) -> None:
        self.alive = False
        self.run.network.vanish(self, tell=tell)
        self.run.checkers.ended(self)
