"""
A run: one world, some processes, an application, faults, and then peace.

First everything may go wrong that the plan allows.  Then the faults end, and within
`Plan.healing` seconds everybody must follow everybody, every proof must move, and nothing
that is served may be stale.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from flushmesh.options import ping_interval
from flushmesh.protocol.messages import Flush
from flushmesh.protocol.peer import State
from tests.simulation.application import Application
from tests.simulation.cache import CACHE
from tests.simulation.checkers import Checkers
from tests.simulation.network import KEEPALIVE_MAX, Network
from tests.simulation.process import Process
from tests.simulation.source import Source
from tests.simulation.world import Violation, World


@dataclass(frozen=True)
class Plan:
    """
    What a run is like; durations in seconds, rates in events a second.

    *window* is flow control: so many messages are under way on a stream before its sender
    must wait.  Of the keys a share of *versioned* is loaded and flushed with versions, from a
    replica that lags by up to *lag*; *demands* is how many demands a store remembers.
    """

    nodes: int = 3
    keys: int = 5
    tags: int = 3
    versioned: float = 0.5
    lag: float = 0.0
    demands: int = 1000
    ahead: float | None = None
    seconds: float = 60.0
    max_staleness: float = 5.0
    lost_after: float = 20.0
    ttl: float = 1e6
    maxsize: int = 100
    journal: int = 1000
    window: int = 6
    delay: float = 0.002
    spread: float = 1.0
    load_time: float = 0.05
    loads_fail: float = 0.0
    reads: float = 10.0
    writes: float = 0.5
    faults: float = 0.0
    rolling: bool = False
    lying: bool = False
    drift: float = 0.0005
    slow_clock: float = 1.0

    @property
    def calm(self) -> bool:
        """Whether nothing goes wrong."""
        return self.faults == 0 and not self.lying

    @property
    def ping_interval(self) -> float:
        return ping_interval(self.max_staleness)

    @property
    def cost(self) -> float:
        """About how many events the run has, to tell quick seeds from slow ones."""
        answers = 4 * self.nodes**2 / self.ping_interval
        return (self.seconds + self.healing) * (answers + self.nodes * self.reads + 3 * self.nodes**2 * self.writes)

    @property
    def healing(self) -> float:
        """How long peace may take: to give the dead up, to notice dead streams, to dial again, to prove anew."""
        return self.lost_after + KEEPALIVE_MAX + 5.0 + 6 * self.ping_interval + 3.0


def plan_of(seed: int) -> Plan:
    """Draw a plan: small and large, fast and slow, calm and wild."""
    random = World(seed).random
    staleness = random.choice((1.0, 2.0, 5.0, 10.0))
    plan = Plan(
        nodes=random.choice((2, 2, 3, 3, 3, 4, 4, 5, 6, 8)),
        keys=random.choice((1, 3, 8, 20)),
        tags=random.choice((1, 2, 5)),
        versioned=random.choice((0.0, 0.5, 1.0)),
        lag=random.choice((0.0, 0.3, 5.0)),
        demands=random.choice((1000, 1000, 1000, 2)),
        ahead=random.choice((None, None, 0.5)),
        seconds=random.choice((20.0, 40.0, 60.0)),
        max_staleness=staleness,
        lost_after=staleness * random.choice((2.0, 4.0, 8.0)),
        ttl=random.choice((1e6, 1e6, 3 * staleness)),
        maxsize=random.choice((100, 100, 3)),
        journal=random.choice((1000, 1000, 20, 3)),
        window=random.choice((1, 2, 6)),
        delay=random.choice((0.0005, 0.005, 0.05, 0.3)),
        spread=random.choice((0.1, 1.0, 5.0)),
        load_time=random.choice((0.0, 0.02, 0.5, 3.0)),
        loads_fail=random.choice((0.0, 0.1)),
        reads=random.choice((3.0, 10.0)),
        writes=random.choice((0.05, 0.2, 1.0, 3.0)),
        faults=random.choice((0.1, 0.3, 1.0)),
        lying=random.random() < 0.3,
    )
    # A peer is given up only after many times what an answer takes.
    plan = replace(plan, delay=min(plan.delay, plan.lost_after / (40 * (1 + plan.spread))))
    kind = random.random()
    # A calm network answers faster than anybody is given up.
    calm = replace(plan, faults=0.0, lying=False, journal=1000, delay=min(plan.delay, 0.05), spread=1.0)
    if kind < 0.1:
        return calm
    if kind < 0.2:
        return replace(calm, rolling=True, delay=0.005)
    return plan


class Run:
    """One world from its beginning to its end."""

    def __init__(self, seed: int, plan: Plan | None = None, *, loud: bool = False) -> None:
        self.plan = plan or plan_of(seed)
        self.world = World(seed, loud=loud)
        self.keys = [f"k{number}" for number in range(self.plan.keys)]
        self.tags = [f"t{number}" for number in range(self.plan.tags)]
        self.source = Source(self.world, self.keys, self.tags, self.plan.lag)
        self.versioned = {key for key in self.keys if self.world.chance(self.plan.versioned)}
        self.network = Network(self.world, self.plan.delay, self.plan.spread)
        self.addresses = [f"h{number}:1" for number in range(self.plan.nodes + 2)]
        self.processes: list[Process] = []
        self.checkers = Checkers(self)
        self.application = Application(self)
        self.peace = False
        self.quiet = False
        self._started = 0
        self._nested = False

    def go(self) -> Run:
        """Run it; raise Violation if a promise is broken."""
        for address in self.addresses[: self.plan.nodes]:
            delay = self.world.random.choice((0.0, 0.0, 0.1, 3.0)) if not self.plan.calm else 0.0
            self.world.after(delay, lambda address=address: self.start(address))
        if self.plan.faults:
            self._plague()
        if self.plan.rolling:
            self._roll()
        self.world.run(self.plan.seconds)
        self._heal()
        self.world.run(self.world.now + self.plan.healing)
        self._check_peace()
        self.quiet = True
        self.world.run(self.world.now + 3 * self.plan.max_staleness + 10 * self.plan.load_time)
        self._check_fresh()
        if self.checkers.violation is not None:
            raise self.checkers.violation
        return self

    def start(self, address: str) -> Process | None:
        """Start a process at *address*, unless one is there."""
        if address in self.network.listeners:
            return None
        self._started += 1
        rate = 1 + self.world.random.uniform(-self.plan.drift, self.plan.drift)
        if self._started == 1:
            rate *= self.plan.slow_clock
        process = Process(self, f"p{self._started}", address, rate=rate)
        self.processes.append(process)
        self.world.note(f"{process} starts")
        self.checkers.after_step(process)
        process.plan_tick()
        if self.plan.lying and not self.quiet and self.world.chance(0.5):
            some = self.world.random.sample(self.addresses, self.world.random.randint(0, len(self.addresses)))
            self.world.after(
                self.world.random.choice((0.0, 5.0)), lambda: process.deliver(lambda: process.propose(some))
            )
        else:
            process.deliver(lambda: process.propose(list(self.addresses)))
        self.application.begin(process)
        return process

    def alive(self) -> list[Process]:
        return [process for process in self.processes if process.alive and not process.node.leaving]

    def after_step(self, process: Process) -> None:
        self.checkers.after_step(process)

    def let_pass(self, seconds: float) -> None:
        """Let the rest of the world go on for a while, inside of what is happening now; never into the peace."""
        until = min(self.world.now + seconds, self.plan.seconds)
        if not self._nested and until > self.world.now:
            self._nested = True
            self.world.run(until)
            self._nested = False

    # Faults.

    def _plague(self) -> None:
        def strike() -> None:
            if self.world.now < self.plan.seconds:
                self._fault()
                self.world.after(self.world.random.expovariate(self.plan.faults), strike)

        self.world.after(self.world.random.expovariate(self.plan.faults), strike)

    def _fault(self) -> None:
        alive = self.alive()
        kinds = (self._pause, self._cut, self._split, self._crash, self._restart, self._leave, self._darken, self._lie)
        fault = self.world.random.choices(kinds, (4, 5, 1, 2, 3, 1, 1, 1 if self.plan.lying else 0))[0]
        if alive:
            fault(self.world.random.choice(alive))
        elif self.world.chance(0.5):
            # Without this, a run in which everybody has crashed would show nothing more.
            self.start(self.world.random.choice(self.addresses))
        self.checkers.bounds()

    def _pause(self, process: Process) -> None:
        process.pause(self.world.random.choice((0.05, 0.5, 1.5, 4.0)) * self.plan.max_staleness)

    def _cut(self, process: Process) -> None:
        """Cut one pair, one way or both, or one host from all others, for a while."""
        others = [address for address in self.addresses if address != process.address]
        chosen = others if self.world.chance(0.4) else [self.world.random.choice(others)]
        self._part([process.address], chosen)

    def _split(self, process: Process) -> None:
        """Cut some hosts off from all others."""
        some = self.world.random.sample(self.addresses, self.world.random.randint(1, len(self.addresses) - 1))
        self._part(some, [address for address in self.addresses if address not in some])

    def _part(self, some: list[str], others: list[str]) -> None:
        cuts = {(one, other) for one in some for other in others}
        if self.world.chance(0.7):
            cuts |= {(other, one) for one, other in cuts}
        self.network.cuts |= cuts
        seconds = self.world.random.choice((0.1, 0.8, 3.0, 8.0)) * self.plan.max_staleness
        here, there = ", ".join(some), ", ".join(others)
        self.world.note(f"{here} cut off from {there} for {seconds:.1f} s")

        def mend() -> None:
            self.network.cuts -= cuts
            self.world.note(f"{here} reach {there} again")
            self.network.mend()

        self.world.after(seconds, mend)

    def _crash(self, process: Process) -> None:
        self.world.note(f"{process} crashes")
        process.end(tell=self.world.chance(0.6))

    def _restart(self, process: Process) -> None:
        self._crash(process)
        free = [address for address in self.addresses if address not in self.network.listeners]
        address = process.address if self.world.chance(0.7) else self.world.random.choice(free)
        self.world.after(self.world.random.choice((0.01, 1.0, 5.0)), lambda: self.start(address))

    def _leave(self, process: Process) -> None:
        if not process.paused and self.world.chance(0.5):
            process.cache.flush(Flush(CACHE, self.world.random.choice(self.keys)), watch=False)
        process.leave()
        self.world.after(self.world.random.choice((1.1, 3.0)), lambda: self.start(process.address))

    def _darken(self, process: Process) -> None:
        """An address where nobody is does not refuse either."""
        self.network.dark.add(self.world.random.choice(self.addresses))

    def _lie(self, process: Process) -> None:
        some = self.world.random.sample(self.addresses, self.world.random.randint(0, len(self.addresses)))
        process.deliver(lambda: process.propose(some))

    def _roll(self) -> None:
        """Restart everybody, one after the other, with clean goodbyes."""
        at = 8.0
        for number in range(self.plan.nodes):
            self.world.after(at + 4.0 * number, self._roll_one)

    def _roll_one(self) -> None:
        oldest = self.alive()[0]
        # What was flushed last goes before the goodbye.
        oldest.cache.flush(Flush(CACHE, self.world.random.choice(self.keys)), watch=False)
        oldest.leave()
        self.world.after(1.5, lambda: self.start(oldest.address))

    # Peace.

    def _heal(self) -> None:
        self.world.note("the faults end")
        self.peace = True
        self.network.cuts.clear()
        self.network.dark.clear()
        self.plan = replace(self.plan, lying=False)
        for process in self.processes:
            process.resume()
        self.network.mend()
        for process in self.alive():
            process.deliver(lambda process=process: process.propose(list(self.addresses)))

    def _check_peace(self) -> None:
        alive = self.alive()
        ids = {process.node.identity.id for process in alive}
        for process in alive:
            following = {peer.identity.id for peer in process.node.peers if peer.state is State.FOLLOWING}
            if following != ids - {process.node.identity.id}:
                peers = [(peer.identity.name, peer.state.value, peer.met) for peer in process.node.peers]
                self.checkers.fail("healing", f"{process} follows only {peers} of {alive}")
            age = process.clock() - process.node.trust.at
            if age > 3 * self.plan.ping_interval + 20 * self.plan.delay * (1 + self.plan.spread):
                why = process.node.why(process.clock())
                self.checkers.fail("healing", f"the proof of {process} is {age:.2f} s old: {why}")

    def _check_fresh(self) -> None:
        """Nothing has been written for longer than the bound: whatever is served is the newest that was flushed."""
        for process in self.alive():
            for key in self.keys:
                process.cache.look(key)
        self.checkers.bounds()


def run(seed: int, plan: Plan | None = None, *, loud: bool = False) -> Run:
    """Run *seed*; a violation names it and tells the events of those it names, with *loud* every message."""
    made = Run(seed, plan, loud=loud)
    try:
        return made.go()
    except Exception as error:
        # What the code under test raises breaks no promise of the list, and is no better.
        what = str(error) if isinstance(error, Violation) else f"error at {made.world.now:.3f}: {error!r}"
        raise Violation(f"seed {seed}: {what}\n{made.plan}\n{_story(made, what)}") from error


def _story(made: Run, violation: str) -> str:
    named = set(re.findall(r"\bp\d+\b", violation))
    events = [line for line in made.world.history if not named or named & set(re.findall(r"\bp\d+\b", line))]
    return "\n".join(events[-400:] if made.world.loud else events[-40:])
