"""
The fleet: four hosts with two worker processes each, which read and write while things befall them.

Everything that they read is on record, and `judge` holds it against G4 afterwards.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from tests.hosts.hostprocess import Worker
from tests.hosts.network import Host, Network
from tests.net.stalenessprocess import ROOT, Verdict, check, create, no_transaction

HOSTS: Final = ("a", "b", "c", "d")
WORKERS: Final = 2
LISTEN: Final = "0.0.0.0:7946-7953"

# Within this everybody follows everybody again, whatever has happened.
RECOVERY: Final = 6.0

REPORT: Final = ROOT / "test-output" / "hosts.txt"


class Fleet:
    """Workers `a1`, `a2`, `b1` and so on, on the hosts of *network*; *options* are those of the mesh."""

    def __init__(self, network: Network, folder: Path, **options: Any) -> None:
        self.network = network
        self.folder = folder
        self.options = {"listen": LISTEN, **options}
        self.workers: dict[str, Worker] = {}
        self.all: list[Worker] = []
        create(folder)

    def __getitem__(self, name: str) -> Worker:
        return self.workers[name]

    def on(self, *hosts: str) -> list[Worker]:
        """Return the workers on *hosts*."""
        return [worker for worker in self.workers.values() if worker.host.name in hosts]

    def host(self, name: str) -> Host:
        """Return the host *name*."""
        return self.network.hosts[name]

    def start(self) -> None:
        """Start all workers at once, and wait until each follows all others and proves so."""
        began = time.monotonic()
        for host in self.network.hosts.values():
            for number in range(1, WORKERS + 1):
                self._launch(f"{host.name}{number}", host)
        for worker in self.workers.values():
            self._set_to_work(worker)
        self._wait_until_proven()
        self.say(f"{len(self.workers)} workers on {len(self.network.hosts)} hosts", began)

    def restart(self, name: str) -> None:
        """Start the worker *name* again, in place of the one that was killed."""
        self._set_to_work(self._launch(name, self.workers[name].host))

    def _launch(self, name: str, host: Host) -> Worker:
        worker = self.workers[name] = Worker(name, host, **self.options)
        self.all.append(worker)
        return worker

    def _set_to_work(self, worker: Worker) -> None:
        worker.ready()
        worker("work", folder=str(self.folder), incarnation=worker.incarnation)

    def freeze(self, name: str) -> None:
        """Stop the worker *name*, and return once it has stopped."""
        with no_transaction(self.folder):
            self.workers[name].freeze()

    def crash(self, name: str) -> None:
        """Kill the worker *name* as it stands."""
        with no_transaction(self.folder):
            self.workers[name].crash()

    def forget(self, host: Host) -> None:
        """Expect nothing any more of the workers of *host*, which has vanished."""
        for worker in self.on(host.name):
            del self.workers[worker.name]

    def let_work(self, seconds: float) -> None:
        """Let everybody read and write; this is what a scenario is made of, and waits for nothing."""
        time.sleep(seconds)

    def recovers(self, what: str) -> None:
        """Wait until everybody follows everybody and proves so; fail if that takes longer than `RECOVERY`."""
        began = time.monotonic()
        self._wait_until_proven()
        took = self.say(f"after {what}", began)
        assert took < RECOVERY, f"all is proven again only after {took:.2f} s"

    def _wait_until_proven(self) -> None:
        for worker in self.workers.values():
            worker.wait_until_proven(*(self.workers.keys() - {worker.name}))

    def holders(self, key: str) -> list[str]:
        """Return the names of the workers that serve *key*."""
        return [name for name, worker in self.workers.items() if worker("held", keys=[key])]

    def load(self, *keys: str) -> None:
        """Have each worker load *keys*."""
        for worker in self.workers.values():
            worker("load", keys=keys)

    def say(self, what: str, began: float) -> float:
        """Report that all is proven, *what* happened before; return how long it has taken since *began*."""
        took = time.monotonic() - began
        line = f"all is proven {took:5.2f} s {what}"
        print(line)
        with REPORT.open("a") as report:
            report.write(line + "\n")
        return took

    def judge(self) -> Verdict:
        """Hold every hit until now against every write."""
        verdict = check(self.folder, self.all)
        print(verdict)
        with REPORT.open("a") as report:
            report.write(f"{verdict}\n")
        return verdict

    def end(self) -> None:
        """End every process."""
        for worker in self.all:
            worker.kill()
