"""
Mesh: what an application makes first.

It owns the caches, the protocol node and the driver, and carries the effects of one to
the others.  Nothing happens at import or construction: threads, sockets and gRPC come
with `start`, or with the first use.
"""

from __future__ import annotations

import asyncio
import atexit
import dataclasses
import logging
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any, Final, Self

from flushmesh.address import is_loopback, is_wildcard, split
from flushmesh.cache import Cache
from flushmesh.errors import MeshClosed
from flushmesh.hooks import OnFlushed
from flushmesh.keys import check_name
from flushmesh.options import LISTEN_DEFAULT, MAXSIZE_DEFAULT, TTL_DEFAULT, CacheOptions, MeshOptions
from flushmesh.protocol.effects import Apply, Distrust, Effect, Met, Parted, Progress, Refused
from flushmesh.protocol.journal import JOURNAL_BYTES_MAX, JOURNAL_FLUSHES_MAX, Journal
from flushmesh.protocol.messages import Flush, Identity
from flushmesh.protocol.node import PEERS_MAX, Node, NodeOptions
from flushmesh.receipt import Deliveries, Receipt
from flushmesh.rosterfile import read_roster
from flushmesh.status import MeshState, MeshStatus, PeerStatus
from flushmesh.store import Store

if TYPE_CHECKING:
    from flushmesh.discovery import Discovery
    from flushmesh.net.driver import Driver

log = logging.getLogger("flushmesh")

ROSTER_DEFAULT: Final = "flushmesh.toml"
_ID_BYTES: Final = 16


