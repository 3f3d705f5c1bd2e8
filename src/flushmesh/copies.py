"""Copies: what reads return where nobody is to change what others read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from flushmesh.loading import Load, Loading
from flushmesh.store import Store

V = TypeVar("V")


class Copies(Generic[V]):
    """
    The reads of one cache, each of which gets a copy of its own.

    *copy* makes it from what is held, in the thread or task that reads; what it raises
    reaches the reader.
    """

    def __init__(self, copy: Callable[[V], V], store: Store[V], loading: Loading[V]) -> None:
        self._copy = copy
        self._store = store
        self._loading = loading

    def get(self, key: str, default: object = None) -> object:
        """As `Store.get`."""
        value = self._store.get(key, default)
        return value if value is default else self._copy(value)  # type: ignore[arg-type]

    def snapshot(self) -> dict[str, V]:
        """As `Store.snapshot`."""
        return {key: self._copy(value) for key, value in self._store.snapshot().items()}

    def run(self, key: str, load: Load[V]) -> V:
        """As `Loading.run`."""
        return self._copy(self._loading.run(key, load))

    async def arun(self, key: str, load: Load[V]) -> V:
        """As `Loading.arun`."""
        return self._copy(await self._loading.arun(key, load))

    def reset(self) -> None:
        """As `Loading.reset`."""
        self._loading.reset()
