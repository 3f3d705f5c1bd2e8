"""Hooks: what an application can have itself told of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

log = logging.getLogger("flushmesh")

_FAILED: Final = '%s of cache "%s" failed'


@dataclass(frozen=True, slots=True)
class Flushed:
    """
    A flush that came from a peer and was applied here.

    Without *key* and *tag* it was for the whole cache.  *origin* is the peer's name,
    *sequence* the number of the flush among those of that peer, as in its receipt; *held* is
    True if anything was here to forget.
    """

    cache: str
    key: str | None
    tag: str | None
    origin: str
    sequence: int
    held: bool


OnFlushed = Callable[[Flushed], None]
OnEvicted = Callable[[str, Any], None]
OnLoadError = Callable[[str, Exception], None]


@dataclass(frozen=True, slots=True)
class CacheHooks:
    """
    The hooks of one cache.

    *on_flushed* runs on a thread of its own, one call after the other.  *on_evicted* and
    *on_load_error* run in the thread or task whose load it was, and must not block.  One that
    raises is logged, and harms nothing.
    """

    cache: str
    on_flushed: OnFlushed | None = None
    on_evicted: OnEvicted | None = None
    on_load_error: OnLoadError | None = None

    def other_than(self, asked: CacheHooks) -> str:
        """Return the name of a hook that is *asked* for and is not this one, or nothing."""
        for name in ("on_flushed", "on_evicted", "on_load_error"):
            if getattr(asked, name) not in (None, getattr(self, name)):
                return name
        return ""

    def flushed(self, flushed: Flushed) -> None:
        """Report a flush that was applied."""
        if self.on_flushed is not None:
            try:
                self.on_flushed(flushed)
            except BaseException:  # Whatever a hook raises would end the thread of the hooks.
                _log_failure(_FAILED, "on_flushed", self.cache)

    def evicted(self, key: str, value: object) -> None:
        """Report an entry that had to make room."""
        if self.on_evicted is not None:
            try:
                self.on_evicted(key, value)
            except Exception:  # A hook is no part of the load that made it run.
                _log_failure(_FAILED, "on_evicted", self.cache)

    def load_failed(self, key: str, error: Exception) -> None:
        """Report a loader that raised."""
        if self.on_load_error is not None:
            try:
                self.on_load_error(key, error)
            except Exception:  # The caller is to get the loader's error, not this one.
                _log_failure(_FAILED, "on_load_error", self.cache)

    def refresh_failed(self, key: str, error: Exception) -> None:
        """Log a loader that raised for no caller in particular."""
        _log_failure("background refresh of %r failed", key, level=logging.WARNING, error=error)


def _log_failure(words: str, *names: str, level: int = logging.ERROR, error: BaseException | None = None) -> None:
    # A filter or a record factory of the application may raise as well.
    with suppress(Exception):
        log.log(level, words, *names, exc_info=error or True)
