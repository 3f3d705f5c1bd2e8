"""
Client: how this node opens a stream to an address, to follow whoever answers.

Each attempt is a channel of its own.  When to try again is the protocol's decision, so
gRPC's own waiting between attempts never comes into play.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, replace
from typing import Final

import grpc
import grpc.aio

from flushmesh.address import split
from flushmesh.net.codec import MESSAGE_BYTES_MAX
from flushmesh.net.server import METHOD, SERVICE

# How long an attempt may take: a host that answers nothing counts as gone after this.
CONNECT_MAX: Final = 3.0

_OPTIONS: Final = [
    # Peers are near; a proxy meant for the web would break the mesh or leak it.
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.min_reconnect_backoff_ms", int(CONNECT_MAX * 1000)),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # A host that vanishes without a word is noticed within fifteen seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Its probes wait for answers that a frozen peer does not give, and closing waits for them.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.client_idle_timeout_ms", 2**31 - 1),
]


@dataclass(frozen=True, slots=True)
class Ending:
    """
    Why there is no stream, or no longer one.

    *refused* tells that the origin would not serve, *silent* that nothing came back at all.
    """

    reason: str
    refused: bool = False
    silent: bool = False


async def knock(address: str) -> Ending | None:
    """
    Try whether anybody listens at *address*; tell why not.

    A roster with port ranges names many addresses where nobody is.  A refused connection
    says so at the price of two packets, and unlike an error of gRPC tells it from silence.
    """
    host, port = split(address)
    try:
        async with asyncio.timeout(CONNECT_MAX):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        return Ending(f"{host} is not resolved within {CONNECT_MAX:g} s", silent=True)
    except (OSError, UnicodeError) as error:
        return Ending(_reason(error), silent=True)
    ending = None
    for *_, place in found:
        refused_before = ending is None or not ending.silent
        ending = await _knock(str(place[0]), port, CONNECT_MAX / len(found))
        if ending is None:
            return None
        # Only if nobody listens at any of a name's addresses is it certain that nobody is there.
        ending = replace(ending, silent=ending.silent or not refused_before)
    return ending


async def _knock(host: str, port: int, patience: float) -> Ending | None:
    try:
        async with asyncio.timeout(patience):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Ending(f"no answer within {patience:g} s", silent=True)
    except OSError as error:
        return Ending(_reason(error), silent=not isinstance(error, ConnectionRefusedError))
    writer.close()
    return None


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


class Call:
    """
    One stream to *address*.

    Once it has ended, `ending` tells why.
    """

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._call: grpc.aio.StreamStreamCall[bytes, bytes] = self._channel.stream_stream(f"/{SERVICE}/{METHOD}")()

    async def read(self) -> bytes | None:
        """Return the next message, or None at the end."""
        data = await self._call.read()
        return data if isinstance(data, bytes) else None

    async def write(self, data: bytes) -> None:
        """Send a message, waiting for as long as the stream is not writable."""
        await self._call.write(data)

    async def ending(self) -> Ending:
        """Return why the stream has ended."""
        if not self._call.done():
            return Ending("hung up")
        code = await self._call.code()
        details = await self._call.details()
        if code is grpc.StatusCode.OK:
            return Ending("it ended the stream")
        refused = code is grpc.StatusCode.FAILED_PRECONDITION
        return Ending(details or code.name.lower(), refused=refused, silent=not refused)

    async def close(self) -> None:
        """Cancel whatever is under way and free the connection."""
        self._call.cancel()
        # What is cancelled completes later; by then the loop must still be there.
        await self._call.code()
        await self._channel.close()
