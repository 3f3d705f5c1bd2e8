"""
mDNS: nodes announce themselves by multicast and hear each other.

Multicast is a hint and nothing more: records of a node that crashed linger for more than
an hour, and anybody near can announce anything.  Who answers decides.  Where multicast
does not work, that is said once, and the mesh goes on without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from zeroconf import Error, IPVersion, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from flushmesh.address import join, split
from flushmesh.discovery import Announcement
from flushmesh.discovery.dns import look_up
from flushmesh.discovery.interfaces import Choice, NoInterfaceError, choose, interfaces, sensible

log = logging.getLogger("flushmesh")

SERVICE: Final = "_flushmesh._tcp.local."
_RESOLVE_TIMEOUT_MS: Final = 3_000

# The likely cause, and the cure.
BLOCKED: Final = "multicast seems to be blocked here, name the peers by peers= or dns="

# The network of a machine that starts comes up after some of its programs.
RETRY: Final = 15.0

# A node's own announcement comes back to it within milliseconds, wherever multicast works at all.
ECHO_MAX: Final = 5.0

# Anybody near can announce any number of nodes.
NODES_MAX: Final = 1_024


class Mdns:
    """
    Announces this node and proposes those of its mesh that it hears of.

    *wanted* names the interfaces, by name or address; none stands for all that are fit for
    where the node listens.
    """

    source = "mdns"
    # Announcements are repeated over the first second; whoever is there has been heard by then.
    settles_after = 2.0

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = wanted
        self._found: dict[str, list[str]] = {}
        self._silence: asyncio.TimerHandle | None = None
        self._complained = False

    async def run(self, announcement: Announcement, propose: Callable[[Collection[str]], None]) -> None:
        """Announce and listen until cancelled; take the announcement back then."""
        while True:
            try:
                host, port = split(announcement.address)
                choice = choose(interfaces(), self._wanted, await _hosts(host))
                info = _service_info(announcement, choice, port)
                await self._listen(_open(choice), announcement, info, propose)
            except NoInterfaceError as error:
                self._complain(str(error))
            except (OSError, RuntimeError, Error) as error:
                self._complain(f"{str(error) or type(error).__name__}; {BLOCKED}")
            await asyncio.sleep(RETRY)

    async def _listen(
        self,
        zeroconf: AsyncZeroconf,
        own: Announcement,
        info: AsyncServiceInfo,
        propose: Callable[[Collection[str]], None],
    ) -> None:
        resolving: set[asyncio.Task[None]] = set()

        def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
            if name == info.name:
                self._hush()
            elif state_change is ServiceStateChange.Removed:
                if self._found.pop(name, None) is not None:
                    propose(self._addresses())
            elif name in self._found or len(self._found) + len(resolving) < NODES_MAX:
                task = asyncio.ensure_future(self._resolve(zeroconf, name, own, propose))
                resolving.add(task)
                task.add_done_callback(resolving.discard)

        try:
            silence = f"not even this node's own announcement comes back; {BLOCKED}"
            self._silence = asyncio.get_running_loop().call_later(ECHO_MAX, self._complain, silence)
            browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[changed])
            try:
                await zeroconf.async_register_service(info)
                await asyncio.get_running_loop().create_future()  # Until cancelled.
            finally:
                await browser.async_cancel()
        finally:
            self._hush()
            for task in resolving:
                task.cancel()
            # A network that is gone cannot be told goodbye, and must not hide the reason for ending.
            with suppress(OSError, RuntimeError, Error):
                await zeroconf.async_unregister_all_services()
            await zeroconf.async_close()

    def _hush(self) -> None:
        """Complain of silence no more: something is heard, or nothing is listened for."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    async def _resolve(
        self, zeroconf: Zeroconf, name: str, own: Announcement, propose: Callable[[Collection[str]], None]
    ) -> None:
        try:
            info = AsyncServiceInfo(SERVICE, name)
            answered = await info.async_request(zeroconf, _RESOLVE_TIMEOUT_MS)
            hosts = sensible(info.parsed_addresses(IPVersion.All), interfaces())
        except (OSError, ValueError, Error) as error:
            # A stranger's announcement can be anything.
            log.debug("mdns: %s is no node: %s", name, error)
            return
        port = info.port
        if answered and port and info.properties.get(b"mesh") == own.mesh.encode():
            self._found[name] = [join(host, port) for host in hosts]
            propose(self._addresses())

    def _addresses(self) -> list[str]:
        return [address for addresses in self._found.values() for address in addresses]

    def _complain(self, trouble: str) -> None:
        """Log, once, why nobody is found by multicast."""
        if not self._complained:
            log.warning("mdns: %s", trouble)
        self._complained = True


async def _hosts(host: str) -> list[str]:
    """Return the addresses of the *host* that is listened on, mostly itself."""
    with suppress(ValueError):
        return [str(ip_address(host))]
    return await look_up(host)


def _open(choice: Choice) -> AsyncZeroconf:
    """Open the sockets; IPv6 is left out where only that does not work."""
    v4 = [host for host in choice.multicast if ":" not in host]
    if len(v4) == len(choice.multicast):
        return AsyncZeroconf(interfaces=v4, ip_version=IPVersion.V4Only)
    try:
        return AsyncZeroconf(interfaces=list(choice.multicast), ip_version=IPVersion.All if v4 else IPVersion.V6Only)
    except (OSError, RuntimeError) as error:
        if not v4:
            raise
        log.debug("mdns: not by IPv6: %s", error)
        return AsyncZeroconf(interfaces=v4, ip_version=IPVersion.V4Only)


def _service_info(announcement: Announcement, choice: Choice, port: int) -> AsyncServiceInfo:
    node_id = announcement.node_id.hex()
    return AsyncServiceInfo(
        SERVICE,
        # The id makes the name unique, so nobody has to ask around whether it is.
        f"{node_id}.{SERVICE}",
        port=port,
        parsed_addresses=list(choice.announced),
        server=f"{node_id}.local.",
        properties={"mesh": announcement.mesh, "id": node_id},
    )
