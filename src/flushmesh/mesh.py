"""
Mesh: what an application makes first.

It owns the caches, the protocol node and the driver, and carries the effects of one to
the others.  Nothing happens at import or construction: threads, sockets and gRPC come
with `start`, or with the first use.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import cachetools

from flushmesh.address import is_wildcard, split
from flushmesh.cache import Cache
from flushmesh.clock import clock
from flushmesh.errors import Isolated, MeshClosed
from flushmesh.finding import discoveries
from flushmesh.hooks import CacheHooks, OnEvicted, OnFlushed, OnLoadError
from flushmesh.keys import check_name
from flushmesh.life import Life
from flushmesh.logbook import note
from flushmesh.options import (
    LISTEN_DEFAULT,
    MAXSIZE_DEFAULT,
    STALENESS_DEFAULT,
    TTL_DEFAULT,
    CacheOptions,
    MeshOptions,
    ping_interval,
)
from flushmesh.protocol.effects import Acknowledged, Apply, Distrust, Effect, Ready, Reconsider, Trust
from flushmesh.protocol.journal import JOURNAL_BYTES_MAX, JOURNAL_FLUSHES_MAX, Journal
from flushmesh.protocol.messages import Flush, Identity
from flushmesh.protocol.node import Node, NodeOptions
from flushmesh.protocol.peers import PEERS_MAX
from flushmesh.receipt import Deliveries, Delivery, Receipt
from flushmesh.report import delivery_of, report
from flushmesh.rosterfile import truth
from flushmesh.rosterwatch import RosterWatch
from flushmesh.status import MeshStatus, not_started
from flushmesh.unique import Unique

if TYPE_CHECKING:
    from flushmesh.discovery import Discovery
    from flushmesh.net.driver import Driver

ROSTER_DEFAULT: Final = "flushmesh.toml"
_ID_BYTES: Final = 16


class Mesh(Unique):
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
        dns: Sequence[str] = (),
        mdns: bool | Sequence[str] | None = None,
        discovery: Sequence[Discovery] = (),
        insecure: bool = False,
        expect: int = 0,
        max_staleness: float | None = STALENESS_DEFAULT,
        lost_after: float | Literal["auto"] | None = "auto",
        journal_flushes_max: int = JOURNAL_FLUSHES_MAX,
        journal_bytes_max: int = JOURNAL_BYTES_MAX,
        peers_max: int = PEERS_MAX,
        caches: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """
        Describe a mesh; nothing starts yet.

        Only nodes of the same *mesh* talk to each other; *name* is this node's, for people.
        It listens on the first free port of *listen*, and looks for others at *peers*, at
        what *dns* names stand for, by multicast if *mdns* says so or nothing else is given, and
        wherever *discovery* finds addresses.  Until *expect* of them have been followed,
        entries live for *max_staleness* at most.  No hit is older than *max_staleness*
        seconds, whatever is lost or breaks; None leaves that to the caches' ttl.  What *caches*
        says of a cache goes before what `cache` is called with.  Raises ValueError or TypeError
        that names the option; see `MeshOptions` for the others.
        """
        self.options = MeshOptions(
            mesh=mesh,
            name=name,
            listen=listen,
            peers=peers,
            dns=dns,
            mdns=mdns,
            discovery=discovery,
            insecure=insecure,
            expect=expect,
            max_staleness=max_staleness,
            lost_after=lost_after,
            journal_flushes_max=journal_flushes_max,
            journal_bytes_max=journal_bytes_max,
            peers_max=peers_max,
            caches=caches or {},
        )
        self._watch: RosterWatch | None = None
        self._caches: dict[str, Cache[Any]] = {}
        self._disabled = int(truth("FLUSHMESH_DISABLED", os.environ))
        self._staleness_min = self.options.staleness
        self._life = Life(mesh, self._launch, self._ended, self._forked)
        self._begin()

    def _begin(self) -> None:
        self._making = Lock()  # Protects `_caches` and `_disabled`.
        self._lock = Lock()  # Protects `_node`; held for microseconds.
        self._node: Node | None = None
        self._ready = Event()
        self._deliveries = Deliveries(self._delivery, self._ask)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str] = ROSTER_DEFAULT, *, name: str = "") -> Self:
        """
        Describe a mesh by the roster file at *path*, FLUSHMESH_* variables and *name* over it.

        While the mesh runs, peers that are added to the file are looked for, and those taken
        out no longer; everything else in it counts from the next start on.  Raises RosterError,
        one line that names the file and the place.
        """
        watch = RosterWatch(path, os.environ)
        described = {field.name: getattr(watch.options, field.name) for field in dataclasses.fields(watch.options)}
        mesh = cls(**{**described, "name": name or watch.options.name})
        mesh._watch = watch
        return mesh

    def __repr__(self) -> str:
        return f"<Mesh {self.options.mesh!r} {self._life.state}>"

    def cache(
        self,
        name: str,
        *,
        maxsize: int = MAXSIZE_DEFAULT,
        ttl: float | timedelta = TTL_DEFAULT,
        max_staleness: float | Literal["mesh"] | None = "mesh",
        jitter: float = 0.0,
        grace: float | timedelta = 0.0,
        refresh_ahead: float | None = None,
        max_loads: int | None = None,
        getsizeof: Callable[[Any], int] | None = None,
        policy: type[cachetools.Cache[Any, Any]] = cachetools.LRUCache,
        copy: Callable[[Any], Any] | None = None,
        on_flushed: OnFlushed | None = None,
        on_evicted: OnEvicted | None = None,
        on_load_error: OnLoadError | None = None,
    ) -> Cache[Any]:
        """
        Return the cache *name*, made at the first call.

        The options are those of `CacheOptions`; durations are in seconds.  *on_flushed* is
        called after each flush that came from a peer, on the mesh's own thread: it must be
        quick, and may use the cache but not wait for a receipt.  *on_evicted* is called with
        the key and value of an entry that had to make room, *on_load_error* with the key and
        error of a load, both where the load ran.  Raises ValueError if the cache exists with
        other options or hooks.
        """
        check_name(name, "cache")
        asked = CacheOptions(
            maxsize, ttl, max_staleness, jitter, grace, refresh_ahead, max_loads, getsizeof, policy, copy
        )
        options = self.options.cache_options(name, asked)
        hooks = CacheHooks(name, on_flushed, on_evicted, on_load_error)
        with self._making:
            cache = self._caches.get(name)
            if cache is None:
                staleness = self.options.staleness_of(options)
                cache = self._caches[name] = Cache(name, self, options, hooks, clock, staleness)
                cache.disable(by=self._disabled)
                self._staleness_min = min(self._staleness_min, staleness)
                self._bring_up_to_date(cache)
            elif cache.options != options:
                raise ValueError(f'cache "{name}" exists already, with {cache.options}')
            elif other := cache.hooks.other_than(hooks):
                raise ValueError(f'cache "{name}" exists already, with another {other}')
            return cache

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """
        Inside, in the whole process, every read of every cache loads, and nothing is stored.

        Flushes still go out and are applied.  FLUSHMESH_DISABLED=1 in the environment does
        the same for good.
        """
        self._disable(by=1)
        try:
            yield
        finally:
            self._disable(by=-1)

    def _disable(self, *, by: int) -> None:
        with self._making:
            self._disabled += by
            for cache in self._caches.values():
                cache.disable(by=by)

    # Life.

    def start(self) -> None:
        """
        Listen, and begin to look for peers; return without waiting for them.

        Called by the first use if not before.  Raises StartError if the node cannot listen,
        MeshClosed after `close`.
        """
        self._life.start()

    def _launch(self) -> Driver:
        # Here and not above: importing gRPC starts what a process that forks must not have.
        from flushmesh.net.driver import Driver

        driver = Driver(self._lock, clock, self._make_node, self._carry_out, self._life.ended)
        options = self.options
        driver.start(options.listen_addresses, discoveries(options, self._watch), insecure=options.insecure)
        return driver

    def close(self) -> None:
        """
        Say goodbye to the peers and stop; return within two seconds, whatever they do.

        What was flushed before is sent first.  A second call waits for the first, at most as
        long.  In a hook it returns at once, and all this happens after the hook.
        """
        self._life.close()

    def _ended(self) -> None:
        """Serve nothing any more: from now on nobody says what is stale."""
        self._deliveries.close()
        for cache in list(self._caches.values()):
            cache.close()

    def _forked(self) -> None:
        """In a forked child: be another node, with empty caches."""
        if self._node is not None:
            self._deliveries.freeze(partial(delivery_of, self._node, clock()))
        self._begin()
        for cache in self._caches.values():
            cache.reset()

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

    def ready(self, timeout: float = 0.0) -> bool:
        """
        Wait up to *timeout* seconds until this node has looked around; tell whether it has.

        That is so once every address that was proposed has answered, refused or timed out once,
        and as many peers as `expect` says are followed.  It never becomes false again: for a
        probe that asks whether an instance has started, not whether all is well.
        """
        self.ensure_started()
        return self._ready.wait(timeout)

    def status(self) -> MeshStatus:
        """Return what this node knows of itself and its peers, at this moment."""
        node = self._node
        if node is None:
            return not_started(self.options.mesh, self.options.node_name(), self._life.state)
        with self._lock:
            return report(node, self._life.state, clock())

    # What a cache needs.

    def ensure_started(self) -> None:
        """Start if that has not happened yet; raise MeshClosed once closed."""
        if self._life.driver is None:
            self._life.start()

    def broadcast(
        self, cache: str, key: str | None = None, tag: str | None = None, version: int | None = None
    ) -> Receipt:
        """Tell every peer to forget *key* or *tag* of *cache*, or all of it."""
        self.ensure_started()
        node, driver = self._node, self._life.driver
        if node is None or driver is None:
            raise MeshClosed(self.options.mesh) if self._life.closed else Isolated()
        with self._lock:
            # What comes after the goodbye would be numbered, and sent to nobody.
            if node.leaving:
                raise MeshClosed(self.options.mesh)
            sequence = node.flush(Flush(cache, key, tag, version))
        driver.wake()
        return Receipt(sequence, clock(), self._deliveries)

    # What the driver needs, on its thread.

    def _make_node(self, address: str, sources: Mapping[str, float]) -> Node:
        options = self.options
        if is_wildcard(address):
            # Peers complete it with the host they see this node at.
            address = f":{split(address)[1]}"
        if self._node is not None:
            # It comes back from a suspension.
            node = self._node
            if address != node.identity.address:
                node.identity = node.peers.me = dataclasses.replace(node.identity, address=address)
                node.contacts.moved()
            return node
        self._node = Node(
            options.mesh,
            Identity(secrets.token_bytes(_ID_BYTES), options.node_name(), address),
            Journal(options.journal_flushes_max, options.journal_bytes_max),
            NodeOptions(options.staleness, options.lost_seconds, options.peers_max, sources, options.expect),
            clock(),
            ping_interval(self._staleness_min),
        )
        return self._node

    def _carry_out(self, effect: Effect) -> None:
        note(effect)
        match effect:
            case Apply() | Trust() | Distrust():
                self._tell_caches(effect)
            case Acknowledged(upto):
                self._deliveries.acknowledged(upto)
            case Reconsider():
                self._deliveries.reconsider()
            case Ready():
                self._ready.set()

    def _tell_caches(self, effect: Apply | Trust | Distrust) -> None:
        caches = list(self._caches.values())
        match effect:
            case Apply(origin, first, flushes):
                for sequence, flush in enumerate(flushes, first):
                    cache = self._caches.get(flush.cache)
                    if cache is not None:
                        cache.apply(flush.key, flush.tag, flush.version, origin.name, sequence)
            case Trust(at):
                for cache in caches:
                    cache.trust(at)
            case Distrust(since=since):
                for cache in caches:
                    cache.distrust(since)

    def _bring_up_to_date(self, cache: Cache[Any]) -> None:
        """Tell a cache that is made while the mesh runs what the others know, and the node what it demands."""
        node = self._node
        if node is not None:
            with self._lock:
                node.ping_interval = ping_interval(self._staleness_min)
                cache.trust(node.trust.at)

    # What receipts need.

    def _delivery(self, receipt: Receipt) -> Delivery:
        if self._node is None:
            return Delivery()
        with self._lock:
            return delivery_of(self._node, clock(), receipt)

    def _ask(self, sequence: int) -> None:
        driver = self._life.driver
        if driver is None or self._node is None:
            return
        if driver.is_current_thread:
            raise RuntimeError("a receipt cannot be waited for in a hook: its answer comes on this very thread")
        with self._lock:
            effects = self._node.ask(sequence)
        driver.act_soon(effects)
