"""
What it costs to be many: 2, 8, 16 and 32 processes on this machine, each a node, or each a subscriber of Redis.

    make bench ONLY=crowd
    .venv/bin/python benchmarks/crowd.py [--nodes 2 8 16 32] [--json benchmarks/results/crowd.json]

For each number: the seconds from the last start until everyone follows everyone, or has
subscribed; the memory of a process, and what of it each peer costs; the processor time of a process while
nothing happens; and the time from a flush to its application in the last process.  All share the
cores of this machine, so many wait for each other here more than they would on machines of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from itertools import product
from pathlib import Path
from threading import Thread
from typing import Any, Final

from flushmesh import Flushed, Mesh
from flushmesh.clock import clock

IDLE_SECONDS: Final = 10.0
FLUSHES: Final = 50
DEADLINE: Final = 60.0


OURS: Final = "flushmesh"
REDIS: Final = "Redis pub/sub"


class Crowd:
    """So many processes that run this program with *arguments*, each a node or a subscriber."""

    def __init__(self, nodes: int, arguments: Sequence[str]) -> None:
        command = [sys.executable, __file__, *arguments]
        self.nodes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(nodes)]
        try:
            started = [self._answer(node) for node in self.nodes]
            connected = [self._answer(node) for node in self.nodes]
        except BaseException:
            self.close()
            raise
        self.connected_after = max(connected) - max(started)

    def ask(self, do: str, which: int | None = None) -> list[Any]:
        """Have one node, or all, do something; return their answers."""
        asked = self.nodes if which is None else [self.nodes[which]]
        for node in asked:
            assert node.stdin is not None
            node.stdin.write(f"{do}\n".encode())
            node.stdin.flush()
        return [self._answer(node) for node in asked]

    def close(self) -> None:
        for node in self.nodes:
            node.kill()
        for node in self.nodes:
            node.communicate()

    @staticmethod
    def _answer(node: subprocess.Popen[bytes]) -> Any:
        assert node.stdout is not None
        line = node.stdout.readline()
        if not line:
            raise SystemExit("a node has ended")
        return json.loads(line)


@contextmanager
def gathered(relay: str, nodes: int) -> Iterator[Crowd]:
    """Yield *nodes* processes that *relay* connects; raise ImportError or UnavailableError if it cannot be had."""
    with ExitStack() as stack:
        if relay == OURS:
            arguments = ["--node", f"127.0.0.1:{_free_ports(nodes)}", str(nodes - 1)]
        else:
            from servers import redis_server

            import_module("redis")
            arguments = ["--subscriber", str(stack.enter_context(redis_server()))]
        crowd = Crowd(nodes, arguments)
        stack.callback(crowd.close)
        yield crowd


def cost(relay: str, nodes: int) -> dict[str, Any]:
    """Start *nodes* processes that *relay* connects, and return what they cost."""
    with gathered(relay, nodes) as crowd:
        time.sleep(2.0)
        before, began = crowd.ask("busy"), clock()
        time.sleep(IDLE_SECONDS)
        idle = [(now - then) / (clock() - began) for then, now in zip(before, crowd.ask("busy"), strict=True)]
        memory = crowd.ask("memory")
        reached = []
        for number in range(FLUSHES):
            (flushed_at,) = crowd.ask("flush", number % nodes)
            time.sleep(0.02)
            applied = [at for at in crowd.ask("applied") if at is not None]
            while len(applied) < nodes - 1:
                applied = [at for at in crowd.ask("applied") if at is not None]
            reached.append(max(applied) - flushed_at)
            crowd.ask("forget")
    return {
        "relay": relay,
        "nodes": nodes,
        "connected_seconds": crowd.connected_after,
        "memory_bytes": statistics.median(memory),
        "idle_share": statistics.median(idle),
        "to_last_median": statistics.median(reached),
        "to_last_worst": max(reached),
    }


def be_a_node(roster: str, peers: int) -> None:
    """Be one node that follows *peers* others, and answer what is asked."""
    applied: list[float] = []

    def on_flushed(_flushed: Flushed) -> None:
        applied.append(clock())

    mesh = Mesh("crowd", listen=roster, peers=[roster])
    cache = mesh.cache("c", on_flushed=on_flushed)
    mesh.start()
    _say(clock())
    deadline = clock() + DEADLINE
    while sum(peer.state == "following" for peer in mesh.status().peers) < peers:
        if clock() > deadline:
            raise SystemExit("not everyone is followed")
        time.sleep(0.05)
    _say(clock())
    _answer(lambda: cache.flush("k"), applied)


def be_a_subscriber(port: int) -> None:
    """Subscribe to a channel of Redis, note what others publish there, and answer what is asked."""
    redis = import_module("redis")
    applied: list[float] = []
    me = str(os.getpid()).encode()

    def listen() -> None:
        for message in messages:
            at = clock()
            if message["type"] == "message" and message["data"] != me:
                applied.append(at)

    connection = redis.Redis(port=port, socket_timeout=None)
    _say(clock())
    pubsub = connection.pubsub()
    pubsub.subscribe("flushes")
    messages = pubsub.listen()
    next(messages)
    Thread(target=listen, daemon=True).start()
    _say(clock())
    _answer(lambda: connection.publish("flushes", me), applied)


def _answer(flush: Callable[[], object], applied: list[float]) -> None:
    """Answer what is asked, line by line."""
    for line in sys.stdin:
        match line.strip():
            case "busy":
                usage = resource.getrusage(resource.RUSAGE_SELF)
                _say(usage.ru_utime + usage.ru_stime)
            case "memory":
                _say(own_memory())
            case "flush":
                at = clock()
                flush()
                _say(at)
            case "applied":
                _say(applied[-1] if applied else None)
            case "forget":
                applied.clear()
                _say(None)


def _say(value: object) -> None:
    print(json.dumps(value), flush=True)


def own_memory() -> int:
    """Return the bytes that only this process holds."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def _free_ports(count: int) -> str:
    for first in range(23_000, 32_000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return f"{first}-{first + count - 1}"
    raise SystemExit("no free ports")


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
            missing.append(f"{relay} is not beside {nodes} nodes: {error}")
            continue
        first = fewest.setdefault(relay, row)
        if row is not first:
            more = row["memory_bytes"] - first["memory_bytes"]
            row["memory_per_peer_bytes"] = more / (nodes - first["nodes"])
        rows.append(row)
    return rows, missing


def show(sizes: list[int], path: Path | None) -> None:
    """Measure crowds of *sizes*, print a table, and write it to *path*."""
    # Not above, as elsewhere in here: it would add a megabyte to what each node is found to hold.
    from measure import machine_line, write_results

    rows, missing = costs(sizes)
    print(machine_line() + "\n")
    print("               NODES  CONNECTED  MEMORY    PER PEER  IDLE    TO THE LAST, MEDIAN  WORST")
    for row in rows:
        per_peer = f"{row['memory_per_peer_bytes'] / 1024:.0f} KB" if "memory_per_peer_bytes" in row else ""
        print(
            f"{row['relay']:<15}{row['nodes']:5.0f}  {row['connected_seconds']:7.2f} s  "
            f"{row['memory_bytes'] / 2**20:5.1f} MB  "
            f"{per_peer:>8}  {row['idle_share']:5.1%}  {row['to_last_median'] * 1e3:16.1f} ms  "
            f"{row['to_last_worst'] * 1e3:.1f} ms"
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
    parser.add_argument("--node", nargs=2, metavar=("ROSTER", "PEERS"), help=argparse.SUPPRESS)
    parser.add_argument("--subscriber", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node:
        be_a_node(options.node[0], int(options.node[1]))
    elif options.subscriber:
        be_a_subscriber(options.subscriber)
    else:
        show(options.nodes, options.json)


if __name__ == "__main__":
    main()
