"""The codec: what goes out comes in, and what is no message ends the stream."""

import contextlib
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flushmesh.net.codec import MEMBERS_MAX, MESSAGE_BYTES_MAX, Encoder, WireError, decode
from flushmesh.protocol.journal import BATCH_FLUSHES_MAX, Journal, record_bytes
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
    Met,
    Ping,
    Refusal,
    Truncated,
    Unreached,
    Vouch,
    Welcome,
    Why,
)
from flushmesh.wire import mesh_pb2 as wire

ME = Identity(b"m" * 16, "me", "127.0.0.1:7946")
EVERYWHERE = Identity(b"m" * 16, "me", ":7946")
ONLY_DIALS = Identity(b"d" * 16, "dials", "")
OTHER = Identity(b"o" * 16, "other", "[::1]:1")
FLUSHES = (Flush("c", "k"), Flush("c", tag="t"), Flush("c"), Flush("c", "k", version=0), Flush("c", "ü"))
MEMBERS = (
    Met(OTHER, direct=True),
    Met(ONLY_DIALS, direct=False),
    Gone(b"o" * 16, 0),
    Gone(b"o" * 16, 7),
    Lost(b"o" * 16),
)
HEAD = 2**63 - 1

MESSAGES = [
    Hello(PROTOCOL_VERSION, "m", ME, 30.0, 120.0),
    Hello(PROTOCOL_VERSION, "m", EVERYWHERE, inf, inf),
    Hello(PROTOCOL_VERSION, "m", ONLY_DIALS, 0.5, 0.0),
    Welcome(ME, 30.0, 120.0),
    Welcome(ONLY_DIALS),
    *(Refusal(why, "in words") for why in Why),
    Follow(None),
    Follow(0, 2**128 - 1),
    Follow(HEAD, 1),
    Follow(None, 1, 2.5),
    Batch(3, FLUSHES, acknowledge=True),
    Batch(3, (*FLUSHES, *MEMBERS)),
    Batch(3, ()),
    Truncated(9, 4, None),
    Truncated(9, 4, ()),
    Truncated(9, 4, None, complete=True),
    Truncated(9, 4, (Known(OTHER, reached=True), Known(ONLY_DIALS, reached=False))),
    Ping(1.5, 7),
    Ping(0.0, HEAD, 2.5),
    Vouch(1.5, 3),
    Vouch(1.5, 3, 4.5, ()),
    Vouch(1.5, 3, 4.5, (Unreached(b"o" * 16, 0.0), Unreached(b"d" * 16, 12.5, hearsay=True))),
    Ack(7),
    Leave(0),
    Leave(9),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_is_sent_arrives(message):
    """Every message survives the wire unchanged."""
    assert decode(Encoder().encode(message)) == message


def test_every_kind_is_read():
    """No kind that the wire format knows is unknown to the decoder, and each can be empty or is refused in words."""
    for kind in wire.Message.DESCRIPTOR.oneofs_by_name["kind"].fields:
        message = wire.Message()
        getattr(message, kind.name).SetInParent()
        with contextlib.suppress(WireError):
            decode(message.SerializeToString())


def test_what_a_node_does_not_say_is_read_with_care():
    """A node that states no limit may give up at once, and may serve what it has for ever."""
    bare = wire.Message(hello=wire.Hello(protocol=PROTOCOL_VERSION, mesh="m", node=wire.Node(id=b"m" * 16, name="me")))

    assert decode(bare.SerializeToString()) == Hello(
        PROTOCOL_VERSION, "m", Identity(b"m" * 16, "me", ""), inf, give_up_after=0.0
    )


def test_a_node_of_another_version_can_be_refused_in_words():
    """Of a Hello of another version only the version and the mesh must be understood."""
    for protocol, hello in (
        (1, wire.Hello(protocol=1, mesh="m")),
        (9, wire.Hello(protocol=9, mesh="m", max_staleness=nan)),
    ):
        message = decode(wire.Message(hello=hello).SerializeToString())
        assert isinstance(message, Hello)
        assert (message.protocol, message.mesh) == (protocol, "m")


def test_a_refusal_of_a_later_version_keeps_the_nodes_apart():
    """A cause that is not known here counts as another version: a node is there that cannot be followed."""
    later = wire.Message(refusal=wire.Refusal(reason="too loud"))
    later.refusal.why = 77

    assert decode(later.SerializeToString()) == Refusal(Why.VERSION, "too loud")


def test_one_batch_is_encoded_once():
    """Followers at the same place get the same bytes."""
    encoder, journal = Encoder(), Journal()
    journal.append(Flush("c", "k"))

    first = encoder.encode(journal.batch(0))
    assert encoder.encode(journal.batch(0)) is first
    journal.append(Flush("c", "l"))
    assert decode(encoder.encode(journal.batch(1))) == Batch(2, (Flush("c", "l"),))


def test_the_byte_bound_covers_the_wire():
    """A record takes no more on the wire than the journal counts for it."""
    long = Identity(b"m" * 16, "n" * 128, "h" * 270 + ":65535")
    largest = (Flush("c" * 128, "k" * 1024, version=2**63), Met(long, direct=True), Gone(b"m" * 16, HEAD))
    for record in (*FLUSHES, *MEMBERS, *largest):
        size = len(Encoder().encode(Batch(1, (record,)))) - len(Encoder().encode(Batch(1, ())))
        assert size <= record_bytes(record) + 6


def test_the_members_of_a_large_mesh_fit_into_a_message():
    """Names and addresses of an ordinary length, twice as many as a mesh takes by default."""
    members = tuple(
        Known(
            Identity(number.to_bytes(16, "big"), f"worker-{number}.shop.internal", "10.100.100.100:65535"), reached=True
        )
        for number in range(2048)
    )

    assert len(Encoder().encode(Truncated(HEAD, HEAD, members))) < MESSAGE_BYTES_MAX / 4


@given(st.binary(max_size=200))
def test_garbage_is_told_from_a_message(data):
    """Whatever bytes come, they are a message or a WireError, and nothing else happens."""
    with contextlib.suppress(WireError):
        decode(data)


def batch(**record):
    return wire.Message(batch=wire.Batch(first=1, records=[wire.Record(**record)]))


def met(**node):
    return batch(met=wire.Met(node=wire.Node(**node)))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (wire.Message(), "unknown kind"),
        (wire.Message(batch=wire.Batch(first=0)), "a batch of 0 records from 0 on"),
        (wire.Message(batch=wire.Batch(first=2**63)), "a batch of 0 records from 9223372036854775808 on"),
        (
            wire.Message(batch=wire.Batch(first=1, records=[wire.Record(cache="c")] * (BATCH_FLUSHES_MAX + 1))),
            "a batch of 1025 records",
        ),
        (batch(cache="c", key=""), "a key of 0"),
        (batch(cache="c", key="k" * 1025), "a key of 1025"),
        (batch(cache="c", tag=""), "a tag of 0"),
        (batch(key="k"), "a cache name of 0"),
        (batch(lost=b"short"), "a node id of 5 bytes"),
        (batch(gone=wire.Gone(id=b"")), "a node id of 0 bytes"),
        (batch(gone=wire.Gone(id=b"m" * 16, flushes=2**63)), "a number of flushes of 9223372036854775808"),
        (met(id=b"m" * 16), "a node name of 0"),
        (met(id=b"m" * 16, name="n", address="nowhere"), "has no port"),
        (met(id=b"m" * 16, name="n", address="host:1-9"), "more than one port"),
        (met(id=b"m" * 16, name="n", address="h" * 280 + ":1"), "address of 282"),
        (wire.Message(welcome=wire.Welcome(node=wire.Node(id=b"short"))), "a node id of 5 bytes"),
        (
            wire.Message(welcome=wire.Welcome(node=wire.Node(id=b"m" * 16, name="n"), give_up_after=-1.0)),
            "a duration of -1",
        ),
        (
            wire.Message(welcome=wire.Welcome(node=wire.Node(id=b"m" * 16, name="n"), max_staleness=nan)),
            "a duration of nan",
        ),
        (wire.Message(hello=wire.Hello(protocol=PROTOCOL_VERSION)), "a mesh name of 0"),
        (wire.Message(refusal=wire.Refusal(why=1, reason="r" * 1025)), "a reason of 1025"),
        (wire.Message(follow=wire.Follow(known=b"short")), "a digest of 5 bytes"),
        (wire.Message(follow=wire.Follow(cursor=2**63, known=b"k" * 16)), "a cursor of 9223372036854775808"),
        (wire.Message(follow=wire.Follow(known=b"k" * 16, age=inf)), "an age of inf"),
        (wire.Message(truncated=wire.Truncated(head=2**63)), "a head of 9223372036854775808"),
        (
            wire.Message(truncated=wire.Truncated(members=[wire.Known()] * (MEMBERS_MAX + 1))),
            f"{MEMBERS_MAX + 1} members",
        ),
        (wire.Message(ping=wire.Ping(clock=-1.0)), "a clock that reads -1"),
        (wire.Message(ping=wire.Ping(clock=inf)), "a clock that reads inf"),
        (wire.Message(ping=wire.Ping(had=nan)), "a clock that reads nan"),
        (wire.Message(ping=wire.Ping(cursor=2**64 - 1)), "a cursor of 18446744073709551615"),
        (wire.Message(vouch=wire.Vouch(given=nan)), "a clock that reads nan"),
        (
            wire.Message(vouch=wire.Vouch(unreached_changed=True, unreached=[wire.Unreached(id=b"m" * 16, age=inf)])),
            "an age of inf",
        ),
        (
            wire.Message(vouch=wire.Vouch(unreached_changed=True, unreached=[wire.Unreached(id=b"m" * 16, age=-1)])),
            "an age of -1",
        ),
        (wire.Message(ack=wire.Ack(cursor=2**63)), "a cursor of 9223372036854775808"),
        (wire.Message(leave=wire.Leave(flushes=2**63)), "a number of flushes of 9223372036854775808"),
    ],
)
def test_a_broken_bound_is_named(message, words):
    """What breaks a bound is refused, with the bound."""
    with pytest.raises(WireError, match=words):
        decode(message.SerializeToString())
