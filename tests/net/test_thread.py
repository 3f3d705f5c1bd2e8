"""The driver's thread: what reaches it, and what becomes of a mesh that loses it."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from flushmesh import Delivery, Mesh, MeshClosed, MeshState, Outcome
from tests.net.meshes import DEADLINE, follows, wait_until


# Classes: an instance would keep its traceback, and that all of gRPC, for ever.
@pytest.mark.parametrize("error", [LookupError, asyncio.CancelledError, SystemExit, KeyboardInterrupt])
def test_a_hook_that_raises_ends_no_stream(pair, error, caplog):
    """Whatever on_flushed raises, the flush counts, the streams go on, and so do the flushes after it."""
    a, b = pair()
    told = []

    def on_flushed(flushed):
        told.append(flushed.sequence)
        raise error

    b.cache("c", on_flushed=on_flushed)
    for sequence in (1, 2):
        assert a.cache("c").flush("k").wait(DEADLINE).outcome is Outcome.ACKNOWLEDGED
        wait_until(lambda sequence=sequence: told[-1:] == [sequence])

    assert follows(a, "b")
    assert follows(b, "a")
    wait_until(lambda: caplog.text.count('on_flushed of cache "c" failed') == 2)


def die(mesh, error):
    """Raise an *error* in the driver's thread, as a bug or an interruption would."""

    def fail():
        raise error

    thread = mesh._life.driver._thread
    mesh._life.driver._loop.call_soon_threadsafe(fail)
    thread.join(DEADLINE)
    assert not thread.is_alive()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_mesh_whose_thread_dies_is_closed(error, caplog):
    """From then on nobody would say what is stale: nothing is served, and nothing is flushed into the void."""
    mesh = Mesh("m", mdns=False)
    cache = mesh.cache("c")
    cache.get_or_load("k", lambda: "v")
    with caplog.at_level(logging.ERROR, "flushmesh"):
        die(mesh, error)

    assert mesh.status().state is MeshState.CLOSED
    assert len(cache) == 0
    for use in (
        mesh.start,
        lambda: cache.get("k"),
        lambda: cache.get_or_load("k", str),
        lambda: cache.flush("k"),
        cache.flush_all,
        lambda: cache.__setitem__("k", "v"),
    ):
        with pytest.raises(MeshClosed):
            use()
    assert "the mesh has stopped because of an error in it" in caplog.text
    mesh.close()


def test_a_wait_for_a_receipt_ends_when_the_thread_dies(caplog):
    """A wait that nothing could end any more ends with what is known."""
    mesh = Mesh("m", name="a", mdns=False)
    # As if there were a peer that never acknowledges.
    mesh._waiters._delivery = lambda receipt: Delivery(missing=("b",))
    receipt = mesh.cache("c").flush("k")
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.ERROR, "flushmesh"):
        waiting = pool.submit(receipt.wait)
        wait_until(lambda: len(mesh._waiters))
        die(mesh, SystemExit)

        assert waiting.result(DEADLINE).outcome is Outcome.PENDING
    assert receipt.wait() == Delivery()


def test_a_hook_may_make_a_cache(pair):
    """mesh.cache() in on_flushed waits for nothing."""
    a, b = pair()
    made = []

    def on_flushed(flushed):
        made.append(b.cache("made in a hook").get_or_load("k", lambda: "v"))

    b.cache("c", on_flushed=on_flushed)
    assert a.cache("c").flush("k").wait(DEADLINE).outcome is Outcome.ACKNOWLEDGED

    wait_until(lambda: made)
    assert made == ["v"]
    assert b.cache("made in a hook").get("k") == "v"
