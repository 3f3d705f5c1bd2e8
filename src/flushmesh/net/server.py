"""
Server: where other nodes connect.

One generic handler with bytes in and out; messages are encoded by the codec alone, so
that a batch is encoded once for all followers.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Final, NamedTuple
from urllib.parse import unquote

import grpc
import grpc.aio

from flushmesh.address import split
from flushmesh.errors import StartError
from flushmesh.net.codec import MESSAGE_BYTES_MAX
from flushmesh.net.knock import reason_of
from flushmesh.net.turn import Turn

log = logging.getLogger("flushmesh")

SERVICE: Final = "flushmesh.v2.Mesh"
METHOD: Final = "Exchange"

Stream = grpc.aio.ServicerContext[bytes, bytes]

_OPTIONS: Final = [
    # With it on, two processes can listen on one port, and each caller reaches either.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # A caller whose host vanished without a word is noticed as soon as a node that was dialled, see client.py.
    # Without this its stream would stand for hours, every peer would hear that it is reached, and none give it up.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Callers do the same every ten seconds, which gRPC must not take for abuse.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    # With probes the window outgrows what the sockets hold, and a peer that closes waits for its last write to a
    # frozen node.
    ("grpc.http2.bdp_probe", 0),
]


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether gRPC logs anything but a stream of this node that ended while something was under way on it."""
    words = record.getMessage()
    return not (words.startswith("ExecuteBatchError") and f"/{SERVICE}/{METHOD}" in words)


# Streams break at any moment, which is no error, and which the protocol logs itself.
logging.getLogger("grpc._cython.cygrpc").addFilter(_is_news)


class Server:
    """The listening end; *exchange* is awaited for each stream that another node opens."""

    def __init__(self, exchange: Callable[[Stream], Awaitable[None]]) -> None:
        async def serve(_requests: object, stream: Stream) -> None:
            await exchange(stream)

        self._server = grpc.aio.server(options=_OPTIONS)
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(serve)
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler})])

    async def start(self, addresses: Sequence[str], *, in_turn: bool = False) -> str:
        """
        Listen on the first free one of *addresses* and return it.

        If none is free, return another port of the same host, or nothing if not even that can
        be had; one warning says so.  Raise StartError if the host is none of this machine.
        *in_turn* is set if it is this process's turn already, see `Turn`.
        """
        with nullcontext() if in_turn else Turn():
            problem = _Problem("", lasting=True)
            for address in addresses:
                found = _why_not(address)
                if found is None:
                    listening = await self._listen(address)
                    if listening:
                        return listening
                    found = _Problem("taken at this very moment", lasting=False)
                problem = problem if problem.words and not problem.lasting else found
            where = addresses[0] if len(addresses) == 1 else f"any of {addresses[0]} to {addresses[-1]}"
            if problem.lasting:
                raise StartError(f"cannot listen on {where}: {problem.words}")
            return await self._listen_elsewhere(addresses[0], where, problem.words)

    async def _listen_elsewhere(self, address: str, where: str, words: str) -> str:
        host = address.rpartition(":")[0]
        problem = _why_not(f"{host}:0")
        listening = "" if problem else await self._listen(f"{host}:0")
        if listening:
            log.warning(
                "cannot listen on %s: %s; this node listens on %s instead, which a firewall may block",
                where,
                words,
                listening,
            )
        else:
            why = problem.words if problem else words
            log.warning(
                "cannot listen on %s: %s, nor on any other port: %s; this node only dials, and no peer can dial it",
                where,
                words,
                why,
            )
        return listening

    async def _listen(self, address: str) -> str:
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError:
            return ""
        await self._server.start()
        return f"{address.rpartition(':')[0]}:{port}"

    async def stop(self, grace: float) -> None:
        """Take no more streams, and end those that are open after *grace* seconds."""
        await self._server.stop(grace)


class _Problem(NamedTuple):
    """Why an address cannot be listened on; *lasting* if that holds for every port of the host."""

    words: str
    lasting: bool


def _why_not(address: str) -> _Problem | None:
    """Return why *address* cannot be listened on, or None if it can; gRPC itself reports only to its log."""
    host, port = split(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return _Problem(reason_of(error), lasting=True)
    problems = []
    for family, kind, _, _, place in found:
        try:
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                # Without listening: it fails next to a listener, and never next to another probe.
                probe.bind(place)
        except OSError as error:
            problem = _Problem(reason_of(error), lasting=error.errno in _LASTING)
            if error.errno == errno.EADDRINUSE:
                return problem
            problems.append(problem)
    # Of a name's addresses gRPC takes those that this machine has.
    return problems[0] if len(problems) == len(found) else None


# No port would help: the address is none of this machine's, or of a kind that it does not have.
_LASTING: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def caller_host(stream: Stream) -> str:
    """Return the host that opened *stream*, as it is written in an address."""
    # "ipv4:127.0.0.1:51234" or "ipv6:%5B::1%5D:51234"
    peer = stream.peer().partition(":")[2]
    return unquote(peer.rpartition(":")[0])
