"""
Knock: whether anything listens at an address.

A roster with port ranges names many addresses where no node is, and each is tried again
and again.  A bare connection that is refused says so at the price of two packets, needs
neither gRPC nor a task, and unlike an error of gRPC it tells a refusal from silence.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from flushmesh.address import join, split
from flushmesh.net.loop import Loop
from flushmesh.protocol.addresses import Ending

# How long an attempt may take: a host that answers nothing counts as silent after this.
CONNECT_MAX: Final = 3.0

# The name exists nowhere, or has no address; a server that cannot say so now answers EAI_AGAIN.
_NO_SUCH_NAME: Final = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))

_Place = tuple[int, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Ended:
    """Why there is no stream, or no longer one: *ending* as the protocol counts it, *reason* in words."""

    ending: Ending
    reason: str


class Knock:
    """
    One attempt to reach *address*, on the loop's thread.

    *on_answer* is called once with the address that accepted, with a number for its host, or
    with why none did; never before the constructor has returned, and not at all after
    `cancel`.
    """

    __slots__ = (
        "_address",
        "_loop",
        "_on_answer",
        "_patience",
        "_places",
        "_port",
        "_silence",
        "_socket",
        "_timer",
        "_waits",
    )

    def __init__(self, loop: Loop, address: str, on_answer: Callable[[str | Ended], None]) -> None:
        self._loop = loop
        self._address = address
        self._on_answer: Callable[[str | Ended], None] | None = on_answer
        self._silence: Ended | None = None
        self._socket: socket.socket | None = None
        self._waits = False
        self._timer: asyncio.TimerHandle | None = None
        self._patience = CONNECT_MAX
        place = _numeric(address)
        if place is not None:
            self._places = [place]
            self._try_next()
        else:
            host, self._port = split(address)
            self._places = []
            ended = Ended(Ending.SILENT, f"{host} is not resolved within {CONNECT_MAX:g} s")
            self._timer = loop.call_later(CONNECT_MAX, self._answer, ended)
            loop.look_up(host, self._resolved)

    def cancel(self) -> None:
        """Give up; *on_answer* is not called any more."""
        self._on_answer = None
        self._let_go()

    def _resolved(self, answer: asyncio.Future[list[Any]]) -> None:
        if self._on_answer is None:
            return
        self._let_go()
        error = answer.exception()
        if error is not None:
            refused = isinstance(error, UnicodeError) or getattr(error, "errno", None) in _NO_SUCH_NAME
            self._answer(Ended(Ending.REFUSED if refused else Ending.SILENT, reason_of(error)))
            return
        for family, _, _, _, sockaddr in answer.result():
            place = (int(family), (sockaddr[0], self._port, *sockaddr[2:]))
            if place not in self._places:
                self._places.append(place)
        self._patience = CONNECT_MAX / max(1, len(self._places))
        self._places.reverse()
        self._try_next()

    def _try_next(self) -> None:
        family, sockaddr = self._places[-1]
        try:
            self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            error = self._socket.connect_ex(sockaddr)
        except OSError as failed:
            self._failed(failed.errno or errno.EIO)
            return
        if error == errno.EINPROGRESS:
            self._waits = True
            self._loop.add_writer(self._socket, self._connected)
            self._timer = self._loop.call_later(self._patience, self._timed_out)
        else:
            # On this machine a refusal is there at once.
            self._failed(error)

    def _connected(self) -> None:
        assert self._socket is not None
        self._failed(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _timed_out(self) -> None:
        self._next_after(Ended(Ending.SILENT, f"no answer within {self._patience:g} s"))

    def _failed(self, error: int) -> None:
        """Go on after *error*, which is 0 if the place has accepted."""
        if error == 0:
            host, port = self._places[-1][1][:2]
            self._answer_soon(join(host, port))
        else:
            self._next_after(_ended_by(error))

    def _next_after(self, ended: Ended) -> None:
        # Only if no address of a name accepts is it certain that no node is there.
        if ended.ending is Ending.SILENT:
            self._silence = ended
        self._places.pop()
        if self._places:
            self._let_go()
            self._try_next()
        else:
            self._answer_soon(self._silence or ended)

    def _answer_soon(self, answer: str | Ended) -> None:
        self._let_go()
        self._loop.call_soon(self._answer, answer)

    def _answer(self, answer: str | Ended) -> None:
        on_answer, self._on_answer = self._on_answer, None
        if on_answer is not None:
            self._let_go()
            on_answer(answer)

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            if self._waits:
                self._waits = False
                self._loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None


# How a client of HTTP/2 begins, with empty settings: a proxy may wait for the first byte.
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


async def hangs_up(address: str, within: float) -> bool:
    """
    Return whether *address* accepts a connection and ends it in so many seconds without having said a byte.

    An error of gRPC would not do: it may come from this process, if that has no more
    descriptors, and proves nothing then.
    """
    host, port = split(address)
    writer = None
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(_PREFACE)
            return not await reader.read(1)
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return writer is not None
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.close()


def reason_of(error: BaseException) -> str:
    """Return what *error* says, as the middle of a sentence."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


@lru_cache(maxsize=256)
def _ended_by(error: int) -> Ended:
    ending = Ending.REFUSED if error == errno.ECONNREFUSED else Ending.SILENT
    return Ended(ending, os.strerror(error).lower())


@lru_cache(maxsize=4096)
def _numeric(address: str) -> _Place | None:
    """Return where *address* leads if its host is a number, None if it is a name."""
    host, port = split(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return int(found[0][0]), found[0][4]
