"""
View: the settings as one instance sees them.

This is the part to copy.  Reads go through the cache; a write is committed first and
flushed then; and when a peer's flush arrives, whoever watches is told.  Nothing here deals
with peers that are silent: the cache lets a copy that nobody proves run out, and the next
read loads it anew.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from database import Database, DatabaseUnusable

from flushmesh import Cache, Flushed, Mesh, Receipt

# All settings are one entry: they are few, and are read together.
KEY: Final = "all"

# A page hears of each flush within a second, so it needs no longer memory than a burst of them.
RECENT_MAX: Final = 64

TTL: Final = 300.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """One copy of the settings, and when its load began."""

    date: datetime
    settings: dict[str, str]


class Bell:
    """
    Tells many waiting tasks that something has changed.

    Belongs to one event loop; other threads ring it through `call_soon_threadsafe`.
    """

    def __init__(self) -> None:
        self.rings = 0
        self.closed = False
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake everybody who waits."""
        self.rings += 1
        self._rung.set()
        self._rung = asyncio.Event()

    def close(self) -> None:
        """Wake everybody for the last time."""
        self.closed = True
        self.ring()

    async def rung_since(self, rings: int, timeout: float) -> None:  # noqa: ASYNC109 - running out is no error here
        """Return once there have been more than *rings*, at most after *timeout* seconds."""
        if self.rings == rings:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._rung.wait()


class View:
    """
    One instance's settings, their cache and its counters.

    Made and used on one event loop; only `_on_flushed` runs on the thread of the hooks.
    """

    def __init__(self, number: int, mesh: Mesh, database: Database) -> None:
        self.number = number
        self.name = f"instance {number}"
        self.bell = Bell()
        self._mesh = mesh
        self._database = database
        self._loop = asyncio.get_running_loop()
        # With the monotonic clock, which all processes of a machine share.
        self._writes: deque[tuple[Receipt, float]] = deque(maxlen=RECENT_MAX)
        self._applied: deque[tuple[Flushed, float]] = deque(maxlen=RECENT_MAX)
        # When a copy was loaded although nobody had flushed the one before, and why.
        self._reloads: deque[tuple[float, str]] = deque(maxlen=RECENT_MAX)
        self._flushes = 0
        self._loaded_at: float | None = None
        self._loaded_after = 0
        self._cache: Cache[Loaded] = mesh.cache("settings", maxsize=100, ttl=TTL, on_flushed=self._on_flushed)

    async def read(self) -> Loaded:
        """Return the settings, from this instance's cache if they are there."""
        return await self._cache.aget_or_load(KEY, self._load)

    async def _load(self) -> Loaded:
        began, flushes, blame = time.monotonic(), self._flushes, self._blame()
        date = datetime.now(UTC).astimezone()
        loaded = Loaded(date, await asyncio.to_thread(self._database.read))
        # The one copy has room enough, so it was flushed, is too old, or nobody has proven it for too long.
        # The hook is called a moment after a flush: only now is it certain that there was none.
        unflushed = self._flushes == self._loaded_after
        if blame and unflushed and self._loaded_at is not None and began < self._loaded_at + TTL:
            self._reloads.append((began, blame))
        self._loaded_at, self._loaded_after = began, flushes
        return loaded

    def _blame(self) -> str:
        """Say whose proof is missing, or nothing if none is."""
        status = self._mesh.status()
        if not status.running_out:
            return ""
        # From then on the first copies run out.
        old = self._mesh.options.staleness / 2
        silent = [peer.name for peer in status.peers if peer.vouch_age is None or peer.vouch_age >= old]
        if len(silent) == len(status.peers):
            return "no proof from anybody"
        return f"no proof from {' and '.join(silent)}"

    async def write(self, change: Callable[[], None]) -> None:
        """Have *change* commit to the database, then flush."""
        await asyncio.to_thread(change)
        flushed_at = time.monotonic()
        self._flushes += 1
        receipt = self._cache.flush(KEY)
        self._writes.append((receipt, flushed_at))
        self.bell.ring()

    def _on_flushed(self, flushed: Flushed) -> None:
        """Note a peer's flush; called on the thread of the hooks."""
        self._flushes += 1
        self._applied.append((flushed, time.monotonic()))
        # The loop may close while the last flushes still come in.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.bell.ring)

    async def state(self) -> dict[str, Any]:
        """Return what this instance sees; raise DatabaseUnusable if that needs a load which fails."""
        loaded = await self.read()
        return {"date": loaded.date.isoformat(timespec="milliseconds"), "settings": loaded.settings, **self._figures()}

    async def report(self) -> dict[str, Any]:
        """Return the state, or why there is none, with what a page needs to time the flushes."""
        try:
            report = await self.state()
        except DatabaseUnusable as error:
            report = {"error": str(error), **self._figures()}
        return {
            **report,
            "clock": time.monotonic(),
            "reloads": [{"at": at, "why": why} for at, why in self._reloads],
            "writes": [{"sequence": receipt.sequence, "at": at} for receipt, at in self._writes if receipt.sequence],
            "applied": [
                {"origin": flushed.origin, "sequence": flushed.sequence, "at": at}
                for flushed, at in list(self._applied)
            ],
        }

    def peers(self) -> list[dict[str, str]]:
        """Return the peers of this instance's node."""
        return [
            {"name": peer.name, "node_id": peer.node_id, "address": peer.address, "state": str(peer.state)}
            for peer in self._mesh.status().peers
        ]

    async def watch_peers(self) -> None:
        """Ring whenever a peer comes, goes or changes its state, until cancelled."""
        seen = self.peers()
        while True:
            await asyncio.sleep(0.2)
            if (peers := self.peers()) != seen:
                seen = peers
                self.bell.ring()

    def _figures(self) -> dict[str, Any]:
        info, status = self._cache.info(), self._mesh.status()
        return {
            "instance": self.name,
            "hits": info.hits,
            "loads": info.loads,
            "proof_age": None if status.proof_age is None else round(status.proof_age, 3),
            "running_out": status.running_out,
            "split": status.split or status.alone,
            "node_id": status.node_id,
            "peers": self.peers(),
        }
