"""
The plan of a run: what its world is like, drawn by the seed.

Half of all seeds have visitors: short-lived nodes at fresh addresses that know one other
node, as a script or a cron job is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from random import Random

from flushmesh.options import ping_interval
from tests.simulation.network import KEEPALIVE_MAX
from tests.simulation.world import World

# How processes find each other.
ROSTER, DNS, MDNS = "roster", "dns", "mdns"

# For how long a name server still names a host that is gone; what it answers is cached for as long.
DNS_LAG = 8.0


# How long a message takes at most, on average.
MEAN_MAX = 0.5


@dataclass(frozen=True)
class Plan:
    """
    What a run is like; durations in seconds, rates in events a second.

    *window* is flow control: so many messages are under way on a stream before its sender
    must wait.  Of the keys a share of *versioned* is loaded and flushed with versions, from a
    replica that lags by up to *lag*; *demands* is how many demands a store remembers.

    *visits* is how often a visitor comes.  Each host has *ports* more in its range than are
    used.  With *partial* a roster names only some hosts.  So many processes are *closed*: they
    cannot be dialled, and no roster names them.  *late* is the share of processes whose
    discovery fails at first, *names_change* whether rosters change, and *other_version* the
    share of processes that speak another version of the protocol.
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
    give_up_silent: float = inf
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
    visits: float = 0.0
    ports: int = 0
    partial: bool = False
    closed: int = 0
    discovery: str = ROSTER
    late: float = 0.0
    foreign: bool = False
    other_version: float = 0.0

    @property
    def calm(self) -> bool:
        """Whether nothing goes wrong."""
        return self.faults == 0 and not self.lying and not self.late and not self.other_version

    @property
    def ping_interval(self) -> float:
        return ping_interval(self.max_staleness)

    @property
    def cost(self) -> float:
        """About how many events the run has, to tell quick seeds from slow ones."""
        nodes = self.nodes + 4 * self.visits
        answers = 4 * nodes**2 / self.ping_interval
        return (self.seconds + self.healing) * (
            answers + self.nodes * self.reads + 3 * nodes**2 * (self.writes + self.visits)
        )

    @property
    def healing(self) -> float:
        """How long peace may take: to give the dead up, to notice dead streams, to dial again, to prove anew."""
        return self.lost_after + KEEPALIVE_MAX + 12.0 + 6 * self.ping_interval + 3.0


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
        lying=random.random() < 0.2,
    )
    if random.random() < 0.5:
        plan = _small(plan, random)
    # A peer is given up only after many times what an answer takes, and two sides meet within seconds.
    mean = min(plan.lost_after / 40, MEAN_MAX)
    plan = replace(plan, delay=min(plan.delay, mean / (1 + plan.spread)))
    return _kind(_surroundings(plan, random), random)


def _small(plan: Plan, random: Random) -> Plan:
    """Make one seed of two small: it shows as much in a fraction of the time, and little is flushed twice."""
    staleness = random.choice((1.0, 2.0))
    return replace(
        plan,
        nodes=random.choice((2, 3, 3, 4)),
        seconds=random.choice((20.0, 30.0)),
        max_staleness=staleness,
        lost_after=staleness * random.choice((2.0, 4.0)),
        ttl=1e6,
        load_time=random.choice((0.0, 0.02, 0.5)),
        writes=random.choice((0.05, 0.05, 0.2, 1.0)),
    )


def _surroundings(plan: Plan, random: Random) -> Plan:
    """Draw what is around the nodes: visitors, rosters, firewalls."""
    return replace(
        plan,
        visits=random.choice((0.1, 0.4, 1.0)) if random.random() < 0.5 else 0.0,
        ports=random.choice((0, 0, 1, 4)),
        partial=random.random() < 0.25,
        closed=min(random.choice((0, 0, 0, 1, 1, 2)), plan.nodes - 1),
        discovery=random.choice((ROSTER, ROSTER, ROSTER, DNS, MDNS)),
        late=random.choice((0.0, 0.0, 0.0, 0.3)),
        foreign=random.random() < 0.1,
        other_version=random.choice((0.0,) * 7 + (0.3,)),
        give_up_silent=random.choice((inf, inf, inf, inf, 1.5)) * plan.lost_after,
    )


def _kind(plan: Plan, random: Random) -> Plan:
    """Make one seed of five calm: nothing goes wrong there, and half of those are restarted one after the other."""
    kind = random.random()
    # A calm network answers faster than any node is given up.
    calm = replace(
        plan,
        faults=0.0,
        lying=False,
        late=0.0,
        other_version=0.0,
        journal=1000,
        delay=min(plan.delay, 0.01, plan.max_staleness / 200),
        spread=1.0,
        window=6,
        visits=min(plan.visits, 0.4),
        closed=min(plan.closed, 1),
    )
    if kind < 0.1:
        return calm
    if kind < 0.2:
        return replace(calm, rolling=True, delay=min(calm.delay, 0.005))
    return plan
