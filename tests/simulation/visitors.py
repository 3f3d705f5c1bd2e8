"""
Visitors: scripts, cron jobs, management commands.

A visitor comes at an address that nobody has heard of, and knows one other node, or only
another visitor.  It meets somebody, flushes, and is gone; or it flushes nothing, stays a
while, and may be the only one that the next visitor knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flushmesh.protocol.messages import Flush
from tests.simulation.cache import CACHE
from tests.simulation.network import Port
from tests.simulation.plan import ROSTER
from tests.simulation.process import Site

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.run import Run

# A script that meets nobody gives up.
PATIENCE = 15.0
LOOK = 0.05


class Visitors:
    """Has one come now and then."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.world = run.world
        self.count = 0
        self._staying: list[Process] = []

    def begin(self) -> None:
        if self.run.plan.visits:
            self.world.after(3.0, self._next)

    def _next(self) -> None:
        if not self.run.peace:
            self._come(f"v{self.count + 1}")
            self.world.after(self.world.random.expovariate(self.run.plan.visits), self._next)

    def _come(self, host: str, seed: str | None = None) -> None:
        known = seed or self._seed()
        if known is None or f"{host}:1" in self.run.network.listeners:
            return
        self.count += 1
        visitor = self.run.enter(self._site(host))
        visitor.deliver(lambda: visitor.propose(ROSTER, [known]))
        self.run.application.begin(visitor, writes=False)
        script = self._script_calm if self.run.calm else self._script
        self.world.after(self.world.random.choice((0.002, 0.02, 0.3)), lambda: visitor.thread(lambda: script(visitor)))

    def _seed(self) -> str | None:
        """Return the address that the next one knows."""
        staying = [each for each in self._staying if each.alive and not each.closing and each.port is Port.OPEN]
        if staying and self.world.chance(0.6):
            return self.world.random.choice(staying).address
        there = [process for process in self.run.alive() if process.port is Port.OPEN]
        return self.world.random.choice(there).address if there else None

    def _site(self, host: str) -> Site:
        address = f"{host}:1"
        # In a calm world no two members hold each other's proof because neither can be dialled.
        if self.world.chance(0.25) and not (self.run.calm and (self.run.plan.closed or self._any_closed())):
            kind = self.world.random.choice((Port.SILENT, Port.REFUSING))
            return Site(address, self.world.random.choice(("", address)), kind, visitor=True)
        return Site(address, address, visitor=True)

    def _any_closed(self) -> bool:
        return any(process.port is not Port.OPEN for process in self.run.alive())

    # What they do.

    def _script_calm(self, visitor: Process) -> None:
        """Flush once another node is met, as the README does, and leave."""
        if not visitor.met_any and self.world.now < visitor.started + PATIENCE:
            self._later(visitor, LOOK, self._script_calm)
        elif self.world.chance(0.3):
            self._stay(visitor)
        else:
            self._flush(visitor)
            self._later(visitor, self.world.random.choice((0.0, 0.02, 0.5)), self._leave_delivered)

    def _leave_delivered(self, visitor: Process) -> None:
        """Leave once no receipt is open, or after a while."""
        if visitor.waiting and self.world.now < visitor.started + PATIENCE and self.world.chance(0.9):
            self._later(visitor, LOOK, self._leave_delivered)
        else:
            visitor.leave()

    def _script(self, visitor: Process) -> None:
        random = self.world.random
        if self.world.now >= visitor.started + PATIENCE:
            visitor.leave()
            return
        if self.world.chance(0.1):
            self._flush(visitor)
        if not visitor.met_any:
            self._later(visitor, random.choice((0.002, LOOK)), self._script)
            return
        if self.world.chance(0.3):
            self._stay(visitor)
            return
        for _ in range(random.choice((1, 1, 3))):
            self._flush(visitor)
        ends = (self._leave_delivered, leave, self._crash, self._replace, self._freeze, self._stay)
        end = random.choices(ends, (4, 3, 3, 1, 1.5, 1))[0]
        self._later(visitor, random.choice((0.0, 0.002, 0.05, 0.5)), end)

    def _later(self, visitor: Process, seconds: float, action) -> None:
        self.world.after(seconds, lambda: visitor.thread(lambda: action(visitor)))

    def _flush(self, visitor: Process) -> None:
        key = self.world.random.choice(self.run.keys)
        self.run.source.write(key)
        visitor.cache.flush(Flush(CACHE, key), watch=self.world.chance(0.7))

    def _stay(self, visitor: Process) -> None:
        self._staying.append(visitor)
        self.world.note(f"{visitor} stays a while")
        self._later(visitor, self.world.random.choice((1.0, 4.0, 12.0)), self._end_stay)

    def _end_stay(self, visitor: Process) -> None:
        if self.world.chance(0.3):
            self._flush(visitor)
        if not self.run.calm and self.world.chance(0.3):
            self._crash(visitor)
        else:
            visitor.leave()

    def _crash(self, visitor: Process) -> None:
        self.world.note(f"{visitor} crashes")
        if self.world.chance(0.3):
            self.run.network.dark.add(visitor.host)
        visitor.end(tell=self.world.chance(0.7))

    def _replace(self, visitor: Process) -> None:
        """Crash, and be restarted at the same address at once."""
        known = next(iter(visitor.names), None)
        self.world.note(f"{visitor} crashes and is replaced")
        visitor.end(tell=True)
        self.world.after(self.world.random.choice((0.001, 0.1)), lambda: self._come(visitor.host, known))

    def _freeze(self, visitor: Process) -> None:
        plan = self.run.plan
        visitor.pause(self.world.random.choice((3.0, 1.2 * plan.max_staleness, min(1.5 * plan.lost_after, 60.0))))
        self._later(visitor, 0.01, leave)


def leave(visitor: Process) -> None:
    """Leave without looking at any receipt."""
    visitor.leave()
