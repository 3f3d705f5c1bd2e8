"""
Grace: old values that were returned because the source of truth failed.

A value looks the same whether it is fresh or not.  Who must know watches:

    with graced() as old:
        page = render()
    if old:
        page.headers["Warning"] = '110 - "Response is Stale"'
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Graced:
    """An old value that was returned for *key* because its load raised *error*; it began *age* seconds before."""

    key: str
    age: float
    error: Exception


_watching: ContextVar[tuple[list[Graced], ...]] = ContextVar("flushmesh_graced", default=())


@contextmanager
def graced() -> Iterator[list[Graced]]:
    """
    Collect what is returned by grace inside the block, in this thread or task and the tasks it starts.

    Blocks may be nested; each sees all that happens inside it.
    """
    seen: list[Graced] = []
    token = _watching.set((*_watching.get(), seen))
    try:
        yield seen
    finally:
        _watching.reset(token)


def note_graced(old: Graced) -> None:
    """Tell whoever watches here of *old*."""
    for seen in _watching.get():
        seen.append(old)
