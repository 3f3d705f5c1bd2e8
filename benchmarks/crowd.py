"""
What it costs to be many: 2, 8, 16 and 32 processes on this machine, each a node, or each a subscriber of Redis.

    make bench ONLY=crowd
    .venv/bin/python benchmarks/crowd.py [--nodes 2 8 16 32] [--json benchmarks/results/crowd.json]

For each number: the seconds from when the last one begins to connect until everyone follows everyone, or has
subscribed; the memory of a process, and what of it each peer costs; the processor time of a process while
nothing happens; and the time from a flush to its application in the last process.  All share the
cores of this machine, so many wait for each other here more than they would on machines of their own.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from itertools import product
from pathlib import Path
from threading import Thread
from typing import Any, Final

from programs import Programs, free_range, own_memory, say, wait_for_peers

IDLE_SECONDS: Final = 10.0
FLUSHES: Final = 50

OURS: Final = "flushmesh"
REDIS: Final = "Redis pub/sub"

# What of ours is told as a ratio to that of as many subscribers of Redis, and what the tables call it.
COMPARED: Final[Mapping[str, str]] = {"memory_bytes": "memory", "to_last_median": "to the last"}


@contextmanager
def gathered(relay: str, nodes: int) -> Iterator[Programs]:
    """Yield *nodes* processes for *relay* to connect; raise ImportError or UnavailableError if it cannot be had."""
    with ExitStack() as stack:
        if relay == OURS:
            arguments = ["--node", free_range(nodes), str(nodes - 1)]
        else:
            from servers import redis_server

            import_module("redis")
            arguments = ["--subscriber", str(stack.enter_context(redis_server()))]
        yield Programs(stack, Path(__file__), arguments, nodes)


def cost(relay: str, nodes: int) -> dict[str, Any]:
    """Start *nodes* processes that *relay* connects, and return what they cost."""
    with gathered(relay, nodes) as crowd:
        started, connected = crowd.answers(), crowd.answers()
        time.sleep(2.0)
        before, began = crowd.ask("busy"), time.monotonic()
        time.sleep(IDLE_SECONDS)
        idle = [(now - then) / (time.monotonic() - began) for then, now in zip(before, crowd.ask("busy"), strict=True)]
        memory = crowd.ask("memory")
        reached = []
        for number in range(FLUSHES):
            flushed_at = crowd.ask_one(number % nodes, "flush")
            time.sleep(0.02)
            applied = [at for at in crowd.ask("applied") if at is not None]
            while len(applied) < nodes - 1:
                applied = [at for at in crowd.ask("applied") if at is not None]
            reached.append(max(applied) - flushed_at)
            crowd.ask("forget")
    return {
        "relay": relay,
        "nodes": nodes,
        "connected_seconds": max(connected) - max(started),
        "memory_bytes": statistics.median(memory),
        "idle_share": statistics.median(idle),
        "to_last_median": statistics.median(reached),
        "to_last_worst": max(reached),
    }


def be_a_node(roster: str, peers: int) -> None:
    """Be one node that follows *peers* others, and answer what is asked."""
    # Not above: what a subscriber of Redis is found to hold must not have it.
    from flushmesh import Mesh

    applied: list[float] = []
    mesh = Mesh("crowd", listen=roster, peers=[roster])
    cache = mesh.cache("c", on_flushed=lambda _flushed: applied.append(time.monotonic()))
    say(time.monotonic())
    mesh.start()
    wait_for_peers(mesh, peers)
    say(time.monotonic())
    _answer(lambda: cache.flush("k"), applied)


def be_a_subscriber(port: int) -> None:
    """Subscribe to a channel of Redis, note what others publish there, and answer what is asked."""
    redis = import_module("redis")
    applied: list[float] = []
    me = str(os.getpid()).encode()

    def listen() -> None:
        for message in messages:
            at = time.monotonic()
            if message["type"] == "message" and message["data"] != me:
                applied.append(at)

    connection = redis.Redis(port=port, socket_timeout=None)
    say(time.monotonic())
    pubsub = connection.pubsub()
    pubsub.subscribe("flushes")
    messages = pubsub.listen()
    next(messages)
    Thread(target=listen, daemon=True).start()
    say(time.monotonic())
    _answer(lambda: connection.publish("flushes", me), applied)


def _answer(flush: Callable[[], object], applied: list[float]) -> None:
    """Answer what is asked, line by line."""
    for line in sys.stdin:
        match line.strip():
            case "busy":
                usage = resource.getrusage(resource.RUSAGE_SELF)
                say(usage.ru_utime + usage.ru_stime)
            case "memory":
                say(own_memory())
            case "flush":
                at = time.monotonic()
                flush()
                say(at)
            case "applied":
                say(applied[-1] if applied else None)
            case "forget":
                applied.clear()
                say(None)


def costs(sizes: list[int]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return what crowds of *sizes* cost, ours and Redis's in turn, and who is missing."""
    from servers import UnavailableError

    rows: list[dict[str, Any]] = []
    missing: list[str] = []
    fewest: dict[str, dict[str, Any]] = {}
    for nodes, relay in product(sizes, (OURS, REDIS)):
        try:
            row = cost(relay, nodes)
        except (ImportError, UnavailableError) as error:
            missing.append(f"{relay} is not beside the others, {nodes} processes: {error}")
            continue
        first = fewest.setdefault(relay, row)
        if row is not first:
            more = row["memory_bytes"] - first["memory_bytes"]
            row["memory_per_peer_bytes"] = more / (nodes - first["nodes"])
        rows.append(row)
    add_ratios(rows)
    return rows, missing


