"""The faults of a simulation: what goes wrong with processes, hosts and the network, and what is restarted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flushmesh.protocol.messages import Flush
from tests.simulation.cache import CACHE
from tests.simulation.network import VISITORS
from tests.simulation.plan import DNS, ROSTER

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.run import Run

# The pause in which a process that forks does not listen.
SUSPENSION_MAX = 0.3


class Faults:
    """Has something go wrong now and then."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.world = run.world
        self.network = run.network

    def begin(self) -> None:
        if self.run.plan.faults:
            self._plague()
        if self.run.plan.rolling:
            self._roll()

    def _plague(self) -> None:
        def strike() -> None:
            if self.world.now < self.run.plan.seconds:
                self._strike()
                self.world.after(self.world.random.expovariate(self.run.plan.faults), strike)

        self.world.after(self.world.random.expovariate(self.run.plan.faults), strike)

    def _strike(self) -> None:
        alive = self.run.alive()
        lies = 1 if self.run.plan.lying and self.run.plan.discovery == ROSTER else 0
        kinds = {
            self._pause: 4,
            self._cut: 5,
            self._split: 1,
            self._crash: 2,
            self._restart: 3,
            self._leave: 1,
            self._darken: 1,
            self._suspend: 2,
            self._sleep: 0.5,
            self._lie: lies,
        }
        fault = self.world.random.choices(list(kinds), list(kinds.values()))[0]
        if alive:
            fault(self.world.random.choice(alive))
        elif self.world.chance(0.5):
            # Without this, a run in which every process has crashed would show nothing more.
            self.run.start(self.world.random.choice(self.run.hosts))
        self.run.checkers.bounds()

    def _pause(self, process: Process) -> None:
        process.pause(self.world.random.choice((0.05, 0.5, 1.5, 4.0)) * self.run.plan.max_staleness)

    def _sleep(self, process: Process) -> None:
        """Suspend the whole machine for far longer than a peer may be silent."""
        process.pause(self.world.random.choice((1.5, 4.0)) * self.run.plan.lost_after)

    def _suspend(self, process: Process) -> None:
        process.suspend(self.world.random.choice((0.02, 0.1, SUSPENSION_MAX)))

    def _cut(self, process: Process) -> None:
        """Cut one pair, one way or both, or one host from all others, for a while."""
        others = [host for host in self._hosts() if host != process.host]
        if self.run.plan.visits and self.world.chance(0.4):
            # Whatever it is that scripts run on: others are reached from there, this one is not.
            others = [VISITORS]
        chosen = others if self.world.chance(0.4) else [self.world.random.choice(others)]
        self._part([process.host], chosen)

    def _split(self, process: Process) -> None:
        """Cut some hosts off from all others."""
        hosts = self._hosts()
        some = self.world.random.sample(hosts, self.world.random.randint(1, len(hosts) - 1))
        self._part(some, [host for host in hosts if host not in some])

    def _hosts(self) -> list[str]:
        visiting = [process.host for process in self.run.alive() if process.site.visitor]
        return list(dict.fromkeys([*self.run.hosts, *visiting]))

    def _part(self, some: list[str], others: list[str]) -> None:
        cuts = {(one, other) for one in some for other in others if one != other}
        if self.world.chance(0.7):
            cuts |= {(other, one) for one, other in cuts}
        self.network.cuts |= cuts
        seconds = self.world.random.choice((0.1, 0.8, 3.0, 8.0)) * self.run.plan.max_staleness
        here, there = ", ".join(some), ", ".join(others)
        self.world.note(f"{here} cut off from {there} for {seconds:.1f} s")

        def mend() -> None:
            self.network.cuts -= cuts
            self.world.note(f"{here} reach {there} again")
            self.network.mend()

        self.world.after(seconds, mend)

    def _crash(self, process: Process) -> None:
        self.world.note(f"{process} crashes")
        if self.run.plan.discovery == DNS and self.world.chance(0.5):
            self.network.dark.add(process.host)
        process.end(tell=self.world.chance(0.6))

    def _restart(self, process: Process) -> None:
        self._crash(process)
        if process.site.visitor:
            return
        host = process.host if self.world.chance(0.7) else self.world.random.choice(self.run.hosts)
        self.world.after(self.world.random.choice((0.01, 1.0, 5.0)), lambda: self.run.start(host))

    def _leave(self, process: Process) -> None:
        if not process.paused and self.world.chance(0.5):
            process.cache.flush(Flush(CACHE, self.world.random.choice(self.run.keys)), watch=False)
        process.leave()
        if not process.site.visitor:
            self.world.after(self.world.random.choice((1.1, 3.0)), lambda: self.run.start(process.host))

    def _darken(self, process: Process) -> None:
        """An address at which no process listens does not refuse either."""
        self.network.dark.add(self.world.random.choice(self.run.hosts))

    def _lie(self, process: Process) -> None:
        if not process.site.visitor:
            self.run.discovery.lie_to(process)

    # Restarts without a fault.

    def _roll(self) -> None:
        """Restart every process, one after the other, with clean goodbyes."""
        at = 8.0
        for number in range(self.run.plan.nodes):
            self.world.after(at + 4.0 * number, self._roll_one)

    def _roll_one(self) -> None:
        oldest = next(process for process in self.run.alive() if not process.site.visitor)
        # What was flushed last goes before the goodbye.
        oldest.cache.flush(Flush(CACHE, self.world.random.choice(self.run.keys)), watch=False)
        host = oldest.host
        if self.run.plan.discovery == DNS:
            # A pod is replaced by one at another address, before or after it goes; its own address falls silent.
            host = f"r{len(self.run.processes)}"
            self.run.hosts.append(host)
            self.network.dark.add(oldest.host)
        oldest.leave()
        self.world.after(self.world.random.choice((0.2, 1.5)), lambda: self.run.start(host))
