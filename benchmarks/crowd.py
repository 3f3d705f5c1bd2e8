"""
What it costs to be many: 2, 8, 16 and 32 nodes, each a process of its own, on this machine.

    make bench ONLY=crowd
    .venv/bin/python benchmarks/crowd.py [--nodes 2 8 16 32] [--json benchmarks/results/crowd.json]

For each number of nodes: the seconds from the last start until everyone follows everyone, the
memory of a process and of each peer in it, the processor time while nothing happens, and the
time from a flush to its application on the last node.  All processes share the cores of this
machine, so many nodes wait for each other here more than they would on machines of their own.
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from flushmesh import Flushed, Mesh
from flushmesh.clock import clock

IDLE_SECONDS: Final = 10.0
FLUSHES: Final = 50
DEADLINE: Final = 60.0


class Crowd:
    """So many nodes, each in a process, that know each other by a roster."""

    def __init__(self, nodes: int) -> None:
        roster = f"127.0.0.1:{_free_ports(nodes)}"
        command = [sys.executable, __file__, "--node", roster, str(nodes - 1)]
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


def cost(nodes: int) -> dict[str, float]:
    """Start *nodes* nodes and return what they cost."""
    crowd = Crowd(nodes)
    try:
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
    finally:
        crowd.close()
    return {
        "nodes": nodes,
        "connected_seconds": crowd.connected_after,
        "memory_bytes": statistics.median(memory),
        "idle_share": statistics.median(idle),
        "to_last_median": statistics.median(reached),
        "to_last_worst": max(reached),
    }


def be_a_node(roster: str, peers: int) -> None:
    """Be one node, and answer what is asked, line by line."""
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
    for line in sys.stdin:
        match line.strip():
            case "busy":
                usage = resource.getrusage(resource.RUSAGE_SELF)
                _say(usage.ru_utime + usage.ru_stime)
            case "memory":
                _say(own_memory())
            case "flush":
                at = clock()
                cache.flush("k")
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


def show(sizes: list[int], path: Path | None) -> None:
    """Measure crowds of *sizes*, print a table, and write it to *path*."""
    # Not above: it would add a megabyte to what each node is found to hold.
    from measure import machine_line, write_results

    rows = [cost(nodes) for nodes in sizes]
    for row in rows[1:]:
        more = row["memory_bytes"] - rows[0]["memory_bytes"]
        row["memory_per_peer_bytes"] = more / (row["nodes"] - rows[0]["nodes"])
    print(machine_line() + "\n")
    print("NODES  CONNECTED  MEMORY    PER PEER  IDLE    TO THE LAST, MEDIAN  WORST")
    for row in rows:
        per_peer = f"{row['memory_per_peer_bytes'] / 1024:.0f} KB" if "memory_per_peer_bytes" in row else ""
        print(
            f"{row['nodes']:5.0f}  {row['connected_seconds']:7.1f} s  {row['memory_bytes'] / 2**20:5.1f} MB  "
            f"{per_peer:>8}  {row['idle_share']:5.1%}  {row['to_last_median'] * 1e3:16.1f} ms  "
            f"{row['to_last_worst'] * 1e3:.1f} ms"
        )
    if path:
        write_results(path, {"rows": rows})


def main() -> None:
    """Measure, or be a node."""
    parser = argparse.ArgumentParser(description="what it costs to be many")
    parser.add_argument("--nodes", type=int, nargs="+", default=[2, 8, 16, 32])
    parser.add_argument("--json", type=Path, help="write the results to this file too")
    parser.add_argument("--node", nargs=2, metavar=("ROSTER", "PEERS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.node:
        be_a_node(options.node[0], int(options.node[1]))
    else:
        show(options.nodes, options.json)


if __name__ == "__main__":
    main()
