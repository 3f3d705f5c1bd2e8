"""Hooks: what an application can have itself told of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flushed:
    """
    A flush that came from a peer and was applied here.

    Without *key* and *tag* it was for the whole cache.  *origin* is the peer's name,
    *sequence* the flush's place in its journal; *held* tells whether anything was here to
    forget.
    """

    cache: str
    key: str | None
    tag: str | None
    origin: str
    sequence: int
    held: bool


OnFlushed = Callable[[Flushed], None]
