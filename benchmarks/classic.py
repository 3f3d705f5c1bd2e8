"""
The classic test of a cache service: a thousand puts, then a thousand gets, the average of each.

    make bench ONLY=classic
    .venv/bin/python benchmarks/classic.py [--rounds 9] [--json benchmarks/results/classic.json]

A put makes a small object durable and makes every instance see it: a SQLite transaction that is
on the disk when it returns (WAL, `synchronous=FULL`: one fsync), then `cache.flush`, or SET on
a Redis that keeps its values in memory.  A get reads it again: `cache.get_or_load` here, GET
there, whose answer stays bytes, though ours is the object.  The loader is a lambda made for
each get, as applications do it, and that is timed too.  One peer, a process of its own, follows
this node and applies every flush.  Redis is on loopback, and its client has one connection.

Everything waits for a disk or a server, so the clock on the wall counts.  A round is a thousand
puts, or a thousand gets, by each contender, one after the other; a figure is the average of one
round, and the table shows the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from measure import WALL, Contender, Figure, Report, arguments, interleaved, repeated, settle
from programs import wait_for_peers
from rivals import optional
from servers import UnavailableError, redis_server
from storm import DEADLINE

from flushmesh import Mesh

OBJECTS: Final = 1_000
RESULTS: Final = Path(__file__).with_name("results")
ROUNDS: Final = 9
GET_ROUNDS: Final = 31
KEYS: Final = [f"user:{number}" for number in range(OBJECTS)]
# About a hundred bytes as JSON.
OBJECT: Final = {"id": 42, "name": "Ada Lovelace", "mail": "ada@example.org", "roles": ["admin", "author"], "seen": 1}
ENCODED: Final = json.dumps(OBJECT).encode()

OUR_PUT, OUR_GET = "put: SQLite, then cache.flush", "get: cache.get_or_load"
COLD_GET: Final = "first get: get_or_load, from SQLite"


class Table:
    """The source of truth: one SQLite table, whose writes are on the disk when they return."""

    def __init__(self, path: Path) -> None:
        # Without an isolation level every statement is a transaction that commits by itself.
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE objects (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")

    def write(self, key: str) -> None:
        """Store OBJECT under *key*."""
        self._connection.execute("INSERT OR REPLACE INTO objects VALUES (?, ?)", (key, json.dumps(OBJECT).encode()))

    def read(self, key: str) -> Any:
        """Return the object under *key*."""
        (value,) = self._connection.execute("SELECT value FROM objects WHERE key = ?", (key,)).fetchone()
        return json.loads(value)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


def puts(mesh: Mesh, table: Table, clients: Mapping[str, Any], report: Report, rounds: int) -> None:
    """Compare a durable write and the flush after it with a durable write and a SET."""
    flush = mesh.cache("objects").flush
    alone = "SQLite alone"
    contenders: dict[str, Contender] = {
        OUR_PUT: _timed("write(key); flush(key)", write=table.write, flush=flush),
        alone: _timed("write(key)", write=table.write),
    }
    for name, client in clients.items():
        contenders[f"{name}, SET alone"] = _timed("put(key, value)", put=client.set, value=ENCODED)
    theirs = "SQLite, then Redis SET"
    if REDIS in clients:
        contenders[theirs] = _timed(
            "write(key); put(key, value)", write=table.write, put=clients[REDIS].set, value=ENCODED
        )
    figures = in_microseconds(interleaved(contenders, KEYS, rounds=rounds, loop=_timed("pass")))
    report.compare(figures, OUR_PUT, theirs, 1.0)
    for rival in contenders:
        if rival not in (OUR_PUT, theirs):
            report.compare(figures, OUR_PUT, rival)


def gets(mesh: Mesh, table: Table, clients: Mapping[str, Any], report: Report) -> None:
    """Compare a read through the cache with GET; the first reading, which fills the cache, with SQLite's."""
    cache = mesh.cache("objects")
    for key in KEYS:
        table.write(key)
        for client in clients.values():
            client.set(key, ENCODED)
    alone = "SQLite alone: SELECT, json.loads"
    read = "get(key, lambda: read(key))"
    contenders: dict[str, Contender] = {
        COLD_GET: _timed(read, get=cache.get_or_load, read=table.read),
        OUR_GET: _timed(read, get=cache.get_or_load, read=table.read),
        alone: _timed("read(key)", read=table.read),
    }
    theirs = f"{REDIS}, GET"
    if REDIS in clients:
        contenders[theirs] = _timed("get(key)", get=clients[REDIS].get)
    turns = interleaved(contenders, KEYS, rounds=GET_ROUNDS, before=cache.flush_all, loop=_timed("pass"))
    figures = in_microseconds(turns)
    report.compare(figures, OUR_GET, theirs, 0.001)
    report.compare(figures, OUR_GET, alone)
    report.compare(figures, COLD_GET, theirs)
    report.compare(figures, COLD_GET, alone)


