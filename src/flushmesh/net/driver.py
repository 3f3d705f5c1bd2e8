"""
Driver: the one thread that does a mesh's I/O.

It owns one event loop and on it every gRPC and zeroconf object.  Into the node it feeds
what arrives and the time; the node's effects it carries out, or passes to the mesh.
Application threads meet it in two places only: the lock around the node, and `wake`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from math import inf
from threading import Lock, Thread, current_thread
from typing import Final

import grpc

from flushmesh.address import is_loopback
from flushmesh.discovery import Announcement, Discovery, by_source
from flushmesh.discovery.proposals import Proposals
from flushmesh.net.client import Call, Ending, knock
from flushmesh.net.codec import Encoder, decode_from_follower, decode_from_origin
from flushmesh.net.conversation import Conversation
from flushmesh.net.loop import Loop
from flushmesh.net.server import Server, Stream, caller_host
from flushmesh.protocol.effects import Dial, Effect, HangUp, Met, Wake
from flushmesh.protocol.messages import Message
from flushmesh.protocol.node import Node

log = logging.getLogger("flushmesh")

# How a shutdown spends the two seconds it may take: goodbyes first, then whoever is stuck.
GOODBYE_MAX: Final = 1.0
GRACE: Final = 0.1
STOP_MAX: Final = 2.0


class Driver:
    """
    Runs one node.

    *make_node* is called once the address is known; *on_effect* gets the effects that are
    not I/O, on the driver's thread, without the lock.  *on_death* is called there if the
    thread ends without having been stopped.
    """

    def __init__(
        self,
        lock: Lock,
        clock: Callable[[], float],
        make_node: Callable[[str, Mapping[str, float]], Node],
        on_effect: Callable[[Effect], None],
        on_death: Callable[[], None],
    ) -> None:
        self._lock = lock
        self._clock = clock
        self._make_node = make_node
        self._on_effect = on_effect
        self._on_death = on_death
        self._encoder = Encoder()
        self._conversations: dict[int, Conversation] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._serving: set[int] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._woken = False
        self.encode = self._encoder.encode

    # From the application's threads.

    def start(self, listen: Sequence[str], discoveries: Sequence[Discovery], *, insecure: bool) -> None:
        """Start the thread and return once it listens; raise what kept it from that."""
        self._listen = listen
        self._discoveries = discoveries
        self._insecure = insecure
        started: Future[None] = Future()
        self._thread = Thread(target=self._run, args=(started,), name="flushmesh", daemon=True)
        self._thread.start()
        started.result()

    def wake(self) -> None:
        """Send what was flushed; many calls in a row are one wake-up."""
        if not self._woken:
            # Set first: the loop may run, and reset it, before the call has returned.
            self._woken = True
            self._call(self._wake_all)

    def act_soon(self, effects: Sequence[Effect]) -> None:
        """Carry out *effects* on the driver's thread."""
        self._call(lambda: self._act(effects))

    def stop(self) -> None:
        """Say goodbye and end; returns within STOP_MAX seconds, whatever peers do."""
        self._call(self._stopping.set)
        if current_thread() is not self._thread:
            self._thread.join(STOP_MAX)

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller runs on the driver's own thread."""
        return current_thread() is self._thread

    def _call(self, function: Callable[[], None]) -> None:
        # Once the loop has ended there is nobody left to tell.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    # The thread.

    def _run(self, started: Future[None]) -> None:
        try:
            with asyncio.Runner(loop_factory=Loop) as runner:
                runner.run(self._main(started))
        except BaseException as error:  # The thread ends here; whoever waits for its start must hear of it.
            if not started.done():
                started.set_exception(error)
            else:
                log.exception("the mesh has stopped because of an error in it")
                self._on_death()

    async def _main(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._stirred = asyncio.Event()
        server = Server(self._serve)
        try:
            address = await server.start(self._listen)
            discoveries = by_source(self._discoveries)
            sources = {source: discovery.settles_after for source, discovery in discoveries.items()}
            self._node = self._make_node(address, sources)
            announcement = Announcement(self._node.mesh, self._node.identity.id, address)
            for source, discovery in discoveries.items():
                self._spawn(self._discover(source, discovery, announcement))
            self._tick()
            started.set_result(None)
            await self._stopping.wait()
            await self._say_goodbye()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for conversation in self._conversations.values():
                conversation.hang_up(None)
            for task in self._tasks:
                task.cancel()
            ending = [*self._tasks, asyncio.create_task(server.stop(GRACE))]
            await asyncio.wait(ending, timeout=STOP_MAX - GOODBYE_MAX - 0.3)
            # gRPC completes what was cancelled a moment later, and complains where the loop is gone by then.
            await asyncio.sleep(0.02)

    async def _say_goodbye(self) -> None:
        """Send what is left and the goodbye, and wait until it has been read."""
        with self._lock:
            effects = self._node.leave()
        self._act(effects)
        deadline = self._loop.time() + GOODBYE_MAX
        while not self._parted() and self._loop.time() < deadline:
            self._stirred.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._stirred.wait()

    def _parted(self) -> bool:
        with self._lock:
            return self._node.parted and not self._serving

    async def _discover(self, source: str, discovery: Discovery, announcement: Announcement) -> None:
        proposals = Proposals(source)

        def propose(addresses: Collection[str]) -> None:
            if not self.is_current_thread:
                raise RuntimeError("propose: call it on the mesh's own thread, as loop.call_soon_threadsafe does")
            sound = proposals.sound(addresses)
            with self._lock:
                effects = self._node.propose(source, sound, self._clock())
            self._act(effects)
            self._plan()

        try:
            await discovery.run(announcement, propose)
        except asyncio.CancelledError:
            raise
        except BaseException:  # Whatever a discovery dies of, the others and the mesh go on.
            log.warning("%s finds no more peers", source, exc_info=True)

    # Streams.

    async def _serve(self, stream: Stream) -> None:
        """Be the origin of whoever opened *stream*."""

        async def read() -> bytes | None:
            data = await stream.read()
            return data if isinstance(data, bytes) else None

        with self._lock:
            link = self._node.accept(caller_host(stream), self._clock())
        conversation = Conversation(link, self, read, stream.write, decode_from_follower)
        self._serving.add(link)
        try:
            await self._converse(conversation)
        finally:
            self._serving.discard(link)
            self._closed(link, "the follower went away")
        if conversation.refusal is not None:
            await stream.abort(grpc.StatusCode.FAILED_PRECONDITION, conversation.refusal)

    async def _dial(self, link: int, address: str) -> None:
        """Follow whoever answers at *address*."""
        if not self._insecure and not is_loopback(address):
            self._closed(link, "beyond this machine, and the mesh is not insecure", refused=True)
            return
        ending = Ending("broken off", silent=True)
        try:
            nobody = await knock(address)
            ending = nobody if nobody is not None else await self._follow(link, address)
        finally:
            self._closed(link, ending.reason, refused=ending.refused, silent=ending.silent)

    async def _follow(self, link: int, address: str) -> Ending:
        call = Call(address)
        try:
            await self._converse(Conversation(link, self, call.read, call.write, decode_from_origin))
            return await call.ending()
        finally:
            await call.close()

    async def _converse(self, conversation: Conversation) -> None:
        link = conversation.link
        self._conversations[link] = conversation
        try:
            await conversation.run()
        except (grpc.RpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
            log.debug("stream %d broke", link, exc_info=True)
        finally:
            del self._conversations[link]

    def _closed(self, link: int, reason: str, *, refused: bool = False, silent: bool = False) -> None:
        with self._lock:
            effects = self._node.closed(link, reason, self._clock(), refused=refused, silent=silent)
        self._act(effects)
        self._stirred.set()
        self._plan()

    # What a conversation needs.

    def next_message(self, link: int) -> Message | None:
        """Return what is to be sent on *link* next."""
        with self._lock:
            return self._node.next_message(link, self._clock())

    def received(self, link: int, message: Message) -> None:
        """Take what came on *link*."""
        log.debug("%d: %s", link, message)
        with self._lock:
            effects = self._node.receive(link, message, self._clock())
        self._act(effects)

    def broken(self, link: int, reason: str) -> None:
        """End *link* because of what came on it."""
        with self._lock:
            effects = self._node.hang_up(link, reason, self._clock())
        log.warning("a peer %s; its stream is dropped", reason)
        self._act(effects)

    # Effects and time.

    def _act(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Wake(link):
                    if link in self._conversations:
                        self._conversations[link].wake()
                case Dial(link, address):
                    self._spawn(self._dial(link, address))
                case HangUp(link, refusal):
                    if link in self._conversations:
                        self._conversations[link].hang_up(refusal)
                case _:
                    self._on_effect(effect)
                    if isinstance(effect, Met):
                        self._plan()

    def _wake_all(self) -> None:
        self._woken = False
        for conversation in self._conversations.values():
            conversation.wake()

    def _plan(self) -> None:
        """Set the timer for what the node does next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with self._lock:
            due = self._node.next_due()
        if due < inf:
            self._timer = self._loop.call_later(max(0.0, due - self._clock()), self._tick)

    def _tick(self) -> None:
        with self._lock:
            effects = self._node.tick(self._clock())
        self._act(effects)
        self._plan()

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
