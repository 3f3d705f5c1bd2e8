"""The API of the settings dashboard, for programs."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from conftest import Demo

Eventually = Callable[..., Any]

# As in the roster file of the demo.
MAX_STALENESS = 5.0


@contextmanager
def frozen(demo: Demo, number: int) -> Iterator[None]:
    """Freeze instance *number* for a while, through instance 1."""
    assert demo.post(1, f"/api/instances/{number}/freeze").status_code == 200
    try:
        yield
    finally:
        assert demo.post(1, f"/api/instances/{number}/thaw").status_code == 200


def first_event(demo: Demo, number: int) -> dict[str, Any]:
    """Return what instance *number* reports to its pages at this moment."""
    with httpx.stream("GET", f"{demo.urls[number - 1]}/api/events", trust_env=False) as answer:
        lines = answer.iter_lines()  # Whoever lets go of it closes the stream.
        event: dict[str, Any] = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
        return event


def test_state_holds_what_an_instance_sees(demo: Demo) -> None:
    """The state has the instance's name, date, settings, counters, node and peers, each of its documented type."""
    state = demo.state(2)

    assert state["instance"] == "instance 2"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", state["date"])
    assert {"Banner", "Free shipping from", "Sale begins", "Sale ends"} <= state["settings"].keys()
    assert all(isinstance(value, str) for value in state["settings"].values())
    assert isinstance(state["hits"], int)
    assert isinstance(state["loads"], int)
    assert 0 <= state["proof_age"] < 5
    assert isinstance(state["running_out"], str)
    assert re.fullmatch("[0-9a-f]{32}", state["node_id"])
    assert [(peer["name"], peer["state"]) for peer in state["peers"]] == [
        ("instance 1", "following"),
        ("instance 3", "following"),
    ]
    assert {peer["node_id"] for peer in state["peers"]} == {demo.state(1)["node_id"], demo.state(3)["node_id"]}
    assert all(peer["address"].startswith("127.0.0.1:") for peer in state["peers"])


def test_state_is_read_through_the_cache(demo: Demo) -> None:
    """Asking again is a hit and no load, and the date stays that of the load."""
    first = demo.state(1)

    second = demo.state(1)

    assert second["date"] == first["date"]
    assert second["loads"] == first["loads"]
    assert second["hits"] > first["hits"]


def test_write_is_answered_with_the_new_state_and_reaches_the_others(demo: Demo, eventually: Eventually) -> None:
    """Who writes reads its own write at once; the others see it, loaded after the write began."""
    began = datetime.now(UTC)

    answer = demo.post(2, "/api/settings", json={"name": " Currency ", "value": "€"})

    assert answer.status_code == 200
    assert answer.json()["settings"]["Currency"] == "€"
    for number in (1, 3):
        state = eventually(lambda number=number: (s := demo.state(number))["settings"].get("Currency") == "€" and s)
        assert datetime.fromisoformat(state["date"]) >= began.replace(microsecond=began.microsecond // 1000 * 1000)


def test_write_over_an_existing_setting_replaces_it(demo: Demo) -> None:
    """The same name again is a change, unless the writer says that it is to be new."""
    demo.post(1, "/api/settings", json={"name": "Colour", "value": "red"})

    changed = demo.post(1, "/api/settings", json={"name": "Colour", "value": "blue"})
    refused = demo.post(1, "/api/settings", json={"name": "Colour", "value": "green", "new": True})

    assert changed.json()["settings"]["Colour"] == "blue"
    assert refused.status_code == 409
    assert refused.json() == {"error": "There is a setting “Colour” already; choose another name."}
    assert demo.state(1)["settings"]["Colour"] == "blue"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "The request is not JSON."),
        (b"{", 400, "The request is not JSON."),
        (b"\xff\xfe\xff", 400, "The request is not JSON."),
        (b"[" * 16_000, 400, "The request is not JSON."),
        (b"[]", 400, "The request must be a JSON object"),
        (b"{}", 422, "The name must be text."),
        (b'{"name": 1, "value": "x"}', 422, "The name must be text."),
        (b'{"name": "x"}', 422, "The value must be text."),
        (b'{"name": "x", "value": null}', 422, "The value must be text."),
        (b'{"name": " ", "value": "x"}', 422, "The name is empty."),
        (b'{"name": "x", "value": ""}', 422, "The value is empty."),
        (json.dumps({"name": "x" * 61, "value": "x"}).encode(), 422, "The name is too long: 61 characters, at most 60"),
        (json.dumps({"name": "x", "value": "x" * 201}).encode(), 422, "The value is too long: 201 characters"),
        (b'{"name": "x\\u0000y", "value": "x"}', 422, "The name must be one line without control characters."),
        (b'{"name": "x", "value": "\\ud800"}', 422, "The value must be one line without control characters."),
        (b" " * 16_385, 413, "That is too long: at most 16384 bytes."),
    ],
)
def test_write_that_makes_no_sense_is_refused_in_words(demo: Demo, body: bytes, status: int, words: str) -> None:
    """Whatever is wrong with a write, the answer says it, and nothing is written or flushed."""
    before = demo.state(1)

    answer = demo.post(1, "/api/settings", content=body)

    assert answer.status_code == status
    assert answer.json()["error"].startswith(words)
    assert demo.state(1)["date"] == before["date"]


