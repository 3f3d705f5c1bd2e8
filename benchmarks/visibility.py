"""
How soon a write through one instance of the settings dashboard is visible in the others.

Measured as a user would: from the moment that the answer to `POST /api/settings` has
arrived until `GET /api/state` of both other instances has returned the new value.  They
are asked without pause, so a figure includes the time of the last GET; how long one takes
by itself is printed beside it.

    .venv/bin/python benchmarks/visibility.py [--json benchmarks/results/visibility.json]
"""

from __future__ import annotations

import http.client
import json
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from measure import arguments, machine_line, settle, write_results
from programs import free_range

DEMO: Final = Path(__file__).parents[1] / "examples" / "settings_app"
WRITES: Final = 200
INSTANCES: Final = 3
DEADLINE: Final = 10.0


class Instance:
    """One instance, asked through one connection that stays open."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=DEADLINE)

    def get(self, path: str) -> Any:
        """Return the JSON at *path*."""
        self._connection.request("GET", path)
        return json.load(self._connection.getresponse())

    def write(self, value: str) -> None:
        """Write the one setting that is measured."""
        self._connection.request("POST", "/api/settings", json.dumps({"name": "Measured", "value": value}))
        response = self._connection.getresponse()
        answer = response.read()
        assert response.status == 200, answer

    def wait_for(self, value: str) -> float:
        """Return the moment at which this instance has served *value*."""
        deadline = time.perf_counter() + DEADLINE
        while self.get("/api/state")["settings"].get("Measured") != value:
            assert time.perf_counter() < deadline, f"{value} is not visible after {DEADLINE:g} s"
        return time.perf_counter()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@contextmanager
def demo() -> Iterator[list[Instance]]:
    """Run the demo on free ports; yield its instances once each follows every other."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        roster = Path(folder) / "roster.toml"
        addresses = free_range(INSTANCES + 5)
        roster.write_text(f'mesh = "visibility"\nlisten = "{addresses}"\npeers = ["{addresses}"]\n')
        command = [sys.executable, str(DEMO), "--port", "0", "--instances", str(INSTANCES), "--roster", str(roster)]
        process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(process.send_signal, signal.SIGINT)
        assert process.stdout is not None
        instances = []
        for _ in range(INSTANCES):
            found = re.search(r"http://(\S+)", process.stdout.readline())
            assert found is not None, "the demo does not start"
            instances.append(Instance(found[1]))
            stack.callback(instances[-1].close)
        wait_until_met(instances)
        yield instances


def wait_until_met(instances: list[Instance]) -> None:
    """Wait until each of *instances* follows every other."""
    deadline = time.monotonic() + DEADLINE
    for instance in instances:
        while [peer["state"] for peer in instance.get("/api/state")["peers"]] != ["following"] * (INSTANCES - 1):
            assert time.monotonic() < deadline, "the instances do not find each other"
            time.sleep(0.05)


def measured() -> dict[str, list[float]]:
    """Return the seconds until each write was visible in all others, and those that asking them all takes."""
    delays, gets = [], []
    with demo() as instances, ThreadPoolExecutor(INSTANCES - 1) as threads:
        writer, *others = instances
        for number in range(WRITES):
            writer.write(str(number))
            answered = time.perf_counter()
            delays.append(max(threads.map(Instance.wait_for, others, repeat(str(number)))) - answered)
        for _ in range(WRITES):
            began = time.perf_counter()
            list(threads.map(Instance.get, others, repeat("/api/state")))
            gets.append(time.perf_counter() - began)
    return {"visible": delays, "asked": gets}


def main() -> None:
    """Measure, and print one line."""
    options = arguments(__doc__).parse_args()
    settle(at_once=options.at_once)
    found = measured()
    visible, asked = found["visible"], found["asked"]
    print(machine_line() + "\n")
    print(
        f"{WRITES} writes, visible in both other instances after the answer: "
        f"median {statistics.median(visible) * 1000:.1f} ms, worst {max(visible) * 1000:.1f} ms "
        f"(asking both, with nothing to wait for: median {statistics.median(asked) * 1000:.1f} ms)"
    )
    if options.json:
        rows = [
            {"what": what, "samples": len(each), "median_seconds": statistics.median(each), "worst_seconds": max(each)}
            for what, each in found.items()
        ]
        write_results(options.json, {"rows": rows})


if __name__ == "__main__":
    main()
