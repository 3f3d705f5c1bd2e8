"""The lines a mesh writes: one for each change, however often what caused it repeats."""

import logging

import pytest

from flushmesh import logbook
from flushmesh.logbook import Logbook
from flushmesh.protocol.admission import refusal_of
from flushmesh.protocol.effects import Distrust, PeerFollowed, Refused
from flushmesh.protocol.messages import PROTOCOL_VERSION, Hello, Identity
from flushmesh.protocol.peers import Peers

PEER = Identity(b"p" * 16, "peer", "10.0.0.5:7946")


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "flushmesh")
    return lambda: [record.getMessage() for record in caplog.records]


def test_a_refusal_is_logged_once_for_each_peer_and_cause(lines):
    """A mesh on the same ports is dialled, and dials, on and on."""
    book = Logbook()
    for _ in range(100):
        for peer in ("10.0.0.5:7946", "peer"):
            book.log_effect(Refused(peer, "this node has 9 peers already"))
        book.log_effect(Refused("peer", "this node is leaving"))

    assert lines() == [
        "no connection with 10.0.0.5:7946: this node has 9 peers already",
        "no connection with peer: this node has 9 peers already",
        "no connection with peer: this node is leaving",
    ]


def test_another_mesh_on_the_same_ports_is_logged_once(lines):
    """However many nodes it has, whichever side refuses, and in the words of the protocol."""
    book = Logbook()
    me, other = Peers(Identity(b"m" * 16, "me", "")), Peers(PEER)
    here = refusal_of(Hello(PROTOCOL_VERSION, "blog", PEER), "shop", me, leaving=False)
    there = refusal_of(Hello(PROTOCOL_VERSION, "shop", me.me), "blog", other, leaving=False)
    for number in range(10):
        book.log_effect(Refused(f"10.0.0.{number}:7946", there.reason))
        book.log_effect(Refused(f"peer {number}", here.reason))

    assert lines() == ['no connection with 10.0.0.0:7946: this is a node of the mesh "blog", not of "shop"']


def test_a_refusal_after_the_peer_was_followed_is_logged_again(lines):
    """It is news then, under the name of the peer as under its address."""
    book = Logbook()
    for _ in range(2):
        book.log_effect(Refused("10.0.0.5:7946", "full"))
        book.log_effect(Refused("peer", "full"))
        book.log_effect(PeerFollowed(PEER))

    assert (
        lines()
        == [
            "no connection with 10.0.0.5:7946: full",
            "no connection with peer: full",
            "following peer at 10.0.0.5:7946",
        ]
        * 2
    )


def test_a_doubt_without_a_peer_is_logged_unless_it_is_that_of_joining(lines):
    """Entries run out then, and no other line would say so."""
    book = Logbook()
    book.log_effect(Distrust(None, 1.0, "it has joined, and what was flushed before is unknown"))
    book.log_effect(Distrust(None, 1.0, "a node at 10.0.0.5:7946 may have been missed"))

    assert lines() == [
        "flushes of a node that was never met may have been missed, entries run out: "
        "a node at 10.0.0.5:7946 may have been missed"
    ]


def test_what_was_refused_is_remembered_within_a_bound(monkeypatch, lines):
    """Strangers may call under any number of names; those that call on and on are remembered."""
    monkeypatch.setattr(logbook, "REFUSALS_MAX", 3)
    book = Logbook()
    for number in range(10):
        book.log_effect(Refused(f"stranger {number}", "full"))
        book.log_effect(Refused("constant", "full"))

    assert len(book._refused) == 3
    assert lines().count("no connection with constant: full") == 1
