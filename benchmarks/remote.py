"""
Rivals with a server: a hit beside Redis, asked anew for each read or kept at the client.

Redis runs on loopback, so a read of it costs two system calls and no network.  Whoever asks
it waits, and the processor time of this thread would not count that: here the clock on the
wall counts, for ours too, and a turn is half as many reads, because one takes long.

redis-py asks for Redis 7.4 before it caches at the client, though servers tell their clients
what has changed since Redis 6.  An older server is let through, and the notes say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

from measure import WALL, Contender, Report, awaited, interleaved, repeated
from rivals import TTL, admit_old_server, caching_client, optional
from servers import UnavailableError, redis_server

from flushmesh import Mesh

READS: Final = 500
ROUNDS: Final = 31
VALUE: Final = b"x" * 100
HOST: Final = "127.0.0.1"
# A hit of ours takes a hundredth of one in redis-py's cache, or less.
AT_MOST: Final = 0.01


def remote_hits(mesh: Mesh, report: Report) -> None:
    """Compare a hit with reading from Redis, and with the caches that Redis keeps coherent."""
    with ExitStack() as stack:
        try:
            port = stack.enter_context(redis_server())
        except UnavailableError as error:
            report.notes.append(f"Redis is not beside the others: {error}")
            return
        _compare_threaded(mesh, report, port)
        _compare_async(mesh, report, port)


def _compare_threaded(mesh: Mesh, report: Report, port: int) -> None:
    redis = optional("redis", report.notes)
    if redis is None:
        return
    keys = [f"user:{number}" for number in range(READS)]
    cache = mesh.cache("remote", maxsize=READS, ttl=TTL)
    for key in keys:
        cache.get_or_load(key, partial(bytes, VALUE))
    with ExitStack() as stack:
        kept, asked = _clients(redis, port, report.notes)
        for client in (*kept.values(), *asked.values()):
            stack.callback(client.close)
        for key in keys:
            next(iter(asked.values())).set(key, VALUE)
        ours = "cache.get, by the clock on the wall"
        getters = {ours: cache.get, **{name: client.get for name, client in (kept | asked).items()}}
        contenders = {name: repeated("get(key)", timer=WALL, get=get) for name, get in getters.items()}
        figures = interleaved(contenders, keys, rounds=ROUNDS, loop=repeated("pass", timer=WALL))
    for rival in kept:
        report.compare(figures, ours, rival, AT_MOST)
    for rival in asked:
        report.compare(figures, ours, rival)


def _clients(redis: Any, port: int, notes: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the clients that keep what they have read, and those that ask each time; those with a pool first."""
    pools = {"pool": False, "one connection": True}
    asked = {
        f"redis-py, GET, {pool}": redis.Redis(HOST, port, single_connection_client=single)
        for pool, single in pools.items()
    }
    server = next(iter(asked.values())).info("server")["redis_version"]
    admit_old_server(redis, server, notes)
    kept = {
        f"redis-py, client-side caching, {pool}": caching_client(redis, port, single_connection_client=single)
        for pool, single in pools.items()
    }
    return kept, asked


def _compare_async(mesh: Mesh, report: Report, port: int) -> None:
    cashews = optional("cashews", report.notes)
    if cashews is None:
        return

    async def load(user_id: int) -> bytes:
        return VALUE

    theirs = cashews.Cache()
    theirs.setup(f"redis://{HOST}:{port}", client_side=True)
    ours, rival = "async cached, by the clock on the wall", "cashews, client-side with Redis"
    functions: dict[str, Callable[[int], Any]] = {
        ours: mesh.cache("remote async", maxsize=READS).cached(key="user:{user_id}")(load),
        rival: theirs(ttl=TTL, key="user:{user_id}")(load),
    }
    with asyncio.Runner() as runner:
        contenders: dict[str, Contender] = {
            name: awaited(runner.run, "await f(key)", timer=WALL, f=f) for name, f in functions.items()
        }
        loop = awaited(runner.run, "pass", timer=WALL)
        figures = interleaved(contenders, range(READS), rounds=ROUNDS, loop=loop)
        runner.run(theirs.close())
    report.compare(figures, ours, rival)
