"""Closing: the goodbye arrives, nothing is lost before it, and nobody is held up by it."""

import contextlib
import gc
import json
import logging
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from flushmesh import Mesh, MeshClosed, Outcome
from tests.net.meshes import DEADLINE, follows, wait_until


def ask_on_and_on(cache):
    """Flush and ask for acknowledgements until the mesh closes, so that the follower speaks when the stream ends."""
    with contextlib.suppress(MeshClosed):
        while True:
            cache.flush("k").wait(0)


def test_the_last_flushes_and_the_goodbye_arrive_although_the_follower_speaks(start):
    """However often peers close right after a flush, beside a follower that pings and acknowledges: nothing is lost."""
    a = start("a", listen="127.0.0.1:0", mdns=False, max_staleness=2.0)
    flushes = {}
    for number in range(40):
        with Mesh("m", name=f"b{number}", peers=[a.address], max_staleness=2.0) as b:
            cache = b.cache("c")
            wait_until(
                lambda b=b, cache=cache: cache.flush("k").wait(DEADLINE).acknowledged == ("a",) and follows(b, "a")
            )
            asking = threading.Thread(target=ask_on_and_on, args=(cache,))
            asking.start()
            wait_until(lambda b=b: b.status().head > 500)
        asking.join()
        flushes[f"b{number}"] = b._node.journal.flushes

    a.wait_for("flushed by", flushes)
    assert a("peers") == {}


def live_for_a_moment(number, address):
    """Begin to meet the node at *address*, and close at another moment of that for each *number*."""
    with Mesh("m", name=f"b{number}", peers=[address]) as b:
        b.cache("c").flush("k")
        # Most of these moments have nothing to be seen by.
        threading.Event().wait(number % 40 * 0.0005)


def test_a_node_that_lives_for_a_moment_leaves_no_ghost(start):
    """Nobody keeps waiting for a node that has flushed once and gone, whenever in its beginning it went."""
    a = start("a", listen="127.0.0.1:0", mdns=False)
    for number in range(40):
        live_for_a_moment(number, a.address)

    a.wait_for("peers", {})
    assert a("flush and wait") == ["acknowledged", []]
    assert a("peers") == {}


def test_what_was_flushed_before_a_node_is_met_is_sent_before_the_goodbye(ports, caplog):
    """A script that flushes and closes at once waits until it has met a node, and its flush arrives."""
    places = ports(1)
    with Mesh("m", name="b", listen=places, mdns=False) as b:
        applied = []
        b.cache("c", on_flushed=lambda flushed: applied.append((flushed.origin, flushed.key)))
        for number in range(10):
            # Beside an address from which nothing comes back, joining goes on long after the node has been met.
            with Mesh("m", name=f"a{number}", peers=[places, "224.0.0.1:1"], insecure=True) as a:
                a.cache("c").flush("k")

        wait_until(lambda: len(applied) == 10)
        wait_until(lambda: b.status().peers == ())
    assert applied == [(f"a{number}", "k") for number in range(10)]
    assert caplog.records == []


@pytest.mark.parametrize(
    ("peers", "flushes", "words"),
    [
        # Nothing comes back from a multicast address, and nothing listens at port 1.
        (["224.0.0.1:1"], 3, "closed without having met a node: 3 flushes reach none ("),
        (["127.0.0.1:1"], 2, "closed without having met a node: 2 flushes reach none ("),
        (["224.0.0.1:1"], 0, ""),
        ([], 2, ""),
    ],
)
def test_flushes_that_reach_no_node_are_logged_at_the_close(peers, flushes, words, caplog):
    """One warning says how many, if addresses of other nodes were named; the close takes two seconds at most."""
    with Mesh("m", peers=peers, mdns=False, insecure=True) as mesh:
        for number in range(flushes):
            mesh.cache("c").flush(f"k{number}")
        began = time.monotonic()
    took = time.monotonic() - began

    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == bool(words), lines
    assert not words or lines[0].startswith(words)
    assert took < 2.0


CLOSES_BESIDE_A_FROZEN_PEER = """
import json, os, signal, sys, threading, time
from flushmesh import Mesh
pid = int(sys.argv[2])
mesh = Mesh("m", name="a", peers=[sys.argv[1]])
cache = mesh.cache("c")
mesh.start()
deadline = time.monotonic() + 10
while not any(peer.state == "following" for peer in mesh.status().peers):
    assert time.monotonic() < deadline
    time.sleep(0.01)
while cache.flush("k").wait(10).acknowledged != ("b",):
    assert time.monotonic() < deadline
os.kill(pid, signal.SIGSTOP)
(link,) = mesh._node.links.open()
origin = link.follower
before, head = -1, 0
# How much fits into the window and the sockets is not known; what stands still below the head is full.
while not before == origin.sent < head:
    if origin.sent == head or not head:
        for number in range(10_000):
            cache.flush(f"{number:0200}")
        head = mesh.status().head
        assert head < 65_000, "the window is never full"
    before = origin.sent
    time.sleep(0.1)
began, cpu = time.monotonic(), time.process_time()
mesh.close()
took, cpu = time.monotonic() - began, time.process_time() - cpu
print(json.dumps([took, cpu, [thread.name for thread in threading.enumerate()]]), flush=True)
"""


