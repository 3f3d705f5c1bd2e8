"""
What the core of one node costs among many: one real `Node`, the others stand-ins that behave.

    python benchmarks/scale.py --json results.json

Pings every three seconds, all of them answered; gRPC is not counted, encoding and decoding are.
CPU is the thread's own, so other load on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections import Counter
from pathlib import Path

from flushmesh.net.codec import Encoder, decode
from flushmesh.protocol import effects as do
from flushmesh.protocol.effects import Effect
from flushmesh.protocol.journal import Journal
from flushmesh.protocol.messages import (
    PROTOCOL_VERSION,
    Batch,
    Follow,
    Hello,
    Identity,
    Known,
    Message,
    Met,
    Ping,
    Truncated,
    Vouch,
    Welcome,
)
from flushmesh.protocol.node import Node, NodeOptions
from flushmesh.protocol.trust import Source

INTERVAL = 3.0
STALENESS = 30.0
SIZES = (64, 200, 500)

# What a message costs next to its own bytes: the prefixes of gRPC and HTTP/2.
FRAME_BYTES = 14


class Crowd:
    """One node and its peers."""

    def __init__(self, size: int) -> None:
        self.now = 0.0
        self.cpu: dict[str, float] = {}
        self.longest: dict[str, float] = {}
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.encoder = Encoder()
        self.members = [_identity(number) for number in range(size + 1)]
        self.members, self.newcomer = self.members[:-1], self.members[-1]
        me, *others = self.members
        options = NodeOptions(STALENESS, 120.0, peers_max=2048, sources={"roster": Source()})
        self.node = Node("shop", me, Journal(), options, self.now, INTERVAL, STALENESS)
        self.by_address = {other.address: other for other in [*others, self.newcomer]}
        self.links: dict[int, Identity] = {}
        self.heads: dict[bytes, int] = {}
        self.act(self.call("propose", "roster", [other.address for other in others], self.now))

    def call(self, name: str, *arguments: object) -> list[Effect]:
        """Call the node, and count what that costs."""
        began = time.thread_time()
        result: list[Effect] = getattr(self.node, name)(*arguments)
        self.count(name, time.thread_time() - began)
        return result

    def count(self, name: str, took: float) -> None:
        """Add to what *name* has cost."""
        self.cpu[name] = self.cpu.get(name, 0.0) + took
        self.longest[name] = max(self.longest.get(name, 0.0), took)

    def act(self, effects: list[Effect]) -> None:
        """Carry out what the node asks for, as a driver does, and answer for the peers."""
        for effect in effects:
            if isinstance(effect, do.Dial):
                self.links[effect.link] = self.by_address[effect.address]
                self.drain(effect.link)
            elif isinstance(effect, do.Wake):
                self.drain(effect.link)

    def drain(self, link: int) -> None:
        """Send what the node has to send on *link*."""
        while True:
            began = time.thread_time()
            message = self.node.next_message(link, self.now)
            self.count("next_message", time.thread_time() - began)
            if message is None:
                return
            began = time.thread_time()
            data = self.encoder.encode(message)
            self.count("encode", time.thread_time() - began)
            self.sent[type(message).__name__] += len(data) + FRAME_BYTES
            for answer in self.answers(self.links[link], message):
                self.receive(link, answer)

    def receive(self, link: int, message: Message) -> None:
        """Hand *message* to the node, by way of its bytes."""
        data = self.encoder.encode(message)
        self.received[type(message).__name__] += len(data) + FRAME_BYTES
        began = time.thread_time()
        message = decode(data)
        self.count("decode", time.thread_time() - began)
        self.act(self.call("receive", link, message, self.now))

    def answers(self, peer: Identity, message: Message) -> list[Message]:
        """Return what *peer* answers."""
        match message:
            case Hello():
                return [Welcome(peer, STALENESS, 9.0)]
            case Follow():
                head = self.heads.setdefault(peer.id, 1000)
                known = tuple(Known(other, reached=True) for other in self.members if other is not peer)
                same = message.known == self.digest()
                return [Truncated(head, 0, None if same else known), Follow(0, self.digest())]
            case Ping(clock=clock):
                return [Vouch(clock, self.heads[peer.id], self.now)]
        return []

    def digest(self) -> int:
        """Return the digest of all members."""
        total = 0
        for member in self.members:
            total ^= int.from_bytes(member.id, "big")
        return total

    def interval(self) -> None:
        """Let one ping interval pass: every peer pings the node once, at a time of its own."""
        phase = random.Random(1)
        events = sorted((self.now + INTERVAL * phase.random(), link) for link in self.links)
        end = self.now + INTERVAL
        for at, link in events:
            self.tick(at)
            self.now = at
            self.receive(link, Ping(at, self.node.journal.head, at))
        self.tick(end)
        self.now = end

    def tick(self, until: float) -> None:
        """Call `tick` whenever it is due."""
        while (due := self.node.next_due()) <= until:
            self.now = max(self.now, due)
            self.act(self.call("tick", self.now))

    def join(self) -> tuple[int, int]:
        """Let one more node join; return how many bytes that has this one send and receive."""
        self.sent.clear()
        self.received.clear()
        newcomer, members = self.newcomer, self.members
        link = self.node.accept("10.9.9.9", self.now)
        self.links[link] = newcomer
        self.heads[newcomer.id] = 0
        self.receive(link, Hello(PROTOCOL_VERSION, "shop", newcomer, STALENESS, 9.0))
        self.drain(link)
        # The first node that it met has listed the members for it; this is any other one.
        self.members = [*members, newcomer]
        self.receive(link, Follow(None, self.digest()))
        mets = tuple(Met(member, direct=True) for member in members)
        self.receive(link, Batch(1, mets))
        self.heads[newcomer.id] = len(mets)
        for number, peer in list(self.links.items()):
            if peer is not newcomer:
                self.heads[peer.id] += 1
                self.receive(number, Batch(self.heads[peer.id], (Met(newcomer, direct=True),)))
        return sum(self.sent.values()), sum(self.received.values())


def _identity(number: int) -> Identity:
    return Identity(os.urandom(16), f"worker-host-{number}-{1000 + number}", f"10.0.{number >> 8}.{number & 255}:7946")


def measure(size: int, intervals: int = 4) -> dict[str, float]:
    """Return what one node among *size* costs, in percent of a core, milliseconds and bytes."""
    crowd = Crowd(size)
    for _ in range(2):
        crowd.interval()
    crowd.cpu.clear()
    crowd.longest.clear()
    for _ in range(intervals):
        crowd.interval()
    idle = 100 * sum(crowd.cpu.values()) / (intervals * INTERVAL)
    longest = 1000 * max(crowd.longest.values())
    sent, received = crowd.join()
    return {"nodes": size, "idle_percent": idle, "longest_ms": longest, "join_sent": sent, "join_received": received}


def main() -> None:
    """Measure and print; with --json, write the results too."""
    parser = argparse.ArgumentParser(description="What the core of one node costs among many.")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [measure(size) for size in SIZES]
    print("nodes   idle, % of a core   longest call, ms  a join, bytes sent   received")
    for row in rows:
        counts = f"{row['nodes']:>5}  {row['idle_percent']:>18.2f}  {row['longest_ms']:>17.2f}"
        print(f"{counts}  {row['join_sent']:>18,}  {row['join_received']:>9,}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
