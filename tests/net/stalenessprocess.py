"""
Bounded staleness under fire: nodes that read and write while they are frozen and killed.

Run with `node` and options it is one node, driven line by line like `nodeprocess`.  Run
with `--rounds` it is the long run, from the top of the tree:

    python -m tests.net.stalenessprocess --rounds 20

The source of truth is one table in SQLite, from key to version.  Every thread appends what
it does to a file of its own, one record a system call, so that a process that is killed has
still told what it did.  Afterwards `check` holds each hit against each write.

How old a hit is.  A hit's age is the time since the first flush() of a later version
had returned.  The library decides by a clock that it reads inside get(), so the recorder
reads the clock before and after: the decision lies in between, and the hit is judged at the
earlier reading.  The allowance is thereby what lies between the two readings of that very
hit: microseconds, or longer where the scheduler or a SIGSTOP took the thread away exactly
there.  `check` tells how long it was.  No other allowance is made.

Which flushes count.  One that was recorded, so that its flush() had returned; and, as
design.md promises, from the moment its node has met anyone.  A node that was killed
before it met anyone has promised nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from flushmesh import Mesh
from tests.net.nodeprocess import DEADLINE, NodeProcess

ROOT = Path(__file__).parents[2]
REPORT = ROOT / "test-output" / "staleness.txt"

MAX_STALENESS = 2.0
FROZEN = 10.0
KEYS = 64
READERS = 2
WRITERS = 2

# The longest pauses between two rounds of reads, and between two writes, in seconds.
READ_REST = 0.006
WRITE_REST = 0.03

# Some keys are written all the time, others hardly ever: both kinds can go stale.
WEIGHTS = [1 / (number + 1) for number in range(KEYS)]

HIT = struct.Struct("<Bqdd")  # key, version, clock before, clock after
WRITE = struct.Struct("<Bqdd")  # key, version, commit returned, flush returned


# What happens, seen from outside.


class StaleNode(NodeProcess):
    """A node that reads and writes by itself once it is told to; several may bear one name, one after the other."""

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.stops: list[tuple[float, float]] = []
        self.incarnation = f"{name}-{time.monotonic_ns()}"
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                __spec__.name if __spec__ else __name__,
                "node",
                json.dumps({"name": name, **options}),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.address = self._answer()

    def freeze(self) -> None:
        """Stop the process; return once it has stopped."""
        self.stops.append((time.monotonic(), inf))
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let the process go on."""
        self.signal(signal.SIGCONT)
        self.stops[-1] = (self.stops[-1][0], time.monotonic())

    def wait_until_proven(self, *peers: str) -> float:
        """Wait until the node follows *peers*, and what it serves is proven to be younger than half its bound."""
        began = time.monotonic()
        while True:
            status = self("status")
            followed = sorted(name for name, state in status["peers"] if state == "following")
            if followed == sorted(peers) and status["running_out"] == "" and status["proof_age"] < 1.0:
                return time.monotonic() - began
            assert time.monotonic() < began + DEADLINE, f"{self.name}: {status}"
            time.sleep(0.02)