def test_closing_is_quick_although_a_peer_hangs(start):
    """A frozen peer that can take no more costs close less than two seconds, hardly any work, and no thread or word."""
    b = start("b", listen="127.0.0.1:0", mdns=False)
    pid = b._process.pid
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", CLOSES_BESIDE_A_FROZEN_PEER, b.address, str(pid)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    took, cpu, threads = json.loads(ended.stdout)
    assert took < 2.0
    assert cpu < 0.3
    assert threads == ["MainThread"]
    assert time.monotonic() - began < 8
    b.signal(signal.SIGCONT)


def test_a_hook_that_uses_a_cache_does_not_hold_up_the_close(pair):
    """A miss on the mesh's own thread while it closes is told so at once, and the goodbye is said."""
    a, b = pair()
    inside, go_on = threading.Event(), threading.Event()
    raised = []

    def on_flushed(flushed):
        inside.set()
        assert go_on.wait(DEADLINE)
        try:
            b.cache("c").get_or_load("missing", lambda: "v")
        except MeshClosed as error:
            raised.append(error)

    b.cache("c", on_flushed=on_flushed)
    a.cache("c").flush("k")
    assert inside.wait(DEADLINE)
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        closing = pool.submit(b.close)
        wait_until(lambda: b.status().state == "closed")
        go_on.set()
        closing.result(DEADLINE)

    assert time.monotonic() - began < 1.5
    assert len(raised) == 1
    wait_until(lambda: a.status().peers == ())
    assert a.cache("c").flush("k").wait(DEADLINE).outcome is Outcome.ACKNOWLEDGED


def test_a_flush_that_meets_the_close_is_sent_or_refused(pair):
    """Between being handed over and its wake-up the mesh may close: then it is sent, and no error of asyncio comes."""
    a, b = pair()
    cache, inbox = a.cache("c"), a._inbox
    applied = []
    b.cache("c", on_flushed=lambda flushed: applied.append(flushed.key))
    wake = inbox.wake
    # After this answer the mesh's thread is idle, and must be woken for a flush.
    a.status()

    def late():
        inbox.wake = wake
        a.close()
        wake()

    inbox.wake = late
    receipt = cache.flush("k")

    assert receipt.sequence > 0
    assert receipt.wait(DEADLINE).outcome in (Outcome.ACKNOWLEDGED, Outcome.PENDING)
    wait_until(lambda: applied == ["k"])
    with pytest.raises(MeshClosed):
        cache.flush("k")


def test_a_wait_that_meets_the_close_ends(pair):
    """A receipt that is waited for when the mesh closes reports what is known."""
    a, _b = pair()
    receipt, inbox = a.cache("c").flush("k"), a._inbox
    ask = inbox.ask

    def late(question):
        inbox.ask = ask
        a.close()
        return ask(question)

    inbox.ask = late

    assert receipt.wait(DEADLINE).outcome in (Outcome.ACKNOWLEDGED, Outcome.PENDING)
    assert receipt.wait(DEADLINE).outcome in (Outcome.ACKNOWLEDGED, Outcome.PENDING)


def test_threads_that_flush_while_the_mesh_closes_hear_of_it_alone(pair):
    """Flushes, waits and loads beside a close end well or raise MeshClosed, nothing else, and none hangs."""
    a, _b = pair()
    cache = a.cache("c")
    begun = threading.Barrier(5)

    def use(number):
        begun.wait(DEADLINE)
        for count in range(1_000_000):
            try:
                cache.get_or_load(f"k{count % 7}", str)
                receipt = cache.flush(f"k{count % 7}")
                if count % 10 == number:
                    receipt.wait(DEADLINE)
            except MeshClosed as error:
                return error
        raise AssertionError("the mesh was never closed")

    with ThreadPoolExecutor(4) as pool:
        using = [pool.submit(use, number) for number in range(4)]
        begun.wait(DEADLINE)
        wait_until(lambda: a.status().head > 100)
        a.close()
        assert all(isinstance(result.result(DEADLINE), MeshClosed) for result in using)

    assert cache._store.contents.entries == {}


def test_a_load_that_outlives_the_mesh_is_not_stored():
    """Its caller gets the value; a closed mesh keeps nothing."""
    mesh = Mesh("m", mdns=False)
    cache = mesh.cache("c")

    def loader():
        mesh.close()
        return "v"

    assert cache.get_or_load("k", loader) == "v"

    assert cache._store.contents.entries == {}
    with pytest.raises(MeshClosed):
        cache.get("k")


def test_a_write_that_outlives_the_mesh_is_not_kept():
    """It was told to nobody, and says so."""
    mesh = Mesh("m", mdns=False)
    cache = mesh.cache("c")
    mesh.start()

    with pytest.raises(MeshClosed), cache.writing("k") as write:
        mesh.close()
        write.set("v")

    assert cache._store.contents.entries == {}


def test_closing_one_of_several_meshes_disturbs_no_other(caplog):
    """What a mesh leaves of gRPC when it closes raises nothing in the loop of another one."""
    with caplog.at_level(logging.WARNING, "asyncio"), Mesh("m", name="a", mdns=False) as a:
        for number in range(12):
            with Mesh("m", name=f"b{number}", peers=[a.status().address]) as b:
                wait_until(lambda b=b, number=number: follows(a, f"b{number}") and follows(b, "a"))
            gc.collect()
        for number in range(100):
            live_for_a_moment(number, a.status().address)
        # What the survivor still has to do for the streams that have ended, it does before this.
        wait_until(lambda: a.status().peers == ())

    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
