"""
What a flush costs the thread that calls it, beside what else would tell the others.

    make bench ONLY=writer
    .venv/bin/python benchmarks/writer.py [--peers 1 3] [--rounds 5] [--json FILE]

A figure is the time of one call by the clock on the wall, as the caller of it feels it: a flush
has been noted when it returns, PUBLISH and SET have been answered.  Everybody else on these
cores takes part in it, the peers that apply it too.

- *idle*: each call after a sleep of a millisecond, so that everything it touches is asleep.
- *back to back*: each call right after the other.
- *in a loop*: the same from a coroutine, the loop taking a turn between two calls; a flush is called
  there, what is of redis.asyncio awaited.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product
from typing import Any, Final

from measure import Figure, Report, arguments, percentile, settle
from relays import CHANNEL, Ours, RedisPubSub, Relay, started
from rivals import needed

ROUNDS: Final = 5
IN_A_LOOP: Final = ", in a loop"
PUBLISH: Final = "Redis PUBLISH"
SET: Final = "Redis SET"

# Seconds between two calls, and how many calls in a round: enough for a p99 to have some beyond it, and for
# the interpreter to change threads, which it does every five milliseconds, while they come back to back.
PACES: Final[Mapping[str, tuple[float, int]]] = {"idle": (0.001, 200), "back to back": (0.0, 3_000)}

# What is told of a round's calls; the mean has in it what few calls wait for the interpreter.
STATISTICS: Final[Mapping[str, Callable[[Sequence[float]], float]]] = {
    "p50": partial(percentile, percent=50),
    "p99": partial(percentile, percent=99),
    "mean": statistics.fmean,
}

# What the ratio of the p50 to that of PUBLISH is to stay within.
TARGET: Final = 0.4

# Returns the seconds of each of so many calls, with such a gap between them.
Turn = Callable[[int, float], list[float]]


def measure(peers: int, rounds: int, report: Report) -> None:
    """Let the callers take turns with *peers* peers, and compare ours with the others."""
    taken: dict[tuple[str, str], list[list[float]]] = {}
    with ExitStack() as stack:
        relays = stack.enter_context(started([Ours, RedisPubSub], peers, report.notes, told=False))
        runner = stack.enter_context(asyncio.Runner())
        turns: dict[str, tuple[Turn, Relay | None]] = {}
        for relay in relays:
            if isinstance(relay, Ours):
                turns[relay.name] = partial(called, relay.cache.flush), relay
                turns[relay.name + IN_A_LOOP] = in_loop(runner, partial(called_in_loop, relay.cache.flush)), relay
            elif isinstance(relay, RedisPubSub):
                turns |= redis_turns(relay, runner, stack)
        for number in range(rounds + 1):
            for pace, (gap, count) in PACES.items():
                for name, (turn, reached) in turns.items():
                    if reached is not None:
                        reached.count()
                    delays = turn(count, gap)
                    if reached is not None:
                        reached.counted(count)
                    if number:  # The first warms up.
                        taken.setdefault((name, pace), []).append(delays)
    compare(peers, taken, report)


def redis_turns(relay: RedisPubSub, runner: asyncio.Runner, stack: ExitStack) -> dict[str, tuple[Turn, Relay | None]]:
    """Return the turns of Redis: its PUBLISH to the subscribers of *relay*, and its SET, both also in a loop."""
    client = needed("redis.asyncio").Redis(port=relay.port)
    stack.callback(lambda: runner.run(client.aclose()))
    publish: Callable[[str], Awaitable[Any]] = partial(client.publish, CHANNEL)
    return {
        PUBLISH: (partial(called, relay.flush), relay),
        PUBLISH + IN_A_LOOP: (in_loop(runner, partial(awaited_in_loop, publish)), relay),
        SET: (partial(called, lambda key: relay.redis.set(key, "value")), None),
        SET + IN_A_LOOP: (in_loop(runner, partial(awaited_in_loop, partial(_store, client))), None),
    }


def _store(client: Any, key: str) -> Awaitable[Any]:
    stored: Awaitable[Any] = client.set(key, "value")
    return stored


def in_loop(runner: asyncio.Runner, turn: Callable[[int, float], Any]) -> Turn:
    """Return *turn*, a coroutine function, as one that is called."""
    return lambda count, gap: runner.run(turn(count, gap))


def called(call: Callable[[str], object], count: int, gap: float) -> list[float]:
    """Return the seconds of each call."""
    now, taken = time.perf_counter, []
    for number in range(count):
        key = f"user:{number}"
        if gap:
            time.sleep(gap)
        began = now()
        call(key)
        taken.append(now() - began)
    return taken


async def called_in_loop(call: Callable[[str], object], count: int, gap: float) -> list[float]:
    """Return the seconds of each call."""
    now, taken = time.perf_counter, []
    for number in range(count):
        key = f"user:{number}"
        await asyncio.sleep(gap)
        began = now()
        call(key)
        taken.append(now() - began)
    return taken


async def awaited_in_loop(call: Callable[[str], Awaitable[object]], count: int, gap: float) -> list[float]:
    """Return the seconds until each call has its answer."""
    now, taken = time.perf_counter, []
    for number in range(count):
        key = f"user:{number}"
        await asyncio.sleep(gap)
        began = now()
        await call(key)
        taken.append(now() - began)
    return taken


def compare(peers: int, taken: Mapping[tuple[str, str], list[list[float]]], report: Report) -> None:
    """Add our figures beside those of Redis, what was called beside what was called."""
    reach = "1 peer" if peers == 1 else f"{peers} peers"
    for pace, where, (what, of) in product(PACES, ("", IN_A_LOOP), STATISTICS.items()):
        figures = {}
        for name in (Ours.name, PUBLISH, SET):
            if rounds := taken.get((name + where, pace)):
                caller = "flush" if name == Ours.name else name
                samples = [of(delays) * 1e6 for delays in rounds]
                figures[name] = Figure(f"{caller}{where}, {reach}, {pace}, {what}", samples, "µs")
        report.compare(figures, Ours.name, PUBLISH, TARGET if what == "p50" else None)
        report.compare(figures, Ours.name, SET)


def main() -> None:
    """Measure, and print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--peers", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="about three seconds each, for each number of peers")
    options = parser.parse_args()
    settle(at_once=options.at_once)
    report = Report()
    for peers in options.peers:
        measure(peers, options.rounds, report)
    idle, busy = (count for _, count in PACES.values())
    report.notes.append(f"{options.rounds} rounds of {idle} calls idle and {busy} back to back for each")
    report.finish(options.json)


if __name__ == "__main__":
    main()
