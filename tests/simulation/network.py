"""
The network of a simulation: streams that keep order, and everything that can befall them.

A stream delivers what it is given in order, after a delay of its own for each message, or
not at all once it is broken.  While two hosts are cut off from each other, what was sent is
held back as TCP does; an end that hears nothing for too long may give the stream up, or not.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from flushmesh.protocol.addresses import Ending
from flushmesh.protocol.messages import Message
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.process import Process

CONNECT_MAX = 3.0
KEEPALIVE_MAX = 15.0

# The hosts of all visitors, those that are there and those that come.
VISITORS = "visitors"

# A proxy in front of a port where nothing listens accepts, and hangs up within this.
PROXY_MAX = 1.0


class Port(Enum):
    """Whether the port of a process can be dialled: it can, the dial gets no answer, or a firewall refuses it."""

    OPEN = auto()
    SILENT = auto()
    REFUSING = auto()


@dataclass(eq=False)
class End:
    """One end of a stream: a process and what it calls the link; *address* is what it has dialled."""

    process: Process
    link: int
    address: str = ""
    began: float = 0.0
    far: End | None = None
    open: bool = True
    heard: bool = False
    under_way: int = 0
    last_arrival: float = 0.0
    held: deque[Message] = field(default_factory=deque)


def _visiting(host: str) -> str:
    return VISITORS if host.startswith("v") else host


class Network:
    """Which host can reach which, and how fast."""

    def __init__(self, world: World, delay: float, spread: float) -> None:
        self.world = world
        self.delay = delay
        self.spread = spread
        self.listeners: dict[str, Process] = {}
        # Processes that are about to listen again at the same address.
        self.suspended: set[Process] = set()
        # Hosts at which an address where no process is does not refuse either.
        self.dark: set[str] = set()
        # Addresses where something answers that is no node.
        self.foreign: set[str] = set()
        # Pairs (from, to) of hosts between which nothing passes, one way.
        self.cuts: set[tuple[str, str]] = set()
        self._knocking: dict[Process, list[End]] = {}

    def latency(self) -> float:
        return self.delay * (1 + self.spread * self.world.random.expovariate(1.0))

    def passes(self, sender: Process, receiver: Process) -> bool:
        return self._passes(sender.host, receiver.host)

    def _passes(self, sender: str, receiver: str) -> bool:
        if not self.cuts:
            return True
        # Visitors come and go, and are cut off from others all together as well.
        return self.cuts.isdisjoint({(sender, receiver), (sender, _visiting(receiver)), (_visiting(sender), receiver)})

    def dial(self, caller: Process, link: int, address: str) -> None:
        """Open a stream for *caller* to the process that listens at *address*."""
        end = caller.ends[link] = End(caller, link, address, self.world.now)
        self.world.after(self.latency(), lambda: self._connect(end))

    def _connect(self, end: End) -> None:
        if not end.open:
            return
        ending = self.answer(end.process, end.address)
        if ending is Ending.SILENT:
            self.world.after(CONNECT_MAX, lambda: self._break(end, "no answer", ending))
        elif ending is Ending.REFUSED:
            self._break(end, "connection refused", ending)
        elif ending is Ending.FOREIGN:
            self.world.after(self.latency(), lambda: self._break(end, "no node", ending))
        else:
            listener = self.listeners[end.address]
            self.world.after(self.latency(), lambda: self._knock(end, listener))
            self._watch(end)

    def _knock(self, end: End, listener: Process) -> None:
        """Have *listener* accept *end* in its turn, unless its port is closed before that."""
        if listener.alive and listener not in self.suspended:
            self._knocking.setdefault(listener, []).append(end)
            listener.deliver(lambda: self._accept(end, listener))
        elif end.address.partition(":")[0] not in self.dark:
            self._ended(end, "reset by peer")

    def _accept(self, end: End, listener: Process) -> None:
        knocking = self._knocking.get(listener, [])
        if end in knocking:
            knocking.remove(end)
            if end.open:
                listener.accept(end)

    def close_port(self, process: Process) -> None:
        """What was waiting to be accepted is not accepted any more."""
        for end in self._knocking.pop(process, []):
            self._ended(end, "reset by peer")

    def answer(self, caller: Process, address: str) -> Ending | None:
        """Return what comes back at once if *caller* dials *address*, None if a node accepts."""
        host = address.partition(":")[0]
        if not (self._passes(caller.host, host) and self._passes(host, caller.host)):
            return Ending.SILENT
        if address in self.foreign:
            return Ending.FOREIGN
        listener = self.listeners.get(address)
        if listener is None:
            return Ending.SILENT if host in self.dark else Ending.REFUSED
        if listener in self.suspended or listener.port is Port.REFUSING:
            return Ending.REFUSED
        return Ending.SILENT if listener.port is Port.SILENT else None

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
        far.heard = True
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

    def hang_up(self, end: End, reason: str = "the other side hung up", *, tell: bool = True) -> None:
        """Close *end* here; the other end learns of it unless the two are cut off from each other."""
        end.open = False
        far = end.far
        if far is not None and tell and self.passes(end.process, far.process):
            delay = max(self.latency(), end.last_arrival - self.world.now)
            self.world.after(delay, lambda: self._ended(far, reason))

    def vanish(self, process: Process, *, tell: bool) -> None:
        """The process is gone; the other ends are told by its machine, or left to find out."""
        self.listeners.pop(process.address, None)
        self.suspended.discard(process)
        for end in list(process.ends.values()):
            self.hang_up(end, "reset by peer", tell=tell)
        if tell:
            self.close_port(process)

    def _ended(self, end: End, reason: str) -> None:
        """The stream of *end* was ended by the other side or by its machine."""
        if end.heard or not end.address:
            self._break(end, reason, Ending.BROKEN)
        elif self.world.now > end.began + PROXY_MAX:
            self._break(end, reason, Ending.SILENT)
        else:
            # As the driver does, look whether anything is there at all.
            refused = self.answer(end.process, end.address) is Ending.REFUSED
            self._break(end, reason, Ending.REFUSED if refused else Ending.SILENT)

    def _watch(self, end: End) -> None:
        """Have *end* notice, sooner or later, that the other one is silent for good."""
        interval = KEEPALIVE_MAX * (0.5 + 0.5 * self.world.random.random())

        def look() -> None:
            if not end.open or not end.process.alive:
                return
            far = end.far
            dead = far is None or not far.open or not far.process.alive or far.process.paused
            if dead or not (self.passes(end.process, far.process) and self.passes(far.process, end.process)):
                self._break(end, "keepalive timed out", Ending.BROKEN if end.heard else Ending.SILENT)
            else:
                self.world.after(interval, look)

        self.world.after(interval, look)

    def _break(self, end: End, reason: str, ending: Ending) -> None:
        if not end.open:
            return
        end.open = False
        if end.address:
            end.process.answered(end.address, ending, end.began)
        end.process.deliver(lambda: end.process.closed(end.link, reason, ending))
