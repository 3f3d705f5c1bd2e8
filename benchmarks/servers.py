"""
Servers: Redis and NATS on loopback, started for a benchmark and stopped after it.

They come from the system's packages.  Where they are missing, and this is a Debian run by
root, they are installed, without the service that their packages would start; a server that
cannot be had raises UnavailableError, whose text is the line that the table shows instead.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

START_MAX: Final = 10.0

# Neither snapshots nor a log: nothing is to be durable, and nothing else is to be measured.  A slow
# subscriber would be cut off at 32 MB; here it may lag, as ours may.
_REDIS: Final = ["--save", "", "--appendonly", "no", "--client-output-buffer-limit", "pubsub 0 0 0"]
_DURABLE: Final = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]


class UnavailableError(Exception):
    """A rival that cannot be had here, and why."""


def where_is(program: str) -> str | None:
    """Return where *program* is, also where only root's path leads; None if it is nowhere."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin")


@contextmanager
def redis_server(*, durable: bool = False, directory: Path | None = None) -> Iterator[int]:
    """Run a Redis, with *durable* one that answers a write when it is on the disk, in *directory*; yield its port."""
    program = _had("redis-server")
    port = _free_port()
    options = _DURABLE if durable else _REDIS
    command = [program, "--bind", "127.0.0.1", "--port", str(port), *options]
    with tempfile.TemporaryDirectory(dir=directory) as place, _running([*command, "--dir", place], port):
        yield port


@contextmanager
def nats_server() -> Iterator[int]:
    """Run a NATS server; yield its port."""
    program = _had("nats-server")
    port = _free_port()
    with _running([program, "--addr", "127.0.0.1", "--port", str(port)], port):
        yield port


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[None]:
    # Terminated without a word, this process would leave the server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_until_it_listens(server, command[0], port)
            yield
        finally:
            server.terminate()


def _wait_until_it_listens(server: subprocess.Popen[bytes], program: str, port: int) -> None:
    deadline = time.monotonic() + START_MAX
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise UnavailableError(f"{program} ended with code {server.returncode} instead of listening")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            time.sleep(0.02)
    raise UnavailableError(f"{program} does not listen after {START_MAX:g} s")


def _had(program: str) -> str:
    """Return where *program* is, installed if need be."""
    path = where_is(program)
    if path is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install(program)
        path = where_is(program)
    if path is None:
        raise UnavailableError(f"{program} is not installed, and this is no Debian run by root")
    return path


def _install(package: str) -> None:
    # In runlevel 1 no package starts its service; systemd has none, there it is stopped after.
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", package]):
        done = subprocess.run(command, env=quietly, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UnavailableError(
                f"{package} is not to be had: {' '.join(command)} said {done.stderr.strip()[-200:]!r}"
            )
    if Path("/run/systemd/system").exists():
        subprocess.run(["systemctl", "disable", "--now", "--quiet", package], capture_output=True, check=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
