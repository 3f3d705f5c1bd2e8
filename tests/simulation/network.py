"""
The network of a simulation: streams that keep order, and everything that can befall them.

A stream delivers what it is given in order, after a delay of its own for each message, or
not at all once it is broken.  While two hosts are cut off from each other, what was sent is
held back as TCP does; an end that hears nothing for too long may give the stream up, or not.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flushmesh.protocol.messages import Message
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.process import Process

CONNECT_MAX = 3.0
KEEPALIVE_MAX = 15.0


@dataclass(eq=False)
class End:
    """One end of a stream: a process and what it calls the link."""

    process: Process
    link: int
    far: End | None = None
    open: bool = True
    under_way: int = 0
    last_arrival: float = 0.0
    held: deque[Message] = field(default_factory=deque)


class Network:
    """Who can reach whom, and how fast."""

    def __init__(self, world: World, delay: float, spread: float) -> None:
        self.world = world
        self.delay = delay
        self.spread = spread
        self.listeners: dict[str, Process] = {}
        self.dark: set[str] = set()
        # Pairs (from, to) of addresses between which nothing passes, one way.
        self.cuts: set[tuple[str, str]] = set()

    def latency(self) -> float:
        return self.delay * (1 + self.spread * self.world.random.expovariate(1.0))

    def passes(self, sender: Process, receiver: Process) -> bool:
        return (sender.address, receiver.address) not in self.cuts

    def dial(self, caller: Process, link: int, address: str) -> None:
        """Open a stream for *caller* to whoever listens at *address*."""
        end = caller.ends[link] = End(caller, link)
        self.world.after(self.latency(), lambda: self._connect(end, address))

    def _connect(self, end: End, address: str) -> None:
        if not end.open:
            return
        listener = self.listeners.get(address)
        cut = {(end.process.address, address), (address, end.process.address)} & self.cuts
        if cut or (listener is None and address in self.dark):
            self.world.after(CONNECT_MAX, lambda: self._break(end, "no answer", silent=True))
        elif listener is None:
            end.process.resolved.add(address)
            self._break(end, "connection refused", silent=False)
        else:
            end.process.resolved.add(address)
            self.world.after(self.latency(), lambda: listener.deliver(lambda: listener.accept(end)))
            self._watch(end)

    def joined(self, end: End, far: End) -> None:
        """Both ends are there: they may talk."""
        end.far, far.far = far, end
        self.world.after(self.latency(), lambda: end.process.deliver(lambda: end.process.pump(end.link)))
        self._watch(far)

    def send(self, end: End, message: Message) -> None:
        """Carry *message* to the other end, after everything that was sent before."""
        end.under_way += 1
        far = end.far
        assert far is not None
        if end.held or not self.passes(end.process, far.process):
            end.held.append(message)
            return
        end.last_arrival = max(end.last_arrival, self.world.now + self.latency())
        self.world.after(end.last_arrival - self.world.now, lambda: self._arrive(end, far, message))

    def _arrive(self, end: End, far: End, message: Message) -> None:
        if not far.open:
            return
        far.process.deliver(lambda: self._receive(end, far, message))

    def _receive(self, end: End, far: End, message: Message) -> None:
        if not far.open:
            return
        end.under_way -= 1
        far.process.receive(far.link, message)
        if end.open and end.process.alive:
            end.process.deliver(lambda: end.process.pump(end.link))

    def mend(self) -> None:
        """Send what was held back on every stream that passes again."""
        for process in list(self.listeners.values()):
            for end in list(process.ends.values()):
                if end.open and end.far is not None and self.passes(process, end.far.process):
                    held, end.held = end.held, deque()
                    for message in held:
                        end.under_way -= 1
                        self.send(end, message)

    def hang_up(self, end: End, refusal: str | None) -> None:
        """Close *end* here; the other end hears of it unless it is cut off."""
        end.open = False
        far = end.far
        if far is None:
            return
        delay = max(self.latency(), end.last_arrival - self.world.now)
        if self.passes(end.process, far.process):
            self.world.after(
                delay, lambda: self._break(far, refusal or "the other side hung up", refused=bool(refusal))
            )

    def vanish(self, process: Process, *, tell: bool) -> None:
        """The process is gone; the other ends are told by its machine, or left to find out."""
        self.listeners = {address: other for address, other in self.listeners.items() if other is not process}
        for end in list(process.ends.values()):
            end.open = False
            if tell and end.far is not None and self.passes(process, end.far.process):
                far = end.far
                delay = max(self.latency(), end.last_arrival - self.world.now)
                self.world.after(delay, lambda far=far: self._break(far, "reset by peer"))

    def _watch(self, end: End) -> None:
        """Have *end* notice, sooner or later, that the other one is silent for good."""
        interval = KEEPALIVE_MAX * (0.5 + 0.5 * self.world.random.random())

        def look() -> None:
            if not end.open or not end.process.alive:
                return
            far = end.far
            dead = far is None or not far.open or not far.process.alive or far.process.paused
            if dead or not (self.passes(end.process, far.process) and self.passes(far.process, end.process)):
                self._break(end, "keepalive timed out")
            else:
                self.world.after(interval, look)

        self.world.after(interval, look)

    def _break(self, end: End, reason: str, *, refused: bool = False, silent: bool = False) -> None:
        if not end.open:
            return
        end.open = False
        end.process.deliver(lambda: end.process.closed(end.link, reason, refused=refused, silent=silent))
