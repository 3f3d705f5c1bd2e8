"""The name of a node that was not given one."""

import os
import socket

import pytest

from flushmesh.keys import check_name
from flushmesh.options import MeshOptions


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("web-1", "web-1"),
        ("büro-pc", "büro-pc"),
        ("bad\udcffname", "bad?name"),
        ("a\nb\x00", "a?b?"),
        ("", "host"),
    ],
)
def test_a_node_is_called_after_its_host(monkeypatch, host, name):
    """What cannot be printed or encoded is replaced, and the process id tells nodes of one host apart."""
    monkeypatch.setattr(socket, "gethostname", lambda: host)

    assert MeshOptions("m").node_name() == f"{name}-{os.getpid()}"


@pytest.mark.parametrize("host", ["x" * 400, "ü" * 400, "x" + "🔥" * 100])
def test_a_long_host_name_is_cut(monkeypatch, host):
    """The name is as long as names may be, and the process id is whole."""
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    name = MeshOptions("m").node_name()

    assert check_name(name, "node") == name
    assert name.endswith(f"-{os.getpid()}")
    assert host.startswith(name.removesuffix(f"-{os.getpid()}"))


def test_a_name_that_was_given_is_used(monkeypatch):
    """The host is not asked."""
    monkeypatch.setattr(socket, "gethostname", lambda: 1 / 0)

    assert MeshOptions("m", name="n").node_name() == "n"
