"""
Client: a stream of gRPC to a node that this one dials.

Each attempt is a channel of its own.  When to try again is the protocol's decision, so
gRPC's own waiting between attempts never comes into play.
"""

from __future__ import annotations

from typing import Final

import grpc
import grpc.aio

from flushmesh.net.codec import MESSAGE_BYTES_MAX
from flushmesh.net.knock import CONNECT_MAX, Ended
from flushmesh.net.server import METHOD, SERVICE
from flushmesh.protocol.addresses import Ending

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

# How gRPC calls bytes that are no HTTP/2.
_OTHER_PROTOCOL: Final = "Failed parsing HTTP/2"


class Call:
    """
    One stream to *address*.

    Once it has ended, `ended` returns why.
    """

    def __init__(self, address: str) -> None:
        self.heard = False
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._call: grpc.aio.StreamStreamCall[bytes, bytes] = self._channel.stream_stream(f"/{SERVICE}/{METHOD}")()

    async def read(self) -> bytes | None:
        """Return the next message, or None at the end."""
        data = await self._call.read()
        if not isinstance(data, bytes):
            return None
        self.heard = True
        return data

    async def write(self, data: bytes) -> None:
        """Send a message, waiting for as long as the stream is not writable."""
        await self._call.write(data)

    async def ended(self) -> Ended:
        """Return why the stream has ended."""
        if not self._call.done():
            return Ended(Ending.SILENT, "hung up")
        code = await self._call.code()
        details = await self._call.details()
        if code is grpc.StatusCode.UNIMPLEMENTED:
            return Ended(Ending.FOREIGN, "something else than a node answers there")
        if code is grpc.StatusCode.OK:
            return Ended(Ending.BROKEN, "it ended the stream")
        details = details or code.name.lower()
        if _OTHER_PROTOCOL in details:
            return Ended(Ending.FOREIGN, "something else than a node answers there")
        return Ended(Ending.BROKEN if self.heard else Ending.SILENT, details)

    async def close(self) -> None:
        """Cancel whatever is under way and free the connection."""
        self._call.cancel()
        # What is cancelled completes later; by then the loop must still be there.
        await self._call.code()
        await self._channel.close()
