"""
Control: an instance's line to the launcher.

The launcher alone may signal instances, because it is their parent: a process id stays
theirs until it has waited for them.  So an instance asks, in one short line, and is
answered in one, "ok" or the reason why not.  The end of the line is the end of the
launcher, and the instance ends too.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Final

OK: Final = "ok"
READY: Final = "ready"


class Control:
    """The instance's end; *lost* is set once the launcher is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lost = asyncio.Event()
        self._reader = reader
        self._writer = writer
        self._asked: deque[asyncio.Future[str]] = deque()

    @classmethod
    async def open(cls, descriptor: int) -> Control:
        """Take over the socket that the launcher has left at *descriptor*."""
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
        return cls(reader, writer)

    def tell_ready(self) -> None:
        """Tell the launcher that this instance answers."""
        self._writer.write(f"{READY}\n".encode())

    async def ask(self, verb: str, number: int) -> str:
        """Ask for *verb* to be done to instance *number*; return OK once it is, else the reason."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        if self.lost.is_set():
            return "The launcher is gone."
        self._asked.append(answer)
        self._writer.write(f"{verb} {number}\n".encode())
        return await answer

    async def listen(self) -> None:
        """Hand out the answers, in the order of the questions, until the launcher is gone."""
        while line := await self._reader.readline():
            answer = self._asked.popleft()
            # Who asked may have been cancelled meanwhile.
            if not answer.done():
                answer.set_result(line.decode().strip())
        self.lost.set()
        for answer in self._asked:
            if not answer.done():
                answer.set_result("The launcher is gone.")

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
