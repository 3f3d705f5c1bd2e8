"""
mDNS: nodes announce themselves by multicast and hear each other.

Multicast is a hint and nothing more: records of a node that crashed linger for more than
an hour, and anybody near can announce anything.  Who answers decides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final

from zeroconf import IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from flushmesh.address import split
from flushmesh.discovery import Announcement

log = logging.getLogger("flushmesh")

SERVICE: Final = "_flushmesh._tcp.local."
_RESOLVE_TIMEOUT_MS: Final = 3_000


class Mdns:
    """
    Announces this node on *interfaces* and proposes those it hears of.

    Only nodes of the same mesh are proposed.
    """

    source = "mdns"
    # Announcements are repeated over the first second; whoever is there has been heard by then.
    settles_after = 2.0

    def __init__(self, interfaces: Collection[str]) -> None:
        self._interfaces = list(interfaces)
        self._found: dict[str, str] = {}

    async def run(self, announcement: Announcement, propose: Callable[[Collection[str]], None]) -> None:
        """Announce and listen until cancelled; take the announcement back then."""
        zeroconf = AsyncZeroconf(interfaces=self._interfaces, ip_version=IPVersion.V4Only)
        resolving: set[asyncio.Task[None]] = set()

        def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
            if state_change is ServiceStateChange.Removed:
                if self._found.pop(name, None) is not None:
                    propose(self._found.values())
                return
            task = asyncio.ensure_future(self._resolve(zeroconf, name, announcement, propose))
            resolving.add(task)
            task.add_done_callback(resolving.discard)

        try:
            info = _service_info(announcement)
            await zeroconf.async_register_service(info)
            browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[changed])
            try:
                await asyncio.get_running_loop().create_future()  # Until cancelled.
            finally:
                await browser.async_cancel()
        finally:
            for task in resolving:
                task.cancel()
            try:
                await zeroconf.async_unregister_all_services()
            finally:
                await zeroconf.async_close()

    async def _resolve(
        self, zeroconf: Zeroconf, name: str, own: Announcement, propose: Callable[[Collection[str]], None]
    ) -> None:
        info = AsyncServiceInfo(SERVICE, name)
        if not await info.async_request(zeroconf, _RESOLVE_TIMEOUT_MS):
            log.debug("mdns: %s does not resolve", name)
            return
        same_mesh = info.properties.get(b"mesh") == own.mesh.encode()
        hosts = info.parsed_addresses(IPVersion.V4Only)
        if same_mesh and hosts and info.port and info.properties.get(b"id") != own.node_id.hex().encode():
            self._found[name] = f"{hosts[0]}:{info.port}"
            propose(self._found.values())


def _service_info(announcement: Announcement) -> AsyncServiceInfo:
    host, port = split(announcement.address)
    node_id = announcement.node_id.hex()
    return AsyncServiceInfo(
        SERVICE,
        # The id makes the name unique, so nobody has to ask around whether it is.
        f"{node_id}.{SERVICE}",
        port=port,
        parsed_addresses=[host],
        server=f"{node_id}.local.",
        properties={"mesh": announcement.mesh, "id": node_id},
    )
