"""
The storm: hits here while another process floods this one with flushes, over gRPC.

The peer is this file, run as a program: it meets the node at the address it is given, says
so, and flushes keys at the rate that it reads from its standard input.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

from measure import Comparison, Figure, Report, percentile, resting_collector
from programs import wait_for_peers

from flushmesh import Cache, Mesh, Receipt

RATE: Final = 100_000
SECONDS: Final = 1.0
ROUNDS: Final = 5
# What the peer flushes: other keys than those that are read, so that reading stays hitting.
FLUSHED: Final = [f"cold:{number}" for number in range(10_000)]
DEADLINE: Final = 20.0


def storm(mesh: Mesh, report: Report) -> None:
    """Compare hits under 100,000 flushes a second from a peer with quiet ones: how many a second, and their p99."""
    cache: Cache[object] = mesh.cache("storm")
    keys = [f"hot:{number}" for number in range(1_000)]
    for key in keys:
        cache.get_or_load(key, object)
    command = [sys.executable, __file__, mesh.status().address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        assert peer.stdout.readline() == "met\n"
        wait_for_peers(mesh, 1)
        quiet: list[list[int]] = []
        stormy: list[list[int]] = []
        rates = []
        with resting_collector():
            for _ in range(ROUNDS):
                quiet.append(read_for(cache, keys, SECONDS))
                peer.stdin.write("storm\n")
                peer.stdin.flush()
                assert peer.stdout.readline() == "begun\n"
                applied, began = cache.info().flushes_applied, time.perf_counter()
                stormy.append(read_for(cache, keys, SECONDS))
                rates.append((cache.info().flushes_applied - applied) / (time.perf_counter() - began))
                assert peer.stdout.readline() == "over\n"
        peer.stdin.close()
    compare_hits(stormy, quiet, f"{statistics.median(rates):,.0f} flushes/s applied", report)
    for name, rounds in (("in the storm", stormy), ("quiet", quiet)):
        every = [latency for latencies in rounds for latency in latencies]
        p999, p9999 = percentile(every, 99.9), percentile(every, 99.99)
        report.notes.append(
            f"A hit {name}: p99.9 {p999:,} ns, p99.99 {p9999 / 1e6:.3f} ms, worst {max(every) / 1e6:.1f} ms "
            f"of {len(every):,}"
        )
    report.notes.append(
        f"The storm: {statistics.median(rates):,.0f} flushes a second were applied here, {min(rates):,.0f} to "
        f"{max(rates):,.0f} (asked for: {RATE:,})"
    )


def compare_hits(stormy: Sequence[list[int]], quiet: Sequence[list[int]], applied: str, report: Report) -> None:
    """Add the hits a second and their p99 in the storm, in which so much was *applied*, beside the quiet ones."""
    # Whoever reads without a pause has one slow hit where many would have been: latencies alone do not show those.
    during, before = ([len(latencies) / SECONDS / 1e6 for latencies in rounds] for rounds in (stormy, quiet))
    ours = Figure(f"hits a second, {applied}", during, "M/s")
    report.comparisons.append(Comparison(ours, Figure("hits a second, quiet", before, "M/s")))
    during, before = ([percentile(latencies, 99) for latencies in rounds] for rounds in (stormy, quiet))
    ours = Figure(f"p99 of a hit, {applied}", during)
    report.comparisons.append(Comparison(ours, Figure("p99 of a hit, quiet", before), at_most=10.0))


def read_for(cache: Cache[object], keys: list[str], seconds: float) -> list[int]:
    """Return the latency of each hit during *seconds*, in nanoseconds."""
    now, get = time.perf_counter_ns, cache.get
    latencies = []
    end = now() + int(seconds * 1e9)
    while now() < end:
        for key in keys:
            began = now()
            get(key)
            latencies.append(now() - began)
    return latencies


def flood(cache: Cache[object]) -> int:
    """Flush at RATE until a little after the reading has ended."""
    began = time.perf_counter()
    flushed = 0
    while (elapsed := time.perf_counter() - began) < SECONDS + 0.2:
        if flushed > elapsed * RATE:
            time.sleep(0.001)
            continue
        for number in range(flushed, flushed + 100):
            cache.flush(FLUSHED[number % len(FLUSHED)])
        flushed += 100
    return flushed


def flush_behind(cache: Cache[object], count: int) -> None:
    """Flush *count* keys, at most a chunk ahead of what every peer has acknowledged, and wait for the last."""
    flush, ends = cache.flush, list[Receipt]()
    for _ in range(count // len(FLUSHED)):
        for key in FLUSHED:
            receipt = flush(key)
        ends.append(receipt)
        if len(ends) > 1:
            ends[-2].wait(timeout=DEADLINE)
    receipt.wait(timeout=DEADLINE)


def main() -> None:
    """Be the peer."""
    with Mesh("benchmark", peers=[sys.argv[1]], mdns=False) as mesh:
        cache: Cache[object] = mesh.cache("storm")
        wait_for_peers(mesh, 1)
        print("met", flush=True)
        for _ in sys.stdin:
            print("begun", flush=True)
            flood(cache)
            cache.flush(FLUSHED[0]).wait(timeout=DEADLINE)
            print("over", flush=True)


if __name__ == "__main__":
    main()