def test_mesh_lists_every_instance(demo: Demo) -> None:
    """Any instance returns the states of all, in the order of their numbers."""
    for url in demo.urls:
        states = httpx.get(f"{url}/api/mesh", trust_env=False).json()

        assert [state["instance"] for state in states] == ["instance 1", "instance 2", "instance 3"]
        assert all("date" in state for state in states)


def test_mesh_names_the_instance_that_does_not_answer(demo: Demo) -> None:
    """A frozen instance appears with an error, and the others as ever."""
    with frozen(demo, 3):
        states = demo.mesh()

    assert states[2] == {"instance": "instance 3", "error": "instance 3 does not answer within 1 s."}
    assert [state.get("error") for state in states[:2]] == [None, None]


def test_frozen_instance_catches_up_with_what_it_missed(demo: Demo, eventually: Eventually) -> None:
    """A write that an instance slept through is in its state soon after it wakes."""
    with frozen(demo, 2):
        demo.post(1, "/api/settings", json={"name": "Missed", "value": "no longer"})
        eventually(lambda: demo.state(3)["settings"].get("Missed") == "no longer")

    eventually(lambda: demo.state(2)["settings"].get("Missed") == "no longer")


def test_copies_run_out_while_an_instance_is_frozen(demo: Demo, eventually: Eventually) -> None:
    """The others' proof grows old and says because of whom, they load anew on their own, and all is well after."""
    eventually(lambda: all(state["running_out"] == "" and state["proof_age"] < 2 for state in demo.mesh()))
    demo.post(1, "/api/settings", json={"name": "Loaded", "value": "before the freeze"})
    before = {number: demo.state(number) for number in (1, 3)}
    with frozen(demo, 2):
        for number, first in before.items():
            aged = eventually(lambda number=number: (s := demo.state(number))["running_out"] and s)
            assert aged["proof_age"] >= MAX_STALENESS / 2
            assert aged["running_out"].startswith("instance 2 at 127.0.0.1:")
            renewed = eventually(
                lambda number=number, first=first: (s := demo.state(number))["loads"] > first["loads"] and s
            )
            assert datetime.fromisoformat(renewed["date"]) > datetime.fromisoformat(first["date"])
            assert renewed["settings"] == first["settings"]
        eventually(lambda: all(demo.state(number)["proof_age"] > MAX_STALENESS for number in (1, 3)))
        report = first_event(demo, 1)

    assert [reload["why"] for reload in report["reloads"]][-1:] == ["no proof from instance 2"]
    for number in (1, 2, 3):
        state = eventually(lambda number=number: (s := demo.state(number))["running_out"] == "" and s)
        assert state["proof_age"] < MAX_STALENESS / 2


def test_load_after_a_flush_is_not_taken_for_one_that_lacked_proof(demo: Demo, eventually: Eventually) -> None:
    """What is loaded because somebody wrote is no reload, also while an instance is frozen."""
    with frozen(demo, 2):
        eventually(lambda: demo.state(3)["running_out"])
        for attempt in range(5):
            written = time.monotonic()
            demo.post(1, "/api/settings", json={"name": "Written", "value": f"{written} {attempt}"})
            eventually(lambda value=f"{written} {attempt}": demo.state(3)["settings"]["Written"] == value)
            reloads = first_event(demo, 3)["reloads"]

            # No copy is so old by now that it could have run out.
            soon = written + MAX_STALENESS / 2
            assert not [reload for reload in reloads if written < reload["at"] < soon]


