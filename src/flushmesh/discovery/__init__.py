"""
Discovery: what proposes addresses.

It only proposes.  A peer is a node that has answered; one that no discovery proposes any
more stays a peer for as long as it answers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from math import inf
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Announcement:
    """
    What a discovery may tell others of this node.

    *address* is what it listens on; a host of 0.0.0.0 or [::] stands for every interface
    and is no address to dial.  It is empty if the node cannot listen and only dials.
    """

    mesh: str
    node_id: bytes
    address: str


class Discovery(Protocol):
    """
    Finds addresses.

    *source* names it in logs and status.  *settles_after* is how many seconds after the
    start its proposals count as complete; 0 if its first one does.

    Two more attributes may be there.  *names*, True if it is not: what is proposed is where
    nodes are, and until each address has answered or refused the connection, entries are
    served by their own age alone.  False is for hints, which may be out of date.  *passing*,
    False if it is not: an address may stay proposed for a while after its host is gone, as in
    DNS, so that one which has said goodbye is not missed.

    A discovery that fails must not propose: an empty list means that there is no other node.
    """

    @property
    def source(self) -> str:
        """Its name, for people."""

    @property
    def settles_after(self) -> float:
        """Seconds from the start until its proposals count as complete; 0 if its first one does."""

    async def run(self, announcement: Announcement, propose: Callable[[Collection[str]], None]) -> None:
        """
        Call *propose* with all addresses known at the moment, whenever they change.

        Runs on the mesh's own thread and loop, must not block it, and is cancelled when the
        mesh closes.  *propose* may be called there only.
        """


def check_discovery(place: str, discovery: object) -> None:
    """Raise TypeError that names *place* and what *discovery* lacks to be one."""
    if isinstance(discovery, type):
        raise TypeError(f"{place}: an object, not the class {discovery.__name__}; call it")
    name = type(discovery).__name__
    if not isinstance(getattr(discovery, "source", None), str):
        raise TypeError(f"{place}: a Discovery has a source, its name as a str; this {name} has none")
    settles_after = getattr(discovery, "settles_after", None)
    if isinstance(settles_after, bool) or not isinstance(settles_after, int | float):
        raise TypeError(f"{place}: a Discovery has settles_after, a number of seconds; this {name} has none")
    if not 0 <= settles_after < inf:
        raise ValueError(f"{place}: settles_after: seconds, 0 or more, not {settles_after}")
    for option in ("names", "passing"):
        if not isinstance(getattr(discovery, option, False), bool):
            raise TypeError(f"{place}: {option} of a Discovery is true or false, not {getattr(discovery, option)!r}")
    if not iscoroutinefunction(getattr(discovery, "run", None)):
        raise TypeError(f"{place}: a Discovery has async def run(announcement, propose); this {name} has none")


def by_source(discoveries: Iterable[Discovery]) -> dict[str, Discovery]:
    """Return *discoveries* by their sources; of those that share one, each but the first gets a number."""
    named: dict[str, Discovery] = {}
    for discovery in discoveries:
        source, number = discovery.source, 1
        while source in named:
            # Under one name, each would take back what the other has proposed.
            number += 1
            source = f"{discovery.source} ({number})"
        named[source] = discovery
    return named
