"""Real servers, with the recipes of docs/operating.md."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flushmesh import Mesh
from tests.net.conftest import ports  # noqa: F401 - a fixture
from tests.servers.recipes import files

DEADLINE = 20.0
SOURCE = Path(__file__).parents[2] / "src"


class Running:
    """A server that runs, and a node of the test that watches its workers."""

    def __init__(self, folder, command, environment, watch):
        self.folder = folder
        self.watch = watch
        self.port = free_port()
        self.environment = os.environ | {"PYTHONPATH": f"{folder}:{SOURCE}"} | environment
        self._complaints = open(folder / "stderr", "w+")  # noqa: SIM115 - closed by kill
        self.process = subprocess.Popen(
            [Path(sys.executable).parent / command.split()[0], *command.replace("8000", str(self.port)).split()[1:]],
            cwd=folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=self._complaints,
            start_new_session=True,
        )

    def ask(self, method):
        """Return what a worker answers: its process id, and a value or who has acknowledged."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return tuple(json.load(answer))

    def ask_all(self, method, count):
        """Ask until as many processes as *count* have answered; return the last answer of each."""
        answers = {}
        deadline = time.monotonic() + DEADLINE
        with ThreadPoolExecutor(2 * count) as pool:
            while len(answers) < count:
                assert time.monotonic() < deadline, (answers, self.complaints())
                for asking in [pool.submit(self.ask, method) for _ in range(4 * count)]:
                    try:
                        pid, answer = asking.result()
                        answers[pid] = answer
                    except OSError:
                        time.sleep(0.05)
        return answers

    def wait_for_peers(self, count):
        """Wait until the watching node follows exactly *count* others."""
        deadline = time.monotonic() + DEADLINE
        while len([peer for peer in self.watch.status().peers if peer.state == "following"]) != count:
            assert time.monotonic() < deadline, f"{self.watch.status()}\n{self.complaints()}"
            time.sleep(0.01)

    def terminate(self, by=signal.SIGTERM):
        """End the server by a signal; return how long that took, when every worker has left."""
        began = time.monotonic()
        self.process.send_signal(by)
        self.process.wait(DEADLINE)
        took = time.monotonic() - began
        while self.watch.status().peers:
            # Long before anybody would be given up as lost.
            assert time.monotonic() < began + took + 5, f"{self.watch.status()}\n{self.complaints()}"
            time.sleep(0.01)
        return took

    def complaints(self):
        self._complaints.seek(0)
        return self._complaints.read()

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self._complaints.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def serve(tmp_path, ports):  # noqa: F811
    """Run a command of the page beside the files of the page, in a mesh of its own."""
    running = []

    def run(command, more="", **environment):
        """Add *more* to each Python file; the ports of the page in *environment* become free ones."""
        name, roster = f"m{os.urandom(4).hex()}", ports(12)
        for file, text in files().items():
            (tmp_path / file).write_text(text + (more if file.endswith(".py") else ""))
        watch = Mesh(name, name="watch", listen=roster, peers=[roster])
        watch.start()
        mesh = {"FLUSHMESH_MESH": name, "FLUSHMESH_LISTEN": roster, "FLUSHMESH_PEERS": roster}
        free = roster.partition(":")[2]
        told = {variable: value.replace("7946-7961", free) for variable, value in environment.items()}
        running.append(Running(tmp_path, command, mesh | told, watch))
        return running[-1]

    yield run
    for server in running:
        server.kill()
        server.watch.close()
