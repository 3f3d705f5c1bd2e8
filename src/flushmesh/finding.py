"""Finding: the discoveries that a mesh's options ask for, each imported only when it is used."""

from __future__ import annotations

import logging

from flushmesh.discovery import Discovery
from flushmesh.options import MeshOptions
from flushmesh.rosterwatch import RosterWatch

log = logging.getLogger("flushmesh")


def build_discoveries(options: MeshOptions, watch: RosterWatch | None) -> list[Discovery]:
    """Return what looks for peers as *options* say; *watch* is the roster file, if they come from one."""
    found: list[Discovery] = []
    if options.peers or watch is not None:
        from flushmesh.discovery.roster import Roster

        found.append(Roster(watch.look if watch is not None else lambda: options.peer_addresses))
    if options.dns:
        from flushmesh.discovery.dns import Dns

        found += [Dns(name) for name in dict.fromkeys(options.dns)]
    if options.uses_mdns:
        try:
            from flushmesh.discovery.mdns import Mdns
        except ImportError as error:
            log.warning("mdns: zeroconf is not usable here: %s; name the peers by peers= or dns=", error)
        else:
            found.append(Mdns(options.mdns_interfaces))
    return [*found, *options.discovery]
