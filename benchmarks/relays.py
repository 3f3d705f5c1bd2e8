"""
Relays: what carries a flush from one process to the others; ours, and its rivals.

A relay is the writer's side, in the process of the benchmark, with its peers: processes that
run `listener`, each for this one relay.  They live as long as the relay and are blocked while
it is another's turn.  Servers are started on loopback, with nothing else to do.

Times are read off `flushmesh.clock.clock`, which all processes of a machine share: a
difference between two processes is exact.
"""

from __future__ import annotations

import asyncio
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, Final

import grpc
import uvloop
from programs import Programs, free_range, wait_for_peers
from rivals import needed
from servers import UnavailableError, nats_server, redis_server

from flushmesh import Mesh
from flushmesh.clock import clock
from flushmesh.net.loop import Loop
from flushmesh.net.server import _OPTIONS as SERVER_OPTIONS

CHANNEL: Final = "flushes"
DEADLINE: Final = 5.0
_PROGRAM: Final = Path(__file__).with_name("listener.py")


def round_keys(name: str, count: int) -> list[str]:
    """Return the keys of one round; no two rounds share any, so that what comes too late is not taken for another."""
    return [f"user:{name}:{index}" for index in range(count)]


def listeners(stack: ExitStack, kind: str, address: str, count: int, *, told: bool) -> Programs:
    """Start the *count* listening processes of one relay; *told* tells whether each flush is noted."""
    return Programs(stack, _PROGRAM, [kind, address, str(count), "times" if told else "count"], count)


class Relay(ABC):
    """What the writer does; each subclass starts what it needs, on *stack*, and waits until all *peers* listen."""

    name: str
    peers: Programs

    @abstractmethod
    def __init__(self, stack: ExitStack, peers: int, *, told: bool) -> None: ...

    @abstractmethod
    def flush(self, key: str) -> object:
        """Have the peers forget *key*."""

    def count(self) -> None:
        """Have the peers count anew."""
        self.peers.ask("anew")

    def counted(self, count: int) -> list[tuple[int, float]]:
        """Wait until each peer has applied *count*, or none for DEADLINE; return how many it has, and when the last."""
        answers: list[tuple[int, float]] = self.peers.ask("wait", count, DEADLINE)
        return answers

    def fill(self, name: str, count: int) -> None:
        """Have each peer hold the keys of a round."""
        self.peers.ask("fill", name, count)

    def send(self, keys: Sequence[str], gap: float) -> list[float]:
        """Flush *keys*, one every *gap* seconds, and return when each call began."""
        sent = []
        began = clock()
        for number, key in enumerate(keys):
            _sleep_until(began + number * gap)
            sent.append(clock())
            self.flush(key)
        return sent

    def applied(self, count: int) -> list[dict[str, float]]:
        """Return when each of *count* keys was gone, peer by peer; what has not come after DEADLINE is left out."""
        answers: list[dict[str, float]] = self.peers.ask("take", count, DEADLINE)
        return answers


class Ours(Relay):
    """This library: every peer is a node, and so is the writer."""

    name = "flushmesh"

    def __init__(self, stack: ExitStack, peers: int, *, told: bool) -> None:
        roster = free_range(peers + 1)
        self.peers = listeners(stack, "flushmesh", roster, peers, told=told)
        self.mesh = stack.enter_context(Mesh("bench", listen=roster, peers=[roster]))
        self.cache = self.mesh.cache("c")
        wait_for_peers(self.mesh, peers)
        self.peers.answers()

    def flush(self, key: str) -> object:
        """Have the peers forget *key*."""
        return self.cache.flush(key)


class RedisPubSub(Relay):
    """A message on a Redis channel for each flush; redis-py with hiredis, a thread that listens."""

    name = "Redis pub/sub"

    def __init__(self, stack: ExitStack, peers: int, *, told: bool) -> None:
        redis = needed("redis")
        self.port = stack.enter_context(redis_server())
        self.redis = stack.enter_context(redis.Redis(port=self.port))
        self.peers = listeners(stack, "redis", str(self.port), peers, told=told)
        self.peers.answers()

    def flush(self, key: str) -> object:
        """Publish *key*."""
        return self.redis.publish(CHANNEL, key)


class RedisTracking(Relay):
    """The client-side caching of redis-py: a SET that another process polls its cached GET for."""

    name = "redis-py client-side cache"

    def __init__(self, stack: ExitStack, peers: int, *, told: bool) -> None:
        redis = needed("redis")
        port = stack.enter_context(redis_server())
        self.redis = stack.enter_context(redis.Redis(port=port))
        self.peers = listeners(stack, "tracking", str(port), peers, told=told)
        self.peers.answers()

    def flush(self, key: str) -> object:
        """Set *key*."""
        return self.redis.set(key, "new")

    def fill(self, name: str, count: int) -> None:
        """Set the keys of a round to what each peer then holds."""
        self.redis.flushall()
        self.redis.mset(dict.fromkeys(round_keys(name, count), "old"))
        super().fill(name, count)


