"""
How soon a flush has reached the other processes, beside what else could tell them.

    make bench ONLY=propagation
    .venv/bin/python benchmarks/propagation.py [--peers 1 3 7] [--rounds 11] [--json FILE]

A figure is the time from the call in one process until the key is gone from the local cache of
another, and with several peers until it is gone from the last of them.  The relays take turns:
in each round every relay flushes FLUSHES keys at each load, and the round's p50, p90 and p99
are its samples.  All processes share the cores of this machine, and the server of a rival is one more.

- *idle*: a flush every 3 ms, so that everybody sleeps when it comes.
- *under load*: a flush every half millisecond, due by the clock and sent at once if it is
  late, so that the next one often comes while somebody is still busy with the last.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from measure import Comparison, Figure, Report, arguments, percentile, settle
from relays import DEADLINE, BareGrpc, Nats, Ours, RawTcp, RedisPubSub, RedisTracking, Relay, round_keys, started

ROUNDS: Final = 11
PERCENTS: Final = (50, 90, 99)

# Seconds between two flushes, and how many flushes in a round: enough for a p99 to have some beyond it.
LOADS: Final[Mapping[str, tuple[float, int]]] = {"idle": (0.003, 200), "under load": (0.0005, 400)}

# What the ratio is to stay within, by number of peers, rival and percentile, at either load.
TARGETS: Final[Mapping[tuple[int, str, int], float]] = {
    (1, RedisPubSub.name, 50): 1.0,
    (1, RedisPubSub.name, 99): 1.0,
    (3, RedisPubSub.name, 50): 1.0,
    (7, RedisPubSub.name, 50): 1.5,
    **{(peers, Nats.name, percent): 1.0 for peers in (1, 3, 7) for percent in PERCENTS},
}

# Times of one relay under one load: round by round, of each flush.
Rounds = dict[tuple[str, str], list[list[float]]]


def measure(peers: int, rounds: int, report: Report) -> None:
    """Let the relays take turns with *peers* peers, and compare ours with each of the others."""
    kinds: list[type[Relay]] = [Ours, RedisPubSub, Nats, BareGrpc, RawTcp]
    if peers == 1:
        kinds.insert(3, RedisTracking)
    taken: Rounds = {}
    lost: Counter[tuple[str, str]] = Counter()
    with started(kinds, peers, report.notes) as relays:
        for number in range(rounds + 1):
            for load in LOADS:
                for relay in relays:
                    delays = turn(relay, load, f"{number}-{load.split()[0]}")
                    if number:  # The first warms up.
                        taken.setdefault((relay.name, load), []).append(delays)
                        lost[relay.name, load] += delays.count(DEADLINE)
    compare(peers, [relay.name for relay in relays], taken, report)
    for (name, load), count in lost.items():
        if count:
            report.notes.append(
                f"{name}, {load}, {peers} peers: {count} flushes had not arrived everywhere {DEADLINE:g} s after the "
                f"last one of their round; they count as {DEADLINE:g} s, and a rival's stand for nothing"
            )


def turn(relay: Relay, load: str, name: str) -> list[float]:
    """Return the seconds that each flush took to its last peer; DEADLINE for what did not arrive."""
    gap, count = LOADS[load]
    relay.fill(name, count)
    sent = relay.send(round_keys(name, count), gap)
    # Whoever waits for the answers must not be in the way of the last flushes.
    time.sleep(0.02)
    applied = relay.applied(count)
    delays = []
    for key, at in zip(round_keys(name, count), sent, strict=True):
        gone = [when[key] for when in applied if key in when]
        delays.append(max(gone) - at if len(gone) == len(applied) else DEADLINE)
    return delays


def compare(peers: int, names: Sequence[str], taken: Rounds, report: Report) -> None:
    """Add our percentiles beside those of every other relay."""
    reach = "1 peer" if peers == 1 else f"the last of {peers}"
    for load in LOADS:
        for percent in PERCENTS:
            figures = {}
            for name in names:
                samples = [percentile(delays, percent) * 1e6 for delays in taken[name, load]]
                figures[name] = Figure(f"{name}, to {reach}, {load}, p{percent}", samples, "µs")
            ours = figures.pop(Ours.name)
            for name, figure in figures.items():
                # Nothing is promised beside a rival that does not arrive.
                arrives = figure.median < DEADLINE * 1e6
                at_most = TARGETS.get((peers, name, percent)) if arrives else None
                report.comparisons.append(Comparison(ours, figure, at_most))


def main() -> None:
    """Measure, and print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--peers", type=int, nargs="+", default=[1, 3, 7])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="about five seconds each, for each number of peers")
    options = parser.parse_args()
    settle(at_once=options.at_once)
    report = Report()
    for peers in options.peers:
        measure(peers, options.rounds, report)
    idle, loaded = (count for _, count in LOADS.values())
    report.notes.append(f"{options.rounds} rounds of {idle} flushes idle and {loaded} under load for each relay")
    if 1 in options.peers:
        report.notes.append(
            f"{RedisTracking.name}: from SET until a GET, asked without pause, returns the new value; "
            "with 1 peer only, as several that ask without pause would have all the cores.  redis-py refuses it below "
            "Redis 7.4, for compatibility; that check is lowered here, as the commands it uses are in 6.0 already"
        )
    report.finish(options.json)


if __name__ == "__main__":
    main()
