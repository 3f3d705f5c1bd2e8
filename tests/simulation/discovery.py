"""
How the processes of a simulation find each other: rosters, DNS, mDNS.

A roster names addresses for good, some of them of nobody.  DNS names the hosts that are up,
later than they come and for longer than they stay.  mDNS hears of what is up, and names
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flushmesh.protocol.trust import Source
from tests.simulation.network import Port
from tests.simulation.plan import DNS, DNS_LAG, MDNS, ROSTER

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.run import Run

DNS_POLL = 2.0

MDNS_SETTLES = 1.0
MDNS_QUERY = 5.0

SOURCES = {
    ROSTER: Source(),
    DNS: Source(passing=True),
    MDNS: Source(settles_after=MDNS_SETTLES, names=False),
}


class Discovery:
    """What each process is told."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.world = run.world
        self.kind = run.plan.discovery
        self._rosters = {host: self._draw_roster(number) for number, host in enumerate(run.hosts)}
        # Since when the name server has seen a host as it is now, and as what.
        self._zone: dict[str, float] = {}
        if self.kind == DNS:
            self.world.after(0.0, self._look)

    def _draw_roster(self, number: int) -> list[str]:
        run, random = self.run, self.world.random
        if not run.plan.partial:
            return list(run.addresses)
        # Some are islands, unless another one names them.
        earlier = run.hosts[: max(1, min(number, run.plan.nodes))]
        some = random.sample(earlier, random.randint(0 if number == 0 else 1, min(2, len(earlier))))
        return [address for host in some for address in run.ports_of(host)]

    def sources(self) -> dict[str, Source]:
        return {self.kind: SOURCES[self.kind]}

    def begin(self, process: Process) -> None:
        """Tell *process* what there is, now or later, and whenever that changes."""
        random, plan = self.world.random, self.run.plan
        late = 0.0
        if self.world.chance(plan.late) and not self.run.peace:
            late = random.choice((0.3, 1.0, 1.5)) * plan.lost_after
            self.world.note(f"the discovery of {process} fails for {late:.1f} s")
        elif self.kind == MDNS:
            late = random.choice((0.05, 0.3))
        self.world.after(late, lambda: self._tell(process, again=True))

    def _tell(self, process: Process, *, again: bool = False) -> None:
        if not process.alive:
            return
        lies = self.run.plan.lying and not self.run.peace and self.world.chance(0.3)
        told = self._lie() if lies and self.kind == ROSTER else self.told(process)
        if told != process.proposed:
            process.deliver(lambda: process.propose(self.kind, told))
        if again and self.kind != ROSTER:
            poll = DNS_POLL if self.kind == DNS else MDNS_QUERY
            self.world.after(poll * self.world.random.uniform(0.5, 1.0), lambda: self._tell(process, again=True))

    def told(self, process: Process) -> list[str]:
        """Return what *process* is told now."""
        if self.kind == ROSTER:
            if process.host not in self._rosters:
                self._rosters[process.host] = self._draw_roster(len(self._rosters))
            return self._rosters[process.host]
        if self.kind == DNS:
            return sorted(self._zone)
        return [
            other.address
            for other in self.run.processes
            if other.alive
            and not other.site.visitor
            and self.run.network.passes(other, process)
            and self._listens(other)
        ]

    def _listens(self, process: Process) -> bool:
        return process.port is Port.OPEN and not process.closing

    def _look(self) -> None:
        """Have the name server see what is up."""
        up = {
            each.address for each in self.run.processes if each.alive and not each.site.visitor and self._listens(each)
        }
        now = self.world.now
        for address in up:
            self._zone.setdefault(address, now)
        for address in list(self._zone):
            if address in up:
                self._zone[address] = now
            elif self.run.peace or now >= self._zone[address] + DNS_LAG:
                del self._zone[address]
        self.world.after(1.0, self._look)

    def appeared(self, process: Process) -> None:
        """Have those that listen to multicast hear of *process*."""
        if self.kind == MDNS and self._listens(process):
            for other in self.run.alive():
                if other is not process and not other.site.visitor:
                    self.world.after(self.world.random.uniform(0.01, 0.2), lambda other=other: self._tell(other))

    def _lie(self) -> list[str]:
        addresses = self.run.addresses
        return self.world.random.sample(addresses, self.world.random.randint(0, len(addresses)))

    def lie_to(self, process: Process) -> None:
        """Have *process* told something else than there is."""
        some = self._lie()
        process.deliver(lambda: process.propose(self.kind, some))

    def tell_all(self) -> None:
        """Have everybody told what there is."""
        if self.kind == DNS:
            self._look_once()
        for process in self.run.alive():
            if not process.site.visitor:
                self._tell(process)

    def _look_once(self) -> None:
        up = {
            each.address for each in self.run.processes if each.alive and not each.site.visitor and self._listens(each)
        }
        self._zone = dict.fromkeys(sorted(up), self.world.now)