class Ordeal:
    """Three nodes that read and write, and rounds of what may befall them."""

    def __init__(self, folder: Path, roster: str, seed: int) -> None:
        self.folder = folder
        self.roster = roster
        self.random = random.Random(seed)
        self.nodes: dict[str, StaleNode] = {}
        self.all: list[StaleNode] = []
        self.events: list[str] = []
        self._began = time.monotonic()
        create(folder)

    def start(self, name: str, address: str = "") -> StaleNode:
        """Start the node *name*, or start it again at its old *address*; it works from its first moment on."""
        options = {"listen": address or self.roster, "peers": [self.roster], "max_staleness": MAX_STALENESS}
        node = StaleNode(name, **options)
        self.nodes[name] = node
        self.all.append(node)
        node("work", folder=str(self.folder), incarnation=node.incarnation)
        return node

    def run(self, rounds: int) -> None:
        """Go through *rounds*, each of which ends with everybody well."""
        try:
            for name in "abc":
                self.start(name)
            self.settle()
            for number in range(1, rounds + 1):
                self.round(number)
        finally:
            for node in self.all:
                node.kill()

    def round(self, number: int) -> None:
        """One node is frozen for 10 s; another is killed and restarted meanwhile, the third stops for a moment."""
        frozen, killed, napping = self.random.sample(sorted(self.nodes), 3)
        self.say(f"round {number}: {frozen} is frozen, {killed} killed, {napping} naps")
        self.freeze(frozen)
        thaw_at = time.monotonic() + FROZEN
        self.pause(self.random.uniform(0.3, 3.0))
        old = self.nodes[killed]
        old.kill()
        self.start(killed, old.address).wait_for("follows", True, name=napping)
        self.pause(self.random.uniform(0.0, 1.0))
        self.freeze(napping)
        self.pause(self.random.uniform(0.5, 1.1) * MAX_STALENESS)
        self.nodes[napping].thaw()
        self.pause(max(0.0, thaw_at - time.monotonic()))
        self.nodes[frozen].thaw()
        self.settle()

    def freeze(self, name: str) -> None:
        """Stop a node."""
        with no_transaction(self.folder):
            self.nodes[name].freeze()

    def settle(self) -> None:
        """Wait until everybody follows everybody and proves so."""
        began = time.monotonic()
        for node in self.nodes.values():
            node.wait_until_proven(*(name for name in self.nodes if name != node.name))
        self.say(f"all is proven again after {time.monotonic() - began:.2f} s")
        self.pause(0.5)

    def pause(self, seconds: float) -> None:
        """Let the nodes work; this is what the test is made of, and waits for nothing."""
        time.sleep(seconds)

    def say(self, what: str) -> None:
        self.events.append(what)
        if os.environ.get("FLUSHMESH_VERBOSE"):
            print(f"{time.monotonic() - self._began:7.1f} s  {what}", flush=True)


# What was recorded, held against what is promised.


