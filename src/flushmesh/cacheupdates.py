"""
CacheUpdates: what the mesh's thread does to the caches.

A cache runs code of the application: its policy, the sizes and ends of its values.  When
any of that raises, the flush may not have been applied, and the peer would be told that it
was.  So the cache is emptied then, which applies every flush there can be, and the others
go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any, Final

from flushmesh.cache import Cache
from flushmesh.protocol.effects import Apply

log = logging.getLogger("flushmesh")

# How long the end of a mesh waits for threads that are changing a cache; they do so within microseconds.
CLOSE_PATIENCE: Final = 0.1


class CacheUpdates:
    """
    Applies flushes to *caches*, and moves their proof; on the mesh's own thread alone.

    A cache that cannot even be emptied serves nothing until that succeeds; it is tried again
    with each proof.
    """

    def __init__(self, caches: Mapping[str, Cache[Any]]) -> None:
        self._caches = caches
        self._failing: set[str] = set()

    def apply(self, batch: Apply) -> None:
        """Apply the flushes of one batch of a peer."""
        caches, origin = self._caches, batch.origin.name
        for number, flush in enumerate(batch.flushes, batch.first):
            cache = caches.get(flush.cache)
            if cache is not None:
                try:
                    cache.apply(flush.key, flush.tag, flush.version, origin, number)
                except BaseException as error:  # Whatever it is, the rest of the batch must be applied.
                    self._failed(cache, error)

    def trust(self, at: float) -> None:
        """Record in every cache that at the time *at* nothing was missing."""
        for cache in list(self._caches.values()):
            if cache.name in self._failing:
                self._empty(cache)
            self._change(cache, partial(cache.trust, at))

    def distrust(self, since: float) -> None:
        """Let the entries of every cache run out."""
        for cache in list(self._caches.values()):
            self._change(cache, partial(cache.distrust, since))

    def forget_all(self) -> None:
        """Forget everything: after an error in the mesh itself it is not known what was missed."""
        for cache in list(self._caches.values()):
            self._empty(cache)

    def close(self) -> None:
        """Empty every cache for good."""
        # A thread whose signal handler closes the mesh may be in the middle of a change of a cache, which goes on
        # only after that: it must not be waited for.
        kept = [cache for cache in list(self._caches.values()) if not _close(cache, CLOSE_PATIENCE)]
        if kept:
            Thread(target=_close_all, args=(kept,), name="flushmesh close", daemon=True).start()

    def reset(self) -> None:
        """In a forked child, whose caches are empty: let those serve again that could not be emptied."""
        for name in self._failing:
            self._caches[name].disable(by=-1)
        self._failing.clear()

    def _change(self, cache: Cache[Any], change: Callable[[], None]) -> None:
        try:
            change()
        except BaseException as error:  # As above.
            self._failed(cache, error)

    def _failed(self, cache: Cache[Any], error: BaseException) -> None:
        """Empty *cache*, which has raised *error*."""
        if cache.name not in self._failing:
            with suppress(Exception):  # Whatever a log handler of the application's raises.
                log.warning('cache "%s" is emptied: it failed to apply a flush', cache.name, exc_info=error)
        self._empty(cache)

    def _empty(self, cache: Cache[Any]) -> None:
        failing = cache.name in self._failing
        try:
            cache.empty()
        except BaseException:  # As above.
            if not failing:
                self._failing.add(cache.name)
                cache.disable(by=1)
        else:
            if failing:
                self._failing.discard(cache.name)
                cache.disable(by=-1)


def _close_all(caches: Iterable[Cache[Any]]) -> None:
    for cache in caches:
        _close(cache)


def _close(cache: Cache[Any], patience: float = -1) -> bool:
    try:
        return cache.close(patience)
    except Exception:
        # Its policy has raised, after which nothing is served or kept all the same.
        log.exception('cache "%s" failed to close', cache.name)
        return True
