"""
Visitors: scripts that start, flush and end next to a few nodes, of which their roster names one.

    python -m tests.net.visitors --scripts 200
    python -m tests.net.visitors --scripts 200 --at-once 8
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock

from tests.net.nodeprocess import NodeProcess

NODES = 4
MAX_STALENESS = 10.0

# As in the README: start, flush, wait a second, end.
SCRIPT = """
from flushmesh import Mesh

with Mesh("m", name="{name}", peers=["{peer}"], max_staleness={max_staleness}) as mesh:
    delivery = mesh.cache("c").flush("{name}").wait(timeout=5.0)
    print(delivery.complete, delivery.outcome)
"""


@dataclass
class Findings:
    """What became of the flushes of all scripts; *arrived* counts nodes, the others scripts."""

    complete: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    arrived: int = 0
    ran_out: int = 0
    lies: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    slowest: float = 0.0


class Visits:
    """Runs scripts next to *nodes*, each with a key of its own that every node has loaded before."""

    def __init__(self, nodes: list[NodeProcess]) -> None:
        self.nodes = nodes
        self.findings = Findings()
        # A node answers one question at a time.
        self._asking = Lock()

    def visit(self, number: int) -> None:
        """Run one script, and look what its flush has done on every node."""
        key = f"v{number}"
        with self._asking:
            for node in self.nodes:
                node("load", key=key, value="old")
        began = time.monotonic()
        source = SCRIPT.format(name=key, peer=self.nodes[0].address, max_staleness=MAX_STALENESS)
        ended = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False, timeout=60)
        ended_at = time.monotonic()
        with self._asking:
            held = [node for node in self.nodes if node("get", key=key) is not None]
        findings = self.findings
        findings.slowest = max(findings.slowest, ended_at - began)
        # The core of gRPC may write at its level I that a connection has ended.
        wrong = [line for line in ended.stderr.splitlines() if not re.match(r"I\d{4} ", line)]
        if ended.returncode or wrong:
            findings.errors.append(ended.stderr)
            return
        complete, _, outcome = ended.stdout.strip().partition(" ")
        findings.outcomes[outcome] += 1
        findings.complete += complete == "True"
        findings.arrived += len(self.nodes) - len(held)
        if complete == "True" and held:
            findings.lies.append(f"{key}: {outcome}, and {[node.name for node in held]} still serve it")
        if held:
            self._wait_until_it_runs_out(key, ended_at + MAX_STALENESS)

    def _wait_until_it_runs_out(self, key: str, until: float) -> None:
        while time.monotonic() < until:
            time.sleep(0.05)
        with self._asking:
            late = [node.name for node in self.nodes if node("get", key=key) is not None]
        if late:
            self.findings.stale.append(f"{key}: {late} serve it after {MAX_STALENESS:g} s")
        else:
            self.findings.ran_out += 1


def run(nodes: list[NodeProcess], scripts: int, at_once: int = 1) -> Findings:
    """Run *scripts* scripts next to *nodes*, so many of them *at_once*."""
    visits = Visits(nodes)
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(visits.visit, range(scripts)))
    return visits.findings


def main() -> int:
    """Run as many scripts as the command line says, and print what became of their flushes."""
    parser = argparse.ArgumentParser(prog="python -m tests.net.visitors", description="Scripts that come and go.")
    parser.add_argument("--scripts", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=1)
    chosen = parser.parse_args()
    roster = "127.0.0.1:27310-27313"
    nodes = [
        NodeProcess(f"n{number}", listen=roster, peers=[roster], max_staleness=MAX_STALENESS) for number in range(NODES)
    ]
    try:
        for node in nodes:
            node.wait_for("following", sorted({other.name for other in nodes} - {node.name}))
        findings = run(nodes, chosen.scripts, chosen.at_once)
        warnings = {node.name: node("warnings") for node in nodes}
    finally:
        for node in nodes:
            node.kill()
    print(f"{chosen.scripts} scripts, {chosen.at_once} at once: {findings}\nwarnings: {warnings}")
    return 1 if findings.lies or findings.stale or findings.errors else 0


if __name__ == "__main__":
    sys.exit(main())
