"""
The listener: one process that a relay's flushes reach, run as a program.

    listener.py RELAY ADDRESS PEERS times|count

It holds keys in a local cache and notes when each is gone from it, by a clock that all
processes of the machine share; told to count, only how many have gone.  Its main thread is
blocked in reading commands, one a line, each answered by a line of JSON; the flushes are
applied on a thread beside it, as they are in an application.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Any, Final

import grpc
import grpc.aio
import uvloop
from measure import percentile, resting_collector
from programs import say, wait_for_peers
from relays import CHANNEL, DEADLINE, round_keys
from rivals import admit_old_server, caching_client, needed
from storm import flush_behind, read_for

from flushmesh import Flushed, Mesh
from flushmesh.clock import clock
from flushmesh.net.client import _OPTIONS as CHANNEL_OPTIONS
from flushmesh.net.loop import Loop

_POLL: Final = 0.001


class Listener:
    """A local cache as one writes it for a rival: a dict under a lock, and a thread that forgets what it is told to."""

    def __init__(self, *, told: bool) -> None:
        self.at: dict[str, float] = {}
        self._told = told
        self._values: dict[str, object] = {}
        self._lock = Lock()
        self._count = self._before = 0

    def fill(self, keys: list[str]) -> None:
        """Hold *keys*."""
        with self._lock:
            self._values = dict.fromkeys(keys, "value")

    def forget(self, key: str) -> None:
        """Drop *key*, and note when it was gone."""
        with self._lock:
            self._values.pop(key, None)
        if self._told:
            self.at[key] = clock()
        else:
            self._count += 1

    def count(self) -> int:
        """Return how many flushes have been applied."""
        return self._count

    def take(self, count: int, seconds: float) -> dict[str, float]:
        """Wait until *count* keys are gone, at most *seconds*; return when each went, and begin anew."""
        deadline = clock() + seconds
        while len(self.at) < count and clock() < deadline:
            time.sleep(_POLL)
        taken, self.at = self.at, {}
        return taken

    def wait_for(self, count: int, seconds: float) -> tuple[int, float]:
        """Wait until *count* flushes have been applied, at most *seconds* without any; return how many, and when."""
        seen, at = -1, clock()
        while seen < count and clock() < at + seconds:
            if (now := self.count() - self._before) > seen:
                seen, at = now, clock()
            time.sleep(_POLL)
        return seen, at

    def count_anew(self) -> None:
        """Leave what has been applied so far out of what `wait_for` tells."""
        self._before = self.count()


class OurListener(Listener):
    """A node, whose own cache is what holds the keys."""

    def __init__(self, roster: str, peers: int, *, told: bool) -> None:
        super().__init__(told=told)
        self.mesh = Mesh("bench", listen=roster, peers=[roster])
        self.cache = self.mesh.cache("c", on_flushed=self._note if told else None)
        self.truncated = 0
        logging.getLogger("flushmesh").addFilter(self._is_news)
        self.mesh.start()
        wait_for_peers(self.mesh, peers)

    def fill(self, keys: list[str]) -> None:
        """Hold *keys*."""
        for key in keys:
            self.cache.get_or_load(key, object)

    def read(self, seconds: float) -> dict[str, float]:
        """Hit for *seconds*, and return how long a hit took, in nanoseconds, and how many there were."""
        keys = round_keys("hot", 1_000)
        self.fill(keys)
        with resting_collector():
            latencies = read_for(self.cache, keys, seconds)
        percents = {f"p{percent:g}": percentile(latencies, percent) for percent in (50, 99, 99.9)}
        return {**percents, "worst": max(latencies), "hits": len(latencies)}

    def count(self) -> int:
        """Return how many flushes have been applied."""
        return self.cache.info().flushes_applied

    def _is_news(self, record: logging.LogRecord) -> bool:
        missed = "may have been missed" in record.msg
        self.truncated += missed
        return not missed

    def _note(self, flushed: Flushed) -> None:
        if flushed.key is not None:
            self.at[flushed.key] = clock()


class TrackingListener(Listener):
    """Polls the cached value of one key after the other, without pause, until each is the new one."""

    def __init__(self, port: int, *, told: bool) -> None:
        redis = needed("redis")
        super().__init__(told=told)
        admit_old_server(redis, redis.Redis(port=port).info("server")["redis_version"], [])
        self._redis = caching_client(redis, port)
        self._redis.ping()
        self._keys: list[str] = []
        self._filled = Event()
        Thread(target=self._poll, daemon=True).start()

    def fill(self, keys: list[str]) -> None:
        """Get *keys*, so that they are cached, and begin to poll."""
        for key in keys:
            assert self._redis.get(key) == b"old"
        self._keys = keys
        self._filled.set()

    def _poll(self) -> None:
        get = self._redis.get
        while self._filled.wait():
            self._filled.clear()
            deadline = clock() + DEADLINE
            for key in self._keys:
                while get(key) != b"new" and clock() < deadline:
                    pass
                if clock() < deadline:
                    self.at[key] = clock()


def listen_to_redis(port: int, forget: Callable[[str], None]) -> None:
    """Subscribe, and forget what is published, on a thread."""
    connection = needed("redis").Redis(port=port, socket_timeout=None)
    pubsub = connection.pubsub()
    pubsub.subscribe(CHANNEL)
    messages = pubsub.listen()
    assert next(messages)["type"] == "subscribe"

    def listen() -> None:
        for message in messages:
            if message["type"] == "message":
                forget(message["data"].decode())

    Thread(target=listen, daemon=True).start()


def listen_to_nats(port: int, forget: Callable[[str], None]) -> None:
    """Subscribe, and forget what is published, in a loop on a thread."""
    subscribed = Event()

    def listen() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_listen_to_nats(port, forget, subscribed))

    Thread(target=listen, daemon=True).start()
    assert subscribed.wait(DEADLINE)


async def _listen_to_nats(port: int, forget: Callable[[str], None], subscribed: Event) -> None:
    nats = needed("nats")

    async def on_message(message: Any) -> None:
        forget(message.data.decode())

    connection = await nats.connect(f"nats://127.0.0.1:{port}")
    await connection.subscribe(CHANNEL, cb=on_message, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await connection.flush()
    subscribed.set()
    await asyncio.Event().wait()


def listen_to_grpc(port: int, forget: Callable[[str], None]) -> None:
    """Open a stream, and forget what comes on it, in a loop on a thread."""
    opened = Event()

    async def listen() -> None:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS)
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream("/bench/Follow")()
        await call.write(b"hello")
        opened.set()
        while isinstance(key := await call.read(), bytes):
            forget(key.decode())

    Thread(target=lambda: asyncio.Runner(loop_factory=Loop).run(listen()), daemon=True).start()
    assert opened.wait(DEADLINE)


def listen_to_tcp(port: int, forget: Callable[[str], None]) -> None:
    """Connect, and forget what is sent, line by line, on a thread."""
    connection = socket.create_connection(("127.0.0.1", port))

    def listen() -> None:
        rest = b""
        while received := connection.recv(65_536):
            *lines, rest = (rest + received).split(b"\n")
            for line in lines:
                forget(line.decode())

    Thread(target=listen, daemon=True).start()


def listening(relay: str, address: str, peers: int, *, told: bool) -> Listener:
    """Return a listener once it is reached by *relay*."""
    if relay == "flushmesh":
        return OurListener(address, peers, told=told)
    if relay == "tracking":
        return TrackingListener(int(address), told=told)
    listener = Listener(told=told)
    listen = {"redis": listen_to_redis, "nats": listen_to_nats, "grpc": listen_to_grpc, "tcp": listen_to_tcp}[relay]
    listen(int(address), listener.forget)
    return listener


def main() -> None:
    """Listen, and do what is asked."""
    relay, address, peers, mode = sys.argv[1:]
    listener = listening(relay, address, int(peers), told=mode == "times")
    say("listening")
    for line in sys.stdin:
        match line.split():
            case ["fill", name, count]:
                listener.fill(round_keys(name, int(count)))
                say("filled")
            case ["take", count, seconds]:
                say(listener.take(int(count), float(seconds)))
            case ["read", seconds] if isinstance(listener, OurListener):
                say(listener.read(float(seconds)))
            case ["flush", count] if isinstance(listener, OurListener):
                flush_behind(listener.cache, int(count))
                say("flushed")
            case ["truncated"] if isinstance(listener, OurListener):
                say(listener.truncated)
            case ["anew"]:
                listener.count_anew()
                say("counting")
            case ["wait", count, seconds]:
                say(listener.wait_for(int(count), float(seconds)))


if __name__ == "__main__":
    main()
