"""The logbook: the lines a mesh writes to the logger `flushmesh`, one for each change of state."""

from __future__ import annotations

import logging

from flushmesh.protocol.effects import Alone, Distrust, Effect, Joined, Met, Parted, Refused, Split, Stalled

log = logging.getLogger("flushmesh")


def note(effect: Effect) -> None:
    """Write a line about *effect*, if it is worth one."""
    match effect:
        case Met(peer):
            log.info("following %s at %s", peer.name, peer.address)
        case Parted(peer, gone, reason):
            log.info("%s %s: %s", peer.name, "is gone" if gone else "is out of reach", reason)
        case Refused(who, reason):
            log.warning("no connection with %s: %s", who, reason)
        case Joined(silent):
            log.info("joined")
            for address in silent:
                log.warning("%s has neither answered nor refused; a node there is not heard", address)
        case _:
            _note_trouble(effect)


def _note_trouble(effect: Effect) -> None:
    match effect:
        case Distrust(peer, _, reason) if peer is not None:
            log.warning("flushes of %s may have been missed, entries run out: %s", peer.name, reason)
        case Stalled(""):
            log.info("entries are proven again")
        case Stalled(why):
            log.warning("entries run out: %s", why)
        case Split(""):
            log.info("every node sees every other one again")
        case Split(who):
            log.warning("the mesh is split: %s", who)
        case Alone(""):
            log.info("no longer alone")
        case Alone(why):
            log.warning("alone: %s", why)
