"""
Streams: every stream of one node, from the dial or the call until its end.

Whichever side has opened it, a stream is one conversation.  How it ended is reported to
the node once, in the words and the kind that the protocol knows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Final

import grpc

from flushmesh.address import is_loopback
from flushmesh.net.client import Call
from flushmesh.net.conversation import Conversation
from flushmesh.net.knock import Ended, Knock, hangs_up
from flushmesh.net.loop import Loop
from flushmesh.net.noderunner import NodeRunner
from flushmesh.net.server import Stream, caller_host
from flushmesh.protocol.addresses import Ending

log = logging.getLogger("flushmesh")

# A proxy in front of a port where nothing listens accepts, and hangs up within this.
PROXY_MAX: Final = 1.0

_BROKEN_OFF: Final = Ended(Ending.SILENT, "broken off")


class Streams:
    """
    The streams of *runner*'s node on *loop*; *spawn* runs a task that ends with it.

    Unless *insecure*, no address beyond this machine is dialled.
    """

    def __init__(
        self,
        runner: NodeRunner,
        loop: Loop,
        spawn: Callable[[Coroutine[None, None, None]], object],
        on_end: Callable[[], None],
        *,
        insecure: bool,
    ) -> None:
        self._runner = runner
        self._loop = loop
        self._spawn = spawn
        self._on_end = on_end
        self._insecure = insecure
        self._knocks: dict[int, Knock] = {}
        self._opening: set[int] = set()
        self._conversations: dict[int, Conversation] = {}
        self._not_dialled: set[str] = set()
        self._ending = False

    def __len__(self) -> int:
        """Return how many streams are open."""
        return len(self._conversations)

    @property
    def conversations(self) -> list[Conversation]:
        """Every open one."""
        return list(self._conversations.values())

    def wake(self, link: int) -> None:
        """There is something to send on *link*."""
        conversation = self._conversations.get(link)
        if conversation is not None:
            conversation.wake()

    def wake_all(self) -> None:
        """There is something to send on every link."""
        for conversation in self._conversations.values():
            conversation.wake()

    def hang_up(self, link: int) -> None:
        """End *link*, if it is still there."""
        if link in self._conversations:
            self._conversations[link].hang_up()
        elif link in self._knocks:
            self._knocks.pop(link).cancel()
        self._opening.discard(link)

    def end(self) -> None:
        """Hang up everything, and begin nothing more."""
        self._ending = True
        for knock in self._knocks.values():
            knock.cancel()
        self._knocks.clear()
        for conversation in self._conversations.values():
            conversation.hang_up()

    # Streams that another node opens.

    async def serve(self, stream: Stream) -> None:
        """Exchange messages on *stream* until it ends."""

        async def read() -> bytes | None:
            data = await stream.read()
            return data if isinstance(data, bytes) else None

        if self._ending:
            return
        link = self._runner.accept(caller_host(stream))
        try:
            await self._converse(Conversation(link, self._runner, read, stream.write))
        finally:
            self._ended(link, Ended(Ending.BROKEN, "the other side ended the stream"))

    # Streams that this node opens.

    def dial(self, link: int, address: str) -> None:
        """Open a stream to *address*; never calls back before it has returned."""
        if self._insecure or is_loopback(address):
            self._knocks[link] = Knock(self._loop, address, partial(self._answered, link))
            return
        ended = Ended(Ending.SILENT, "it is beyond this machine, and the mesh is not insecure")
        if address not in self._not_dialled:
            self._not_dialled.add(address)
            log.warning("%s is not dialled: %s", address, ended.reason)
        self._loop.call_soon(self._ended, link, ended)

    def _answered(self, link: int, answer: str | Ended) -> None:
        del self._knocks[link]
        if isinstance(answer, Ended):
            self._ended(link, answer)
        else:
            self._opening.add(link)
            self._spawn(self._call(link, answer))

    async def _call(self, link: int, address: str) -> None:
        ended = _BROKEN_OFF
        try:
            # Unless the node has hung up before this began.
            if link in self._opening:
                self._opening.discard(link)
                ended = await self._exchange_with(link, address)
        finally:
            self._ended(link, ended)

    async def _exchange_with(self, link: int, address: str) -> Ended:
        began = self._loop.time()
        call = Call(address)
        conversation = Conversation(link, self._runner, call.read, call.write)
        try:
            await self._converse(conversation)
            ended = await call.ended()
        finally:
            await call.close()
        quick = self._loop.time() < began + PROXY_MAX
        if quick and ended.ending is Ending.SILENT and not conversation.hung_up and await hangs_up(address, PROXY_MAX):
            return Ended(Ending.REFUSED, "it hangs up on every caller")
        return ended

    # Either kind.

    async def _converse(self, conversation: Conversation) -> None:
        link = conversation.link
        self._conversations[link] = conversation
        try:
            await conversation.run()
        except (grpc.RpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
            log.debug("stream %d broke", link, exc_info=True)
        except Exception:
            # Whatever went wrong with one stream, the others go on.
            log.exception("stream %d is ended by an error in the mesh itself", link)
        finally:
            del self._conversations[link]

    def _ended(self, link: int, ended: Ended) -> None:
        self._runner.closed(link, ended)
        self._on_end()
