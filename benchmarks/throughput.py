"""
How many flushes a second one writer gets to its peers, beside what else could tell them.

    make bench ONLY=throughput
    .venv/bin/python benchmarks/throughput.py [--peers 1 3 7] [--rounds 5] [--json FILE]

*Sustained*: from the first call until the last peer has applied the last flush, all of them
counted there.  The keys are none that a peer holds.  Our writer lets no peer fall behind further
than its journal reaches: of its chunks of 10,000 flushes it waits for the one before the last.
Redis is told by one PUBLISH after the other, and by pipelines; NATS by publishes between which
its loop writes now and then; of the sizes tried, the best is shown.  More is better here.

*Many writers*: WRITERS nodes that all flush at once, beside one of them alone; flushes of all together, each of which
every other node applies.

*Burst*: BURST flushes as fast as the writer can call, who waits for nobody, while its one peer reads
what it holds.  What the peer cannot keep up with leaves the journal: it is told so, and lets
everything it holds run out instead.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from measure import Comparison, Figure, Report, arguments, settle
from programs import own_memory
from relays import CHANNEL, Nats, Ours, RedisPubSub, Relay, started
from storm import FLUSHED, flush_behind

from flushmesh.clock import clock

ROUNDS: Final = 5
COUNT: Final = 40_000
COUNT_ONE_BY_ONE: Final = 5_000
WRITERS: Final = 4
BURST: Final = 1_000_000
BURST_DEADLINE: Final = 60.0
READS: Final = 3
READ_SECONDS: Final = 1.0
BATCHES: Final = (100, 1_000)

ONE_BY_ONE: Final = "Redis PUBLISH, one by one"
PIPELINED: Final = "Redis PUBLISH, pipelined"

# What the ratio is to be at least, by number of peers and rival.
TARGETS: Final[Mapping[tuple[int, str], float]] = {(3, ONE_BY_ONE): 3.0, (3, PIPELINED): 1.0, (1, PIPELINED): 2.0}

# Sends so many flushes; whoever calls it waits for the peers.
Send = Callable[[int], object]

# What a peer tells of its hits: how long one took, in nanoseconds, and how many there were.
Reading = Mapping[str, float]


def sustained(peers: int, rounds: int, report: Report) -> None:
    """Let the writers take turns with *peers* peers, and compare ours with each of the others."""
    rates: dict[str, list[float]] = {}
    with started([Ours, RedisPubSub, Nats], peers, report.notes, told=False) as relays:
        senders = [(name, relay, send) for relay in relays for name, send in senders_of(relay).items()]
        for number in range(rounds + 1):
            for name, relay, send in senders:
                count = COUNT_ONE_BY_ONE if name == ONE_BY_ONE else COUNT
                rate, applied = run(relay, send, count)
                if number:  # The first warms up.
                    rates.setdefault(name, []).append(rate)
                if applied < count:
                    report.notes.append(f"{name}, {peers} peers: of {count:,} flushes {applied:,} were applied")
        truncated = sum(relays[0].peers.ask("truncated"))
    if truncated:
        report.notes.append(f"Our journal no longer reached back far enough {truncated} times with {peers} peers")
    compare(peers, rates, report)


def senders_of(relay: Relay) -> dict[str, Send]:
    """Return what sends flushes over *relay*, by name; those that differ in the size of a batch, with it."""
    match relay:
        case Ours():
            return {relay.name: partial(flush_behind, relay.cache)}
        case RedisPubSub():
            pipelined = {f"{PIPELINED} by {batch}": partial(publish_pipelined, relay, batch) for batch in BATCHES}
            return {ONE_BY_ONE: partial(publish_one_by_one, relay), **pipelined}
        case Nats():
            return {f"{relay.name}, written every {batch}": partial(publish_to_nats, relay, batch) for batch in BATCHES}
    raise TypeError(relay)


def run(relay: Relay, send: Send, count: int) -> tuple[float, int]:
    """Return the flushes a second, and how many of *count* were applied where it was fewest."""
    relay.count()
    began = clock()
    send(count)
    counted = relay.counted(count)
    fewest = min(applied for applied, _ in counted)
    return fewest / (max(at for _, at in counted) - began), fewest


def publish_one_by_one(relay: RedisPubSub, count: int) -> None:
    """Publish *count* keys, each once the one before it has been answered."""
    publish = relay.flush
    for number in range(count):
        publish(FLUSHED[number % len(FLUSHED)])


def publish_pipelined(relay: RedisPubSub, batch: int, count: int) -> None:
    """Publish *count* keys, *batch* in a pipeline."""
    for begin in range(0, count, batch):
        with relay.redis.pipeline(transaction=False) as pipeline:
            for number in range(begin, begin + batch):
                pipeline.publish(CHANNEL, FLUSHED[number % len(FLUSHED)])
            pipeline.execute()


def publish_to_nats(relay: Nats, batch: int, count: int) -> None:
    """Publish *count* keys, *batch* between two writes."""
    keys = [FLUSHED[number % len(FLUSHED)] for number in range(count)]
    relay.publish_together(keys, batch)


def compare(peers: int, rates: Mapping[str, list[float]], report: Report) -> None:
    """Add our rate beside that of each of the others at its best."""
    reach = "1 peer" if peers == 1 else f"{peers} peers"
    figures = {
        name: Figure(f"{name}, sustained, {reach}", [rate / 1e3 for rate in taken], "k/s")
        for name, taken in rates.items()
    }
    ours = figures.pop(Ours.name)
    for rival in (ONE_BY_ONE, PIPELINED, Nats.name):
        if tried := [figure for name, figure in figures.items() if name.startswith(rival)]:
            best = max(tried, key=lambda figure: figure.median)
            report.comparisons.append(Comparison(ours, best, at_least=TARGETS.get((peers, rival))))


def many_writers(rounds: int, report: Report) -> None:
    """Compare the flushes a second of WRITERS nodes, all writing, with those of one of them alone."""
    alone: list[float] = []
    together: list[float] = []
    with started([Ours], WRITERS - 1, report.notes, told=False) as (relay,):
        assert isinstance(relay, Ours)
        for number in range(rounds + 1):
            began = clock()
            flush_behind(relay.cache, COUNT)
            between = clock()
            relay.peers.tell("flush", COUNT)
            flush_behind(relay.cache, COUNT)
            relay.peers.answers()
            ended = clock()
            if number:  # The first warms up.
                alone.append(COUNT / (between - began) / 1e3)
                together.append(WRITERS * COUNT / (ended - between) / 1e3)
    ours = Figure(f"flushmesh, {WRITERS} nodes, all write, of all together", together, "k/s")
    report.comparisons.append(Comparison(ours, Figure(f"flushmesh, {WRITERS} nodes, one writes", alone, "k/s")))


def burst(report: Report) -> None:
    """Flush without waiting for anybody, and tell what became of it and of the hits of the peer meanwhile."""
    with started([Ours], 1, report.notes, told=False) as (relay,):
        assert isinstance(relay, Ours)
        quiet = [relay.peers.ask("read", READ_SECONDS)[0] for _ in range(READS)]
        relay.count()
        for _ in range(READS):
            relay.peers.tell("read", READ_SECONDS)
        time.sleep(0.1)
        memory, began = own_memory(), clock()
        flush = relay.cache.flush
        for _ in range(BURST // len(FLUSHED)):
            for key in FLUSHED:
                flush(key)
        called, grown = clock(), own_memory() - memory
        # Not the last of the burst: if the peer was told that it missed that one, it will never have applied it.
        while not flush(FLUSHED[0]).wait(timeout=0.1).acknowledged:
            assert clock() < called + BURST_DEADLINE, relay.mesh.status()
        done = clock()
        busy = [relay.peers.answers()[0] for _ in range(READS)]
        ((applied, _),) = relay.counted(BURST)
        (truncated,) = relay.peers.ask("truncated")
    report.notes.append(
        f"Burst: {BURST:,} flushes were called in {called - began:.1f} s; after {done - began:.1f} s the peer had "
        f"nothing left to apply.  {applied:,} were applied one by one there, and {truncated} times the journal no "
        f"longer reached back to what was missing.  "
        f"The writer's memory grew by {grown / 2**20:.1f} MB"
    )
    compare_hits(busy, quiet, called - began, report)


def compare_hits(busy: Sequence[Reading], quiet: Sequence[Reading], seconds: float, report: Report) -> None:
    """Add how many hits there were in a burst of so many *seconds*, and their latency, beside the quiet ones."""
    told = {"hits a second": ("hits", 1e6 * READ_SECONDS, "M/s")}
    told |= {f"{percent} of a hit": (percent, 1e3, "µs") for percent in ("p50", "p99", "p99.9", "worst")}
    for name, (what, divisor, unit) in told.items():
        # Quiet and busy readings are no rounds of one another, so the ratio is that of their medians.
        during, before = (statistics.median(each[what] for each in readings) / divisor for readings in (busy, quiet))
        ours = Figure(f"{name}, in the burst", [during], unit)
        report.comparisons.append(Comparison(ours, Figure(f"{name}, quiet", [before], unit)))
    hits = [sum(reading["hits"] for reading in readings) for readings in (busy, quiet)]
    report.notes.append(
        f"Hits in the burst: {hits[0]:,.0f} in {READS * READ_SECONDS:g} s, of which the burst lasted {seconds:.1f} s; "
        f"quiet, {hits[1]:,.0f}"
    )


def main() -> None:
    """Measure, and print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--peers", type=int, nargs="+", default=[1, 3, 7])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="about seven seconds each, for each number of peers")
    options = parser.parse_args()
    settle(at_once=options.at_once)
    report = Report()
    burst(report)  # Before anything else has left memory behind that it could use.
    for peers in options.peers:
        sustained(peers, options.rounds, report)
    many_writers(options.rounds, report)
    report.notes.append(
        f"Sustained: {options.rounds} rounds of {COUNT:,} flushes for each, {COUNT_ONE_BY_ONE:,} one by one"
    )
    report.finish(options.json)


if __name__ == "__main__":
    main()
