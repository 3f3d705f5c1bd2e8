"""
Several machines on one: network namespaces, each with one cable to a common switch.

The switch is a bridge in a namespace of its own, so that nothing of this machine's own
network is touched and no packet leaves.  A cable is pulled and a pair of hosts parted at
the switch: the hosts themselves are told nothing, as with real wires and a real firewall.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final

_SWITCH: Final = "switch"
_BRIDGE: Final = "bridge0"
_NAMESPACES: Final = Path("/run/netns")
_OWNED: Final = re.compile(r"flushmesh-(?P<pid>\d+)-(?P<started>\d+)-\d+-\w+")
_NUMBERS: Final = count(1)


def why_none() -> str:
    """Return what is missing to make such a network here, or nothing if nothing is."""
    if shutil.which("ip") is None:
        return "needs the program ip (Debian and Ubuntu: apt-get install iproute2)"
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    return ""


def clear_away() -> None:
    """Remove the namespaces of runs that have ended without doing so, and whatever still runs in them."""
    for path in _NAMESPACES.glob("flushmesh-*"):
        owner = _OWNED.fullmatch(path.name)
        if owner is not None and _started(int(owner["pid"])) != owner["started"]:
            _remove(path.name)


class Host:
    """One machine: a namespace with an address of its own; *port* is its cable's end at the switch."""

    def __init__(self, name: str, number: int, namespace: str) -> None:
        self.name = name
        self.address = f"10.77.0.{number}"
        self.namespace = namespace
        self.port = f"port-{name}"

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.address}>"

    @property
    def inside(self) -> tuple[str, ...]:
        """What to put before a command to have it run there; the process is the command's own."""
        return ("ip", "netns", "exec", self.namespace)


class Network:
    """The hosts of *names*, each of which reaches every other."""

    def __init__(self, *names: str) -> None:
        self.prefix = f"flushmesh-{os.getpid()}-{_started(os.getpid())}-{next(_NUMBERS)}-"
        self._switch = self.prefix + _SWITCH
        self.hosts = {name: Host(name, number, self.prefix + name) for number, name in enumerate(names, 1)}
        try:
            self._build()
        except BaseException:
            self.remove()
            raise

    def _build(self) -> None:
        for namespace in (self._switch, *(host.namespace for host in self.hosts.values())):
            _ip("netns", "add", namespace)
        _ip("-n", self._switch, "link", "add", _BRIDGE, "type", "bridge")
        _ip("-n", self._switch, "link", "set", "dev", _BRIDGE, "up")
        for host in self.hosts.values():
            inside = ("-n", host.namespace)
            cable = ("type", "veth", "peer", "name", host.port, "netns", self._switch)
            _ip(*inside, "link", "add", "eth0", *cable)
            _ip(*inside, "address", "add", f"{host.address}/24", "dev", "eth0")
            _ip(*inside, "link", "set", "dev", "lo", "up")
            _ip(*inside, "link", "set", "dev", "eth0", "up")
            _ip("-n", self._switch, "link", "set", "dev", host.port, "master", _BRIDGE, "up")

    def remove(self) -> None:
        """Take everything down again; whatever still runs on a host is killed."""
        for path in _NAMESPACES.glob(f"{self.prefix}*"):
            _remove(path.name)

    def unplug(self, host: Host) -> None:
        """Pull the cable of *host*."""
        _ip("-n", self._switch, "link", "set", "dev", host.port, "down")

    def plug_in(self, host: Host) -> None:
        """Put the cable of *host* back."""
        _ip("-n", self._switch, "link", "set", "dev", host.port, "up")

    def part(self, one: Host, other: Host) -> None:
        """Let nothing pass between two hosts; both still reach all others.  One pair at a time."""
        self._isolate(one, other, "on")

    def rejoin(self, one: Host, other: Host) -> None:
        """Let them reach each other again."""
        self._isolate(one, other, "off")

    def _isolate(self, one: Host, other: Host, on: str) -> None:
        # A bridge forwards nothing from one isolated port to another, and everything else.
        for host in (one, other):
            _ip("-n", self._switch, "link", "set", "dev", host.port, "type", "bridge_slave", "isolated", on)


def _started(pid: int) -> str:
    """Return when the process *pid* was started, in the kernel's ticks, or nothing if there is none."""
    try:
        # The second field is the program's name in brackets, which may contain anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _remove(namespace: str) -> None:
    for pid in _ip("netns", "pids", namespace).split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    _ip("netns", "delete", namespace)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"
    return done.stdout
