"""Forks while meshes run: both sides go on, and the peers see no more than a broken stream."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flushmesh import Mesh, MeshClosed, MeshState, Outcome, forking
from flushmesh.net.remains import Remains, settle
from tests.net.children import Child, in_child
from tests.net.meshes import DEADLINE, follows, wait_until


@pytest.fixture(autouse=True)
def _nothing_else_uses_grpc():
    """Whatever an earlier test has left alive of gRPC would be taken for the application's own."""
    assert settle(2.0) is Remains.NONE, "a test before this one keeps gRPC alive"


@pytest.fixture
def pair_beside(start, ports):
    """Return a mesh of this process and a node of another one that follow each other."""
    meshes = []

    def make(**options):
        # Ports that stay free for children may be taken by whatever else is tested on this machine.
        name = f"m{time.monotonic_ns()}"
        roster = ports(6)
        other = start("b", mesh=name, listen=roster, peers=[roster], **options)
        mesh = Mesh(name, name="a", listen=roster, peers=[roster], **options)
        meshes.append(mesh)
        mesh.start()
        other.wait_for("following", ["a"])
        wait_until(lambda: follows(mesh, "b"))
        return mesh, other

    yield make
    for mesh in meshes:
        mesh.close()


def test_the_parent_goes_on_as_the_same_node(pair_beside, caplog):
    """After a fork it has its id, address, journal and entries; nobody has left, and nobody lost an entry."""
    mesh, other = pair_beside()
    cache = mesh.cache("c")
    cache.get_or_load("k", lambda: "kept")
    other("load", key="k", value="kept")
    cache.flush("before")
    before = mesh.status()
    with caplog.at_level(logging.INFO, "flushmesh"):
        assert in_child(lambda: 1) == 1
        began = time.monotonic()
        wait_until(lambda: follows(mesh, "b"))
        other.wait_for("following", ["a"])
        assert time.monotonic() - began < 0.5

    after = mesh.status()
    assert (after.node_id, after.address, after.head) == (before.node_id, before.address, before.head)
    assert cache.get("k") == other("get", key="k") == "kept"
    assert cache.flush("after").wait(DEADLINE).acknowledged == ("b",)
    other.wait_for("flushed", [["a", 1], ["a", 2]])
    assert "it left" not in caplog.text
    assert "run out" not in caplog.text


def test_the_child_is_a_new_node(pair_beside):
    """It starts with the first use, empty, with an id and a port of its own, and parent and child follow each other."""
    mesh, other = pair_beside()
    cache = mesh.cache("c", ttl=60.0)
    cache.get_or_load("k", lambda: "the parent's")
    here = mesh.status()

    def use():
        fresh = (str(mesh.status().state), cache.get("k"), mesh.cache("c", ttl=60.0) is cache)
        wait_until(lambda: follows(mesh, "a", "b"))
        delivery = cache.flush("k").wait(DEADLINE)
        status = mesh.status()
        mesh.close()
        return [*fresh, sorted(delivery.acknowledged), status.node_id == here.node_id, status.address == here.address]

    assert in_child(use) == ["new", None, True, ["a", "b"], False, False]
    assert cache.get("k") is None
    other.wait_for("peers", {"a": "following"})


def test_twenty_forks_disturb_no_thread(pair_beside):
    """Threads read, load and flush through all of them: nothing raises, hangs, is lost, or comes twice."""
    mesh, other = pair_beside()
    cache = mesh.cache("c")
    done = threading.Event()

    def use():
        count = 0
        while not done.is_set():
            cache.get_or_load(f"k{count % 50}", lambda: "v")
            cache.flush(f"k{count % 7}")
            count += 1
            time.sleep(0.0005)
        return count

    def in_each():
        cache.get_or_load("k1", lambda: "the child's")
        wait_until(lambda: follows(mesh, "a", "b"))
        mesh.close()

    with ThreadPoolExecutor(3) as pool:
        using = [pool.submit(use) for _ in range(3)]
        try:
            for _ in range(20):
                in_child(in_each)
        finally:
            done.set()
        count = sum(thread.result(DEADLINE) for thread in using)

    assert cache.flush("last").wait(DEADLINE).acknowledged == ("b",)
    other.wait_for("flushed", [["a", sequence] for sequence in range(1, count + 2)])
    other.wait_for("peers", {"a": "following"})


