"""
Mesh: what an application makes first.

It owns the caches, the protocol node and the driver, and carries the effects of one to
the others.  Nothing happens at import or construction: threads, sockets and gRPC come
with `start`, or with the first use.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from threading import Event, Lock, get_ident
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import cachetools

from flushmesh.address import expand, is_wildcard, split
from flushmesh.cache import Cache
from flushmesh.cacheupdates import CacheUpdates
from flushmesh.clock import clock
from flushmesh.errors import Isolated, MeshClosed, StartError
from flushmesh.finding import build_discoveries
from flushmesh.hookrunner import HookRunner
from flushmesh.hooks import CacheHooks, OnEvicted, OnFlushed, OnLoadError
from flushmesh.keys import check_name
from flushmesh.life import Life
from flushmesh.logbook import Logbook
from flushmesh.net.inbox import Inbox
from flushmesh.options import (
    LISTEN_DEFAULT,
    MAXSIZE_DEFAULT,
    STALENESS_DEFAULT,
    TTL_DEFAULT,
    CacheOptions,
    MeshOptions,
    ping_interval,
)
from flushmesh.protocol.effects import Acknowledged, Apply, Distrust, Effect, Ready, RecheckReceipts, Trust
from flushmesh.protocol.journal import JOURNAL_BYTES_MAX, JOURNAL_FLUSHES_MAX, Journal
from flushmesh.protocol.messages import Flush, Identity
from flushmesh.protocol.node import Node, NodeOptions
from flushmesh.protocol.peers import PEERS_MAX
from flushmesh.protocol.trust import Source
from flushmesh.receipt import Delivery, Receipt, ReceiptWaiters
from flushmesh.receiptdesk import ReceiptDesk, ask
from flushmesh.report import delivery_of, report
from flushmesh.rosterfile import truth
from flushmesh.rosterwatch import RosterWatch
from flushmesh.status import MeshStatus, not_started
from flushmesh.unique import Unique

if TYPE_CHECKING:
    from flushmesh.discovery import Discovery
    from flushmesh.net.driver import Driver

log = logging.getLogger("flushmesh")

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
        give_up_silent: float | None = None,
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
            give_up_silent=give_up_silent,
            journal_flushes_max=journal_flushes_max,
            journal_bytes_max=journal_bytes_max,
            peers_max=peers_max,
            caches=caches or {},
        )
        self._watch: RosterWatch | None = None
        self._caches: dict[str, Cache[Any]] = {}
        self._disabled = int(truth("FLUSHMESH_DISABLED", os.environ))
        self._unstarted = False
        self._updates = CacheUpdates(self._caches)
        self._disabling: list[int] = []  # The threads inside `disabled()`, once for each block.
        self._staleness_min = self.options.staleness
        self._life = Life(mesh, self._launch, self._started, self._not_started, self._ended, self._forked)
        self._begin()

    def _begin(self) -> None:
        self._making = Lock()  # Protects `_caches`, `_disabled` and `_unstarted`.
        # The driver's thread alone touches it while that runs.
        self._node: Node | None = None
        self._inbox = Inbox()
        self._ready = Event()
        self._logbook = Logbook()
        self._hook_runner = HookRunner()
        self._waiters = ReceiptWaiters(self._delivery, self._later)
        self._desk = ReceiptDesk(
            self._inbox, self._thread, self._delivery, self._hasten, self._waiters.add, self._waiters.forget
        )

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
        called after each flush that came from a peer, in their order, on a thread for the hooks
        of this mesh; beyond 10,000 that wait, events are left out.  *on_evicted* is called with
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
        self._disabling.append(get_ident())
        try:
            yield
        finally:
            self._disabling.remove(get_ident())
            self._disable(by=-1)

    def _disable(self, *, by: int) -> None:
        with self._making:
            self._disable_locked(by=by)

    def _disable_locked(self, *, by: int) -> None:
        self._disabled += by
        for cache in self._caches.values():
            cache.disable(by=by)

    # Life.

    def start(self) -> None:
        """
        Listen, and begin to look for peers; return without waiting for them.

        Called by the first use if not before.  Raises StartError if the node cannot start,
        MeshClosed after `close`.  A use of a cache that finds the mesh unable to start does not
        raise: it loads, keeps nothing, and leaves the next attempt to a later use.
        """
        self._life.start()

    def _launch(self) -> Driver:
        # Here and not above: importing gRPC starts what a process that forks must not have.
        from flushmesh.net.driver import Driver

        driver = Driver(
            self._inbox, clock, self._make_node, self._carry_out, self._updates.forget_all, self._life.ended
        )
        options = self.options
        driver.start(options.listen_addresses, build_discoveries(options, self._watch), insecure=options.insecure)
        return driver

    def _started(self) -> None:
        self._set_unstarted(whether=False)

    def _not_started(self) -> None:
        """Keep nothing until the mesh runs: no peer would report what is stale."""
        self._node = None
        self._set_unstarted(whether=True)

    def _set_unstarted(self, *, whether: bool) -> None:
        with self._making:
            if self._unstarted is not whether:
                self._unstarted = whether
                self._disable_locked(by=1 if whether else -1)

    def close(self) -> None:
        """
        Say goodbye to the peers and stop; return within two seconds, whatever they do.

        What was flushed before is sent first.  If no node was met yet, this waits for one as
        long as it may, and logs a warning if the flushes reached none.  A second call waits for
        the first, at most as long.
        """
        if self._life.driver is not None:
            for cache in list(self._caches.values()):
                cache.end_writes()
        self._life.close()

    def _ended(self) -> None:
        """Serve nothing any more: from now on no peer reports what is stale."""
        self._inbox.end()
        self._waiters.close()
        self._hook_runner.close()
        self._updates.close()

    def _forked(self) -> None:
        """In a forked child: be another node, with empty caches."""
        known: partial[Delivery] | None = None
        if self._node is not None:
            known = partial(delivery_of, self._node, clock())
        self._desk.freeze(known or _nothing_known)
        self._hook_runner.disown()
        self._begin()
        # Threads that were inside `disabled()` are not here to leave it.
        ours = [thread for thread in self._disabling if thread == get_ident()]
        self._disable(by=len(ours) - len(self._disabling))
        self._disabling = ours
        for cache in self._caches.values():
            cache.reset()
        self._updates.reset()
        self._set_unstarted(whether=False)

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
        return ask(self._inbox, self._thread(), self._report, self._report)

    def _report(self) -> MeshStatus:
        node = self._node
        if node is None:
            return not_started(self.options.mesh, self.options.node_name(), self._life.state)
        return report(node, self._life.state, clock(), self._hook_runner.dropped)

    def give_up(self, address: str) -> bool:
        """
        Forget, by hand, what is silent at *address*: peers, and a node that may be there unmet.

        *address* is written as in a roster, with one port or a range of them.  Returns whether
        anything there was waited for.
        For a host that is gone for good while a roster or DNS still names it: until it is
        taken out of there, or given up like this, entries are served by their own age alone.  A
        peer that is alive, and only cut off, is not reached by later flushes either way; it
        is met again when the cut ends.
        """
        addresses = expand(address)
        driver = self._life.driver
        runner = None if driver is None else driver.runner
        if driver is None or runner is None:
            return False

        def give_up() -> bool:
            return sum([runner.give_up(each) for each in addresses]) > 0

        return ask(self._inbox, driver, give_up, lambda: False)

    # What a cache needs.

    def ensure_started(self) -> None:
        """Start if that has not happened yet, and go on if it fails; raise MeshClosed once closed."""
        if self._life.driver is None:
            self._life.ensure_started()

    def broadcast(
        self, cache: str, key: str | None = None, tag: str | None = None, version: int | None = None
    ) -> Receipt:
        """Tell every peer to forget *key* or *tag* of *cache*, or all of it."""
        life = self._life
        if life.driver is None:
            self._raise_unless_started()
        receipt = Receipt(clock(), self._desk)
        if not self._inbox.flush(Flush(cache, key, tag, version), receipt):
            # No peer reads after the goodbye.
            raise MeshClosed(self.options.mesh)
        return receipt

    def _raise_unless_started(self) -> None:
        error = self._life.ensure_started()
        if error is not None:
            raise StartError(str(error))
        if self._life.driver is None:
            raise MeshClosed(self.options.mesh) if self._life.closed else Isolated()

    def run_hook(self, hook: Callable[[Any], None], event: object) -> None:
        """Have *hook* called with *event* on the thread of the hooks."""
        self._hook_runner.put(hook, event)

    # What the driver needs, on its thread.

    def _make_node(self, address: str, sources: Mapping[str, Source]) -> Node:
        options = self.options
        if address and is_wildcard(address):
            # Peers complete it with the host they see this node at.
            address = f":{split(address)[1]}"
        if self._node is not None:
            # It comes back from a suspension.
            if address != self._node.identity.address:
                self._node.moved(address)
            return self._node
        self._node = Node(
            options.mesh,
            Identity(secrets.token_bytes(_ID_BYTES), options.node_name(), address),
            Journal(options.journal_flushes_max, options.journal_bytes_max),
            NodeOptions(
                options.staleness,
                options.lost_seconds,
                options.silent_seconds,
                options.peers_max,
                sources,
                options.expect,
            ),
            clock(),
            ping_interval(self._staleness_min),
            self._staleness_min,
        )
        return self._node

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Apply():
                self._updates.apply(effect)
            case Trust(at):
                self._updates.trust(at)
            case Distrust(since=since):
                self._updates.distrust(since)
            case Acknowledged(upto):
                self._waiters.acknowledged(upto)
            case RecheckReceipts():
                self._waiters.recheck()
            case Ready():
                self._ready.set()
        # Last: a handler of the application's that raises must not keep a flush from being applied.
        self._logbook.log_effect(effect)

    def _bring_up_to_date(self, cache: Cache[Any]) -> None:
        """Tell a cache that is made while the mesh runs what the others know, and the node what it demands."""
        node = self._node

        def bring() -> None:
            assert node is not None
            node.ping_interval = ping_interval(self._staleness_min)
            node.staleness_min = self._staleness_min
            cache.trust(node.trust.at)

        if node is not None:
            self._inbox.ask(bring)

    # What receipts need.

    def _thread(self) -> Driver | None:
        return self._life.running

    def _delivery(self, receipt: Receipt) -> Delivery:
        return _nothing_known(receipt) if self._node is None else delivery_of(self._node, clock(), receipt)

    def _hasten(self, receipt: Receipt) -> None:
        driver, node = self._life.running, self._node
        if receipt.position and node is not None and driver is not None and driver.runner is not None:
            driver.runner.act(node.ask(receipt.position))

    def _later(self, seconds: float, function: Callable[[], None]) -> None:
        driver = self._life.running
        if driver is not None:
            driver.later(seconds, function)


def _nothing_known(_receipt: Receipt) -> Delivery:
    return Delivery(undecided=True)
