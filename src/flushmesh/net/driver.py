"""
Driver: the one thread that does a mesh's I/O.

It owns one event loop and on it the node and every gRPC and zeroconf object.  Nothing else
touches the node while the thread runs: application threads hand over what they want by
the inbox, and wake the loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock, Thread, current_thread
from typing import Any, Final

import grpc

from flushmesh.discovery import Announcement, Discovery, by_source
from flushmesh.discovery.proposals import Proposals
from flushmesh.errors import StartError
from flushmesh.net.inbox import Inbox
from flushmesh.net.loop import Loop
from flushmesh.net.noderunner import NodeRunner
from flushmesh.net.server import Server, Stream
from flushmesh.net.streams import Streams
from flushmesh.protocol.effects import Effect, Joined, PeerFollowed
from flushmesh.protocol.node import Node
from flushmesh.protocol.trust import Phase, Source

log = logging.getLogger("flushmesh")

# How a shutdown spends the two seconds it may take: what was flushed must have met a peer, then the
# goodbyes, then what is stuck.
STOP_MAX: Final = 2.0
MEET_MAX: Final = 1.2
GOODBYE_MAX: Final = 1.0
TEAR_DOWN_MAX: Final = 0.5
GRACE: Final = 0.1

# What a suspension leaves to tasks that have something to finish.
SUSPENSION_GRACE: Final = 0.03


class Driver:
    """
    Runs one node.

    *make_node* is called on the driver's thread once the address is known, also after each
    suspension; *on_effect* gets the effects that are not I/O there, *on_error* is called after
    an error of the node itself.  *on_end* is called when the thread has stopped, or died, for
    good.

    Suspended, it has nothing of gRPC and no thread; what is flushed in the meantime waits in
    the inbox.
    """

    def __init__(
        self,
        inbox: Inbox,
        clock: Callable[[], float],
        make_node: Callable[[str, Mapping[str, Source]], Node],
        on_effect: Callable[[Effect], None],
        on_error: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self.runner: NodeRunner | None = None
        self._inbox = inbox
        self._clock = clock
        self._make_node = make_node
        self._on_effect = on_effect
        self._on_error = on_error
        self._on_end = on_end
        self._tasks: set[asyncio.Task[None]] = set()
        self._turning = Lock()  # Protects `_suspended` and `_ended`: whether the thread goes on or another begins.
        self._suspended = False
        self._ended = True
        self._stopped = False
        inbox.wake = self._wake

    # From the application's threads.

    def start(self, listen: Sequence[str], discoveries: Sequence[Discovery], *, insecure: bool) -> None:
        """Start the thread and return once it listens; raise what kept it from that."""
        self._listen = listen
        self._discoveries = discoveries
        self._insecure = insecure
        self._launch(in_turn=False)

    def _launch(self, *, in_turn: bool) -> None:
        started: Future[None] = Future()
        self._ended = False
        self._thread = Thread(target=self._run, args=(started, in_turn), name="flushmesh", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._ended = True
            raise StartError(f"cannot start the mesh's thread: {error}") from None
        started.result()

    def _wake(self) -> None:
        self._call(self._look_into_inbox)

    def _look_into_inbox(self) -> None:
        if self.runner is not None:
            self.runner.woken()

    def later(self, seconds: float, function: Callable[[], None]) -> object:
        """Have *function* called on the driver's thread after so many *seconds*, from that thread."""
        return self._loop.call_later(seconds, function)

    def stop(self) -> None:
        """Say goodbye and end, once resumed if suspended; return within STOP_MAX seconds, whatever peers do."""
        self._inbox.close()
        self._stopped = True
        self._halt()

    def suspend(self) -> None:
        """Let go of the thread and of gRPC without a goodbye; return within STOP_MAX seconds."""
        with self._turning:
            self._suspended = True
        self._halt()

    def resume(self) -> None:
        """
        Go on after `suspend`, at the same address if it is still free.

        It must be this process's turn to choose a port.  Raises StartError like `start`.
        """
        with self._turning:
            self._suspended = False
            if not self._ended:
                return  # It was held up for so long that it never stopped, or has yet to, and goes on by itself.
        self._launch(in_turn=True)

    def disown(self) -> None:
        """In a forked child: the thread is the parent's, even if code of the application has forked on it."""
        if self.runner is not None:
            self.runner.disowned = True

    def finish(self) -> None:
        """Take nothing more, and answer what was asked until now: the thread has ended for good."""
        self._inbox.end()
        if self.runner is not None:
            self.runner.takes_flushes = False
            self.runner.look_into_inbox()
        self._on_end()

    def _halt(self) -> None:
        self._call(self._stopping.set)
        if current_thread() is not self._thread:
            self._thread.join(STOP_MAX)

    @property
    def suspended(self) -> bool:
        """Whether `resume` is what it waits for."""
        return self._suspended

    @property
    def is_current_thread(self) -> bool:
        """Whether the caller runs on the driver's own thread."""
        return current_thread() is self._thread

    def _call(self, function: Callable[[], None]) -> None:
        # Once the loop has ended there is nothing left to wake.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(function)

    # The thread.

    def _run(self, started: Future[None], in_turn: bool) -> None:
        try:
            goes_on = True
            while goes_on:
                with asyncio.Runner(loop_factory=Loop) as runner:
                    runner.run(self._main(started, in_turn))
                # A task that the runner had to end is still here, and may keep something of gRPC alive.
                self._tasks.clear()
                in_turn = False
                with self._turning:
                    goes_on = not self._stopped and not self._suspended
                    self._ended = not goes_on
        except BaseException as error:  # The thread ends here; the caller that waits for its start must learn of it.
            self._ended = True
            if not started.done():
                started.set_exception(error)
                return
            self._stopped = True
            log.exception("the mesh has stopped because of an error in it")
        if self._stopped:
            self.finish()

    async def _main(self, started: Future[None], in_turn: bool) -> None:
        self._stopping = asyncio.Event()
        self._stirred = asyncio.Event()
        self._begun = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_on_loop_error)
        server = Server(self._serve)
        discovering: list[asyncio.Task[None]] = []
        try:
            address = await server.start(self._listen, in_turn=in_turn)
            runner = self._begin(address)
            self._listen = list(dict.fromkeys([address, *self._listen])) if address else self._listen
            announcement = Announcement(runner.node.mesh, runner.node.identity.id, address)
            for source, discovery in by_source(self._discoveries).items():
                discovering.append(self._spawn(self._discover(runner, source, discovery, announcement)))
            runner.tick()
            if not started.done():
                started.set_result(None)
            # What was asked for while there was no loop to tell has not set the event.
            if not self._stopped and not self._suspended:
                await self._stopping.wait()
            if self._stopped:
                await self._say_goodbye(runner)
        finally:
            await self._tear_down(server, discovering)
        if not self._stopped:
            runner.call(lambda now: runner.node.cut("interrupted by a fork of this process", now))

    def _begin(self, address: str) -> NodeRunner:
        sources = {source: _source_of(discovery) for source, discovery in by_source(self._discoveries).items()}
        node = self._make_node(address, sources)
        if self.runner is None:
            self.runner = NodeRunner(node, self._inbox, self._clock, self._carry_out, self._on_error)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        self._streams = Streams(self.runner, loop, self._spawn, self._stirred.set, insecure=self._insecure)
        self.runner.begin(self._streams)
        self._begun.set()
        # What came while there was no loop has not woken this one.
        self.runner.woken()
        return self.runner

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, PeerFollowed | Joined):
            self._stirred.set()
        self._on_effect(effect)

    async def _tear_down(self, server: Server, discovering: Sequence[asyncio.Task[None]]) -> None:
        if self._begun.is_set():
            self._streams.end()
        if self.runner is not None:
            self.runner.pause()
        for task in self._tasks:
            task.cancel()
        ending = [*self._tasks, asyncio.create_task(server.stop(GRACE))]
        if not self._stopped:
            # A suspended discovery need not finish its goodbyes.
            await asyncio.wait(ending, timeout=SUSPENSION_GRACE)
            for task in discovering:
                task.cancel()
        await asyncio.wait(ending, timeout=TEAR_DOWN_MAX)
        # gRPC completes what was cancelled a moment later, and complains where the loop is gone by then.
        await asyncio.sleep(0.02)

    # Closing.

    async def _say_goodbye(self, runner: NodeRunner) -> None:
        """Send what is left and the goodbye, and wait until it has been read."""
        began = self._loop.time()
        # The inbox is closed: what is in it now is the last.
        runner.number_flushes()
        runner.takes_flushes = False
        await self._until(lambda: runner.met_any or not self._still_looks(runner.node), began + MEET_MAX)
        self._warn_of_unsent(runner)
        runner.call(runner.node.leave)
        deadline = min(self._loop.time() + GOODBYE_MAX, began + STOP_MAX - TEAR_DOWN_MAX)
        await self._until(lambda: runner.node.parted and not len(self._streams), deadline)

    async def _until(self, condition: Callable[[], bool], deadline: float) -> None:
        """Wait until *condition* holds, looking again whenever a stream begins or ends, or until *deadline*."""
        while not condition() and self._loop.time() < deadline:
            self._stirred.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._stirred.wait()

    @staticmethod
    def _still_looks(node: Node) -> bool:
        """Return whether there are flushes that a node may be found for yet."""
        return node.journal.flushes > 0 and node.trust.phase is Phase.JOINING

    def _warn_of_unsent(self, runner: NodeRunner) -> None:
        node, now = runner.node, self._clock()
        if runner.met_any or not node.journal.flushes:
            return
        progress = node.delivery(node.journal.head, now, now)
        if progress.joining or progress.alone or progress.unreached:
            why = node.waiting_for() or ", ".join(progress.unreached) or "no node answers where some are named"
            log.warning("closed without having met a node: %d flushes reach none (%s)", node.journal.flushes, why)

    # Discovery and streams.

    async def _discover(
        self, runner: NodeRunner, source: str, discovery: Discovery, announcement: Announcement
    ) -> None:
        proposals = Proposals(source)

        def propose(addresses: Collection[str]) -> None:
            if not self.is_current_thread:
                raise RuntimeError("propose: call it on the mesh's own thread, as loop.call_soon_threadsafe does")
            sound = proposals.sound(addresses)
            runner.call(lambda now: runner.node.propose(source, sound, now))

        try:
            await discovery.run(announcement, propose)
        except asyncio.CancelledError:
            raise
        except BaseException:  # Whatever a discovery dies of, the others and the mesh go on.
            log.warning("%s finds no more peers", source, exc_info=True)

    async def _serve(self, stream: Stream) -> None:
        await self._begun.wait()
        await self._streams.serve(stream)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _source_of(discovery: Discovery) -> Source:
    return Source(
        discovery.settles_after, names=getattr(discovery, "names", True), passing=getattr(discovery, "passing", False)
    )


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what went wrong where no caller hears of it; streams that end in the middle are no news."""
    error = context.get("exception")
    if isinstance(error, grpc.RpcError | asyncio.CancelledError | asyncio.InvalidStateError | grpc.aio.UsageError):
        log.debug("gRPC: %s", context.get("message"), exc_info=error)
    else:
        loop.default_exception_handler(context)
