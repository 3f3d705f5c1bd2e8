"""
Cached functions: what `Cache.cached` makes of a function.

The wrapper is an ordinary function, so that it binds as a method and looks like the one
it wraps; what else it can do hangs on it as attributes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from flushmesh.keys import KeyTemplate
from flushmesh.receipt import Receipt

P = ParamSpec("P")
R = TypeVar("R")


class CachedFunction(Protocol[P, R]):
    """
    A function whose results a cache keeps.

    `cache_key(...)` is the key of a call, `flush(...)` flushes it on every node;
    `__wrapped__` is the function itself, which always loads.
    """

    __wrapped__: Callable[P, R]
    cache: Caching
    cache_key: Callable[P, str]
    flush: Callable[P, Receipt]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the kept result of this call, or call the function."""


class Caching(Protocol):
    """What a cached function needs of its cache."""

    def get_or_load(self, key: str, loader: Callable[[], Any]) -> Any:
        """As `Cache.get_or_load`."""

    async def aget_or_load(self, key: str, loader: Callable[[], Awaitable[Any]]) -> Any:
        """As `Cache.aget_or_load`."""

    def flush(self, key: str) -> Receipt:
        """As `Cache.flush`."""


def cached(cache: Caching, key: str, function: Callable[P, R]) -> CachedFunction[P, R]:
    """Wrap *function* so that *cache* keeps its results under the key template *key*."""
    cache_key = KeyTemplate(key, function)

    def flush(*args: P.args, **kwargs: P.kwargs) -> Receipt:
        return cache.flush(cache_key(*args, **kwargs))

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await cache.aget_or_load(cache_key(*args, **kwargs), functools.partial(function, *args, **kwargs))
    else:

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            return cache.get_or_load(cache_key(*args, **kwargs), functools.partial(function, *args, **kwargs))

    made = cast(CachedFunction[P, R], wrapper)
    made.cache = cache
    made.cache_key = cache_key
    made.flush = flush
    return made
