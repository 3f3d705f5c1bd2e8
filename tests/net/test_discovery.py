"""Ways of finding each other, with real sockets and real processes."""

import asyncio
import logging
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from flushmesh import Mesh, MeshState, Outcome
from flushmesh.discovery import dns, mdns, roster
from flushmesh.net.knock import Ended, Knock
from flushmesh.net.loop import LOOKUPS_MAX, Loop
from flushmesh.net.server import _why_not as why_not
from flushmesh.protocol.addresses import Ending
from tests.net.meshes import DEADLINE, follows, wait_until

ROSTER = """
mesh = "m"
listen = "127.0.0.1:0"
peers = [{peers}]
"""


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def port_of(mesh):
    return mesh.status().address.rpartition(":")[2]


def joined(mesh):
    return mesh.status().state is MeshState.JOINED


def dial_count(mesh, address):
    """Return how often *address* has been dialled in vain in a row."""
    return {each.text: each.failures for each in mesh._node.addresses}.get(address, 0)


class Listed:
    """A discovery that proposes a list, from the thread that it is told to."""

    source = "listed"
    settles_after = 0.0

    def __init__(self, *addresses):
        self.addresses = addresses
        self.announced = None

    async def run(self, announcement, propose):
        self.announced = announcement
        propose(self.addresses)


# DNS.


def test_a_name_leads_to_every_node_behind_it(ports):
    """Two nodes that know nothing but one name and a range of ports follow each other, and find themselves harmless."""
    places = ports(2)
    name = places.replace("127.0.0.1", "localhost")
    with (
        Mesh("m", name="a", listen=places, dns=[name]) as a,
        Mesh("m", name="b", listen=places, dns=[name]) as b,
    ):
        wait_until(lambda: follows(a, "b") and follows(b, "a") and joined(a) and joined(b))

        assert a.cache("c").flush("k").wait(DEADLINE).outcome is Outcome.ACKNOWLEDGED


