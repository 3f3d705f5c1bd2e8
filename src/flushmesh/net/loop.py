"""
Loop: the event loop of a mesh's thread.

It is uvloop's, whose rounds are shorter than asyncio's: every message takes several.

Looking up a name is a blocking call that a silent DNS server holds up for half a minute.
Loops have a pool of threads make it, and a pool is waited for: by whatever closes the
loop, by the interpreter at its end, and by every other name that is looked up in the
meantime.  Here the few threads that look up are daemons, and nothing waits for them.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, Final

import uvloop

# Names that are being looked up at once; the others wait for their turn.
LOOKUPS_MAX: Final = 16

# A name with a range of ports is looked up once for all of them, also if that failed.
ANSWER_KEPT: Final = 1.0

_Question = tuple[Any, ...]


class Loop(uvloop.Loop):
    """
    The same event loop, whatever policy the application has set.

    However often a name is asked for while the question is open or just answered, it costs
    one thread, and all names together cost LOOKUPS_MAX.
    """

    def __init__(self) -> None:
        super().__init__()
        self._answers: dict[_Question, asyncio.Future[list[Any]]] = {}
        self._queue: deque[_Question] = deque()
        self._asking = 0

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
        """Return what socket.getaddrinfo does, without blocking the loop; raise OSError or UnicodeError."""
        with suppress(socket.gaierror):
            # An address needs no looking up.
            return socket.getaddrinfo(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
        number = port if isinstance(port, int) else None
        question = (host, None if number is not None else port, family, type, proto, flags)
        answer = await asyncio.shield(self._answer(question))
        if number is None:
            return answer
        return [(*place, (sockaddr[0], number, *sockaddr[2:])) for *place, sockaddr in answer]

    def look_up(self, host: str, answered: Callable[[asyncio.Future[list[Any]]], None]) -> None:
        """Have *answered* called with the finished look-up of *host*, with port 0."""
        self._answer((host, None, 0, socket.SOCK_STREAM, 0, 0)).add_done_callback(answered)

    def _answer(self, question: _Question) -> asyncio.Future[list[Any]]:
        answer = self._answers.get(question)
        if answer is None:
            answer = self._answers[question] = self.create_future()
            answer.add_done_callback(partial(self._answered, question))
            self._queue.append(question)
            self._ask_more()
        return answer

    def _ask_more(self) -> None:
        while self._queue and self._asking < LOOKUPS_MAX:
            question = self._queue.popleft()
            thread = Thread(target=self._ask, args=(question,), name="flushmesh lookup", daemon=True)
            self._asking += 1
            try:
                thread.start()
            except RuntimeError as error:
                self._take(question, OSError(str(error)))

    def _answered(self, question: _Question, answer: asyncio.Future[list[Any]]) -> None:
        # Its caller may be gone by now, and an error that nothing takes would be logged.
        answer.exception()
        self.call_later(ANSWER_KEPT, self._answers.pop, question, None)

    def _ask(self, question: _Question) -> None:
        answer: list[Any] | Exception
        try:
            answer = socket.getaddrinfo(*question)
        except (OSError, UnicodeError) as error:
            answer = error
        # The loop may be closed by now, and then the answer is of no use.
        with suppress(RuntimeError):
            self.call_soon_threadsafe(self._take, question, answer)

    def _take(self, question: _Question, found: list[Any] | Exception) -> None:
        self._asking -= 1
        answer = self._answers[question]
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)
        self._ask_more()
