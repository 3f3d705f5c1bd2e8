"""Nodes in processes of their own, over real gRPC."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def test_a_flush_reaches_every_peer(mesh_of):
    """What one process flushes is gone in the others; who flushed it is told."""
    a, b, c = mesh_of("a", "b", "c")
    for node in (a, b, c):
        node("load", value="old")

    assert a("flush and wait") == ["acknowledged", []]

    assert [node("get") for node in (a, b, c)] == [None, None, None]
    b.wait_for("flushed", [["a", 1]])
    c.wait_for("flushed", [["a", 1]])
    assert a("flushed") == []


def test_a_mesh_runs_with_the_setting_that_the_page_gives_grpc(mesh_of, monkeypatch):
    """What docs/performance.md offers to whoever wants lower latency does not cost a flush."""
    page = (Path(__file__).parents[2] / "docs/performance.md").read_text()
    name, value = re.search(r"^    (GRPC_\w+)=(\S+)$", page, re.MULTILINE).groups()
    monkeypatch.setenv(name, value)
    a, b = mesh_of("a", "b")
    b("load", value="old")

    assert a("flush and wait") == ["acknowledged", []]
    assert b("get") is None


def test_a_flush_reaches_nobody_but_its_key(mesh_of):
    """Other keys stay."""
    a, b = mesh_of("a", "b")
    b("load", key="other", value="kept")
    a("flush and wait")

    assert b("get", key="other") == "kept"


def test_a_frozen_peer_catches_up_when_it_thaws(mesh_of):
    """A stopped process misses flushes, slows nobody down, and has applied them all soon after it goes on."""
    a, b, c = mesh_of("a", "b", "c")
    b("load", value="old")
    b.signal(signal.SIGSTOP)

    assert a("flush and wait", timeout=0.2) == ["pending", ["b"]]
    a("flush", key="x", count=5000)
    assert c.wait_for("flushed", [["a", number] for number in range(1, 5002)]) < 10

    b.signal(signal.SIGCONT)
    b.wait_for("get", None)
    b.wait_for("flushed", [["a", number] for number in range(1, 5002)])
    assert a("flush and wait") == ["acknowledged", []]


def test_a_killed_peer_is_replaced_by_the_next_at_its_address(mesh_of, start):
    """A process that is killed and started anew at the same address is followed again, as a new node."""
    a, b = mesh_of("a", "b")
    b.kill()
    a.wait_for("following", [])
    new = start("b", listen=b.address, peers=[a.address])
    a.wait_for("following", ["b"])
    new.wait_for("following", ["a"])

    assert a("flush and wait") == ["acknowledged", []]
    assert a("peers") == {"b": "following"}


def test_a_goodbye_is_heard_at_once(mesh_of):
    """After a clean shutdown nobody waits for the node, and nobody loses an entry."""
    a, b, c = mesh_of("a", "b", "c")
    a("load", value="kept")
    b("flush", key="last words")
    began = time.monotonic()
    b("close")
    assert time.monotonic() - began < 2

    a.wait_for("peers", {"c": "following"})
    assert a("get") == "kept"
    a.wait_for("flushed", [["b", 1]])
    assert c("flush and wait") == ["acknowledged", []]


def test_mdns_on_loopback_finds_everybody(start):
    """Processes that know nothing but the name of their mesh find each other by multicast, and nobody else."""
    names = ["a", "b", "c"]
    mesh = f"m{time.monotonic_ns()}"
    nodes = [start(name, mesh=mesh) for name in names]
    other = start("other", mesh=mesh + "x")

    for node in nodes:
        node.wait_for("following", sorted(set(names) - {node.name}))
    assert other("peers") == {}
    assert nodes[0]("flush and wait") == ["acknowledged", []]


def test_another_mesh_is_refused_in_words(start, ports):
    """A node of another mesh at a roster's address is named in the status, with the reason."""
    a = start("a", mesh="shop", listen="127.0.0.1:0", mdns=False)
    b = start("b", mesh="blog", peers=[a.address])

    b.wait_for("refusals", {a.address: 'this is a node of the mesh "shop", not of "blog"'})
    assert a("peers") == b("peers") == {}


FORGETFUL = """
import sys, time
from flushmesh import Mesh
mesh = Mesh("m", listen=sys.argv[1], peers=sys.argv[2:])
mesh.cache("c").get_or_load("k", lambda: 1)
deadline = time.monotonic() + 10
while not any(peer.state == "following" for peer in mesh.status().peers):
    assert time.monotonic() < deadline
    time.sleep(0.01)
print(time.monotonic())
"""


def test_a_script_that_forgets_to_close_ends_well(mesh_of):
    """It ends within two seconds, with code 0, without a traceback, and says goodbye."""
    (a,) = mesh_of("a")
    ended = subprocess.run(
        [sys.executable, "-c", FORGETFUL, "127.0.0.1:0", a.address],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert time.monotonic() - float(ended.stdout) < 2
    a.wait_for("peers", {})


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5://nowhere.invalid:1", "garbage"])
def test_a_proxy_in_the_environment_is_ignored(mesh_of, monkeypatch, proxy):
    """A proxy meant for the web does not come between peers."""
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    a, _b = mesh_of("a", "b")

    assert a("flush and wait") == ["acknowledged", []]


STARTS_WHEN_TOLD = """
import sys
from flushmesh import Mesh
import flushmesh.net.driver  # Loads gRPC before the race.
print("ready", flush=True)
for _ in sys.stdin:
    mesh = Mesh("m", listen=sys.argv[1], mdns=False)
    mesh.start()
    print(mesh.status().address, flush=True)
    sys.stdin.readline()
    mesh.close()
    print("closed", flush=True)
"""


def test_processes_that_start_together_take_different_ports(ports):
    """However many workers begin on one range at once, each gets a port of its own, and none complains."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", STARTS_WHEN_TOLD, ports(6)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        for _ in range(4)
    ]

    def tell():
        for worker in workers:
            worker.stdin.write("go\n")

    def hear():
        return [worker.stdout.readline().strip() for worker in workers]

    assert hear() == ["ready"] * 4
    for _ in range(10):
        tell()
        addresses = hear()
        assert len(set(addresses)) == 4, addresses
        assert "" not in addresses
        tell()
        assert hear() == ["closed"] * 4

    ended = [worker.communicate(timeout=10) for worker in workers]
    assert [stderr for _, stderr in ended] == [""] * 4
    assert [worker.returncode for worker in workers] == [0] * 4