def test_a_resolver_that_hangs_holds_up_neither_the_mesh_nor_its_end(monkeypatch, ports):
    """While a lookup hangs, other peers are met, joining goes on, and close and the loop's end wait for nothing."""
    release = threading.Event()
    getaddrinfo = socket.getaddrinfo

    def hang(host, *arguments, **options):
        flags = options.get("flags", arguments[4] if len(arguments) > 4 else 0)
        if host == "hangs.internal" and not flags & socket.AI_NUMERICHOST:
            release.wait(DEADLINE)
        return getaddrinfo(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    places = ports(2)
    with Mesh("m", name="b", listen=places, mdns=False) as b:
        a = Mesh("m", name="a", listen=places, peers=[places], dns=["hangs.internal:7946"], insecure=True)
        a.start()
        thread = a._life.driver._thread
        wait_until(lambda: follows(a, "b") and follows(b, "a"))
        receipt = a.cache("c").flush("k")
        wait_until(lambda: receipt.wait(0).acknowledged == ("b",))
        assert receipt.wait(0).outcome is Outcome.PENDING
        assert a.status().state is MeshState.JOINING
        assert a.status().waiting_for != ""

        began = time.monotonic()
        a.close()
        assert time.monotonic() - began < 1
        assert not thread.is_alive()
        release.set()


def test_a_question_that_is_open_is_asked_once(monkeypatch):
    """However many ask for a name while its lookup hangs, one thread waits for the answer."""
    asked = []
    release = threading.Event()
    getaddrinfo = socket.getaddrinfo

    def hang(host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        if flags & socket.AI_NUMERICHOST:
            return getaddrinfo(host, port, family, type, proto, flags)
        asked.append(host)
        release.wait(DEADLINE)
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", hang)

    async def main():
        loop = asyncio.get_running_loop()
        questions = [asyncio.create_task(loop.getaddrinfo("n", 1)) for _ in range(5)]
        await asyncio.sleep(0)
        questions[0].cancel()
        loop.call_later(0.05, release.set)
        return await asyncio.gather(*questions, return_exceptions=True)

    with asyncio.Runner(loop_factory=Loop) as runner:
        answers = runner.run(main())

    assert asked == ["n"]
    assert [type(answer) for answer in answers] == [asyncio.CancelledError, *[socket.gaierror] * 4]


def test_silent_names_cost_a_bounded_number_of_threads(monkeypatch):
    """However many names and ports are looked up, LOOKUPS_MAX threads wait, and each name is asked for once."""
    asked = []
    release = threading.Event()
    getaddrinfo = socket.getaddrinfo

    def hang(host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        if flags & socket.AI_NUMERICHOST:
            return getaddrinfo(host, port, family, type, proto, flags)
        asked.append(host)
        release.wait(DEADLINE)
        return getaddrinfo("127.0.0.1", port, family, type, proto, flags)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    before = threading.active_count()

    async def main():
        loop = asyncio.get_running_loop()
        names = [f"n{number}" for number in range(2 * LOOKUPS_MAX)]
        questions = [asyncio.create_task(loop.getaddrinfo(name, port)) for name in names for port in range(1, 17)]
        await asyncio.sleep(0)
        threads = threading.active_count() - before
        release.set()
        answers = await asyncio.gather(*questions)
        return threads, [answer[0][4] for answer in answers[:2]]

    with asyncio.Runner(loop_factory=Loop) as runner:
        threads, answers = runner.run(main())

    assert threads == LOOKUPS_MAX
    assert sorted(asked) == sorted({f"n{number}" for number in range(2 * LOOKUPS_MAX)})
    assert answers == [("127.0.0.1", 1), ("127.0.0.1", 2)]


def test_a_node_whose_name_server_is_down_keeps_joining(monkeypatch, ports, caplog):
    """A look that failed says nothing about other nodes: the node says so, and meets them once the server is back."""
    up = threading.Event()
    getaddrinfo = socket.getaddrinfo

    def flaky(host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        if host != "shop.internal" or flags & socket.AI_NUMERICHOST:
            return getaddrinfo(host, port, family, type, proto, flags)
        if not up.is_set():
            raise socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution")
        return getaddrinfo("127.0.0.1", port, family, type, proto, flags)

    monkeypatch.setattr(socket, "getaddrinfo", flaky)
    monkeypatch.setattr(dns, "REPEAT", 0.05)
    place = ports(1).partition("-")[0]
    name = f"shop.internal:{place.rpartition(':')[2]}"
    with (
        Mesh("m", name="b", listen=place, mdns=False) as b,
        Mesh("m", name="a", listen="127.0.0.1:0", dns=[name], insecure=True) as a,
    ):
        wait_until(lambda: caplog.records)
        down = a.status()
        # Whatever it loads now is served by its own age alone: the proof stands where it began.
        assert down.state is MeshState.JOINING
        assert down.waiting_for != ""
        assert not a.ready()
        up.set()
        wait_until(lambda: follows(a, "b") and follows(b, "a") and joined(a))

    assert [record.getMessage() for record in caplog.records] == [
        f"dns {name}: temporary failure in name resolution; this node keeps joining until it answers"
    ]


# The roster file.


@pytest.fixture
def _looks_often(monkeypatch):
    monkeypatch.setattr(roster, "LOOK_INTERVAL", 0.02)


@pytest.mark.usefixtures("_looks_often")
def test_a_peer_that_is_written_into_the_roster_is_met(tmp_path, caplog):
    """Without a restart; a broken edit changes nothing, and a peer that is taken out stays connected."""
    caplog.set_level(logging.INFO, "flushmesh")
    path = tmp_path / "flushmesh.toml"
    path.write_text(ROSTER.format(peers=""))
    mesh = Mesh.from_file(path, name="a")
    assert not mesh.options.peers
    with Mesh("m", name="b", mdns=False) as b, mesh as a:
        path.write_text(ROSTER.format(peers=f'"127.0.0.1:{port_of(b)}"'))
        wait_until(lambda: follows(a, "b") and follows(b, "a"))
        path.write_text("mesh =")
        wait_until(lambda: "the roster stays as it was" in caplog.text)
        path.write_text(ROSTER.format(peers='"127.0.0.1:1"'))
        wait_until(lambda: "no longer peers" in caplog.text)

        assert follows(a, "b")
        assert a.cache("c").flush("k").wait(DEADLINE).outcome is Outcome.ACKNOWLEDGED


@pytest.mark.usefixtures("_looks_often")
def test_a_peer_that_is_taken_out_of_the_roster_is_dialled_no_longer(tmp_path):
    """An address that nobody answers at is forgotten with its line in the file."""
    path = tmp_path / "flushmesh.toml"
    path.write_text(ROSTER.format(peers='"127.0.0.1:1"'))
    with Mesh.from_file(path, name="a") as a:
        wait_until(lambda: dial_count(a, "127.0.0.1:1"))
        path.write_text(ROSTER.format(peers='"127.0.0.1:2"'))
        wait_until(lambda: dial_count(a, "127.0.0.1:2"))
        wait_until(lambda: not dial_count(a, "127.0.0.1:1"))


# Discoveries of the application's own.


def test_discoveries_add_up(ports):
    """Two of one name and a roster each lead to a peer; what is no address is left out."""
    with (
        Mesh("m", name="b", listen="127.0.0.1:0", mdns=False) as b,
        Mesh("m", name="c", listen="127.0.0.1:0", mdns=False) as c,
        Mesh("m", name="d", listen="127.0.0.1:0", mdns=False) as d,
    ):
        found = [Listed("nonsense", f"127.0.0.1:{port_of(b)}"), Listed(f"127.0.0.1:{port_of(c)}")]
        with Mesh("m", name="a", peers=[f"127.0.0.1:{port_of(d)}"], discovery=found) as a:
            wait_until(lambda: follows(a, "b", "c", "d") and joined(a))

            assert found[0].announced.address == a.status().address
            assert found[0].announced.node_id.hex() == a.status().node_id


@pytest.mark.parametrize("error", [LookupError, SystemExit])
def test_a_discovery_that_dies_takes_nobody_along(error, caplog):
    """The mesh and the other discoveries go on; one line says who finds nobody any more."""

    class Dying(Listed):
        async def run(self, announcement, propose):
            raise error

    with (
        Mesh("m", name="b", mdns=False) as b,
        Mesh("m", name="a", discovery=[Dying(), Listed(f"127.0.0.1:{port_of(b)}")]) as a,
    ):
        wait_until(lambda: follows(a, "b"))

        assert [record.getMessage() for record in caplog.records] == ["listed finds no more peers"]


def test_a_proposal_from_another_thread_is_refused():
    """What belongs to the mesh's own thread is not touched from elsewhere."""
    raised = []

    class Threaded(Listed):
        async def run(self, announcement, propose):
            def elsewhere():
                try:
                    propose(self.addresses)
                except RuntimeError as error:
                    raised.append(str(error))

            thread = threading.Thread(target=elsewhere)
            thread.start()
            thread.join(DEADLINE)

    with Mesh("m", discovery=[Threaded("127.0.0.1:1")]):
        wait_until(lambda: raised)

    assert raised == ["propose: call it on the mesh's own thread, as loop.call_soon_threadsafe does"]


def test_an_address_beyond_this_machine_is_not_dialled_by_default(caplog):
    """Whatever a discovery finds, a mesh that is not insecure stays on this machine, and says so once."""
    with Mesh("m", discovery=[Listed("192.0.2.9:7946")]) as mesh:
        wait_until(lambda: dial_count(mesh, "192.0.2.9:7946") >= 3)

        assert "192.0.2.9:7946" in mesh.status().waiting_for
    assert [record.getMessage() for record in caplog.records] == [
        "192.0.2.9:7946 is not dialled: it is beyond this machine, and the mesh is not insecure"
    ]


# IPv6, and both.


@needs_ipv6
@pytest.mark.parametrize(
    ("listen", "host"),
    [
        ("[::1]:0", "[::1]"),
        ("[::]:0", "[::1]"),
        ("[::]:0", "127.0.0.1"),
        ("0.0.0.0:0", "127.0.0.1"),
        ("localhost:0", "localhost"),
    ],
)
def test_nodes_meet_by_either_version_of_ip(listen, host):
    """Whatever a node listens on, who dials it is told, and dials back, an address that leads there."""
    options = {"listen": listen, "mdns": False, "insecure": True}
    with (
        Mesh("m", name="a", **options) as a,
        Mesh("m", name="b", **options | {"peers": [f"{host}:{port_of(a)}"]}) as b,
    ):
        wait_until(lambda: follows(a, "b") and follows(b, "a"))

        assert [peer.address for peer in a.status().peers] == [f"{host}:{port_of(b)}"]
        assert [peer.address for peer in b.status().peers] == [f"{host}:{port_of(a)}"]
        assert a.cache("c").flush("k").wait(DEADLINE).outcome is Outcome.ACKNOWLEDGED


@needs_ipv6
def test_a_port_that_another_version_of_ip_holds_is_taken(ports):
    """A node that listens on both takes the next port of the range if one of them is in use."""
    places = ports(2)
    first = int(places.rpartition(":")[2].partition("-")[0])
    everywhere = places.replace("127.0.0.1", "[::]")
    with (
        Mesh("m", listen=f"127.0.0.1:{first}", mdns=False),
        Mesh("m", listen=everywhere, mdns=False, insecure=True) as both,
    ):
        assert both.status().address == f":{first + 1}"


# What is unreachable.


def test_an_unreachable_address_costs_no_line_per_attempt(caplog):
    """Attempts go on, further and further apart; where all are refused, the end of joining is all that is logged."""
    caplog.set_level(logging.INFO, "flushmesh")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
        with Mesh("m", peers=[nobody, "name.invalid:1"], insecure=True) as mesh:
            wait_until(lambda: dial_count(mesh, nobody) >= 5 and dial_count(mesh, "name.invalid:1") >= 4)
            wait_until(lambda: joined(mesh))

            assert not mesh.status().peers
    assert [record.getMessage() for record in caplog.records] == ["joined"]


def test_a_silent_address_costs_no_line_per_attempt(caplog):
    """What it means for entries is logged once; a receipt does not wait for it for ever, and is not complete."""
    # A multicast address takes no connection: neither an answer nor a refusal.
    with Mesh("m", peers=["224.0.0.1:1"], insecure=True, lost_after=0.6, max_staleness=0.4) as mesh:
        wait_until(lambda: dial_count(mesh, "224.0.0.1:1") >= 5)
        delivery = mesh.cache("c").flush("k").wait(DEADLINE)

        assert (delivery.outcome, delivery.unreached) == (Outcome.UNREACHED, ("224.0.0.1:1",))
        assert not delivery.complete
        wait_until(lambda: any("entries run out" in record.getMessage() for record in caplog.records))
    lines = [record.getMessage() for record in caplog.records]
    silent, runs_out, closed = lines
    assert silent == "224.0.0.1:1 has neither answered nor refused; a node there is not heard"
    assert runs_out.startswith("entries run out: nothing comes back from 224.0.0.1:1; ")
    assert closed == "closed without having met a node: 1 flushes reach none (224.0.0.1:1)"


@needs_ipv6
def test_a_name_of_which_every_address_refuses_is_known_to_be_empty():
    """localhost is two addresses; where nobody listens at either, joining waits for neither."""
    with Mesh("m", peers=["localhost:1"]) as mesh:
        wait_until(lambda: joined(mesh))


@pytest.fixture
def both_versions(monkeypatch):
    """Make `both` a name of two addresses, the given ones."""
    getaddrinfo = socket.getaddrinfo

    def resolve_to(*hosts):
        def fake(host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
            if host != "both" or flags & socket.AI_NUMERICHOST:
                return getaddrinfo(host, port, family, type, proto, flags)
            return [info for known in hosts for info in getaddrinfo(known, port, family, type, proto, flags)]

        monkeypatch.setattr(socket, "getaddrinfo", fake)

    return resolve_to


def knock(address):
    """Return what a knock at *address* is answered, and how often."""

    async def main():
        loop = asyncio.get_running_loop()
        answers = []
        Knock(loop, address, answers.append)
        assert answers == []
        deadline = loop.time() + DEADLINE
        while not answers and loop.time() < deadline:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        (answer,) = answers
        return answer

    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(main())


@needs_ipv6
@pytest.mark.parametrize(
    ("hosts", "listens", "ending"),
    [
        (("::1", "127.0.0.1"), "127.0.0.1", None),
        (("127.0.0.1", "::1"), "127.0.0.1", None),
        (("::1", "127.0.0.1"), "", Ending.REFUSED),
        # A multicast address takes no connection: neither an answer nor a refusal.
        (("224.0.0.1", "127.0.0.1"), "", Ending.SILENT),
        (("127.0.0.1", "224.0.0.1"), "", Ending.SILENT),
    ],
)
def test_every_address_of_a_name_is_tried(both_versions, hosts, listens, ending):
    """One that answers is enough; only if all refuse is it certain that no node is there."""
    both_versions(*hosts)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if listens:
            listener.listen()
        port = listener.getsockname()[1]
        answer = knock(f"both:{port}")

    if ending is None:
        assert answer == f"127.0.0.1:{port}"
    else:
        assert isinstance(answer, Ended)
        assert answer.ending is ending


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (socket.gaierror(socket.EAI_NONAME, "name or service not known"), Ending.REFUSED),
        (socket.gaierror(socket.EAI_NODATA, "no address associated with hostname"), Ending.REFUSED),
        (socket.gaierror(socket.EAI_AGAIN, "temporary failure in name resolution"), Ending.SILENT),
        (UnicodeError("label too long"), Ending.REFUSED),
        (OSError("the network is down"), Ending.SILENT),
    ],
)
def test_a_name_that_does_not_exist_is_told_from_one_that_is_not_answered(monkeypatch, error, ending):
    """No such name is a refusal; a name server that cannot say is silent."""
    getaddrinfo = socket.getaddrinfo

    def fail(host, port, family=0, type=0, proto=0, flags=0):  # noqa: A002
        if flags & socket.AI_NUMERICHOST:
            return getaddrinfo(host, port, family, type, proto, flags)
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    assert knock("shop.internal:1") == Ended(ending, (getattr(error, "strerror", None) or str(error)).lower())


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        (None, Ending.REFUSED),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Ending.FOREIGN),
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", Ending.FOREIGN),
    ],
)
def test_what_is_no_node_is_told_from_a_proxy_without_one(answer, ending):
    """A close before any byte is a refusal, as by a proxy in front of nothing; other bytes are something else."""
    stop = threading.Event()

    def serve(listener):
        while not stop.is_set():
            with suppress(OSError), listener.accept()[0] as connection:
                if answer is not None:
                    connection.recv(1000)
                    connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(0.1)
        pool.submit(serve, listener)
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        with Mesh("m", peers=[place]) as mesh:
            wait_until(lambda: joined(mesh))
            (address,) = mesh._node.addresses
            assert (address.refused_since is not None, address.foreign) == (
                ending is Ending.REFUSED,
                ending is Ending.FOREIGN,
            )
        stop.set()