def test_freeze_and_thaw_are_answered_once_they_are_done(demo: Demo) -> None:
    """When the answer comes, the kernel has stopped or continued the process; twice is as good as once."""
    for _ in range(2):
        assert demo.post(1, "/api/instances/2/freeze").json()["frozen"] is True
        assert demo.is_stopped(2)
    for _ in range(2):
        assert demo.post(3, "/api/instances/2/thaw").json()["frozen"] is False
        assert not demo.is_stopped(2)


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/instances/1/freeze", 409, "Instance 1 serves this very page and could not thaw itself again."),
        ("/api/instances/4/freeze", 404, "There is no instance 4; there are 3."),
        ("/api/instances/0/thaw", 404, "There is no instance 0; there are 3."),
        ("/api/instances/2/kill", 404, "An instance can be told to freeze or to thaw."),
    ],
)
def test_signal_that_makes_no_sense_is_refused_in_words(demo: Demo, path: str, status: int, words: str) -> None:
    """Only another instance that exists can be frozen or thawed."""
    answer = demo.post(1, path)

    assert (answer.status_code, answer.json()) == (status, {"error": words})


@pytest.mark.parametrize("path", ["/api/settings", "/api/settings/new", "/api/instances/2/freeze"])
def test_foreign_pages_cannot_write(demo: Demo, path: str) -> None:
    """What a page from elsewhere makes a browser send is refused, by its origin and by the host it asked for."""
    body = {"name": "Banner", "value": "defaced"}

    by_origin = demo.post(1, path, json=body, headers={"Origin": "https://example.com"})
    by_host = demo.post(1, path, json=body, headers={"Host": "example.com"})

    assert by_origin.status_code == 403
    assert by_host.status_code == 400
    assert demo.state(1)["settings"]["Banner"] != "defaced"
    assert not demo.is_stopped(2)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("http://localhost:8001", True), ("http://127.0.0.1:1", True), ("https://example.com", False)],
)
def test_events_may_be_read_by_pages_of_this_machine(demo: Demo, origin: str, allowed: bool) -> None:
    """The first event comes at once; only to loopback origins does the browser hand it out."""
    with httpx.stream("GET", f"{demo.urls[0]}/api/events", headers={"Origin": origin}, trust_env=False) as answer:
        event = next(line for line in answer.iter_lines() if line.startswith("data: "))

    assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
    assert json.loads(event.removeprefix("data: "))["instance"] == "instance 1"


def test_flush_of_a_peer_is_an_event_at_once(demo: Demo) -> None:
    """An instance reports what it loaded after a peer's flush without waiting for the next of its regular reports."""
    delays = []
    with httpx.stream("GET", f"{demo.urls[1]}/api/events", trust_env=False) as answer:
        events = (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))
        for attempt in ("1", "2", "3"):
            next(events)
            demo.post(1, "/api/settings", json={"name": "Attempt", "value": attempt})
            written = time.monotonic()
            next(event for event in events if event["settings"].get("Attempt") == attempt)
            delays.append(time.monotonic() - written)

    # Regular reports are a second apart, and each write here comes right after one.
    assert min(delays) < 0.5


def test_database_whose_table_is_gone_is_an_error_in_words(
    start_demo: Callable[..., Demo], eventually: Eventually
) -> None:
    """With nothing cached and no table, state and write answer 503 with the reason, and recover with the table."""
    demo = start_demo()
    with closing(sqlite3.connect(demo.database)) as connection:
        connection.execute("ALTER TABLE settings RENAME TO elsewhere")
        refused = demo.post(1, "/api/settings", json={"name": "Banner", "value": "x"})
        connection.execute("ALTER TABLE elsewhere RENAME TO settings")

    assert refused.status_code == 503
    assert refused.json() == {"error": "The database cannot be used: no such table: settings."}
    assert demo.post(1, "/api/settings", json={"name": "Banner", "value": "x"}).status_code == 200
    eventually(lambda: demo.state(2)["settings"]["Banner"] == "x")
