"""
A run: one world, some processes, an application, faults, and then peace.

First everything may go wrong that the plan allows.  Then the faults end, and within
`Plan.healing` seconds all that know of each other must follow each other, every proof must
move, every receipt must have ended, and nothing that is served may be stale.
"""

from __future__ import annotations

import re
from dataclasses import replace

from flushmesh.protocol.trust import Source
from tests.simulation.application import Application
from tests.simulation.checkers import Checkers
from tests.simulation.discovery import SOURCES, Discovery
from tests.simulation.faults import Faults
from tests.simulation.network import Network, Port
from tests.simulation.plan import ROSTER, Plan, plan_of
from tests.simulation.process import Process, Site
from tests.simulation.source import Source as Truth
from tests.simulation.visitors import Visitors
from tests.simulation.world import Violation, World

__all__ = ["Plan", "Run", "plan_of", "run"]

# How often a calm world looks how old the proofs are.
LOOK_EVERY = 0.1


class Run:
    """One world from its beginning to its end."""

    def __init__(self, seed: int, plan: Plan | None = None, *, loud: bool = False) -> None:
        self.plan = plan or plan_of(seed)
        self.world = World(seed, loud=loud)
        self.keys = [f"k{number}" for number in range(self.plan.keys)]
        self.tags = [f"t{number}" for number in range(self.plan.tags)]
        self.source = Truth(self.world, self.keys, self.tags, self.plan.lag)
        self.versioned = {key for key in self.keys if self.world.chance(self.plan.versioned)}
        self.network = Network(self.world, self.plan.delay, self.plan.spread)
        # Two more than there are nodes: a roster names hosts on which nothing runs.
        self.hosts = [f"h{number}" for number in range(self.plan.nodes + 2)]
        self.addresses = [address for host in self.hosts for address in self.ports_of(host)]
        self.processes: list[Process] = []
        self.checkers = Checkers(self)
        self.application = Application(self)
        self.discovery = Discovery(self)
        self.visitors = Visitors(self)
        self.faults = Faults(self)
        self.calm = self.plan.calm
        self.peace = False
        self.quiet = False
        self._nested = False

    def ports_of(self, host: str) -> list[str]:
        """Return the range of addresses of *host*."""
        return [f"{host}:{port}" for port in range(1, self.plan.ports + 2)]

    def go(self) -> Run:
        """Run it; raise Violation if a promise is broken."""
        if self.plan.foreign:
            self.network.foreign.add(self.ports_of(self.hosts[-1])[-1])
        for host in self.hosts[: self.plan.nodes]:
            delay = self.world.random.choice((0.0, 0.0, 0.1, 3.0)) if not self.plan.calm else 0.0
            self.world.after(delay, lambda host=host: self.start(host))
        for host in range(self.plan.closed):
            self.world.after(0.0, lambda host=f"c{host}": self.start(host))
        self.faults.begin()
        self.visitors.begin()
        if self.calm:
            self._watch_calm()
        self.world.run(self.plan.seconds)
        self._heal()
        self.world.run(self.world.now + self.plan.healing)
        self.checkers.check_peace()
        self.quiet = True
        self.world.run(self.world.now + 3 * self.plan.max_staleness + 10 * self.plan.load_time + 1.5)
        self._check_fresh()
        if self.checkers.violation is not None:
            raise self.checkers.violation
        return self

    def _watch_calm(self) -> None:
        def look() -> None:
            self.checkers.check_calm()
            self.world.after(LOOK_EVERY, look)

        self.world.after(LOOK_EVERY, look)

    # Processes.

    def start(self, host: str) -> Process | None:
        """Start a process on *host*, unless every port of its range is taken."""
        site = self._site(host)
        if site is None:
            return None
        process = self.enter(site)
        self.discovery.appeared(process)
        self.application.begin(process)
        return process

    def _site(self, host: str) -> Site | None:
        taken = self.network.listeners.keys() | self.network.foreign
        free = [address for address in self.ports_of(host) if address not in taken]
        # Another process on a host is a replacement: two at once are one too many here.
        if not free or any(each.host == host and not each.closing for each in self.alive()):
            return None
        address = self.world.random.choice(free)
        version = int(not self.peace and self.world.chance(self.plan.other_version))
        if host.startswith("c"):
            kind = self.world.random.choice((Port.SILENT, Port.REFUSING))
            return Site(address, self.world.random.choice(("", address)), kind, version)
        everywhere = self.world.chance(0.2)
        return Site(address, address.removeprefix(host) if everywhere else address, Port.OPEN, version)

    def enter(self, site: Site) -> Process:
        """Have a process begin at *site*."""
        rate = 1 + self.world.random.uniform(-self.plan.drift, self.plan.drift)
        if not self.processes:
            rate *= self.plan.slow_clock
        process = Process(self, f"p{len(self.processes) + 1}", site, self.sources(site), rate=rate)
        self.processes.append(process)
        what = "visits" if site.visitor else "starts"
        self.world.note(f"{process} {what}{'' if site.port is Port.OPEN else f', {site.port.name} to callers'}")
        self.checkers.entered(process)
        process.plan_tick()
        if not site.visitor:
            self.discovery.begin(process)
        return process

    def sources(self, site: Site) -> dict[str, Source]:
        return {ROSTER: SOURCES[ROSTER]} if site.visitor else self.discovery.sources()

    def alive(self) -> list[Process]:
        return [process for process in self.processes if process.alive and not process.closing]

    def let_pass(self, seconds: float) -> None:
        """Let the rest of the world go on for a while, inside of what is happening now; never into the peace."""
        until = min(self.world.now + seconds, self.plan.seconds)
        if not self._nested and until > self.world.now:
            self._nested = True
            self.world.run(until)
            self._nested = False

    # Peace.

    def _heal(self) -> None:
        self.world.note("the faults end")
        self.peace = True
        self.network.cuts.clear()
        self.network.dark.clear()
        self.plan = replace(self.plan, lying=False, late=0.0)
        for process in self.processes:
            process.resume()
            if process.alive and process.site.version:
                process.end(tell=True)
        self.network.mend()
        self.discovery.tell_all()

    def _check_fresh(self) -> None:
        """Nothing has been written for longer than the bound: whatever is served is the newest that was flushed."""
        for process in self.alive():
            for key in self.keys:
                process.cache.look(key)
        self.checkers.check_receipts()
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
