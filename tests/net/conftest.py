"""Real gRPC, real processes."""

import socket

import pytest

from flushmesh import Mesh
from tests.net.meshes import follows, wait_until
from tests.net.nodeprocess import NodeProcess


@pytest.fixture
def ports():
    """Return a range of ports that are free at the moment, as text."""

    def free(count: int) -> str:
        for first in range(21000, 32000, count):
            try:
                for port in range(first, first + count):
                    with socket.socket() as probe:
                        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                        probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return f"127.0.0.1:{first}-{first + count - 1}"
        raise AssertionError("no free ports")

    return free


@pytest.fixture
def start():
    """Start nodes in processes of their own, and end them after the test."""
    started = []

    def start_node(name: str, **options: object) -> NodeProcess:
        node = NodeProcess(name, **options)
        started.append(node)
        return node

    yield start_node
    for node in started:
        node.kill()


@pytest.fixture
def mesh_of(start, ports):
    """Start nodes that know each other by a roster, and wait until each follows all others."""

    def mesh(*names: str, **options: object) -> list[NodeProcess]:
        roster = ports(len(names))
        nodes = [start(name, listen=roster, peers=[roster], **options) for name in names]
        for node in nodes:
            node.wait_for("following", sorted(set(names) - {node.name}))
        return nodes

    return mesh


@pytest.fixture
def pair(ports):
    """Two meshes that follow each other, of the options given."""
    meshes = []

    def make(**options):
        roster = ports(2)
        for name in ("a", "b"):
            mesh = Mesh("m", name=name, listen=roster, peers=[roster], **options)
            meshes.append(mesh)
            mesh.start()
        a, b = meshes
        wait_until(lambda: follows(a, "b") and follows(b, "a"))
        return a, b

    yield make
    for mesh in meshes:
        mesh.close()
