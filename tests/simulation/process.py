"""
A process of a simulation: the shipped node, stores and flights, driven as `Mesh` and the driver do.

Its clock runs at a rate of its own from a start of its own.  While it is paused nothing of
it happens, and everything that comes waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flushmesh.entry import MISS, Entry, Miss
from flushmesh.flight import Flight, Landing, Passenger
from flushmesh.fresh import Fresh
from flushmesh.protocol import effects as do
from flushmesh.protocol.effects import Effect
from flushmesh.protocol.journal import Journal
from flushmesh.protocol.messages import Flush, Hello, Identity, Message
from flushmesh.protocol.node import Node, NodeOptions
from flushmesh.store import Store
from flushmesh.write import Write
from tests.simulation.network import End
from tests.simulation.world import Violation

if TYPE_CHECKING:
    from tests.simulation.run import Run

CACHE = "c"


@dataclass(frozen=True)
class Value:
    """What a load returned: which version of the key; it began at the stamp *began*, at the time *at*."""

    key: str
    version: int
    began: int
    at: float = field(compare=False)


class Glimpsed(dict[str, Entry[Value]]):
    """
    A store's own dict, in which a reader may be stopped before and after it has looked.

    Other threads go on meanwhile, which is what makes a lock-free hit hard.
    """

    process: Process

    def __getitem__(self, key):
        self.process.stumble()
        try:
            return super().__getitem__(key)
        finally:
            self.process.stumble()


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
        self.reading = False
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
        self.store: Store[Value] = Store(plan.maxsize, plan.ttl, self.clock, plan.max_staleness, self._draw)
        entries = Glimpsed()
        entries.process = self
        self.store.entries = self.store.contents.shown = self.store.contents.entries = entries
        self.store.get = self.store._reader()
        self.store.trusted_at = self.node.trust.at
        run.network.listeners[address] = self

    def __repr__(self) -> str:
        return f"{self.name}@{self.address}"

    def _draw(self) -> float:
        """Draw an entry's bound; the longest shows most."""
        return 1.0 if self.world.chance(0.5) else self.world.random.random()

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

    def stumble(self) -> None:
        """The reading thread is stopped for a moment, while the others go on."""
        if self.reading and not (self.run.peace or self.run.plan.calm) and self.world.chance(0.02):
            self.reading = False
            self.run.let_pass(self.world.random.choice((0.01, 0.3, 2.0)) * self.run.plan.max_staleness)
            self.reading = True

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
                    self.forget(flush)
            case do.Trust(at):
                if self.world.loud:
                    self.world.note(f"{self} trusts what it had {self.clock() - at:.3f} s ago")
                self.store.trusted_at = at
            case do.Distrust(peer, since, reason):
                self.world.note(f"{self} distrusts {peer and peer.name}: {reason}")
                before = len(self.store.snapshot())
                self.store.distrust(since)
                self.run.checkers.distrusted(self, peer, before, len(self.store.snapshot()))
            case do.Acknowledged() | do.Reconsider():
                self.run.checkers.delivered(self)
            case do.Parted(peer, gone, reason):
                self.run.checkers.parted(self, peer, gone=gone)
                self.world.note(f"{self} parts from {peer.name}: {reason}")
            case do.Met(peer):
                self.world.note(f"{self} follows {peer.name}")

    def forget(self, flush: Flush) -> None:
        """Apply *flush* to the store, as `Cache.apply` does."""
        if flush.key is not None:
            self.store.flush(flush.key)
        else:
            self.store.flush_all()
        self.run.checkers.forgot(self, flush)
        if self.world.loud:
            self.world.note(f"{self} forgets {flush.key or 'everything'}")

    # The application.

    def flush(self, key: str | None, *, watch: bool) -> None:
        """Flush here, number the flush, and wake the driver, in the order of `Cache.flush`."""
        self.forget(Flush(CACHE, key))
        self._number(key, watch=watch)

    def _number(self, key: str | None, *, watch: bool) -> None:
        if self.node.leaving:
            return
        sequence = self.node.flush(Flush(CACHE, key))
        self.run.checkers.flushed(self, sequence, key, self.clock())
        self.world.after(0.0005, lambda: self.deliver(self.wake))
        if watch:
            self.waiting.append((sequence, self.clock()))
            self.deliver(lambda: self.act(self.node.ask(sequence)))

    def end_write(self, write: Write, version: int) -> None:
        """End a write as `Writing` does: flush here, keep the value unless it may be old, tell the peers."""
        at = (write.began - self.offset) / self.rate
        (key,) = write.keys
        self.store.end_write(write, {key: (Fresh(Value(key, version, self.world.stamp() + 1, at)), 1)})
        self.run.checkers.forgot(self, Flush(CACHE, key))
        self._number(key, watch=False)

    def wake(self) -> None:
        for link in list(self.ends):
            self.pump(link)

    def look(self, key: str) -> Value | Miss:
        """Look into the store, as the first line of every read does."""
        asked = self.world.stamp()
        self.reading = True
        value = self.store.get(key, MISS)
        self.reading = False
        if isinstance(value, Value):
            self.run.checkers.hit(self, key, value, asked)
        return value

    def read(self, key: str) -> None:
        """Read through the cache, loading on a miss."""
        asked = self.world.stamp()
        if isinstance(self.look(key), Value):
            return
        flight = self.store.take_off(key)
        if isinstance(flight, Flight):
            self.load(flight)
        elif isinstance(flight, Passenger):
            flight.landing.add_done_callback(lambda future: self._landed(key, future.result(), asked))
        else:
            self.run.checkers.hit(self, key, flight.value, self.world.stamp())

    def _landed(self, key: str, landing: Landing[Value], asked: int) -> None:
        if landing.value is not None:
            # A future swallows what its callbacks raise, loudly; the checkers keep it as well.
            with suppress(Violation):
                self.run.checkers.joined(self, key, landing.value, asked)

    def load(self, flight: Flight[Value]) -> None:
        """Run a loader: it reads the source of truth somewhere in between."""
        began, at = self.world.stamp(), self.world.now
        took = self.run.plan.load_time * self.world.random.expovariate(1.0)
        when = took * self.world.random.random()

        def look() -> None:
            value = Value(flight.key, self.run.database[flight.key], began, at)
            self.world.after(took - when, lambda: self.thread(lambda: done(value)))

        def done(value: Value) -> None:
            if self.world.chance(self.run.plan.loads_fail):
                self.store.fail(flight, OSError("the source is gone"))
            elif self.store.fill(flight, Fresh(value)):
                if self.world.loud:
                    self.world.note(f"{self} stores {value}")
                self.run.checkers.filled(self, value)

        self.world.after(when, lambda: self.thread(look))

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