class Mesh:
    """
    This process's part in a mesh of local caches.

    Every method may be called from any thread.  A mesh that was closed stays closed.
    """

    def __init__(
        self,
        mesh: str,
        *,
        name: str = "",
        listen: str = LISTEN_DEFAULT,
        peers: Sequence[str] = (),
        mdns: bool | None = None,
        insecure: bool = False,
        journal_flushes_max: int = JOURNAL_FLUSHES_MAX,
        journal_bytes_max: int = JOURNAL_BYTES_MAX,
        peers_max: int = PEERS_MAX,
        caches: Mapping[str, CacheOptions] | None = None,
    ) -> None:
        """
        Describe a mesh; nothing starts yet.

        Only nodes of the same *mesh* talk to each other; *name* is this node's, for people.
        It listens on the first free port of *listen*, and looks for others at *peers* and,
        if there are none or *mdns* says so, by multicast.  What *caches* says of a cache goes
        before what `cache` is called with.  Raises ValueError or TypeError that names the
        option; see `MeshOptions` for the others.
        """
        self.options = MeshOptions(
            mesh, name, listen, peers, mdns, insecure, journal_flushes_max, journal_bytes_max, peers_max, caches or {}
        )
        self._state = MeshState.NEW
        self._life = RLock()  # Protects `_state` and `_caches`; held while starting and closing.
        self._lock = Lock()  # Protects `_node`; held for microseconds.
        self._caches: dict[str, Cache[Any]] = {}
        self._node: Node | None = None
        self._driver: Driver | None = None
        self._deliveries = Deliveries(self._missing, self._ask)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str] = ROSTER_DEFAULT, *, name: str = "") -> Self:
        """
        Describe a mesh by the roster file at *path*, FLUSHMESH_* variables and *name* over it.

        Raises RosterError, one line that names the file and the place.
        """
        options = read_roster(path, os.environ)
        described = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
        return cls(**{**described, "name": name or options.name})

    def __repr__(self) -> str:
        return f"<Mesh {self.options.mesh!r} {self._state}>"

    def cache(
        self,
        name: str,
        *,
        maxsize: int = MAXSIZE_DEFAULT,
        ttl: float = TTL_DEFAULT,
        on_flushed: OnFlushed | None = None,
    ) -> Cache[Any]:
        """
        Return the cache *name*, made at the first call.

        *maxsize* is in entries, *ttl* in seconds from the beginning of a load.  *on_flushed*
        is called after each flush that came from a peer, on the mesh's own thread: it must be
        quick, and may use the cache but not wait for a receipt.  Raises ValueError if the
        cache exists with other options.
        """
        check_name(name, "cache")
        options = self.options.caches.get(name) or CacheOptions(maxsize, ttl)
        with self._life:
            cache = self._caches.get(name)
            if cache is None:
                store = Store[Any](options.maxsize, options.ttl, time.monotonic)
                cache = self._caches[name] = Cache(name, store, self, options, on_flushed)
            elif cache.options != options:
                raise ValueError(f'cache "{name}" exists already, with {cache.options}')
            elif on_flushed is not None and on_flushed is not cache.on_flushed:
                raise ValueError(f'cache "{name}" exists already, with another on_flushed')
            return cache

    # Life.

    def start(self) -> None:
        """
        Listen, and begin to look for peers; return without waiting for them.

        Called by the first use if not before.  Raises StartError if the node cannot listen,
        MeshClosed after `close`.
        """
        with self._life:
            if self._state is MeshState.RUNNING:
                return
            if self._state is MeshState.CLOSED:
                raise MeshClosed(self.options.mesh)
            # Here and not above: importing gRPC starts what a process that forks must not have.
            from flushmesh.net.driver import Driver

            driver = Driver(self._lock, time.monotonic, self._make_node, self._carry_out)
            driver.start(self.options.listen_addresses, self._discoveries(), insecure=self.options.insecure)
            self._driver = driver
            self._state = MeshState.RUNNING
            atexit.register(self.close)

    def close(self) -> None:
        """
        Say goodbye to the peers and stop; return within two seconds, whatever they do.

        What was flushed before is sent first.  A second call does nothing.
        """
        with self._life:
            driver, self._driver = self._driver, None
            self._state = MeshState.CLOSED
            if driver is None:
                return
            atexit.unregister(self.close)
            driver.stop()
            self._deliveries.close()
            for cache in self._caches.values():
                cache.forget()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await asyncio.to_thread(self.close)

    def status(self) -> MeshStatus:
        """Return what this node knows of itself and its peers, at this moment."""
        node = self._node
        if node is None:
            return MeshStatus(self.options.mesh, self.options.node_name(), "", "", self._state, 0, (), {})
        with self._lock:
            peers = tuple(
                PeerStatus(
                    name=peer.identity.name,
                    node_id=peer.identity.id.hex(),
                    address=peer.identity.address,
                    state=peer.state,
                    cursor=peer.cursor,
                    acknowledged=peer.acknowledged,
                )
                for peer in node.peers.values()
            )
            refusals = {contact.address: contact.refusal for contact in node.contacts if contact.refusal}
            me, head = node.identity, node.journal.head
        return MeshStatus(
            self.options.mesh, me.name, me.id.hex(), me.address, self._state, head, _by_name(peers), refusals
        )

    # What a cache needs.

    def ensure_started(self) -> None:
        """Start if that has not happened yet; raise MeshClosed once closed."""
        if self._state is not MeshState.RUNNING:
            self.start()

    def broadcast(self, cache: str, key: str | None) -> Receipt:
        """Tell every peer to forget *key* of *cache*, or all of it."""
        self.ensure_started()
        node, driver = self._node, self._driver
        if node is None or driver is None:
            raise MeshClosed(self.options.mesh)
        with self._lock:
            # What comes after the goodbye would be numbered, and sent to nobody.
            if node.leaving:
                raise MeshClosed(self.options.mesh)
            sequence = node.flush(Flush(cache, key))
        driver.wake()
        return Receipt(sequence, self._deliveries)

    # What the driver needs, on its thread.

    def _make_node(self, address: str) -> Node:
        options = self.options
        if is_wildcard(address):
            # Peers complete it with the host they see this node at.
            address = f":{split(address)[1]}"
        self._node = Node(
            options.mesh,
            Identity(secrets.token_bytes(_ID_BYTES), options.node_name(), address),
            Journal(options.journal_flushes_max, options.journal_bytes_max),
            NodeOptions(peers_max=options.peers_max),
        )
        return self._node

    def _discoveries(self) -> list[Discovery]:
        discoveries: list[Discovery] = []
        if self.options.peers:
            from flushmesh.discovery.roster import Roster

            discoveries.append(Roster(self.options.peer_addresses))
        if self.options.uses_mdns:
            from flushmesh.discovery.mdns import Mdns

            local = is_loopback(self.options.listen_addresses[0])
            discoveries.append(Mdns(["127.0.0.1"] if local else []))
        return discoveries

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Apply(origin, first, flushes):
                for sequence, flush in enumerate(flushes, first):
                    cache = self._caches.get(flush.cache)
                    if cache is not None:
                        cache.apply(flush.key, flush.tag, origin.name, sequence)
            case Progress():
                self._deliveries.progress()
            case Met(peer):
                log.info("following %s at %s", peer.name, peer.address)
            case Parted(peer, left, reason):
                log.info("%s %s: %s", peer.name, "left" if left else "is out of reach", reason)
            case Distrust(peer, reason):
                log.warning("flushes of %s may have been missed, all caches are emptied: %s", peer.name, reason)
                for cache in list(self._caches.values()):
                    cache.forget()
            case Refused(who, reason):
                log.warning("no connection with %s: %s", who, reason)

    # What receipts need.

    def _missing(self, sequence: int) -> tuple[str, ...]:
        if self._node is None:
            return ()
        with self._lock:
            return tuple(identity.name for identity in self._node.missing(sequence))

    def _ask(self, sequence: int) -> None:
        driver = self._driver
        if driver is None or self._node is None:
            return
        if driver.is_current_thread:
            raise RuntimeError("a receipt cannot be waited for in a hook: its answer comes on this very thread")
        with self._lock:
            effects = self._node.ask(sequence)
        driver.act_soon(effects)


def _by_name(peers: tuple[PeerStatus, ...]) -> tuple[PeerStatus, ...]:
    return tuple(sorted(peers, key=lambda peer: (peer.name, peer.node_id)))