def _timed(code: str, **names: object) -> Contender:
    return repeated(code, timer=WALL, **names)


def in_microseconds(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Return *figures*, which are in nanoseconds, in microseconds."""
    return {name: Figure(name, [each / 1e3 for each in figure.samples], "µs") for name, figure in figures.items()}


REDIS: Final = "Redis"
DURABLE: Final = "Redis, fsync at every write"


@contextmanager
def redis_clients(directory: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Yield clients of a Redis that keeps values in memory and of one that syncs each to the disk."""
    redis = optional("redis", notes)
    with ExitStack() as stack:
        clients: dict[str, Any] = {}
        for name, durable in ((REDIS, False), (DURABLE, True)) if redis else ():
            try:
                port = stack.enter_context(redis_server(durable=durable, directory=directory))
            except UnavailableError as error:
                notes.append(f"{name} is not beside the others: {error}")
                continue
            client = redis.Redis("127.0.0.1", port, single_connection_client=True)
            clients[name] = stack.enter_context(closing(client))
        yield clients


@contextmanager
def one_peer(mesh: Mesh) -> Iterator[None]:
    """Have a process follow *mesh*, as one more instance would."""
    command = [sys.executable, __file__, "--peer", mesh.status().address]
    # Leaving closes its standard input, which it reads to the end.
    with subprocess.Popen(command, stdin=subprocess.PIPE):
        wait_for_peers(mesh, 1)
        met(mesh)
        yield
        met(mesh)


def met(mesh: Mesh) -> None:
    """Hold that the peer applies what is flushed here."""
    delivery = mesh.cache("objects").flush(KEYS[0]).wait(timeout=DEADLINE)
    assert delivery.acknowledged, delivery


def be_the_peer(address: str) -> None:
    """Follow the node at *address* until standard input ends."""
    with Mesh("classic", peers=[address], mdns=False) as mesh:
        mesh.cache("objects")
        wait_for_peers(mesh, 1)
        sys.stdin.read()


def main() -> None:
    """Measure, and print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how many times a thousand puts of each")
    parser.add_argument(
        "--directory", type=Path, default=RESULTS, help="where the databases lie; on a disk, not in memory"
    )
    parser.add_argument("--peer", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        be_the_peer(options.peer)
        return
    settle(at_once=options.at_once)
    report = Report()
    with ExitStack() as stack:
        options.directory.mkdir(parents=True, exist_ok=True)
        # The system has its own often in memory, where nothing is durable.
        place = Path(stack.enter_context(TemporaryDirectory(dir=options.directory)))
        table = stack.enter_context(closing(Table(place / "objects.sqlite")))
        clients = stack.enter_context(redis_clients(place, report.notes))
        mesh = stack.enter_context(Mesh("classic", mdns=False))
        stack.enter_context(one_peer(mesh))
        puts(mesh, table, clients, report, options.rounds)
        gets(mesh, table, clients, report)
    report.finish(options.json)


if __name__ == "__main__":
    main()
