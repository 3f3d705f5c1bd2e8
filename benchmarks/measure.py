"""
Measuring: contenders side by side in one process, and a table of how they compare.

Contenders take turns, many short rounds of A B C A B C, so that whatever else the machine
does falls on all of them alike.  What is compared is the median over the rounds, and a
ratio is the median of the ratios within each round.  Time is the processor's, spent by the
thread that measures: work of others is none of it.  What waits for a server or a disk is
measured with WALL instead, and so is whatever stands beside it.  The loop itself, measured as
one more contender, is taken off; the garbage collector rests meanwhile, as under `timeit`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from servers import where_is

# Seconds for one operation, over a sequence of keys.
Contender = Callable[[Sequence[object]], float]

# What tells seconds.
Timer = Callable[[], float]

THREAD: Final[Timer] = time.thread_time
WALL: Final[Timer] = time.perf_counter
ROUNDS: Final = 201
_CACHES: Final = ("cachebox", "cachetools", "cashews", "dogpile.cache", "theine")
_CLIENTS: Final = ("grpcio", "hiredis", "nats-py", "protobuf", "redis", "uvloop")
_SERVERS: Final = ("redis-server", "nats-server")
_LOOP: Final = "the loop itself"

QUIET: Final = 1.0
SETTLE_MAX: Final = 60.0
# The load before anything was measured: what a benchmark adds itself says nothing about its surroundings.
_load_before = os.getloadavg()


@dataclass(frozen=True)
class Figure:
    """What was measured of one contender, once a round."""

    name: str
    samples: Sequence[float]
    unit: str = "ns"

    @property
    def median(self) -> float:
        """The middle of the samples."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """Between what the middle half of the samples lies."""
        if len(self.samples) < 2:
            return self.samples[0], self.samples[0]
        low, _, high = statistics.quantiles(self.samples, n=4, method="inclusive")
        return low, high


@dataclass(frozen=True)
class Comparison:
    """One of our figures beside a rival's; *at_most* and *at_least* are what was promised of the ratio, if anything."""

    ours: Figure
    rival: Figure
    at_most: float | None = None
    at_least: float | None = None

    @property
    def ratio(self) -> Figure:
        """Ours by the rival's, round by round."""
        pairs = zip(self.ours.samples, self.rival.samples, strict=True)
        return Figure("ratio", [ours / rival for ours, rival in pairs], "")

    @property
    def verdict(self) -> str:
        """Whether the promise is met."""
        if self.at_most is None and self.at_least is None:
            return ""
        ratio = self.ratio.median
        missed = (self.at_most is not None and ratio > self.at_most) or (
            self.at_least is not None and ratio < self.at_least
        )
        return "MISSED" if missed else "met"

    @property
    def target(self) -> str:
        """The promise, as the table says it."""
        bounds = (("<=", self.at_most), (">=", self.at_least))
        return ", ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)


@dataclass
class Report:
    """All comparisons of a benchmark, with what is to be known about them."""

    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def compare(
        self,
        figures: Mapping[str, Figure],
        ours: str,
        rival: str,
        at_most: float | None = None,
        at_least: float | None = None,
    ) -> None:
        """Add a comparison of two of *figures*; one whose rival could not be had is left out."""
        if rival in figures:
            self.comparisons.append(Comparison(figures[ours], figures[rival], at_most, at_least))

    def print(self) -> None:
        """Print the table, and what misses its target last."""
        row = "{:<50}{:>7} {:<13} {:<54}{:>7} {:<5}{:>6} {:<14}{:>8}  {}"
        print(row.format("", "median", "half within", "beside", "median", "", "ratio", "half within", "target", ""))
        for each in self.comparisons:
            ours, rival, ratio = each.ours, each.rival, each.ratio
            cells = [ours.name, _number(ours.median), _between(ours), rival.name, _number(rival.median), rival.unit]
            print(row.format(*cells, _factor(ratio.median), _between(ratio), each.target, each.verdict).rstrip())
        for note in self.notes:
            print(f"- {note}")

    def finish(self, path: Path | None) -> None:
        """Print what this runs on and the table; write them as JSON to *path*, if there is one."""
        print(machine_line() + "\n")
        self.print()
        if path:
            self.write(path)

    def write(self, path: Path) -> None:
        """Write all of it as JSON to *path*."""
        found: dict[str, object] = {
            "comparisons": [
                {
                    "ours": _described(each.ours),
                    "rival": _described(each.rival),
                    "ratio": round(each.ratio.median, 6),
                    "ratio_half_within": [round(end, 6) for end in each.ratio.spread],
                    "at_most": each.at_most,
                    "at_least": each.at_least,
                    "verdict": each.verdict,
                }
                for each in self.comparisons
            ],
            "notes": self.notes,
        }
        write_results(path, found)


