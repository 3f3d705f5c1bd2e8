"""
A worker process on one of several hosts, which reads and writes by itself.

What it reads, writes and records, and how that is judged afterwards, is `stalenessprocess`'s,
at a pace that leaves eight of them room on two processors.  Beside the cache `c` it has the
cache `calm`, in which nothing happens but what the test asks for.

The mesh's bound is `CALM_STALENESS`, which `calm` has too; that of `c`, which is judged, is the shorter
`MAX_STALENESS`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Final

from flushmesh import Mesh
from tests.hosts.network import Host
from tests.net.nodeprocess import DEADLINE
from tests.net.stalenessprocess import MAX_STALENESS, ROOT, Log, StaleNode, brief, read, write

# Of this a cut of a second is less than a third: no entry may be lost by one.
CALM_STALENESS: Final = 6.0

# The longest pauses between two rounds of reads, and between two writes, in seconds.
READ_REST: Final = 0.02
WRITE_REST: Final = 0.4


class Worker(StaleNode):
    """A worker process on *host*; call `ready` once before anything else, so that many can start at once."""

    def __init__(self, name: str, host: Host, **options: Any) -> None:
        self.name = name
        self.host = host
        self.stops = []
        self.incarnation = f"{name}-{os.urandom(4).hex()}"
        described = json.dumps({"name": name, "insecure": True, "max_staleness": CALM_STALENESS, **options})
        self._process = subprocess.Popen(
            [*host.inside, sys.executable, "-m", "tests.hosts.hostprocess", described],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def ready(self) -> None:
        """Wait until it listens."""
        self.address = self._answer()

    def crash(self) -> None:
        """Kill it, as it stands."""
        self._process.kill()
        self._process.wait()

    def resume(self) -> None:
        """Let it go on after a stop."""
        self.signal(signal.SIGCONT)


def main(options: dict[str, Any]) -> None:
    log = Log()
    logging.getLogger("flushmesh").addHandler(log)
    logging.getLogger("flushmesh").setLevel(logging.INFO)
    mesh = Mesh("m", **options)
    judged = mesh.cache("c", ttl=3600.0, max_staleness=MAX_STALENESS)
    calm = mesh.cache("calm", ttl=3600.0)
    mesh.start()

    def work(folder: str, incarnation: str) -> None:
        log.met_file = Path(folder) / f"{incarnation}.met"
        log.note()
        for does, kind, rest in ((read, "hits", READ_REST), (write, "writes", WRITE_REST)):
            arguments = (judged, folder, f"{folder}/{incarnation}.0.{kind}", rest)
            threading.Thread(target=does, args=arguments, daemon=True).start()

    def answer(do: str, keys: tuple[str, ...] = (), key: str = "", **arguments: Any) -> Any:
        match do:
            case "work":
                return work(**arguments)
            case "load":
                return [calm.get_or_load(key, lambda: "v") for key in keys]
            case "held":
                return [key for key in keys if calm.get(key) is not None]
            case "flush":
                return calm.flush(key).sequence
            case "flush and wait":
                return str(calm.flush(key).wait(DEADLINE).outcome)
            case "give up":
                return mesh.give_up(key)
            case "status":
                return brief(mesh)
            case "log":
                return log.lines

    print(json.dumps(mesh.status().address), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
