"""
Loop: the event loop of a mesh's thread.

It is uvloop's, whose rounds are shorter than asyncio's: every message takes several.

Looking up a name is a blocking call that a silent DNS server holds up for half a minute.
Loops have a pool of threads make it, and a pool is waited for: by whoever closes the
loop, by the interpreter at its end, and by every other name that is looked up meanwhile.
Here each question that is open has a daemon thread of its own, for which nobody waits.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any

import uvloop


class Loop(uvloop.Loop):
    """
    The same event loop, whatever policy the application has set.

    However often a question is asked while it is open, it costs one thread.
    """

    def __init__(self) -> None:
        super().__init__()
        self._open: dict[tuple[object, ...], asyncio.Future[list[Any]]] = {}

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - the name that asyncio gave it
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Return what socket.getaddrinfo does, without making anybody wait; raise OSError or UnicodeError."""
        question = (host, port, family, type, proto, flags)
        with suppress(socket.gaierror):
            # An address needs no looking up.
            return socket.getaddrinfo(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
        answer = self._open.get(question)
        if answer is None:
            answer = self._open[question] = self.create_future()
            answer.add_done_callback(partial(self._answered, question))
            Thread(target=self._ask, args=(question, answer), name="flushmesh lookup", daemon=True).start()
        return await asyncio.shield(answer)

    def _answered(self, question: tuple[Any, ...], answer: asyncio.Future[list[Any]]) -> None:
        del self._open[question]
        # Who asked may be gone by now, and an error that nobody takes would be logged.
        answer.exception()

    def _ask(self, question: tuple[Any, ...], answer: asyncio.Future[list[Any]]) -> None:
        tell: Callable[[], None]
        try:
            tell = partial(answer.set_result, socket.getaddrinfo(*question))
        except (OSError, UnicodeError) as error:
            tell = partial(answer.set_exception, error)
        # The loop may be closed by now, and then nobody wants to know.
        with suppress(RuntimeError):
            self.call_soon_threadsafe(tell)