def arguments(doc: str) -> argparse.ArgumentParser:
    """Return a parser of what every benchmark takes, which the first line of *doc* describes."""
    parser = argparse.ArgumentParser(description=doc.strip().splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--at-once", action="store_true", help="do not wait for the machine to be quiet")
    return parser


def settle(*, at_once: bool) -> None:
    """Wait until the load of the last minute is below QUIET, for SETTLE_MAX seconds at most, unless *at_once*."""
    global _load_before
    deadline = time.monotonic() + (0.0 if at_once else SETTLE_MAX)
    while os.getloadavg()[0] >= QUIET and time.monotonic() < deadline:
        time.sleep(1.0)
    _load_before = os.getloadavg()


def write_results(path: Path, found: Mapping[str, object]) -> None:
    """Write *found* and what this machine is as JSON to *path*."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), **found}, indent=2) + "\n")


def repeated(code: str, *, timer: Timer = THREAD, **names: object) -> Contender:
    """Return a contender that runs *code*, which may use `key` and *names*, for each key."""
    made: Contender = _compiled("def run(keys):", code, timer, names)
    return made


def awaited(
    run: Callable[[Coroutine[Any, Any, float]], float], code: str, *, timer: Timer = THREAD, **names: object
) -> Contender:
    """Return a contender like `repeated` for *code* that awaits; *run* runs a coroutine to its end."""
    timed = _compiled("async def run(keys):", code, timer, names)
    return lambda keys: run(timed(keys))


def _compiled(head: str, code: str, timer: Timer, names: Mapping[str, object]) -> Any:
    # Compiled as `timeit` does it: a call around the code would weigh as much as a hit.
    scope: dict[str, Any] = {"_timer": timer, **names}
    lines = [head, " _began = _timer()", " for key in keys:", f"  {code}", " return (_timer() - _began) / len(keys)"]
    exec("\n".join(lines), scope)
    return scope["run"]


def interleaved(
    contenders: Mapping[str, Contender],
    keys: Sequence[object],
    *,
    rounds: int = ROUNDS,
    before: Callable[[], object] | None = None,
    loop: Contender | None = None,
) -> dict[str, Figure]:
    """Let *contenders* take turns with *keys* for *rounds*, *before* each round first; return nanoseconds."""
    turns = {_LOOP: loop or repeated("pass"), **contenders}
    samples: dict[str, list[float]] = {name: [] for name in turns}
    with resting_collector():
        for number in range(rounds + 2):
            if before is not None:
                before()
            seconds = {name: run(keys) for name, run in turns.items()}
            if number < 2:
                continue  # Warming up.
            for name, taken in seconds.items():
                samples[name].append((taken - seconds[_LOOP]) * 1e9)
    return {name: Figure(name, samples[name]) for name in contenders}


@contextmanager
def resting_collector() -> Iterator[None]:
    """Keep the garbage collector from running inside."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def percentile(samples: Iterable[float], percent: float) -> float:
    """Return the value below which *percent* of *samples* lie."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def machine() -> dict[str, object]:
    """Describe what this runs on, with what, and under which load before it was measured."""
    versions = {}
    for package in (*_CACHES, *_CLIENTS):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": [round(load, 1) for load in _load_before],
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": versions,
        "servers": {program: _server_version(program) for program in _SERVERS},
    }


def machine_line() -> str:
    """Return what `machine` says as one line."""
    return ", ".join(f"{what} {found}" for what, found in machine().items())


def _server_version(program: str) -> str:
    path = where_is(program)
    if path is None:
        return "not installed"
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\S*", said.stdout + said.stderr)
    return found[0] if found else "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _described(figure: Figure) -> dict[str, object]:
    low, high = figure.spread
    return {
        "name": figure.name,
        "unit": figure.unit,
        "median": round(figure.median, 3),
        "half_within": [round(low, 3), round(high, 3)],
        "samples": len(figure.samples),
    }


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"


def _factor(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.1 else f"{ratio:.3g}"


def _between(figure: Figure) -> str:
    low, high = figure.spread
    return f"{_number(low)}..{_number(high)}" if figure.unit else f"{_factor(low)}..{_factor(high)}"
