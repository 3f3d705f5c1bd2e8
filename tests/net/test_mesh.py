"""Meshes in this process, over real gRPC."""

import asyncio
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flushmesh import Mesh, MeshClosed, MeshState, Outcome, StartError
from tests.net.meshes import DEADLINE, follows, wait_until


def drop_streams(mesh):
    """End every stream of *mesh*, as a broken network would, and wait until it has noticed."""
    driver = mesh._driver

    def hang_up():
        for conversation in list(driver._conversations.values()):
            conversation.hang_up(None)

    driver._loop.call_soon_threadsafe(hang_up)
    wait_until(lambda: follows(mesh))


def test_missed_flushes_are_replayed_from_the_cursor(pair):
    """After a broken stream each missed flush is applied, in order, once."""
    a, b = pair()
    applied = []
    b.cache("c", on_flushed=lambda flush: applied.append(flush.sequence))
    writer = a.cache("c")
    writer.flush("k").wait(DEADLINE)

    for _ in range(3):
        drop_streams(b)
        for number in range(2000):
            receipt = writer.flush(f"k{number}")
        assert receipt.wait(DEADLINE).outcome is Outcome.ACKNOWLEDGED

    assert applied == list(range(1, 6002))


def test_a_journal_that_is_too_short_lets_entries_run_out(pair, caplog):
    """Who missed more than the journal holds serves nothing older than max_staleness, and the receipt knows when."""
    a, b = pair(journal_flushes_max=10, max_staleness=2.0)
    reader = b.cache("c")
    reader.get_or_load("untouched", lambda: "v")
    drop_streams(b)
    with caplog.at_level(logging.WARNING, "flushmesh"):
        for number in range(11):
            receipt = a.cache("c").flush(f"k{number}")
        assert receipt.wait(DEADLINE).outcome is Outcome.FENCED

    assert reader.get("untouched") is None
    assert "flushes of a may have been missed" in caplog.text
    reader.get_or_load("k", lambda: "v")
    assert a.cache("c").flush("k").wait(DEADLINE).outcome is Outcome.ACKNOWLEDGED
    assert reader.get("k") is None


def test_without_a_bound_missed_flushes_empty_the_cache(pair):
    """With max_staleness=None nothing runs out, so what cannot be known is forgotten at once."""
    a, b = pair(journal_flushes_max=10, max_staleness=None)
    reader = b.cache("c")
    reader.get_or_load("untouched", lambda: "v")
    drop_streams(b)
    for number in range(11):
        a.cache("c").flush(f"k{number}")

    wait_until(lambda: reader.get("untouched") is None)


def test_a_load_that_runs_while_a_peer_flushes_is_not_stored(pair):
    """G2 across processes: the old value reaches its caller and never the store."""
    a, b = pair()
    reader = b.cache("c")
    loading, flushed = threading.Event(), threading.Event()

    def loader():
        loading.set()
        assert flushed.wait(DEADLINE)
        return "old"

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(reader.get_or_load, "k", loader)
        assert loading.wait(DEADLINE)
        a.cache("c").flush("k").wait(DEADLINE)
        flushed.set()
        assert result.result(DEADLINE) == "old"

    assert reader.get("k") is None
    assert reader.get_or_load("k", lambda: "new") == "new"


def test_a_receipt_can_be_awaited(pair):
    """In any event loop, and in several one after the other."""
    a, _b = pair()

    async def flush():
        return await a.cache("c").flush("k")

    for _ in range(2):
        assert asyncio.run(flush()).outcome is Outcome.ACKNOWLEDGED


def test_a_hook_cannot_wait_for_a_receipt(pair):
    """Waiting on the thread that would bring the answer raises instead of hanging."""
    a, b = pair()
    raised = []

    def on_flushed(_flush):
        try:
            b.cache("other").flush("k").wait(DEADLINE)
        except RuntimeError as error:
            raised.append(str(error))

    b.cache("c", on_flushed=on_flushed)
    a.cache("c").flush("k").wait(DEADLINE)

    wait_until(lambda: raised)
    assert "in a hook" in raised[0]


def test_another_mesh_is_refused_on_both_sides(caplog, ports):
    """Both sides log the reason in words, once."""
    with (
        caplog.at_level(logging.WARNING, "flushmesh"),
        Mesh("shop", name="a", listen=ports(1), mdns=False) as a,
        Mesh("blog", name="b", peers=[a.status().address]) as b,
    ):
        wait_until(lambda: len(caplog.records) >= 2)
        words = 'this is a node of the mesh "shop", not of "blog"'
        assert {record.getMessage() for record in caplog.records} == {
            f"no connection with b: {words}",
            f"no connection with {a.status().address}: {words}",
        }
        assert b.status().refusals == {a.status().address: words}


