"""
Run the simulator: one seed with its whole history, or many.

    python -m tests.simulation --seed 81234
    python -m tests.simulation --seeds 10000 --first 0
    python -m tests.simulation --seed 84 --mutant "a hit reads the clock first"
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import nullcontext

from tests.simulation.many import Outcome, Summary, summary
from tests.simulation.mutants import MUTANTS
from tests.simulation.planting import planted
from tests.simulation.run import run
from tests.simulation.world import Violation

PROGRESS_EVERY = 10.0


def replay(seed: int, mutant: str | None) -> int:
    """Run *seed* alone; on a violation print what those it names have sent, heard and done."""
    try:
        with planted(MUTANTS[mutant]) if mutant is not None else nullcontext():
            made = run(seed, loud=True)
    except Violation as violation:
        print(violation)
        return 1
    print(f"seed {seed}: every promise held for {made.world.now:.0f} simulated seconds")
    print(f"{made.plan}\n{made.checkers.hits} hits, {made.checkers.fences} fences, {made.world.events} events")
    return 0


def many(first: int, count: int) -> int:
    """Run *count* seeds in two processes; violations are printed as they come."""
    printed = time.monotonic()

    def progress(total: Summary, outcome: Outcome) -> None:
        nonlocal printed
        if outcome.violation:
            print(outcome.violation, flush=True)
        if time.monotonic() - printed > PROGRESS_EVERY:
            printed = time.monotonic()
            rate = total.seeds / total.took
            print(f"{total.seeds} of {count}, {len(total.violations)} violations, {rate:.1f} a second", flush=True)

    total = summary(range(first, first + count), progress)
    print(total)
    return 1 if total.violations else 0


def main() -> int:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Run the simulator.")
    parser.add_argument("--seed", type=int, help="replay this one, with its history")
    parser.add_argument("--mutant", choices=MUTANTS, metavar="NAME", help="with this bug in the code")
    parser.add_argument("--seeds", type=int, default=300, help="run so many")
    parser.add_argument("--first", type=int, default=0, help="beginning with this one")
    chosen = parser.parse_args()
    return replay(chosen.seed, chosen.mutant) if chosen.seed is not None else many(chosen.first, chosen.seeds)


if __name__ == "__main__":
    sys.exit(main())