@needs_ipv6
def test_a_name_is_listened_on_where_this_machine_has_it(both_versions):
    """One address that is in use is one too many; one that is not this machine's is passed over."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"both:{listener.getsockname()[1]}"
        both_versions("::1", "127.0.0.1")
        assert why_not(address) == ("address already in use", False)
        both_versions("::1", "198.51.100.1")
        assert why_not(address) is None
        both_versions("198.51.100.1")
        assert why_not(address) == ("cannot assign requested address", True)


# mDNS.


def mesh_name():
    return f"m{time.monotonic_ns()}"


@pytest.mark.parametrize("listen", ["127.0.0.1:0", pytest.param("[::1]:0", marks=needs_ipv6), "localhost:0"])
def test_mdns_on_loopback_announces_what_is_listened_on(listen):
    """Processes of one machine find each other on loopback by either version of IP."""
    name = mesh_name()
    with Mesh(name, name="a", listen=listen) as a, Mesh(name, name="b", listen=listen, mdns=["lo"]) as b:
        wait_until(lambda: follows(a, "b") and follows(b, "a"))


def test_a_node_hears_its_own_announcement(monkeypatch, caplog):
    """It takes that for a sign that multicast works, and for no proposal."""
    monkeypatch.setattr(mdns, "ECHO_MAX", 1.5)
    with Mesh(mesh_name()) as mesh:
        wait_until(lambda: joined(mesh))

        assert list(mesh._node.addresses) == []
    assert caplog.records == []


def test_mdns_never_announces_a_wildcard():
    """A node that listens everywhere is found at a concrete address."""
    name = mesh_name()
    options = {"listen": "0.0.0.0:0", "mdns": True, "insecure": True}
    with Mesh(name, name="a", **options) as a, Mesh(name, name="b", **options) as b:
        wait_until(lambda: follows(a, "b") and follows(b, "a"))
        dialled = {each.text for mesh in (a, b) for each in mesh._node.addresses}

        assert not any(address.startswith(("0.", "[::]")) for address in dialled)


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        ("sockets", "mdns: [Errno 101] Network is unreachable; multicast seems to be blocked here, name the peers by"),
        ("interfaces", "mdns: no interface is wlan9; there are "),
        ("echo", "mdns: not even this node's own announcement comes back; "),
    ],
)
def test_a_failing_mdns_fails_nothing_else(monkeypatch, caplog, break_it, words):
    """The mesh starts, meets its other peers and ends; one line gives the likely cause."""

    def refuse(*_args, **_options):
        raise OSError(101, "Network is unreachable")

    if break_it == "sockets":
        monkeypatch.setattr(mdns, "AsyncZeroconf", refuse)
    if break_it == "echo":
        monkeypatch.setattr(mdns, "ECHO_MAX", 0.0)
    monkeypatch.setattr(mdns, "RETRY", 0.01)
    chosen = ["wlan9"] if break_it == "interfaces" else True
    with (
        Mesh("m", name="b", listen="127.0.0.1:0", mdns=False) as b,
        Mesh("m", name="a", mdns=chosen, peers=[f"127.0.0.1:{port_of(b)}"]) as a,
    ):
        wait_until(lambda: follows(a, "b") and joined(a) and caplog.records)
    ((line),) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert line.startswith(words)


def test_a_zeroconf_that_is_not_there_fails_nothing_else(monkeypatch, caplog):
    """Whatever keeps it from being imported, the mesh starts."""
    monkeypatch.setitem(sys.modules, "zeroconf", None)
    monkeypatch.delitem(sys.modules, "flushmesh.discovery.mdns", raising=False)
    with Mesh("m") as mesh:
        assert mesh.status().address

    assert "mdns: zeroconf is not usable here" in caplog.text