@dataclass
class Verdict:
    """What `check` has found; ages in seconds."""

    hits: int = 0
    writes: int = 0
    stale: int = 0
    worst: float = 0.0
    worst_recorded: float = 0.0
    straddling: int = 0
    allowances: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        allowances = sorted(self.allowances) or [0.0]
        usual, rare = allowances[len(allowances) // 2], allowances[int(len(allowances) * 0.999)]
        return "\n".join(
            [
                f"hits checked               {self.hits:>12,}",
                f"writes                     {self.writes:>12,}",
                f"hits that were stale       {self.stale:>12,}",
                f"worst staleness            {self.worst:>12.3f} s   (promised: {MAX_STALENESS:g} s)",
                f"the same, when recorded    {self.worst_recorded:>12.3f} s   (without hits across a stop)",
                f"hits across a stop         {self.straddling:>12,}",
                f"allowance, median          {usual * 1e6:>12.1f} µs",
                f"allowance, 99.9 %          {rare * 1e6:>12.1f} µs",
                f"violations                 {len(self.violations):>12,}",
                *self.violations[:20],
            ]
        )


def check(folder: Path, nodes: list[StaleNode]) -> Verdict:
    """Hold every recorded hit against every recorded write."""
    verdict = Verdict()
    everybody: dict[int, list[tuple[int, float]]] = {key: [] for key in range(KEYS)}
    own: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for node in nodes:
        met_file = folder / f"{node.incarnation}.met"
        met = float(met_file.read_text()) if met_file.exists() else inf
        for path in folder.glob(f"{node.incarnation}.*.writes"):
            for key, version, _, flushed in _records(path, WRITE):
                verdict.writes += 1
                everybody[key].append((version, max(flushed, met)))
                own.setdefault((node.incarnation, key), []).append((version, flushed))
    outdated = {key: _outdated(writes) for key, writes in everybody.items()}
    outdated_here = {place: _outdated(writes) for place, writes in own.items()}
    for node in nodes:
        for path in folder.glob(f"{node.incarnation}.*.hits"):
            for key, version, before, after in _records(path, HIT):
                _judge(verdict, node, (key, version, before, after), outdated[key], outdated_here)
    return verdict


Outdated = tuple[list[int], list[float]]


def _judge(
    verdict: Verdict,
    node: StaleNode,
    hit: tuple[int, int, float, float],
    outdated: Outdated,
    outdated_here: dict[tuple[str, int], Outdated],
) -> None:
    key, version, before, after = hit
    verdict.hits += 1
    verdict.allowances.append(after - before)
    age = before - _since(outdated, version)
    straddles = any(before <= cont and after >= stop for stop, cont in node.stops)
    verdict.straddling += straddles
    if age > 0:
        verdict.stale += 1
        verdict.worst = max(verdict.worst, age)
        if not straddles:
            verdict.worst_recorded = max(verdict.worst_recorded, age + after - before)
    if age > MAX_STALENESS:
        verdict.violations.append(f"G4: {node.incarnation} served {version} of key {key}, outdated for {age:.3f} s")
    own = outdated_here.get((node.incarnation, key))
    if own is not None and before > _since(own, version):
        verdict.violations.append(f"G1: {node.incarnation} served {version} of key {key} after its own flush")


def _outdated(writes: list[tuple[int, float]]) -> Outdated:
    """Return the versions in order, and for each when the first flush of it or of a later one had returned."""
    writes = sorted(writes)
    since, earliest = [], inf
    for _, flushed in reversed(writes):
        earliest = min(earliest, flushed)
        since.append(earliest)
    return [version for version, _ in writes], since[::-1]


def _since(outdated: Outdated, version: int) -> float:
    versions, since = outdated
    place = bisect_right(versions, version)
    return since[place] if place < len(since) else inf


def _records(path: Path, record: struct.Struct) -> Any:
    content = path.read_bytes()
    return record.iter_unpack(content[: len(content) - len(content) % record.size])


# What happens, seen from inside a node.


def connect(folder: Path | str) -> sqlite3.Connection:
    """Return a connection to the source of truth, without implicit transactions."""
    database = sqlite3.connect(Path(folder) / "truth.db", timeout=20.0, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    # A killed process loses nothing by this, only a power cut would.
    database.execute("PRAGMA synchronous=OFF")
    return database


@contextmanager
def no_transaction(folder: Path) -> Iterator[None]:
    """Inside, nobody writes: who is frozen in a transaction would keep all others from writing."""
    with closing(connect(folder)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


def create(folder: Path) -> None:
    """Make the source of truth."""
    with closing(connect(folder)) as database:
        database.execute("CREATE TABLE versions (key INTEGER PRIMARY KEY, version INTEGER NOT NULL)")
        database.executemany("INSERT INTO versions VALUES (?, 0)", [(key,) for key in range(KEYS)])


class Log(logging.Handler):
    """Keeps what the library logs, and writes down when the node first meets another."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str]] = []
        self.met: float | None = None
        self.met_file: Path | None = None

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        self.lines.append((record.levelname, line))
        if line.startswith("following ") and self.met is None:
            self.met = time.monotonic()
            self.note()

    def note(self) -> None:
        """Write the moment down, once both it and the file are known."""
        if self.met is not None and self.met_file is not None:
            self.met_file.write_text(repr(self.met))


def read(cache: Any, folder: str, path: str, rest: float = READ_REST) -> None:
    """Look and load for ever, and record each hit."""
    clock, get = time.monotonic, cache.get
    with closing(connect(folder)) as database, open(path, "ab", buffering=0) as record:

        def load() -> int:
            version: int = database.execute("SELECT version FROM versions WHERE key = ?", (key,)).fetchone()[0]
            return version

        while True:
            for key in random.choices(range(KEYS), k=8):
                before = clock()
                version = get(f"k{key}")
                after = clock()
                if version is None:
                    cache.get_or_load(f"k{key}", load)
                else:
                    record.write(HIT.pack(key, version, before, after))
            time.sleep(random.uniform(0.0, rest))


def write(cache: Any, folder: str, path: str, rest: float = WRITE_REST) -> None:
    """Write for ever, and record each write once its flush has returned."""
    clock = time.monotonic
    with closing(connect(folder)) as database, open(path, "ab", buffering=0) as record:

        def commit(key: int) -> int:
            database.execute("BEGIN IMMEDIATE")
            database.execute("UPDATE versions SET version = version + 1 WHERE key = ?", (key,))
            version: int = database.execute("SELECT version FROM versions WHERE key = ?", (key,)).fetchone()[0]
            database.execute("COMMIT")
            return version

        while True:
            (key,) = random.choices(range(KEYS), WEIGHTS)
            if random.random() < 0.25:
                with cache.writing(f"k{key}") as writing:
                    version = commit(key)
                    committed = clock()
                    writing.set(version)
            else:
                version = commit(key)
                committed = clock()
                cache.flush(f"k{key}")
            record.write(WRITE.pack(key, version, committed, clock()))
            time.sleep(random.uniform(0.0, rest))


def node(options: dict[str, Any]) -> None:
    log = Log()
    logging.getLogger("flushmesh").addHandler(log)
    logging.getLogger("flushmesh").setLevel(logging.INFO)
    mesh = Mesh("m", **options)
    cache = mesh.cache("c", ttl=3600.0)
    mesh.start()

    def work(folder: str, incarnation: str) -> None:
        log.met_file = Path(folder) / f"{incarnation}.met"
        log.note()
        for does, count, kind in ((read, READERS, "hits"), (write, WRITERS, "writes")):
            for number in range(count):
                path = f"{folder}/{incarnation}.{number}.{kind}"
                threading.Thread(target=does, args=(cache, folder, path), daemon=True).start()

    def answer(do: str, keys: int = 0, name: str = "", count: int = 0, **arguments: Any) -> Any:
        match do:
            case "work":
                return work(**arguments)
            case "load":
                return [cache.get_or_load(f"k{key}", lambda: "v") for key in range(keys)]
            case "lost":
                return [key for key in range(keys) if cache.get(f"k{key}") is None]
            case "loads":
                return cache.info().loads
            case "flush":
                return flush_times(cache, count)
            case "flush and wait":
                return str(cache.flush("elsewhere").wait(DEADLINE).outcome)
            case "status":
                return brief(mesh)
            case "follows":
                return [name, "following"] in brief(mesh)["peers"]
            case "log":
                return log.lines
            case "close":
                return mesh.close()

    print(json.dumps(mesh.status().address), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(**json.loads(line))), flush=True)
    os._exit(0)


def brief(mesh: Mesh) -> dict[str, Any]:
    """Return what the tests read of the status."""
    status = mesh.status()
    return {
        "state": str(status.state),
        "proof_age": status.proof_age,
        "running_out": status.running_out,
        "peers": [[peer.name, str(peer.state)] for peer in status.peers],
    }


def flush_times(cache: Any, count: int) -> list[float]:
    """Flush *count* times; return how long each call took."""
    times = []
    for number in range(count):
        began = time.perf_counter()
        cache.flush(f"elsewhere{number}")
        times.append(time.perf_counter() - began)
    return times


# The long run.


def undergo(rounds: int, folder: Path, roster: str, seed: int) -> Verdict:
    """Go through the ordeal, and return what was found."""
    ordeal = Ordeal(folder, roster, seed)
    try:
        ordeal.run(rounds)
    finally:
        # Also if somebody has not become well again: what was read until then is to be checked.
        verdict = check(folder, ordeal.all)
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(f"{rounds} rounds, seed {seed}\n{verdict}\n\n" + "\n".join(ordeal.events) + "\n")
    return verdict


def free_range(count: int) -> str:
    """Return *count* ports in a row that are free at the moment, as a range."""
    for first in range(32_100 - 7 * count, 21_000, -count):
        probes = [socket.socket() for _ in range(count)]
        try:
            for port, probe in enumerate(probes, first):
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
        return f"127.0.0.1:{first}-{first + count - 1}"
    raise AssertionError("no free ports")


def main() -> int:
    if sys.argv[1:2] == ["node"]:
        node(json.loads(sys.argv[2]))
    parser = argparse.ArgumentParser(description="Bounded staleness with real processes, for as long as you like.")
    parser.add_argument("--rounds", type=int, default=20, help="of about 12 s (default 20)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="of who is frozen and killed when")
    options = parser.parse_args()
    os.environ["FLUSHMESH_VERBOSE"] = "1"
    with tempfile.TemporaryDirectory(prefix="staleness-") as folder:
        verdict = undergo(options.rounds, Path(folder), free_range(3), options.seed)
    print(f"{options.rounds} rounds, seed {options.seed}\n{verdict}")
    return 1 if verdict.violations else 0


if __name__ == "__main__":
    sys.exit(main())
