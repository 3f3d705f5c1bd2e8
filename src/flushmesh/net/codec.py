"""
Codec: messages to bytes and back.

What comes from the wire is checked here, before anything acts on it: a message that
breaks a bound ends its stream.  Nothing received is ever evaluated or unpickled.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isfinite
from typing import Final

from google.protobuf.message import DecodeError

from flushmesh.address import expand
from flushmesh.keys import KEY_BYTES_MAX, NAME_BYTES_MAX
from flushmesh.protocol.journal import BATCH_FLUSHES_MAX
from flushmesh.protocol.messages import (
    Ack,
    Batch,
    Flush,
    FollowerMessage,
    Hello,
    Identity,
    Leave,
    Message,
    News,
    OriginMessage,
    Ping,
    Truncated,
    Vouch,
    Welcome,
)
from flushmesh.wire import mesh_pb2 as wire

# Twice what the largest batch or the longest list of nodes takes.
MESSAGE_BYTES_MAX: Final = 1024 * 1024

_ID_BYTES: Final = 16
_ADDRESS_BYTES_MAX: Final = 280


class WireError(ValueError):
    """What a peer sent is no message of this protocol, or breaks one of its bounds."""


class Encoder:
    """
    Writes messages as bytes.

    Followers that stand at the same place are handed the same batch, which is encoded once
    for all of them.
    """

    def __init__(self) -> None:
        self._batch: Batch | None = None
        self._batch_bytes = b""

    def encode(self, message: Message) -> bytes:
        """Return *message* as bytes."""
        if not isinstance(message, Batch):
            return _encode(message)
        if self._batch is None or self._batch != message:
            self._batch_bytes = _encode(message)
            self._batch = message
        return self._batch_bytes


def _encode(message: Message) -> bytes:
    match message:
        case Hello():
            hello = wire.Hello(
                protocol=message.protocol,
                mesh=message.mesh,
                node=_node(message.node),
                origin_id=message.origin_id,
                cursor=message.cursor,
                max_staleness=_seconds(message.max_staleness),
                lost_after=_seconds(message.lost_after),
                known=map(_news, message.known),
            )
            return wire.FollowerMessage(hello=hello).SerializeToString()
        case Ping(clock, cursor):
            return wire.FollowerMessage(ping=wire.Ping(clock=clock, cursor=cursor)).SerializeToString()
        case Ack(cursor):
            return wire.FollowerMessage(ack=wire.Ack(cursor=cursor)).SerializeToString()
        case Welcome(node, head, known):
            welcome = wire.Welcome(node=_node(node), head=head, known=map(_news, known))
            return wire.OriginMessage(welcome=welcome).SerializeToString()
        case Batch(first, flushes, acknowledge):
            return _encode_batch(first, flushes, acknowledge=acknowledge)
        case Truncated(head):
            return wire.OriginMessage(truncated=wire.Truncated(head=head)).SerializeToString()
        case Vouch(clock, head, nodes):
            vouch = wire.Vouch(clock=clock, head=head, known=map(_news, nodes or ()), known_changed=nodes is not None)
            return wire.OriginMessage(vouch=vouch).SerializeToString()
        case Leave(head, known):
            return wire.OriginMessage(leave=wire.Leave(head=head, known=map(_news, known))).SerializeToString()


def _node(identity: Identity) -> wire.Node:
    return wire.Node(id=identity.id, name=identity.name, address=identity.address)


def _news(news: News) -> wire.News:
    return wire.News(node=_node(news.node), reached=news.reached)


def _encode_batch(first: int, flushes: Iterable[Flush], *, acknowledge: bool) -> bytes:
    message = wire.OriginMessage()
    batch = message.batch
    batch.first, batch.acknowledge = first, acknowledge
    # Made in their place: a flush that is made first and copied into the batch costs twice as much.
    add = batch.flushes.add
    for cache, key, tag, version in flushes:
        add(cache=cache, key=key, tag=tag, version=version)
    return message.SerializeToString()


def decode_from_follower(data: bytes) -> FollowerMessage:
    """Return the message that a follower sent; raise WireError if it is none."""
    message = wire.FollowerMessage()
    _parse(message, data)
    match message.WhichOneof("kind"):
        case "hello":
            hello = message.hello
            return Hello(
                protocol=hello.protocol,
                mesh=_bounded(hello.mesh, NAME_BYTES_MAX, "mesh name"),
                node=_identity(hello.node),
                origin_id=hello.origin_id,
                cursor=hello.cursor,
                max_staleness=_duration(hello.max_staleness),
                lost_after=_duration(hello.lost_after),
                known=_decode_news(hello.known),
            )
        case "ping":
            if not isfinite(message.ping.clock):
                raise WireError(f"a clock that reads {message.ping.clock}")
            return Ping(message.ping.clock, message.ping.cursor)
        case "ack":
            return Ack(message.ack.cursor)
    raise WireError("a message of an unknown kind; is the other node of a newer version?")


def decode_from_origin(data: bytes) -> OriginMessage:
    """Return the message that an origin sent; raise WireError if it is none."""
    message = wire.OriginMessage()
    _parse(message, data)
    match message.WhichOneof("kind"):
        case "welcome":
            welcome = message.welcome
            return Welcome(_identity(welcome.node), welcome.head, _decode_news(welcome.known))
        case "batch":
            batch = message.batch
            if len(batch.flushes) > BATCH_FLUSHES_MAX or batch.first < 1:
                raise WireError(f"a batch of {len(batch.flushes)} flushes from {batch.first} on")
            return Batch(batch.first, tuple(map(_decode_flush, batch.flushes)), batch.acknowledge)
        case "truncated":
            return Truncated(message.truncated.head)
        case "vouch":
            vouch = message.vouch
            return Vouch(vouch.clock, vouch.head, _decode_news(vouch.known) if vouch.known_changed else None)
        case "leave":
            return Leave(message.leave.head, _decode_news(message.leave.known))
    raise WireError("a message of an unknown kind; is the other node of a newer version?")


def _parse(message: wire.FollowerMessage | wire.OriginMessage, data: bytes) -> None:
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise WireError(f"{len(data)} bytes that are no message of this protocol") from None


def _decode_flush(flush: wire.Flush) -> Flush:
    cache = _bounded(flush.cache, NAME_BYTES_MAX, "cache name")
    version = flush.version if flush.HasField("version") else None
    # Nearly all are of a key, and a key that is there is quicker to see than to ask for.
    target = "key" if flush.key else flush.WhichOneof("target")
    if target == "key":
        return Flush(cache, _bounded(flush.key, KEY_BYTES_MAX, "key"), None, version)
    if target == "tag":
        return Flush(cache, None, _bounded(flush.tag, KEY_BYTES_MAX, "tag"), version)
    return Flush(cache, None, None, version)


def _decode_news(known: Iterable[wire.News]) -> tuple[News, ...]:
    return tuple(News(_identity(news.node), news.reached) for news in known)


def _seconds(duration: float) -> float:
    return 0.0 if duration == inf else duration


def _duration(seconds: float) -> float:
    """Return a duration of the wire, where 0 stands for no end."""
    if not 0 <= seconds < inf:
        raise WireError(f"a duration of {seconds} seconds")
    return seconds or inf


def _identity(node: wire.Node) -> Identity:
    if len(node.id) != _ID_BYTES:
        raise WireError(f"a node id of {len(node.id)} bytes instead of {_ID_BYTES}")
    address = _bounded(node.address, _ADDRESS_BYTES_MAX, "address")
    try:
        expand(f"host{address}" if address.startswith(":") else address)
    except ValueError as error:
        raise WireError(f"an address that is none: {error}") from None
    return Identity(node.id, _bounded(node.name, NAME_BYTES_MAX, "node name"), address)


def _bounded(text: str, limit: int, what: str) -> str:
    if not 0 < len(text) <= limit or (len(text) * 4 > limit and len(text.encode()) > limit):
        raise WireError(f"a {what} of {len(text)} characters; it has 1 to {limit} bytes")
    return text
