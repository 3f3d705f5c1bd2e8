"""The network of hosts itself: nothing of it outlives a run, however that ended."""

import os
import subprocess
import sys

from tests.hosts.network import Network, clear_away
from tests.net.meshes import wait_until

RUN = """
import os, signal, subprocess, time
from tests.hosts.network import Network

network = Network("a", "b")
host = network.hosts["a"]
sleeper = subprocess.Popen([*host.inside, "sleep", "600"], stdout=subprocess.DEVNULL)
while open(f"/proc/{sleeper.pid}/comm").read() != "sleep\\n":
    time.sleep(0.01)
sleeper.send_signal(signal.SIGSTOP)
print(network.prefix, sleeper.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def namespaces(prefix):
    return [name for name in os.listdir("/run/netns") if name.startswith(prefix)]


def test_what_a_killed_run_leaves_behind_is_cleared_away(namespaces_possible):
    """The namespaces of a run that was killed, and a stopped process in them, are gone after the next one began."""
    killed = subprocess.run([sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True, check=False)
    prefix, pid = killed.stdout.split()
    assert len(namespaces(prefix)) == 3

    clear_away()

    assert namespaces(prefix) == []
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_networks_that_are_in_use_are_left_alone(namespaces_possible):
    """Clearing away touches no network of a run that goes on."""
    network = Network("a", "b")

    clear_away()

    assert len(namespaces(network.prefix)) == 3
    network.remove()
    assert namespaces(network.prefix) == []
