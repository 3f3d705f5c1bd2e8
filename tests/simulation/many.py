"""
Many seeds, in two processes.

Each seed is a world of its own, so it does not matter which process runs it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context

from tests.simulation.plan import Plan
from tests.simulation.run import run
from tests.simulation.world import Violation

WORKERS = 2


@dataclass(frozen=True)
class Outcome:
    """What one seed has shown; *violation* is empty if every promise held."""

    seed: int
    violation: str = ""
    hits: int = 0
    fences: int = 0
    stalest: float = 0.0
    simulated: float = 0.0
    events: int = 0
    receipts: int = 0
    visits: int = 0
    reads_calm: int = 0
    hits_calm: int = 0
    oldest_proof: float = 0.0


@dataclass
class Summary:
    """What many seeds have shown."""

    seeds: int = 0
    violations: list[Outcome] = field(default_factory=list)
    hits: int = 0
    fences: int = 0
    stalest: float = 0.0
    simulated: float = 0.0
    receipts: int = 0
    visits: int = 0
    reads_calm: int = 0
    hits_calm: int = 0
    oldest_proof: float = 0.0
    took: float = 0.0

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.hits += outcome.hits
        self.fences += outcome.fences
        self.stalest = max(self.stalest, outcome.stalest)
        self.simulated += outcome.simulated
        self.receipts += outcome.receipts
        self.visits += outcome.visits
        self.reads_calm += outcome.reads_calm
        self.hits_calm += outcome.hits_calm
        self.oldest_proof = max(self.oldest_proof, outcome.oldest_proof)
        if outcome.violation:
            self.violations.append(outcome)

    def __str__(self) -> str:
        seeds = ", ".join(str(outcome.seed) for outcome in self.violations)
        return (
            f"seeds                {self.seeds}\n"
            f"violations           {len(self.violations)}{': seeds ' + seeds if seeds else ''}\n"
            f"hits checked         {self.hits:,}\n"
            f"fences checked       {self.fences:,}\n"
            f"receipts ended       {self.receipts:,}\n"
            f"visitors             {self.visits:,}\n"
            f"hit ratio, calm      {self.hits_calm / max(1, self.reads_calm):.1%} of {self.reads_calm:,} reads\n"
            f"oldest proof, calm   {self.oldest_proof:.1%} of the bound\n"
            f"stalest hit          {self.stalest:.1%} of the bound\n"
            f"simulated seconds    {self.simulated:,.0f}, {self.simulated / max(self.took, 1e-9):.0f} a second"
        )


def outcome_of(seed: int, plan: Plan | None = None) -> Outcome:
    """Run one seed and tell what came of it."""
    try:
        made = run(seed, plan)
    except Violation as violation:
        return Outcome(seed, violation=str(violation))
    checkers, world = made.checkers, made.world
    outcome = Outcome(
        seed,
        hits=checkers.hits,
        fences=checkers.fences,
        stalest=checkers.stalest,
        simulated=world.now,
        events=world.events,
        receipts=checkers.receipts,
        visits=made.visitors.count,
    )
    if not made.calm:
        return outcome
    return replace(outcome, reads_calm=checkers.reads, hits_calm=checkers.served, oldest_proof=checkers.oldest_proof)


def outcomes(seeds: Iterable[int]) -> Iterator[Outcome]:
    """Run *seeds* beside each other; tell of each in their order."""
    # A forked child would inherit the threads of whoever asks, without what runs in them.
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        yield from pool.map(outcome_of, seeds, chunksize=4)


def summary(seeds: Iterable[int], progress=None) -> Summary:
    """Run *seeds* and add up; *progress* is told after each."""
    total, started = Summary(), time.monotonic()
    for outcome in outcomes(seeds):
        total.add(outcome)
        total.took = time.monotonic() - started
        if progress is not None:
            progress(total, outcome)
    return total
