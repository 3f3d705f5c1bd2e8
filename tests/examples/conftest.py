"""
The demo as its users start it: a real process with real instances, and a real browser.

Every demo gets free ports and a roster of its own, so that nothing on this machine is in
its way, another demo included.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT: Final = Path(__file__).parents[2]
SCREENSHOTS: Final = ROOT / "test-output" / "screenshots"
COMMAND: Final = (sys.executable, str(ROOT / "examples" / "settings_app"))

# More than a loaded machine needs; whoever waits longer waits for nothing.
DEADLINE: Final = 15.0

# More ports than instances: two that try one port at the same moment may both go on to the next.
SPARE_PORTS: Final = 5
# What the library says when an instance is frozen, and who says it.
RUNNING_OUT_LINE: Final = re.compile(r"^instance \d+: entries run out: .*\n", re.MULTILINE)
GRPC_LINE: Final = re.compile(r"^E\d{4} .*add_port\.cc.*\n", re.MULTILINE)

BROWSER_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def eventually(check: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """Return what *check* returns as soon as that is true; fail after *seconds*."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < deadline, f"still not so after {seconds:g} s"
        time.sleep(0.02)
    return result


@dataclass
class Demo:
    """One running demo: its process, the addresses of its instances, its files."""

    process: subprocess.Popen[bytes]
    folder: Path
    urls: list[str] = field(default_factory=list)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return next(self.folder.glob("settings-*/settings.db"))

    def printed(self) -> str:
        """Return everything the demo has written to its standard output."""
        return (self.folder / "stdout").read_text()

    def complained(self) -> str:
        """Return what the demo has written to its standard error, without what is no complaint."""
        # Two instances may try one port of the range at the same moment; gRPC tells of it, and it does no harm.
        words = GRPC_LINE.sub("", (self.folder / "stderr").read_text())
        # Whether a test freezes an instance for long enough to be warned of it is a matter of the machine.
        return RUNNING_OUT_LINE.sub("", words)

    def wait_until_met(self) -> None:
        """Wait until each instance follows every other."""
        others = len(self.urls) - 1
        eventually(lambda: all(_follows(state, others) for state in self.mesh()))

    def state(self, number: int) -> dict[str, Any]:
        """Return what instance *number* says of itself."""
        answer: dict[str, Any] = httpx.get(f"{self.urls[number - 1]}/api/state", trust_env=False).json()
        return answer

    def mesh(self) -> list[dict[str, Any]]:
        """Return what all instances say of themselves, asked through the first."""
        answer: list[dict[str, Any]] = httpx.get(f"{self.urls[0]}/api/mesh", trust_env=False).json()
        return answer

    def post(self, number: int, path: str, **options: Any) -> httpx.Response:
        """Post to instance *number*."""
        return httpx.post(f"{self.urls[number - 1]}{path}", trust_env=False, **options)

    def process_of(self, number: int) -> int:
        """Return the process id of instance *number*."""
        return next(pid for pid, command in self.processes().items() if f"--number\0{number}\0" in command)

    def processes(self) -> dict[int, str]:
        """Return what is alive of this demo, whoever its parent is: process ids and command lines."""
        mark = f"TMPDIR={self.folder}\0".encode()
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                # A process that has ended, or is somebody else's, shows no environment.
                if mark in (path / "environ").read_bytes():
                    found[int(path.name)] = (path / "cmdline").read_text()
            except OSError:
                continue
        return found

    def is_stopped(self, number: int) -> bool:
        """Tell whether the process of instance *number* is stopped, by the kernel's account."""
        status = Path(f"/proc/{self.process_of(number)}/stat").read_text()
        return status.rpartition(")")[2].split()[0] == "T"

    def stop(self) -> int:
        """Press Ctrl-C; return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(DEADLINE)


def _follows(state: dict[str, Any], others: int) -> bool:
    return [peer["state"] for peer in state.get("peers", [])] == ["following"] * others


def free_ports(count: int) -> int:
    """Return the first of *count* free ports in a row, below those that the system gives away by itself."""
    for _ in range(100):
        first = random.randrange(20_000, 30_000)
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        return first
    pytest.fail("no free ports")


def start(folder: Path, *arguments: str, mdns: bool = False, instances: int = 3) -> Demo:
    """Start the demo with its files in *folder*, and wait until it has printed its addresses."""
    if mdns:
        discovery = ["--mdns"]
    else:
        first = free_ports(instances + SPARE_PORTS)
        addresses = f"127.0.0.1:{first}-{first + instances + SPARE_PORTS - 1}"
        roster = folder / "roster.toml"
        shipped = (ROOT / "examples" / "settings_app" / "flushmesh.toml").read_text()
        roster.write_text(shipped.replace("127.0.0.1:7946-7961", addresses))
        discovery = ["--roster", str(roster)]
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [*COMMAND, "--port", "0", "--instances", str(instances), *discovery, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, "TMPDIR": str(folder)},
            start_new_session=True,
        )
    demo = Demo(process, folder)
    try:
        eventually(lambda: "Ctrl-C" in demo.printed() or process.poll() is not None)
        assert process.poll() is None, demo.complained()
        demo.urls = re.findall(r"http://\S+", demo.printed())
        demo.wait_until_met()
    except BaseException:
        _end(demo)
        raise
    return demo


def _end(demo: Demo) -> None:
    """End whatever is left of *demo*, however the test has gone."""
    if demo.process.poll() is None:
        demo.stop()
    for pid in demo.processes():
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo that the tests of one module share; each leaves all instances running."""
    demo = start(tmp_path_factory.mktemp("demo"))
    yield demo
    complaints = demo.complained()
    _end(demo)
    assert complaints == ""


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    """A function that starts a demo for one test alone, which may break it."""
    demos: list[Demo] = []

    def start_one(*arguments: str, **options: Any) -> Demo:
        demos.append(start(tmp_path, *arguments, **options))
        return demos[-1]

    yield start_one
    for demo in demos:
        _end(demo)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's own Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        missing = f"no browser: none of {', '.join(names)} is installed"
        if os.environ.get("FLUSHMESH_REQUIRE_ALL") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=BROWSER_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """A function that opens a new window; errors of its script and requests to elsewhere fail the test."""
    wrong: list[str] = []
    with ExitStack() as stack:

        def open_one(url: str, *, faked_clock: bool = False, **options: Any) -> Page:
            context = browser.new_context(**{"viewport": {"width": 1280, "height": 960}, **options})
            stack.callback(context.close)
            page = context.new_page()
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("request", lambda request: _check_host(request.url, wrong))
            if faked_clock:
                page.clock.install()
            page.goto(url)
            return page

        yield open_one
    assert wrong == []


def _check_host(url: str, wrong: list[str]) -> None:
    parts = urlsplit(url)
    if parts.scheme != "data" and parts.hostname != "127.0.0.1":
        wrong.append(f"asked for {url}")


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where pictures of the page are kept for whoever wants to look."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS


@pytest.fixture(name="eventually", scope="session")
def _eventually() -> Callable[..., Any]:
    """`eventually`, for tests, which cannot import what lies beside them."""
    return eventually