@pytest.fixture
def meanwhile(monkeypatch):
    """Have a function called in another thread while the process is about to fork, and return what it returned."""
    called = []

    def call(function):
        settle = forking.settle

        def and_settle(timeout):
            with ThreadPoolExecutor(1) as pool:
                called.append(pool.submit(function).result(DEADLINE))
            return settle(timeout)

        monkeypatch.setattr(forking, "settle", and_settle)
        return called

    return call


def test_a_flush_while_the_process_forks_is_sent_afterwards(pair_beside, meanwhile):
    """It returns at once, and gets its number and arrives when the process goes on."""
    mesh, other = pair_beside()
    cache = mesh.cache("c")
    cache.get_or_load("k", lambda: "old")

    def flush():
        receipt = cache.flush("k")
        return receipt, receipt.sequence, cache.get("k"), mesh.status().state

    called = meanwhile(flush)
    in_child(lambda: 1)

    ((receipt, number, value, state),) = called
    assert (number, value) == (0, None)
    assert state in (MeshState.JOINING, MeshState.JOINED)
    assert receipt.wait(DEADLINE).acknowledged == ("b",)
    other.wait_for("flushed", [["a", 1]])
    cache.flush("k")
    # Not only with the next ping, seconds later.
    assert other.wait_for("flushed", [["a", 1], ["a", 2]]) < 1


def test_a_receipt_is_waited_for_through_a_fork(pair_beside, meanwhile):
    """A wait in another thread when the process forks ends as ever; the child knows only what was known then."""
    mesh, _other = pair_beside()
    cache = mesh.cache("c")
    before = cache.flush("before")
    assert before.wait(DEADLINE).outcome is Outcome.ACKNOWLEDGED
    with ThreadPoolExecutor(1) as pool:

        def flush_and_wait():
            receipt = cache.flush("k")
            return receipt, pool.submit(receipt.wait, DEADLINE)

        called = meanwhile(flush_and_wait)
        known = in_child(lambda: [before.wait(0).acknowledged, called[0][0].wait(0).missing])
        ((_, waiting),) = called

        assert waiting.result(DEADLINE).acknowledged == ("b",)
    assert known == [["b"], ["b"]]


