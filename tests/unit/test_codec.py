"""The codec: what goes out comes in, and what is no message ends the stream."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flushmesh.net.codec import Encoder, WireError, decode_from_follower, decode_from_origin
from flushmesh.protocol.journal import BATCH_FLUSHES_MAX, Journal, flush_bytes
from flushmesh.protocol.messages import (
    Ack,
    Batch,
    Flush,
    Hello,
    Identity,
    Leave,
    News,
    Ping,
    Truncated,
    Vouch,
    Welcome,
)
from flushmesh.wire import mesh_pb2 as wire

ME = Identity(b"m" * 16, "me", "127.0.0.1:7946")
NEWS = News(Identity(b"o" * 16, "other", "[::1]:1"), reached=True)
FLUSHES = (Flush("c", "k"), Flush("c", tag="t"), Flush("c"), Flush("c", "k", version=0), Flush("c", "ü"))


@pytest.mark.parametrize(
    "message",
    [
        Hello(1, "m", ME, b"o" * 16, 5, 30.0, 120.0, (NEWS,)),
        Hello(1, "m", Identity(b"m" * 16, "me", ":7946"), b"", 0),
        Ping(1.5, 7),
        Ack(7),
    ],
)
def test_what_a_follower_sends_arrives(message):
    """Every follower's message survives the wire unchanged."""
    assert decode_from_follower(Encoder().encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        Welcome(ME, 5, (NEWS,)),
        Batch(3, FLUSHES, acknowledge=True),
        Batch(3, ()),
        Truncated(9),
        Vouch(1.5, 3),
        Vouch(1.5, 3, ()),
        Vouch(1.5, 3, (NEWS,)),
        Leave(9),
    ],
)
def test_what_an_origin_sends_arrives(message):
    """Every origin's message survives the wire unchanged."""
    assert decode_from_origin(Encoder().encode(message)) == message


def test_one_batch_is_encoded_once():
    """Followers at the same place get the same bytes."""
    encoder, journal = Encoder(), Journal()
    journal.append(Flush("c", "k"))

    first = encoder.encode(journal.batch(0))
    assert encoder.encode(journal.batch(0)) is first
    journal.append(Flush("c", "l"))
    assert decode_from_origin(encoder.encode(journal.batch(1))).flushes == (Flush("c", "l"),)


def test_the_byte_bound_covers_the_wire():
    """A flush takes no more on the wire than the journal counts for it."""
    for flush in (*FLUSHES, Flush("c" * 128, "k" * 1024, version=2**63)):
        assert len(Encoder().encode(Batch(1, (flush,)))) - len(Encoder().encode(Batch(1, ()))) <= flush_bytes(flush) + 6


@given(st.binary(max_size=200))
def test_garbage_is_told_from_a_message(data):
    """Whatever bytes come, they are a message or a WireError, and nothing else happens."""
    for decode in (decode_from_follower, decode_from_origin):
        with contextlib.suppress(WireError):
            decode(data)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (wire.OriginMessage(), "unknown kind"),
        (wire.OriginMessage(batch=wire.Batch(first=0)), "a batch of 0 flushes from 0 on"),
        (
            wire.OriginMessage(batch=wire.Batch(first=1, flushes=[wire.Flush(cache="c")] * (BATCH_FLUSHES_MAX + 1))),
            "a batch of 1025 flushes",
        ),
        (wire.OriginMessage(batch=wire.Batch(first=1, flushes=[wire.Flush(cache="c", key="")])), "a key of 0"),
        (
            wire.OriginMessage(batch=wire.Batch(first=1, flushes=[wire.Flush(cache="c", key="k" * 1025)])),
            "a key of 1025",
        ),
        (wire.OriginMessage(batch=wire.Batch(first=1, flushes=[wire.Flush(key="k")])), "a cache name of 0"),
        (wire.OriginMessage(welcome=wire.Welcome(node=wire.Node(id=b"short"))), "a node id of 5 bytes"),
        (
            wire.OriginMessage(welcome=wire.Welcome(node=wire.Node(id=b"m" * 16, name="n", address="nowhere"))),
            "has no port",
        ),
    ],
)
def test_a_broken_bound_is_named(message, words):
    """What breaks a bound is refused, with the bound."""
    with pytest.raises(WireError, match=words):
        decode_from_origin(message.SerializeToString())