def add_ratios(rows: Sequence[dict[str, Any]]) -> None:
    """Add to each of ours the ratios to what as many subscribers of Redis cost, if they were measured."""
    theirs = {row["nodes"]: row for row in rows if row["relay"] == REDIS}
    for row in rows:
        if row["relay"] == OURS and row["nodes"] in theirs:
            rival = theirs[row["nodes"]]
            row["ratio"] = {name: row[what] / rival[what] for what, name in COMPARED.items()}


def show(sizes: list[int], path: Path | None, *, at_once: bool) -> None:
    """Measure crowds of *sizes*, print a table, and write it to *path*."""
    # Not above, as elsewhere in here: it would add a megabyte to what each node is found to hold.
    from measure import machine_line, settle, write_results

    settle(at_once=at_once)
    rows, missing = costs(sizes)
    print(machine_line() + "\n")
    print("               NODES  CONNECTED  MEMORY    PER PEER  IDLE    TO THE LAST, MEDIAN  WORST      BY REDIS'S")
    for row in rows:
        per_peer = f"{row['memory_per_peer_bytes'] / 1024:.0f} KB" if "memory_per_peer_bytes" in row else ""
        print(
            f"{row['relay']:<15}{row['nodes']:5.0f}  {row['connected_seconds']:7.2f} s  "
            f"{row['memory_bytes'] / 2**20:5.1f} MB  "
            f"{per_peer:>8}  {row['idle_share']:5.1%}  {row['to_last_median'] * 1e3:16.1f} ms  "
            f"{row['to_last_worst'] * 1e3:6.1f} ms  "
            + ", ".join(f"{what} {ratio:.2f}" for what, ratio in row.get("ratio", {}).items())
        )
    for note in missing:
        print(f"- {note}")
    if path:
        write_results(path, {"rows": rows, "notes": missing})


def main() -> None:
    """Measure, or be one of the crowd."""
    parser = argparse.ArgumentParser(description="what it costs to be many")
    parser.add_argument("--nodes", type=int, nargs="+", default=[2, 8, 16, 32])
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--at-once", action="store_true", help="do not wait for the machine to be quiet")
    parser.add_argument("--node", nargs=2, metavar=("ROSTER", "PEERS"), help=argparse.SUPPRESS)
    parser.add_argument("--subscriber", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node:
        be_a_node(options.node[0], int(options.node[1]))
    elif options.subscriber:
        be_a_subscriber(options.subscriber)
    else:
        show(options.nodes, options.json, at_once=options.at_once)


if __name__ == "__main__":
    main()
