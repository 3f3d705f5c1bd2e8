"""
Codec: messages to bytes and back.

What comes from the wire is checked here, before anything acts on it: a message that
breaks a bound ends its stream.  Nothing received is ever evaluated or unpickled.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite
from typing import Any, Final

from google.protobuf.message import DecodeError

from flushmesh.address import expand
from flushmesh.keys import KEY_BYTES_MAX, NAME_BYTES_MAX
from flushmesh.protocol.journal import BATCH_FLUSHES_MAX
from flushmesh.protocol.messages import (
    PROTOCOL_VERSION,
    Ack,
    Batch,
    Flush,
    Follow,
    Gone,
    Hello,
    Identity,
    Known,
    Leave,
    Lost,
    Message,
    Met,
    Ping,
    Record,
    Refusal,
    Truncated,
    Unreached,
    Vouch,
    Welcome,
    Why,
)
from flushmesh.wire import mesh_pb2 as wire

# Twice what the largest batch or the longest list of members takes.
MESSAGE_BYTES_MAX: Final = 1024 * 1024

# Four times what a mesh is made for.
MEMBERS_MAX: Final = 4_096

_ID_BYTES: Final = 16
_ADDRESS_BYTES_MAX: Final = 280
_REASON_BYTES_MAX: Final = 1_024
# Python has no such bound, but no node counts that far.
_SEQUENCE_MAX: Final = 2**63 - 1


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
            return _write(message).SerializeToString()
        if self._batch is None or self._batch != message:
            self._batch_bytes = _write_batch(message).SerializeToString()
            self._batch = message
        return self._batch_bytes


def _write(message: Message) -> wire.Message:
    match message:
        case Hello(protocol, mesh, node, max_staleness, give_up_after):
            hello = wire.Hello(
                protocol=protocol,
                mesh=mesh,
                node=_write_node(node),
                max_staleness=max_staleness,
                give_up_after=give_up_after,
            )
            return wire.Message(hello=hello)
        case Welcome(node, max_staleness, give_up_after):
            welcome = wire.Welcome(node=_write_node(node), max_staleness=max_staleness, give_up_after=give_up_after)
            return wire.Message(welcome=welcome)
        case Refusal(why, reason):
            return wire.Message(refusal=wire.Refusal(why=_WHY_NUMBERS[why], reason=reason))
        case Follow(cursor, known, age):
            return wire.Message(follow=wire.Follow(cursor=cursor, known=known.to_bytes(_ID_BYTES, "big"), age=age))
        case Batch():
            return _write_batch(message)
        case _:
            return _write_progress(message)


def _write_progress(message: Truncated | Ping | Vouch | Ack | Leave) -> wire.Message:
    match message:
        case Truncated(head, flushes, members, complete):
            known = (wire.Known(node=_write_node(each.node), reached=each.reached) for each in members or ())
            truncated = wire.Truncated(
                head=head, flushes=flushes, members=known, same_members=members is None, complete=complete
            )
            return wire.Message(truncated=truncated)
        case Ping(clock, cursor, had):
            return wire.Message(ping=wire.Ping(clock=clock, cursor=cursor, had=had))
        case Vouch(clock, head, given, unreached):
            ages = (wire.Unreached(id=each.node_id, age=each.age, hearsay=each.hearsay) for each in unreached or ())
            vouch = wire.Vouch(
                clock=clock, head=head, given=given, unreached=ages, unreached_changed=unreached is not None
            )
            return wire.Message(vouch=vouch)
        case Ack(cursor):
            return wire.Message(ack=wire.Ack(cursor=cursor))
        case Leave(flushes):
            return wire.Message(leave=wire.Leave(flushes=flushes))


def _write_batch(message: Batch) -> wire.Message:
    written = wire.Message()
    batch = written.batch
    batch.first, batch.acknowledge = message.first, message.acknowledge
    # Made in their place: a record that is made first and copied into the batch costs twice as much.
    add = batch.records.add
    for record in message.records:
        if type(record) is Flush:
            cache, key, tag, version = record
            add(cache=cache, key=key, tag=tag, version=version)
        else:
            _write_member(add(), record)
    return written


def _write_member(written: wire.Record, record: Record) -> None:
    match record:
        case Met(node, direct):
            written.met.CopyFrom(wire.Met(node=_write_node(node), direct=direct))
        case Gone(node_id, flushes):
            written.gone.CopyFrom(wire.Gone(id=node_id, flushes=flushes))
        case Lost(node_id):
            written.lost = node_id


def _write_node(identity: Identity) -> wire.Node:
    return wire.Node(id=identity.id, name=identity.name, address=identity.address)


def decode(data: bytes) -> Message:
    """Return the message that a peer sent; raise WireError if it is none."""
    message = wire.Message()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise WireError(f"{len(data)} bytes that are no message of this protocol") from None
    kind = message.WhichOneof("kind")
    if kind is None:
        raise WireError("a message of an unknown kind; is the other node of a newer version?")
    return _READERS[kind](getattr(message, kind))


def _read_hello(hello: wire.Hello) -> Hello:
    mesh = _bounded(hello.mesh, NAME_BYTES_MAX, "mesh name")
    if hello.protocol != PROTOCOL_VERSION:
        # It must be refused in words; the rest of it may mean anything.
        return Hello(hello.protocol, mesh, _STRANGER)
    return Hello(
        hello.protocol,
        mesh,
        _read_node(hello.node),
        _read_duration(hello.max_staleness) or inf,
        _read_duration(hello.give_up_after),
    )


def _read_welcome(welcome: wire.Welcome) -> Welcome:
    max_staleness = _read_duration(welcome.max_staleness) or inf
    return Welcome(_read_node(welcome.node), max_staleness, _read_duration(welcome.give_up_after))


def _read_refusal(refusal: wire.Refusal) -> Refusal:
    # A reason that this version does not know keeps the two apart as another version does.
    why = _WHYS.get(refusal.why, Why.VERSION)
    return Refusal(why, _bounded(refusal.reason, _REASON_BYTES_MAX, "reason"))


def _read_follow(follow: wire.Follow) -> Follow:
    if len(follow.known) != _ID_BYTES:
        raise WireError(f"a digest of {len(follow.known)} bytes instead of {_ID_BYTES}")
    cursor = _read_sequence(follow.cursor, "cursor") if follow.HasField("cursor") else None
    return Follow(cursor, int.from_bytes(follow.known, "big"), _read_age(follow.age))


def _read_batch(batch: wire.Batch) -> Batch:
    if len(batch.records) > BATCH_FLUSHES_MAX or not 1 <= batch.first <= _SEQUENCE_MAX - BATCH_FLUSHES_MAX:
        raise WireError(f"a batch of {len(batch.records)} records from {batch.first} on")
    return Batch(batch.first, tuple(map(_read_record, batch.records)), batch.acknowledge)


def _read_truncated(truncated: wire.Truncated) -> Truncated:
    head = _read_sequence(truncated.head, "head")
    flushes = _read_sequence(truncated.flushes, "number of flushes")
    if truncated.same_members:
        return Truncated(head, flushes, None, truncated.complete)
    _check_count(len(truncated.members), "members")
    members = tuple(Known(_read_node(each.node), each.reached) for each in truncated.members)
    return Truncated(head, flushes, members, truncated.complete)


def _read_ping(ping: wire.Ping) -> Ping:
    return Ping(_read_clock(ping.clock), _read_sequence(ping.cursor, "cursor"), _read_clock(ping.had))


def _read_vouch(vouch: wire.Vouch) -> Vouch:
    unreached = None
    if vouch.unreached_changed:
        _check_count(len(vouch.unreached), "unreached members")
        unreached = tuple(Unreached(_read_id(each.id), _read_age(each.age), each.hearsay) for each in vouch.unreached)
    return Vouch(_read_clock(vouch.clock), _read_sequence(vouch.head, "head"), _read_clock(vouch.given), unreached)


def _read_ack(ack: wire.Ack) -> Ack:
    return Ack(_read_sequence(ack.cursor, "cursor"))


def _read_leave(leave: wire.Leave) -> Leave:
    return Leave(_read_sequence(leave.flushes, "number of flushes"))


def _read_record(record: wire.Record) -> Record:
    # Nearly all are flushes of a key, and a key that is there is quicker to see than to ask for.
    what = "key" if record.key else record.WhichOneof("what")
    if what == "key" or what == "tag" or what is None:
        cache = _bounded(record.cache, NAME_BYTES_MAX, "cache name")
        version = record.version if record.HasField("version") else None
        if what == "key":
            return Flush(cache, _bounded(record.key, KEY_BYTES_MAX, "key"), None, version)
        if what == "tag":
            return Flush(cache, None, _bounded(record.tag, KEY_BYTES_MAX, "tag"), version)
        return Flush(cache, None, None, version)
    if what == "met":
        return Met(_read_node(record.met.node), record.met.direct)
    if what == "gone":
        return Gone(_read_id(record.gone.id), _read_sequence(record.gone.flushes, "number of flushes"))
    return Lost(_read_id(record.lost))


def _read_node(node: wire.Node) -> Identity:
    node_id = _read_id(node.id)
    name = _bounded(node.name, NAME_BYTES_MAX, "node name")
    if not node.address:
        return Identity(node_id, name, "")
    address = _bounded(node.address, _ADDRESS_BYTES_MAX, "address")
    dialled = f"host{address}" if address.startswith(":") else address
    try:
        single = expand(dialled) == (dialled,)
    except ValueError as error:
        raise WireError(f"an address that is none: {error}") from None
    if not single:
        raise WireError(f'an address that is none: "{address}" has more than one port')
    return Identity(node_id, name, address)


def _read_id(node_id: bytes) -> bytes:
    if len(node_id) != _ID_BYTES:
        raise WireError(f"a node id of {len(node_id)} bytes instead of {_ID_BYTES}")
    return node_id


def _read_duration(seconds: float) -> float:
    if not seconds >= 0:
        raise WireError(f"a duration of {seconds} seconds")
    return seconds


def _read_age(seconds: float) -> float:
    if not 0 <= seconds < inf:
        raise WireError(f"an age of {seconds} seconds")
    return seconds


def _read_clock(seconds: float) -> float:
    if not isfinite(seconds) or seconds < 0:
        raise WireError(f"a clock that reads {seconds}")
    return seconds


def _read_sequence(number: int, what: str) -> int:
    if number > _SEQUENCE_MAX:
        raise WireError(f"a {what} of {number}")
    return number


def _check_count(count: int, what: str) -> None:
    if count > MEMBERS_MAX:
        raise WireError(f"{count} {what}, where {MEMBERS_MAX} are the most")


def _bounded(text: str, limit: int, what: str) -> str:
    if not 0 < len(text) <= limit or (len(text) * 4 > limit and len(text.encode()) > limit):
        raise WireError(f"a {what} of {len(text)} characters; it has 1 to {limit} bytes")
    return text


_STRANGER: Final = Identity(bytes(_ID_BYTES), "a node of another version", "")

_WHY_NUMBERS: Final = {
    Why.MESH: wire.Refusal.MESH,
    Why.VERSION: wire.Refusal.VERSION,
    Why.NAMESAKE: wire.Refusal.NAMESAKE,
    Why.FULL: wire.Refusal.FULL,
    Why.LEAVING: wire.Refusal.LEAVING,
    Why.GONE: wire.Refusal.GONE,
}
_WHYS: Final = {number: why for why, number in _WHY_NUMBERS.items()}

_READERS: Final[dict[str, Callable[[Any], Message]]] = {
    "hello": _read_hello,
    "welcome": _read_welcome,
    "refusal": _read_refusal,
    "follow": _read_follow,
    "batch": _read_batch,
    "truncated": _read_truncated,
    "ping": _read_ping,
    "vouch": _read_vouch,
    "ack": _read_ack,
    "leave": _read_leave,
}
