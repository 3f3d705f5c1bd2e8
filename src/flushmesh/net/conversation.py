"""
Conversation: the exchange on one stream, the same for either end of it.

Sending is pulled from the node and stops while the stream is not writable, so a slow or
frozen peer holds up nothing but its own stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from flushmesh.net.codec import WireError, decode
from flushmesh.protocol.messages import Message


class Exchange(Protocol):
    """What a conversation needs of the node behind it."""

    def next_message(self, link: int) -> Message | None:
        """Return what is to be sent on *link* next."""

    def encode(self, message: Message) -> bytes:
        """Return *message* as bytes."""

    def received(self, link: int, message: Message) -> bool:
        """Take what came on *link*; return False if that failed and the link must end."""

    def broken(self, link: int, reason: str) -> None:
        """End *link* because of what came on it."""


@dataclass(slots=True)
class Conversation:
    """
    One open stream, called *link*.

    `read` returns None at the stream's end.  `writing` is set while a write is under way.
    """

    link: int
    exchange: Exchange
    read: Callable[[], Awaitable[bytes | None]]
    write: Callable[[bytes], Awaitable[None]]
    writing: bool = False
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def hung_up(self) -> bool:
        """Whether this node has ended it."""
        return self._hung_up.is_set()

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    def hang_up(self) -> None:
        """End the conversation."""
        self._hung_up.set()

    async def run(self) -> None:
        """Exchange messages until either side ends the stream; raise what broke it."""
        tasks = {asyncio.create_task(part) for part in (self._send(), self._receive(), self._hung_up.wait())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self) -> None:
        while not self.hung_up:
            self._wake.clear()
            # After a Refusal or a Leave there is nothing to send; the other side hangs up once it has read it.
            while (message := self.exchange.next_message(self.link)) is not None:
                data = self.exchange.encode(message)
                self.writing = True
                await self.write(data)
                self.writing = False
            await self._wake.wait()

    async def _receive(self) -> None:
        while not self.hung_up:
            data = await self.read()
            if data is None:
                return
            try:
                message = decode(data)
            except WireError as error:
                self.exchange.broken(self.link, f"sent {error}")
                return
            if not self.exchange.received(self.link, message):
                return