def test_a_port_in_use_is_named(ports):
    """A node that cannot listen says where and why, and has started nothing."""
    port = ports(1)
    with Mesh("m", listen=port, mdns=False):
        second = Mesh("m", listen=port, mdns=False)
        with pytest.raises(StartError, match=f"^cannot listen on {port.partition('-')[0]}: address already in use$"):
            second.start()

        assert second.status().state is MeshState.NEW
    with Mesh("m", listen=port, mdns=False):
        pass


def test_a_range_gives_the_first_free_port(ports):
    """Several nodes of one machine share a range; when it is used up, the error names it."""
    roster = ports(2)
    first = int(roster.rpartition(":")[2].partition("-")[0])
    with Mesh("m", listen=roster, mdns=False) as a, Mesh("m", listen=roster, mdns=False) as b:
        assert (a.status().address, b.status().address) == (f"127.0.0.1:{first}", f"127.0.0.1:{first + 1}")
        with pytest.raises(StartError, match=f"cannot listen on any of 127.0.0.1:{first} to 127.0.0.1:{first + 1}"):
            Mesh("m", listen=roster, mdns=False).start()


def test_the_first_use_starts_the_mesh():
    """Nothing runs until a cache is used."""
    mesh = Mesh("m", listen="127.0.0.1:0", mdns=False)
    cache = mesh.cache("c")
    assert mesh.status().state is MeshState.NEW
    cache.get_or_load("k", lambda: "v")

    assert mesh.status().state in (MeshState.JOINING, MeshState.JOINED)
    mesh.close()


def test_a_closed_mesh_stays_closed():
    """After close, hits too raise; closing again does nothing."""
    mesh = Mesh("m", mdns=False)
    cache = mesh.cache("c")
    cache.get_or_load("k", lambda: "v")
    mesh.close()
    mesh.close()

    for use in (mesh.start, lambda: cache.get("k"), lambda: cache.flush("k"), lambda: cache.get_or_load("k", str)):
        with pytest.raises(MeshClosed):
            use()
    assert mesh.status().state is MeshState.CLOSED


def test_a_mesh_that_never_started_can_be_closed():
    """close is always allowed."""
    Mesh("m").close()


def test_the_async_context_manager_starts_and_closes():
    """async with starts the mesh without blocking the loop, and closes it."""

    async def main():
        async with Mesh("m", mdns=False) as mesh:
            assert mesh.status().state in (MeshState.JOINING, MeshState.JOINED)
            assert await mesh.cache("c").aget_or_load("k", load) == "v"
        return mesh.status().state

    async def load():
        return "v"

    assert asyncio.run(main()) is MeshState.CLOSED


def test_garbage_from_a_peer_ends_its_stream_and_nothing_else(pair, caplog):
    """Bytes that are no message are logged once, and the peer is dialled again."""
    a, b = pair()
    driver = a._driver
    with caplog.at_level(logging.WARNING, "flushmesh"):
        serving = [c for c in driver._conversations.values() if c.decode.__name__ == "decode_from_follower"]
        asyncio.run_coroutine_threadsafe(serving[0].write(b"\xff garbage"), driver._loop).result(DEADLINE)
        wait_until(lambda: "are no message of this protocol" in caplog.text)
    wait_until(lambda: follows(b, "a"))

    assert a.cache("c").flush("k").wait(DEADLINE).outcome is Outcome.ACKNOWLEDGED


def test_ready_waits_for_whoever_is_expected(ports):
    """A start-up probe is told no while a peer is missing and yes once it is followed, for good."""
    roster = ports(2)
    with Mesh("m", name="a", listen=roster, peers=[roster], expect=1) as a:
        before = a.ready(timeout=0.3)
        waiting = a.status().waiting_for
        with Mesh("m", name="b", listen=roster, peers=[roster]) as b:
            both = a.ready(timeout=DEADLINE), b.ready(timeout=DEADLINE)
        wait_until(lambda: not a.status().peers)

        assert before is False
        assert waiting.startswith("0 of 1 expected peers are followed; nothing listens at 127.0.0.1:")
        assert both == (True, True)
        assert a.ready() is True


def test_ready_counts_what_answers_nothing_as_tried(ports):
    """An address that times out keeps no instance from starting."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        # The queue takes one; whoever comes after that is not even refused.
        with socket.create_connection(deaf.getsockname()), Mesh("m", peers=[address]) as mesh:
            at_once, later = mesh.ready(), mesh.ready(timeout=DEADLINE)
            state = mesh.status().state

    assert (at_once, later) == (False, True)
    assert state is MeshState.JOINING
