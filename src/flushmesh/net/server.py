"""
Server: where followers connect.

One generic handler with bytes in and out; messages are encoded by the codec alone, so
that a batch is encoded once for all followers.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Final
from urllib.parse import unquote

import grpc
import grpc.aio

from flushmesh.address import split
from flushmesh.errors import StartError
from flushmesh.net.codec import MESSAGE_BYTES_MAX
from flushmesh.net.turn import Turn

SERVICE: Final = "flushmesh.v1.Mesh"
METHOD: Final = "Follow"

Stream = grpc.aio.ServicerContext[bytes, bytes]

_OPTIONS: Final = [
    # With it on, two processes can listen on one port, and each follower reaches either.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # A follower whose host vanished without a word is noticed as soon as an origin is, see client.py.  Without
    # this its stream would stand for hours, and every peer be told that it is reached, so that nobody gives it up.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Followers do the same every ten seconds, and are not to be taken for abusive.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
]


class Server:
    """The listening end; *serve* is awaited for each stream that a follower opens."""

    def __init__(self, serve: Callable[[Stream], Awaitable[None]]) -> None:
        async def follow(_requests: object, stream: Stream) -> None:
            await serve(stream)

        self._server = grpc.aio.server(options=_OPTIONS)
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(follow)
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler})])

    async def start(self, addresses: Sequence[str], *, in_turn: bool = False) -> str:
        """
        Listen on the first free one of *addresses* and return it; raise StartError if none is.

        *in_turn* tells that it is this process's turn already, see `Turn`.
        """
        problem = ""
        with nullcontext() if in_turn else Turn():
            for address in addresses:
                problem = _why_not(address)
                if problem:
                    continue
                try:
                    port = self._server.add_insecure_port(address)
                except RuntimeError:
                    problem = "taken at this very moment"
                    continue
                await self._server.start()
                return f"{address.rpartition(':')[0]}:{port}"
        where = addresses[0] if len(addresses) == 1 else f"any of {addresses[0]} to {addresses[-1]}"
        raise StartError(f"cannot listen on {where}: {problem}")

    async def stop(self, grace: float) -> None:
        """Take no more streams, and end those that are open after *grace* seconds."""
        await self._server.stop(grace)


def _why_not(address: str) -> str:
    """Return why *address* cannot be listened on, or nothing if it can; gRPC itself tells only its log."""
    host, port = split(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return _reason(error)
    problems = []
    for family, kind, _, _, place in found:
        try:
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                # Without listening: it fails beside a listener, and never beside another probe.
                probe.bind(place)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return _reason(error)
            problems.append(_reason(error))
    # Of a name's addresses gRPC takes those that this machine has.
    return problems[0] if len(problems) == len(found) else ""


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def caller_host(stream: Stream) -> str:
    """Return the host that opened *stream*, as it is written in an address."""
    # "ipv4:127.0.0.1:51234" or "ipv6:%5B::1%5D:51234"
    peer = stream.peer().partition(":")[2]
    return unquote(peer.rpartition(":")[0])