def test_what_is_under_way_at_the_fork_ends_on_both_sides(pair_beside):
    """A load and a write around a fork end in the child too, and keep nothing there."""
    a, _b = pair_beside()
    cache = a.cache("c", max_loads=1)

    forks = []

    def forked():
        with cache.writing("w") as write:
            write.set("mine")
            forks.append(os.fork())
        return forks[0]

    pid = cache.get_or_load("k", forked)
    if pid == 0:
        kept = len(cache)
        loads = cache.get_or_load("k", lambda: "anew")
        os._exit(0 if (kept, loads) == (0, "anew") else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert cache.get("w") == "mine"
    assert cache.get("k") == pid


def test_nothing_that_another_thread_holds_is_held_in_the_child(pair_beside):
    """Locks, flights and places at the gate of other threads are not waited for in the child."""
    a, _b = pair_beside()
    cache = a.cache("c", max_loads=1)
    loading, go_on = threading.Event(), threading.Event()

    def loader():
        loading.set()
        assert go_on.wait(DEADLINE)
        return "old"

    def use():
        loaded = cache.get_or_load("k", lambda: "anew"), a.cache("other").get_or_load("k", lambda: "other")
        assert cache.flush("x").wait(DEADLINE).missing == ()
        a.close()
        return loaded

    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(cache.get_or_load, "k", loader)
        assert loading.wait(DEADLINE)
        with cache._store._guard._lock, a._making:
            child = Child(use)
        assert child.result() == ["anew", "other"]
        go_on.set()
        assert load.result(DEADLINE) == "old"

    assert cache.get("k") == "old"


def test_forks_beside_starts_and_closes(ports):
    """A fork waits for whoever starts or closes at that moment, and the child can use a mesh of its own."""
    roster, name = ports(8), f"m{time.monotonic_ns()}"
    done = threading.Event()

    def live_and_die():
        count = 0
        while not done.is_set():
            with Mesh(name, listen=roster, peers=[roster]) as mesh:
                mesh.cache("c").flush("k")
            count += 1
        return count

    def use():
        with Mesh(name, listen=roster, peers=[roster]) as mesh:
            return mesh.cache("c").get_or_load("k", lambda: "v")

    with ThreadPoolExecutor(2) as pool:
        living = [pool.submit(live_and_die) for _ in range(2)]
        try:
            answers = [in_child(use) for _ in range(15)]
        finally:
            done.set()
        assert all(thread.result(DEADLINE) for thread in living)

    assert answers == ["v"] * 15


def test_a_closed_mesh_stays_closed_in_the_child():
    """And one that never started may start there."""
    closed, fresh = Mesh("m", mdns=False), Mesh("m", mdns=False)
    with closed:
        pass

    def use():
        with pytest.raises(MeshClosed):
            closed.cache("c").flush("k")
        assert closed.status().state is MeshState.CLOSED
        with fresh:
            return fresh.cache("c").get_or_load("k", lambda: "v")

    assert in_child(use) == "v"
    assert fresh.status().state is MeshState.NEW


def test_a_child_may_fork(pair_beside):
    """Grandchild, child and parent follow each other."""
    mesh, other = pair_beside()
    cache = mesh.cache("c")

    def child():
        cache.get_or_load("k", lambda: "v")
        seen = in_child(grandchild)
        wait_until(lambda: follows(mesh, "a", "b"))
        mesh.close()
        return seen

    def grandchild():
        wait_until(lambda: cache.flush("k").wait(DEADLINE).acknowledged.count("a") == 2)
        mesh.close()
        return str(mesh.status().state)

    assert in_child(child) == "closed"
    other.wait_for("peers", {"a": "following"})


def test_any_thread_may_fork(pair_beside):
    """What holds for the main thread holds for each."""
    mesh, _other = pair_beside()
    cache = mesh.cache("c")

    def use():
        loaded = cache.get_or_load("k", lambda: "v")
        mesh.close()
        return loaded

    with ThreadPoolExecutor(4) as pool:
        forks = [pool.submit(in_child, use) for _ in range(8)]
        assert [fork.result(DEADLINE) for fork in forks] == ["v"] * 8

    assert cache.flush("k").wait(DEADLINE).acknowledged == ("b",)


FORKS_IN_A_HOOK = """
import os, sys
from flushmesh import Mesh
mesh = Mesh("m", name="a", peers=[sys.argv[1]])
pids = []
def hook(flushed):
    pids.append(os.fork())
cache = mesh.cache("c", on_flushed=hook)
with mesh:
    while len(pids) < 3:
        cache.flush("k").wait(0.1)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    print(codes, cache.flush("k").wait(10).acknowledged)
"""


def test_a_hook_that_forks_does_not_disturb_the_parent(start):
    """The child ends with its hook, because its thread is that of the hooks; the parent goes on as after any fork."""
    b = start("b", listen="127.0.0.1:0", mdns=False)
    parent = subprocess.Popen(
        [sys.executable, "-c", FORKS_IN_A_HOOK, b.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(3):
        b.wait_for("following", ["a"])
        b("flush and wait")
    out, err = parent.communicate(timeout=DEADLINE)

    assert (out, err) == ("[0, 0, 0] ('b',)\n", "")
    b.wait_for("peers", {})


def test_a_child_does_not_take_the_port_that_the_parent_comes_from(ports):
    """However quickly it starts, the parent is back at its address."""
    (address,) = [f"127.0.0.1:{ports(1).rpartition('-')[2]}"]
    with Mesh("m", listen=address, mdns=False) as mesh:

        def take():
            with mesh:
                return mesh.status().address

        for _ in range(10):
            assert in_child(take) != address
            assert mesh.status().address == address


def test_a_port_that_was_taken_meanwhile_costs_the_address_alone(pair_beside, meanwhile):
    """If a stranger takes the port while the process forks, the node goes on at the next one that is free."""
    mesh, other = pair_beside()
    before = mesh.status()
    port = int(before.address.rpartition(":")[2])
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        def take():
            stranger.bind(("127.0.0.1", port))
            stranger.listen()

        meanwhile(take)
        in_child(lambda: 1)
        assert mesh.cache("c").flush("k").wait(DEADLINE).acknowledged == ("b",)
        other.wait_for("following", ["a"])

        assert mesh.status().node_id == before.node_id
        assert mesh.status().address != before.address
