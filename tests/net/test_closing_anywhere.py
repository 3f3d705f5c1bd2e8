"""Closing from wherever it comes: hooks, signal handlers, several threads, and the end of the process."""

import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cachetools
import pytest

from flushmesh import Mesh, MeshClosed, MeshState
from tests.net.meshes import DEADLINE, wait_until


def test_a_mesh_closes_in_its_own_hook(pair):
    """The goodbye is said before the call returns, as anywhere else."""
    a, b = pair()
    took = []

    def on_flushed(flushed):
        began = time.monotonic()
        b.close()
        took.append(time.monotonic() - began)

    b.cache("c", on_flushed=on_flushed)
    a.cache("c").flush("k")

    wait_until(lambda: took)
    wait_until(lambda: a.status().peers == ())
    assert took[0] < 1.0
    assert b.status().state is MeshState.CLOSED
    with pytest.raises(MeshClosed):
        b.cache("c").flush("k")


class ClosesItsMesh:
    """A discovery that closes the mesh, on the mesh's own thread."""

    source = "closes"
    settles_after = 0.0

    def __init__(self):
        self.took = []

    async def run(self, announcement, propose):
        propose([])
        began = time.monotonic()
        self.mesh.close()
        self.took.append(time.monotonic() - began)


def test_a_mesh_closes_on_its_own_thread():
    """The call returns at once, and the rest happens after it."""
    closes = ClosesItsMesh()
    closes.mesh = mesh = Mesh("m", discovery=[closes])
    mesh.start()

    wait_until(lambda: mesh._life.running is None)
    assert closes.took[0] < 0.1
    assert mesh.status().state is MeshState.CLOSED


def test_two_threads_close_at_once(pair):
    """Each returns when the mesh is closed, and not before."""
    a, b = pair()
    thread, together = b._life.driver._thread, threading.Barrier(4)

    def close():
        together.wait(DEADLINE)
        b.close()
        return thread.is_alive()

    with ThreadPoolExecutor(4) as pool:
        assert [closing.result(DEADLINE) for closing in [pool.submit(close) for _ in range(4)]] == [False] * 4

    wait_until(lambda: a.status().peers == ())
    b.close()


def test_a_close_that_interrupts_a_start_prevails(monkeypatch):
    """As a signal handler would: the start raises MeshClosed, and nothing is left running."""
    mesh = Mesh("m", mdns=False)
    launch = mesh._life._launch

    def interrupted():
        driver = launch()
        mesh.close()
        return driver

    monkeypatch.setattr(mesh._life, "_launch", interrupted)
    with pytest.raises(MeshClosed):
        mesh.start()

    assert mesh.status().state is MeshState.CLOSED


def test_a_close_waits_for_no_thread_that_changes_a_cache(pair):
    """A signal handler may close while its own thread is in the middle of a change, which goes on only afterwards."""
    a, b = pair()
    cache = b.cache("c")
    cache.get_or_load("k", lambda: "v")
    began = time.monotonic()
    with cache._store._guard._lock:
        b.close()
        took = time.monotonic() - began

    assert took < 1.0
    wait_until(lambda: a.status().peers == ())
    wait_until(lambda: cache._store.contents.entries == {})


def test_a_policy_that_raises_does_not_keep_the_mesh_from_closing(pair, caplog):
    """The other caches close as ever, and neither serves anything."""

    class Failing(cachetools.LRUCache):
        def clear(self):
            raise LookupError("a bug")

    a, b = pair()
    caches = b.cache("failing", policy=Failing), b.cache("other")
    for cache in caches:
        cache.get_or_load("k", lambda: "v")
    b.close()

    wait_until(lambda: a.status().peers == ())
    for cache in caches:
        with pytest.raises(MeshClosed):
            cache.get("k")
    assert caplog.records == []


CLOSES_ON_SIGTERM = """
import signal, sys
from flushmesh import Mesh
mesh = Mesh("m", name="a", peers=[sys.argv[1]])
def close(*_):
    mesh.close()
    sys.exit(0)
signal.signal(signal.SIGTERM, close)
cache = mesh.cache("c")
while not cache.flush("k").wait(10).acknowledged:
    pass
print("ready", flush=True)
while True:
    cache.get_or_load("k", lambda: "v")
    cache.flush("k")
"""


def test_a_signal_handler_may_close(start):
    """Whatever the main thread was doing, the goodbye is said, and the process ends within the bound."""
    b = start("b", listen="127.0.0.1:0", mdns=False)
    for number in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", CLOSES_ON_SIGTERM, b.address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        # At another place in the loop each time.
        time.sleep(number * 0.0007)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        _, complaints = process.communicate(timeout=DEADLINE)

        assert (process.returncode, complaints) == (0, "")
        assert time.monotonic() - began < 5
        b.wait_for("peers", {})