class Nats(Relay):
    """A message on a NATS subject for each flush; nats-py on both sides, in loops of uvloop with nothing else to do."""

    name = "NATS"

    def __init__(self, stack: ExitStack, peers: int, *, told: bool) -> None:
        nats = needed("nats")
        port = stack.enter_context(nats_server())
        self.runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        self.nats = self.runner.run(nats.connect(f"nats://127.0.0.1:{port}"))
        stack.callback(lambda: self.runner.run(self.nats.close()))
        self.peers = listeners(stack, "nats", str(port), peers, told=told)
        self.peers.answers()

    def flush(self, key: str) -> object:
        """Publish *key*."""
        return self.runner.run(self._publish(key))

    def send(self, keys: Sequence[str], gap: float) -> list[float]:
        """Flush *keys* from inside the loop."""
        return self.runner.run(self._send(keys, gap))

    async def _send(self, keys: Sequence[str], gap: float) -> list[float]:
        sent = []
        began = clock()
        for number, key in enumerate(keys):
            # Blocking: a loop's own timers are a millisecond coarse, and nothing else runs in this one.
            _sleep_until(began + number * gap)
            sent.append(clock())
            await self._publish(key)
        return sent

    def publish_together(self, keys: Sequence[str], batch: int) -> None:
        """Flush *keys* without a pause, writing every *batch*."""
        self.runner.run(self._publish_together(keys, batch))

    async def _publish_together(self, keys: Sequence[str], batch: int) -> None:
        publish = self.nats.publish
        for number, key in enumerate(keys, 1):
            await publish(CHANNEL, key.encode())
            if number % batch == 0:
                await asyncio.sleep(0)
        await self.nats.flush()

    async def _publish(self, key: str) -> None:
        await self.nats.publish(CHANNEL, key.encode())
        # Its flusher takes one step of the loop to write, and uvloop sends at the end of that step, so whoever
        # blocks the loop must not do it before the next one; `nats.flush` would wait for an answer.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


class BareGrpc(Relay):
    """The floor of what carries ours: a gRPC stream to each peer, same event loop and options, nothing else."""

    name = "bare gRPC"

    def __init__(self, stack: ExitStack, peers: int, *, told: bool) -> None:
        self._queues: list[asyncio.Queue[bytes]] = []
        listening: Future[int] = Future()
        self._loop = Loop()
        thread = Thread(target=lambda: asyncio.Runner(loop_factory=lambda: self._loop).run(self._serve(listening)))
        thread.start()
        stack.callback(thread.join)
        stack.callback(lambda: self._loop.call_soon_threadsafe(self._stopping.set))
        port = listening.result(DEADLINE)
        self.peers = listeners(stack, "grpc", str(port), peers, told=told)
        self.peers.answers()
        while len(self._queues) < peers:
            time.sleep(0.01)

    def flush(self, key: str) -> object:
        """Write *key* to each stream."""
        self._loop.call_soon_threadsafe(self._put, key.encode())
        return None

    def _put(self, key: bytes) -> None:
        for queue in self._queues:
            queue.put_nowait(key)

    async def _serve(self, listening: Future[int]) -> None:
        self._stopping = asyncio.Event()
        server = grpc.aio.server(options=SERVER_OPTIONS)
        follow: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self._follow)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("bench", {"Follow": follow})])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        listening.set_result(port)
        await self._stopping.wait()
        await server.stop(0)

    async def _follow(self, _requests: object, stream: Any) -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        await stream.read()
        self._queues.append(queue)
        while True:
            await stream.write(await queue.get())


class RawTcp(Relay):
    """The floor: a line on a TCP connection to each peer in turn, a thread that is blocked in `recv` there."""

    name = "raw TCP"

    def __init__(self, stack: ExitStack, peers: int, *, told: bool) -> None:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.settimeout(DEADLINE)
        self.peers = listeners(stack, "tcp", str(server.getsockname()[1]), peers, told=told)
        self._connections = []
        for _ in range(peers):
            connection = stack.enter_context(server.accept()[0])
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
        self.peers.answers()

    def flush(self, key: str) -> object:
        """Send *key*."""
        line = f"{key}\n".encode()
        for connection in self._connections:
            connection.sendall(line)
        return None


@contextmanager
def started(
    kinds: Sequence[type[Relay]], peers: int, missing: list[str], *, told: bool = True
) -> Iterator[list[Relay]]:
    """Yield a relay of each of *kinds* to *peers* processes; note which cannot be had in *missing*."""
    with ExitStack() as stack:
        relays: list[Relay] = []
        for kind in kinds:
            try:
                relays.append(kind(stack, peers, told=told))
            except (ImportError, UnavailableError) as error:
                missing.append(f"{kind.name} is not beside the others: {error}")
        yield relays


def _sleep_until(due: float) -> None:
    early = due - clock()
    if early > 0:
        time.sleep(early)
