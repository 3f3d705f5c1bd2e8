"""
Hunting: for each planted bug, the first seed that notices, or the test that does.

    python -m tests.simulation.hunting [--tries 2000] [--only WORDS]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from multiprocessing import get_context
from pathlib import Path

from tests.simulation.many import WORKERS, outcome_of
from tests.simulation.mutants import MUTANTS
from tests.simulation.plan import plan_of
from tests.simulation.planting import VARIABLE, planted

# The seeds of small worlds are a hundred times as quick as those of large ones, and show as much.
SEEDS = 2000


@dataclass(frozen=True)
class Find:
    """What found a mutant: a promise, with its seed, or a test; nothing if *by* is empty."""

    name: str
    by: str
    seed: int | None
    tried: int
    took: float

    def __str__(self) -> str:
        seed = "" if self.seed is None else str(self.seed)
        return f"{self.name:58} {self.by or 'NOT FOUND':64} {seed:>6} {self.tried:>6} {self.took:8.1f}"


HEADING = f"{'mutant':58} {'found by':64} {'seed':>6} {'tried':>6} {'seconds':>8}"


@cache
def quick_first() -> list[int]:
    """Return the seeds, those of small worlds first, with visitors and without in turn."""
    seeds = sorted(range(SEEDS), key=lambda seed: plan_of(seed).cost)
    visited = [seed for seed in seeds if plan_of(seed).visits]
    others = [seed for seed in seeds if not plan_of(seed).visits]
    return [seed for pair in zip_longest(visited, others) for seed in pair if seed is not None]


def hunt(name: str, tries_max: int = SEEDS) -> Find:
    """Look for the first seed, or the test, that finds the mutant *name*."""
    chosen, began = MUTANTS[name], time.monotonic()
    if chosen.seen_by:
        by = chosen.seen_by.rpartition("::")[2] if _fails(name, chosen.seen_by) else ""
        return Find(name, by, None, 1, time.monotonic() - began)
    for tried, seed in enumerate(quick_first()[:tries_max], 1):
        with planted(chosen):
            violation = outcome_of(seed).violation
        # A seed that fails without the bug has found another one.
        if violation and not outcome_of(seed).violation:
            by = re.sub(r"^seed \d+: (.+?) at \d.*", r"\1", violation.partition("\n")[0])
            return Find(name, by, seed, tried, time.monotonic() - began)
    return Find(name, "", None, tries_max, time.monotonic() - began)


def _fails(name: str, test: str) -> bool:
    """Tell whether *test* fails with the mutant *name*; that it passes without is what `make test` shows."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "tests.simulation.planting", test]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, cwd=root, env=os.environ | {VARIABLE: name}, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout + done.stderr)
    return done.returncode == 1


def main() -> int:
    """Print the table; fail if anything planted stays unfound."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.hunting", description="Hunt for planted bugs.")
    parser.add_argument("--tries", type=int, default=SEEDS, help="at most so many seeds for each, the quick ones first")
    parser.add_argument("--only", default="", help="those whose name holds these words")
    chosen = parser.parse_args()
    names = [name for name in MUTANTS if chosen.only in name]
    began, missing = time.monotonic(), 0
    print(HEADING, flush=True)
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        for done in as_completed([pool.submit(hunt, name, chosen.tries) for name in names]):
            find = done.result()
            print(find, flush=True)
            missing += not find.by
    print(f"{len(names)} planted, {missing} not found, {time.monotonic() - began:.0f} s")
    return 1 if missing or not names else 0


if __name__ == "__main__":
    sys.exit(main())
