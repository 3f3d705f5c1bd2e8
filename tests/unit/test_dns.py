"""Names that stand for many nodes, with a resolver and a clock that follow a script."""

import asyncio
import logging
import socket

import pytest

from flushmesh.discovery import Announcement
from flushmesh.discovery.dns import ANSWER_MAX, REPEAT, REPEAT_JITTER, Dns, look_up

ME = Announcement("m", b"id", "127.0.0.1:1")
SILENCE = object()
NO_SUCH_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
NO_ADDRESS = socket.gaierror(socket.EAI_NODATA, "No address associated with hostname")
TRY_AGAIN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class World:
    """Answers each question with the next of *answers*; sleeping takes no time, *rounds* times."""

    def __init__(self, answers, rounds):
        self.answers = list(answers)
        self.rounds = rounds
        self.asked = []
        self.pauses = []
        self.proposed = []
        self.over = asyncio.Event()
        self._silence = asyncio.Event()

    async def lookup(self, host):
        self.asked.append(host)
        answer = self.answers.pop(0)
        if answer is SILENCE:
            self._silence.set()
            await asyncio.Event().wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds):
        if seconds == ANSWER_MAX:
            await self._silence.wait()
            return
        self.pauses.append(seconds)
        if len(self.pauses) == self.rounds:
            self.over.set()
            await asyncio.Event().wait()


def run(text, *answers, rounds=0, spread=lambda: 0.5):
    """Return the world after so many *rounds* of looking for *text*, by default one for each answer."""

    async def main():
        world = World(answers, rounds or len(answers))
        dns = Dns(text, lookup=world.lookup, sleep=world.sleep, spread=spread)
        running = asyncio.create_task(dns.run(ME, world.proposed.append))
        over = asyncio.create_task(world.over.wait())
        await asyncio.wait({running, over}, timeout=5, return_when=asyncio.FIRST_COMPLETED)
        assert over.done(), running
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1
        return world

    return asyncio.run(main())


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "flushmesh")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_every_address_is_proposed_with_every_port(lines):
    """A name with two addresses and a range of two ports stands for four places."""
    world = run("shop.internal:7946-7947", ["10.0.0.5", "fd00::5"])

    assert world.asked == ["shop.internal"]
    assert world.proposed == [["10.0.0.5:7946", "10.0.0.5:7947", "[fd00::5]:7946", "[fd00::5]:7947"]]
    assert lines() == []


def test_a_name_is_asked_again_and_only_a_change_is_proposed():
    """Whoever comes to stand behind the name is found, and whoever goes is proposed no longer."""
    world = run("n:1", ["10.0.0.5"], ["10.0.0.5"], ["10.0.0.5", "10.0.0.6"], ["10.0.0.6"])

    assert world.proposed == [["10.0.0.5:1"], ["10.0.0.5:1", "10.0.0.6:1"], ["10.0.0.6:1"]]
    assert len(world.asked) == 4


@pytest.mark.parametrize(
    "hiccup", [NO_SUCH_NAME, TRY_AGAIN, [], OSError("the network is down"), UnicodeError("label too long")]
)
def test_a_failing_or_empty_answer_keeps_what_was_found(hiccup, lines):
    """A resolver that has a bad moment does not dissolve the mesh, and is logged once."""
    world = run("n:1", ["10.0.0.5"], hiccup, hiccup, hiccup, ["10.0.0.5"], hiccup)

    assert world.proposed == [["10.0.0.5:1"]]
    (level, first), (healed_level, healed), (_, again) = lines()
    assert (level, healed_level) == ("WARNING", "INFO")
    assert first.startswith("dns n:1: ")
    assert first.endswith("; what it named before is kept: 10.0.0.5")
    assert healed == "dns n:1: resolves again: 10.0.0.5"
    assert again == first


@pytest.mark.parametrize("answer", [NO_SUCH_NAME, NO_ADDRESS, []])
def test_no_such_name_is_an_answer(answer, lines):
    """Joining, which waits for the first proposal, ends although there is no node to propose."""
    world = run("n:1", answer, ["10.0.0.5"])

    assert world.proposed == [[], ["10.0.0.5:1"]]
    (level, line), _ = lines()
    assert level == "WARNING"
    assert line.endswith("; no node is found by it")


@pytest.mark.parametrize("failure", [TRY_AGAIN, OSError("the network is down"), UnicodeError("label too long")])
def test_a_first_look_that_fails_proposes_nothing(failure, lines):
    """A resolver that cannot answer says nothing about other nodes, so joining goes on; one line says so."""
    world = run("n:1", failure, failure, ["10.0.0.5"])

    assert world.proposed == [["10.0.0.5:1"]]
    (level, line), (healed_level, healed) = lines()
    assert (level, healed_level) == ("WARNING", "INFO")
    assert line.endswith("; this node keeps joining until it answers")
    assert healed == "dns n:1: resolves again: 10.0.0.5"


def test_a_server_that_never_answers_is_no_answer(lines):
    """Nothing is proposed; the question stays open and is not asked again."""
    world = run("n:1", SILENCE, rounds=3)

    assert world.proposed == []
    assert world.asked == ["n"]
    assert lines() == [
        ("WARNING", f"dns n:1: no answer within {ANSWER_MAX:g} s; this node keeps joining until it answers")
    ]


def test_nodes_that_start_together_do_not_ask_together():
    """The pause between two questions is drawn anew each time, and never longer than said."""
    draws = iter([0.0, 0.5, 1.0])
    world = run("n:1", ["10.0.0.5"], ["10.0.0.5"], ["10.0.0.5"], spread=lambda: next(draws))

    assert world.pauses == [REPEAT, REPEAT * (1 - REPEAT_JITTER / 2), REPEAT * (1 - REPEAT_JITTER)]


def test_addresses_that_lead_nowhere_are_left_out(monkeypatch):
    """What a name stands for is taken as it can be dialled: no link-local, no unspecified, nothing twice."""
    hosts = ["10.0.0.5", "10.0.0.5", "0.0.0.0", "169.254.1.1", "::ffff:10.0.0.6", "fe80::1%2", "fd00::5"]

    async def main():
        async def getaddrinfo(*_args, **_options):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in hosts]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        return await look_up("n")

    assert asyncio.run(main()) == ["10.0.0.5", "10.0.0.6", "fd00::5"]
