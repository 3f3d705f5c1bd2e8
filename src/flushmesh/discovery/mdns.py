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

# The network of a machine that starts comes up after some of its programs, and that of a laptop
# changes: this often the interfaces are looked at again.
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
    # Announcements are repeated over the first second; every node that is there has been heard by then.
    settles_after = 2.0
    # A record may be an hour out of date, and anything near can announce anything.
    names = False

    def __init__(self, wanted: Sequence[str]) -> None:
        self._wanted = wanted
        self._found: dict[str, list[str]] = {}
        self._silence: asyncio.TimerHandle | None = None
        self._complained = False

    async def run(self, announcement: Announcement, propose: Callable[[Collection[str]], None]) -> None:
        """Announce and listen until cancelled; take the announcement back then."""
        while True:
            try:
                choice = await self._choice(announcement)
                await self._listen(_open(choice), announcement, choice, propose)
                continue
            except NoInterfaceError as error:
                self._complain(str(error))
            except (OSError, RuntimeError, Error) as error:
                self._complain(f"{str(error) or type(error).__name__}; {BLOCKED}")
            await asyncio.sleep(RETRY)

    async def _choice(self, announcement: Announcement) -> Choice:
        # A node that only dials has nothing to announce, but it hears the others everywhere.
        host = split(announcement.address)[0] if announcement.address else "0.0.0.0"  # noqa: S104
        return choose(interfaces(), self._wanted, await _hosts(host))

    async def _until_changed(self, announcement: Announcement, choice: Choice) -> None:
        """Wait until the interfaces are others than those of *choice*, but not none."""
        while True:
            await asyncio.sleep(RETRY)
            with suppress(OSError):
                if await self._choice(announcement) != choice:
                    log.info("mdns: the network has changed; announcing this node again")
                    return

    async def _listen(
        self,
        zeroconf: AsyncZeroconf,
        own: Announcement,
        choice: Choice,
        propose: Callable[[Collection[str]], None],
    ) -> None:
        """Announce this node and hear the others by *zeroconf*, until the interfaces change."""
        resolving: set[asyncio.Task[None]] = set()
        info = _service_info(own, choice)

        def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
            if name == _service_name(own):
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
            if info is not None:
                self._silence = asyncio.get_running_loop().call_later(ECHO_MAX, self._complain, silence)
            browser = AsyncServiceBrowser(zeroconf.zeroconf, SERVICE, handlers=[changed])
            try:
                if info is not None:
                    await zeroconf.async_register_service(info)
                await self._until_changed(own, choice)
            finally:
                await browser.async_cancel()
        finally:
            self._hush()
            for task in resolving:
                task.cancel()
            try:
                # A network that is gone cannot be told goodbye, and must not hide the reason for ending.
                with suppress(OSError, RuntimeError, Error):
                    await zeroconf.async_unregister_all_services()
            finally:
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


def _service_name(announcement: Announcement) -> str:
    # The id makes the name unique, so no other node has to be asked whether it is.
    return f"{announcement.node_id.hex()}.{SERVICE}"


def _service_info(announcement: Announcement, choice: Choice) -> AsyncServiceInfo | None:
    """Return what to announce; nothing of a node that only dials."""
    if not announcement.address:
        return None
    node_id = announcement.node_id.hex()
    return AsyncServiceInfo(
        SERVICE,
        _service_name(announcement),
        port=split(announcement.address)[1],
        parsed_addresses=list(choice.announced),
        server=f"{node_id}.local.",
        properties={"mesh": announcement.mesh, "id": node_id},
    )
