"""
DNS: a name that stands for many nodes, asked again and again.

Every address of the name is proposed with every port.  The system's own resolver is
asked, so /etc/hosts and nsswitch count.  When a resolver fails, or has no address for a name
that had some, what it named before is kept.  Before its first answer nothing is proposed: a
resolver that fails says nothing about other nodes.  "No such name" is an answer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import socket
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

from flushmesh.address import expand, join, split
from flushmesh.discovery import Announcement

log = logging.getLogger("flushmesh")

# A new pod is in the DNS within seconds, and met as soon as it is found.  Nodes that started together
# ask at different times.
REPEAT: Final = 5.0
REPEAT_JITTER: Final = 0.3

# A name server that is alive answers within milliseconds; one that does not is worth a line in the log.
ANSWER_MAX: Final = 3.0

# There is no such name, or it has no address.
_NO_SUCH_NAME: Final = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


async def look_up(host: str) -> list[str]:
    """Return every address of *host* that can be dialled; raise OSError or UnicodeError."""
    answer = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    hosts = (ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in answer)
    # Where a link-local address leads depends on who asks, and 0.0.0.0 is how some servers say "nowhere".
    usable = (host for host in hosts if not host.is_link_local and not host.is_unspecified)
    return list(dict.fromkeys(str(getattr(host, "ipv4_mapped", None) or host) for host in usable))


class Dns:
    """
    Proposes every address of one name, written as in *text*: name:port or name:first-last.

    *lookup* and *sleep* are the world; *spread* gives the jitter, from 0 to 1.
    """

    # The first proposal comes with the first answer.
    settles_after = 0.0
    # The name of a pod that is gone lives on in caches for a while.
    names = True
    passing = True

    def __init__(
        self,
        text: str,
        *,
        lookup: Callable[[str], Awaitable[Collection[str]]] = look_up,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.source = f"dns {text}"
        places = [split(address) for address in expand(text)]
        self._host = places[0][0]
        self._ports = [port for _, port in places]
        self._lookup = lookup
        self._sleep = sleep
        self._spread = spread
        self._hosts: Collection[str] = ()
        self._answered = False
        self._troubled = False

    async def run(self, announcement: Announcement, propose: Callable[[Collection[str]], None]) -> None:
        """Ask, propose, and ask again, until cancelled."""
        proposed: list[str] | None = None
        lookup: asyncio.Future[Collection[str]] | None = None
        try:
            while True:
                # A question that is still open is not asked twice.
                lookup = lookup or asyncio.ensure_future(self._lookup(self._host))
                await self._wait(lookup)
                if lookup.done():
                    self._take(lookup)
                    lookup = None
                else:
                    self._log_trouble(f"no answer within {ANSWER_MAX:g} s")
                addresses = [join(host, port) for host in self._hosts for port in self._ports]
                if self._answered and addresses != proposed:
                    propose(addresses)
                    proposed = addresses
                await self._sleep(REPEAT * (1 - REPEAT_JITTER * self._spread()))
        finally:
            if lookup is not None:
                lookup.cancel()

    async def _wait(self, lookup: asyncio.Future[Collection[str]]) -> None:
        """Wait until *lookup* is done, at most ANSWER_MAX."""
        patience = asyncio.ensure_future(self._sleep(ANSWER_MAX))
        either: set[asyncio.Future[Any]] = {lookup, patience}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            patience.cancel()

    def _take(self, lookup: asyncio.Future[Collection[str]]) -> None:
        try:
            hosts = lookup.result()
        except (OSError, UnicodeError) as error:
            self._answered |= getattr(error, "errno", None) in _NO_SUCH_NAME
            self._log_trouble((getattr(error, "strerror", None) or str(error)).lower())
            return
        self._answered = True
        self._hosts = hosts or self._hosts
        self._log_trouble("" if hosts else "it stands for no address")

    def _log_trouble(self, trouble: str) -> None:
        """Log that the name no longer resolves, or does again."""
        if trouble and not self._troubled:
            if self._hosts:
                follows = f"what it named before is kept: {', '.join(self._hosts)}"
            else:
                follows = "no node is found by it" if self._answered else "this node keeps joining until it answers"
            log.warning("%s: %s; %s", self.source, trouble, follows)
        elif self._troubled and not trouble:
            log.info("%s: resolves again: %s", self.source, ", ".join(self._hosts))
        self._troubled = bool(trouble)
