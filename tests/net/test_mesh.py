"""Meshes in this process, over real gRPC."""

import asyncio
import logging
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from flushmesh import Mesh, MeshClosed, MeshState, Outcome, StartError
from tests.net.meshes import DEADLINE, follows, wait_until


def drop_streams(mesh):
    """End every stream of *mesh*, as a broken network would, and wait until it has noticed."""
    driver = mesh._life.driver
    dropped = []

    def hang_up():
        dropped.extend(driver._streams.conversations)
        for conversation in dropped:
            conversation.hang_up()

    driver._loop.call_soon_threadsafe(hang_up)
    wait_until(lambda: dropped and not any(each in driver._streams.conversations for each in dropped))


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

    wait_until(lambda: len(applied) >= 6001)
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


def test_a_hook_may_wait_for_a_receipt(pair):
    """Hooks have a thread of their own, so the answer arrives while one waits for it."""
    a, b = pair()
    answers = []
    b.cache("c", on_flushed=lambda _flushed: answers.append(b.cache("other").flush("k").wait(DEADLINE)))
    a.cache("c").flush("k").wait(DEADLINE)

    wait_until(lambda: answers)
    assert answers[0].acknowledged == ("a",)


def test_nothing_waits_for_a_receipt_on_the_meshs_own_thread():
    """Waiting on the thread that would bring the answer raises instead of hanging."""
    raised = []

    class Waits:
        source = "waits"
        settles_after = 0.0

        async def run(self, announcement, propose):
            propose([])
            for wait in (lambda receipt: receipt.wait(DEADLINE), lambda receipt: receipt.wait(0)):
                try:
                    wait(cache.flush("k"))
                except RuntimeError as error:
                    raised.append(str(error))

    mesh = Mesh("m", discovery=[Waits()])
    cache = mesh.cache("c")
    with mesh:
        wait_until(lambda: len(raised) == 2)

    assert all("on the mesh's own thread" in words for words in raised)


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


def test_a_port_in_use_is_named(ports, caplog):
    """A node whose one port is taken listens on another, and says in one line where, why, and what may follow."""
    port = ports(1).partition("-")[0]
    with Mesh("m", listen=port, mdns=False), Mesh("m", listen=port, mdns=False) as second:
        address = second.status().address

    assert address.startswith("127.0.0.1:")
    assert address != port
    assert [record.getMessage() for record in caplog.records] == [
        f"cannot listen on {port}: address already in use; this node listens on {address} instead, "
        "which a firewall may block"
    ]
    with Mesh("m", listen=port, mdns=False) as third:
        assert third.status().address == port


def test_a_range_gives_the_first_free_port(ports, caplog):
    """Several nodes of one machine share a range; one for which there is none left is a member all the same."""
    roster = ports(2)
    first = int(roster.rpartition(":")[2].partition("-")[0])
    with (
        Mesh("m", name="a", listen=roster, peers=[roster]) as a,
        Mesh("m", name="b", listen=roster, peers=[roster]) as b,
    ):
        assert (a.status().address, b.status().address) == (f"127.0.0.1:{first}", f"127.0.0.1:{first + 1}")
        with Mesh("m", name="c", listen=roster, peers=[roster]) as c:
            wait_until(lambda: follows(a, "b", "c") and follows(b, "a", "c") and follows(c, "a", "b"))
            assert b.cache("c").flush("k").wait(DEADLINE).complete

    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"cannot listen on any of 127.0.0.1:{first} to 127.0.0.1:{first + 1}: ")


def test_a_node_that_can_have_no_port_only_dials(ports, monkeypatch, caplog):
    """Where not one port can be bound, a node is a member without an address, and says so once."""
    import flushmesh.net.server as server

    roster = ports(1)
    with Mesh("m", name="a", listen=roster, mdns=False) as a:
        why_not = server._Problem("operation not permitted", lasting=False)
        monkeypatch.setattr(server, "_why_not", lambda _address: why_not)
        with Mesh("m", name="b", listen="127.0.0.1:0", peers=[roster]) as b:
            wait_until(lambda: follows(a, "b") and follows(b, "a"))
            address = b.status().address
            delivered = a.cache("c").flush("k").wait(DEADLINE), b.cache("c").flush("k").wait(DEADLINE)
        wait_until(lambda: a.status().peers == ())

    assert address == ""
    assert [each.acknowledged for each in delivered] == [("b",), ("a",)]
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert warnings[0].endswith("; this node only dials, and no peer can dial it")


def test_a_host_of_another_machine_cannot_be_listened_on():
    """No port would help there, so start raises, and names the host."""
    mesh = Mesh("m", listen="192.0.2.1:7946-7948", insecure=True, mdns=False)
    with pytest.raises(StartError, match="^cannot listen on any of 192.0.2.1:7946 to 192.0.2.1:7948: cannot assign"):
        mesh.start()

    assert mesh.status().state is MeshState.NEW


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
    driver = a._life.driver
    with caplog.at_level(logging.WARNING, "flushmesh"):
        (conversation,) = driver._streams.conversations
        asyncio.run_coroutine_threadsafe(conversation.write(b"\xff garbage"), driver._loop).result(DEADLINE)
        wait_until(lambda: "are no message of this protocol" in caplog.text)
    wait_until(lambda: follows(b, "a"))

    assert a.cache("c").flush("k").wait(DEADLINE).outcome is Outcome.ACKNOWLEDGED


def test_a_write_that_is_cut_in_the_middle_leaves_no_word_of_grpc(start, ports, caplog):
    """A stream that ends while a frozen peer keeps it from being written to ends quietly, on either side."""
    for dials in (True, False):
        place = ports(1).partition("-")[0]
        a = Mesh("m", name="a", listen="127.0.0.1:0", peers=[place] if dials else [], mdns=False)
        a.start()
        b = start("b", listen=place, peers=[] if dials else [a.status().address], mdns=False)
        cache = a.cache("c")
        # It follows this node's journal, and not only the other way round.
        wait_until(lambda cache=cache: cache.flush("k").wait(1.0).acknowledged == ("b",))
        b.signal(signal.SIGSTOP)
        for number in range(20_000):
            cache.flush(f"{number:0100}")
        # One batch is more than what a stream takes without an answer.
        wait_until(lambda a=a: a.status().head > 20_000 and a._life.driver._streams.conversations[0].writing)
        drop_streams(a)
        a.close()
        b.kill()

    assert [record for record in caplog.records if record.name != "flushmesh"] == []


def test_a_status_that_is_too_late_leaves_no_word_of_grpc(caplog):
    """Of the streams of a mesh; what gRPC logs of the application's own is logged."""
    grpc_log = logging.getLogger("grpc._cython.cygrpc")
    for method in ("/flushmesh.v2.Mesh/Exchange", "/app/echo"):
        # As gRPC does it: the method is in the message already.
        grpc_log.error(f"ExecuteBatchError raised in core by servicer method [{method}]")

    assert [record.getMessage() for record in caplog.records] == [
        "ExecuteBatchError raised in core by servicer method [/app/echo]"
    ]


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
