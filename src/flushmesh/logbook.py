"""The logbook: the lines a mesh writes to the logger `flushmesh`, one for each change of state."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from typing import Final

from flushmesh.protocol.effects import Alone, Distrust, Effect, Joined, PeerFollowed, PeerLost, Refused, Split, Stalled

log = logging.getLogger("flushmesh")

# How many refusals are remembered, so that each is logged once.
REFUSALS_MAX: Final = 1_024

# As the protocol refuses a node of another mesh.
_OTHER_MESH: Final = re.compile(r'this is a node of the mesh "(.*)", not of "(.*)"')

# Every node distrusts what it loaded before it had joined; that is no news.
_JOINED: Final = "it has joined"


class Logbook:
    """
    Writes a line about each effect that is worth one.

    A refusal is logged once for each peer and cause.  Another mesh on the same ports is one
    cause, however many nodes it has and whichever side refuses.
    """

    def __init__(self) -> None:
        self._refused: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def log_effect(self, effect: Effect) -> None:
        """Write a line about *effect*, if it is worth one."""
        match effect:
            case PeerFollowed(peer):
                log.info("following %s at %s", peer.name, peer.address or "no address")
                self._forget_refusals(peer.name, peer.address)
            case PeerLost(peer, gone, reason):
                log.info("%s %s: %s", peer.name, "is gone" if gone else "is out of reach", reason)
            case Refused(peer_name, reason):
                self._log_refusal(peer_name, reason)
            case Joined(silent):
                log.info("joined")
                for address in silent:
                    log.warning("%s has neither answered nor refused; a node there is not heard", address)
            case _:
                _log_trouble(effect)

    def _log_refusal(self, peer: str, reason: str) -> None:
        other = _OTHER_MESH.fullmatch(reason)
        cause = tuple(sorted(other.groups())) if other else (peer, reason)
        known = cause in self._refused
        self._refused[cause] = None
        self._refused.move_to_end(cause)
        while len(self._refused) > REFUSALS_MAX:
            self._refused.popitem(last=False)
        log.log(logging.DEBUG if known else logging.WARNING, "no connection with %s: %s", peer, reason)

    def _forget_refusals(self, *peers: str) -> None:
        """Log a refusal again if it comes after the peer was followed."""
        for cause in [cause for cause in self._refused if cause[0] in peers]:
            del self._refused[cause]


def _log_trouble(effect: Effect) -> None:
    match effect:
        case Distrust(peer, _, reason) if peer is not None:
            log.warning("flushes of %s may have been missed, entries run out: %s", peer.name, reason)
        case Distrust(None, _, reason) if not reason.startswith(_JOINED):
            log.warning("flushes of a node that was never met may have been missed, entries run out: %s", reason)
        case Stalled(""):
            log.info("entries are proven again")
        case Stalled(why):
            log.warning("entries run out: %s", why)
        case Split(""):
            log.info("every node sees every other one again")
        case Split(views):
            log.warning("the mesh is split: %s", views)
        case Alone(""):
            log.info("no longer alone")
        case Alone(why):
            log.warning("alone: %s", why)
