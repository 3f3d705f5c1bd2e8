"""The command that starts the settings dashboard, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from conftest import Demo

COMMAND = [sys.executable, str(Path(__file__).parents[2] / "examples" / "settings_app")]

StartDemo = Callable[..., "Demo"]
Eventually = Callable[..., Any]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command, expecting that it gives up by itself."""
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=20, check=False)


def test_port_in_use_is_named_in_one_line() -> None:
    """A port that somebody else has is found before anything starts, also if it is not the first."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        ended = run("--port", str(port - 1), "--instances", "2")

    assert ended.returncode == 1
    assert ended.stderr == f"port {port} is in use; choose others with --port\n"
    assert ended.stdout == ""


@pytest.mark.parametrize(
    "content",
    [None, "mesh = ", 'listen = "127.0.0.1:7946"', 'mesh = "x"\npears = []', 'mesh = "x"\nlisten = "nowhere"'],
)
def test_bad_roster_is_one_line_and_exit_code_2(tmp_path: Path, content: str | None) -> None:
    """Whatever is wrong with the roster file, one line names the file, and no instance is started."""
    roster = tmp_path / "roster.toml"
    if content is not None:
        roster.write_text(content)

    ended = run("--port", "0", "--roster", str(roster))

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"{roster}: ")
    assert ended.stderr.count("\n") == 1
    assert ended.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [["--mdns", "--roster", "x"], ["--instances", "0"], ["--instances", "17"], ["--port", "65534"], ["--port", "x"]],
)
def test_options_that_make_no_sense_are_refused(arguments: list[str]) -> None:
    """A roster and mDNS exclude each other, and numbers have bounds that the refusal names."""
    ended = run(*arguments)

    assert ended.returncode == 2
    assert f"{arguments[0]}" in ended.stderr


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:////nowhere/settings.db", "nonsense", "oracle+nonsense://x"])
def test_database_that_cannot_be_used_is_one_line(url: str) -> None:
    """A database that cannot be opened, or not be shared by processes, is said in one line."""
    ended = run("--port", "0", "--database-url", url)

    assert ended.returncode == 1
    assert ended.stderr.startswith("The database cannot be used: ")
    assert ended.stderr.count("\n") == 1


def test_instances_find_each_other_by_mdns(start_demo: StartDemo, eventually: Eventually) -> None:
    """Without a roster the instances meet by multicast on loopback, and a write reaches all."""
    demo = start_demo(mdns=True)

    demo.post(1, "/api/settings", json={"name": "Found by", "value": "multicast"})

    for number in (2, 3):
        eventually(lambda number=number: demo.state(number)["settings"].get("Found by") == "multicast")


def test_any_number_of_instances_shares_a_given_database(
    start_demo: StartDemo, eventually: Eventually, tmp_path: Path
) -> None:
    """Five instances serve one given database, which is kept when they end."""
    file = tmp_path / "kept.db"
    demo = start_demo("--database-url", f"sqlite:///{file}", instances=5)

    demo.post(5, "/api/settings", json={"name": "Kept", "value": "yes"})

    for number in range(1, 6):
        eventually(lambda number=number: demo.state(number)["settings"].get("Kept") == "yes")
    assert demo.stop() == 0
    assert file.exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_everything(start_demo: StartDemo, how: signal.Signals) -> None:
    """Ctrl-C ends with code 0 within seconds and leaves neither processes nor files nor words behind.

    An open event stream and a frozen instance are no obstacles.
    """
    demo = start_demo()
    database = demo.database
    with httpx.stream("GET", f"{demo.urls[0]}/api/events", trust_env=False) as events:
        lines = events.iter_lines()  # Whoever lets go of it closes the stream.
        next(lines)
        assert demo.post(1, "/api/instances/2/freeze").status_code == 200
        told = time.monotonic()

        demo.process.send_signal(how)

        assert demo.process.wait(10) == 0
    assert time.monotonic() - told < 5
    assert demo.processes() == {}
    assert not database.parent.exists()
    assert demo.complained() == ""


def test_instances_end_with_their_launcher(start_demo: StartDemo, eventually: Eventually) -> None:
    """When the launcher is killed, no instance is left, not even a frozen one."""
    demo = start_demo()
    assert demo.post(1, "/api/instances/2/freeze").status_code == 200

    demo.process.kill()
    demo.process.wait()

    eventually(lambda: not demo.processes(), seconds=5)


def test_last_instance_to_end_ends_the_launcher(start_demo: StartDemo) -> None:
    """A launcher with nothing left to launch says so and ends with code 1."""
    demo = start_demo(instances=1)

    os.kill(demo.process_of(1), signal.SIGKILL)

    assert demo.process.wait(10) == 1
    assert demo.complained() == "instance 1 has ended, killed by SIGKILL\n"


def test_mesh_that_cannot_listen_is_one_line(tmp_path: Path) -> None:
    """When the roster's host is none of this machine, the reason is printed and everything ends with code 1."""
    address = "192.0.2.1:7946"
    roster = tmp_path / "roster.toml"
    roster.write_text(f'mesh = "x"\ninsecure = true\nlisten = "{address}"\npeers = ["{address}"]\n')

    ended = run("--port", "0", "--instances", "1", "--roster", str(roster))

    assert ended.returncode == 1
    assert ended.stderr.splitlines()[0].startswith("instance 1: ")
    assert address in ended.stderr
    assert ended.stderr.splitlines()[1:] == ["instance 1 has ended, exit code 1"]
