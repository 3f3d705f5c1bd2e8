"""
A node in a process of its own, driven line by line.

Run as a program it is the node: it reads one JSON object a line and answers with one.
Imported, `NodeProcess` starts it and talks to it.
"""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

from flushmesh import Mesh

DEADLINE = 20.0


class NodeProcess:
    """One node, seen from the test."""

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, __file__, json.dumps({"name": name, **options})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.address = self._answer()

    def __call__(self, do: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        return self._answer()

    def wait_for(self, do: str, expected: Any, **arguments: Any) -> float:
        """Ask until the answer is *expected*; return how long that took."""
        began = time.monotonic()
        while (answer := self(do, **arguments)) != expected:
            assert time.monotonic() < began + DEADLINE, f"{self.name}: {do} is {answer}, not {expected}"
            time.sleep(0.005)
        return time.monotonic() - began

    def signal(self, number: int) -> None:
        """Send a signal; after SIGSTOP return only when every thread has stopped."""
        self._process.send_signal(number)
        if number == signal.SIGSTOP:
            # The kernel stops threads one by one, and one of them may still answer meanwhile.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], DEADLINE)
        assert ready, f"{self.name} does not answer"
        line = self._process.stdout.readline()
        assert line, f"{self.name} has ended"
        return json.loads(line)


class Warnings(logging.Handler):
    """Keeps what is logged at WARNING or above."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def main() -> None:
    options = json.loads(sys.argv[1])
    warnings = Warnings()
    logging.getLogger("flushmesh").addHandler(warnings)
    mesh = Mesh(options.pop("mesh", "m"), **options)
    flushed: list[tuple[str, int]] = []
    cache = mesh.cache("c", on_flushed=lambda flush: flushed.append((flush.origin, flush.sequence)))
    mesh.start()

    def answer(do: str, key: str = "k", value: Any = None, count: int = 1, timeout: float = 5.0) -> Any:
        match do:
            case "load":
                return cache.get_or_load(key, lambda: value)
            case "get":
                return cache.get(key)
            case "flush":
                began = time.perf_counter()
                for number in range(count):
                    cache.flush(key if count == 1 else f"{key}{number}")
                return time.perf_counter() - began
            case "flush and wait":
                delivery = cache.flush(key).wait(timeout)
                return [str(delivery.outcome), sorted(delivery.missing)]
            case "flushed":
                return flushed
            case "flushed by":
                return dict(flushed)
            case "following":
                return sorted(peer.name for peer in mesh.status().peers if peer.state == "following")
            case "peers":
                return {peer.name: str(peer.state) for peer in mesh.status().peers}
            case "warnings":
                return warnings.lines
            case "refusals":
                return mesh.status().refusals
            case "close":
                mesh.close()
                return None

    print(json.dumps(mesh.status().address), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
