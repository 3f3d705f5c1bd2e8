"""
Decorated functions: one whose results a cache keeps, and one that flushes what it changes.

A wrapper is an ordinary function, so that it binds as a method and looks like the one it
wraps; what else it can do hangs on it as attributes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from flushmesh.keys import Key, key_maker
from flushmesh.receipt import Receipt

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., object])


class CachedFunction(Protocol[P, R]):
    """
    A function whose results a cache keeps.

    `cache_key(...)` is the key of a call.  `flush(...)` flushes it on every node, and
    `refresh(...)` loads it anew on this one.  `cache_clear()` flushes the whole cache,
    `cache_info()` returns its counters.  `__wrapped__` is the function itself, which always
    loads.
    """

    __wrapped__: Callable[P, R]
    cache: Caching
    cache_key: Callable[P, str]
    flush: Callable[P, Receipt]
    refresh: Callable[P, R]
    cache_clear: Callable[[], Receipt]
    cache_info: Callable[[], object]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the kept result of this call, or call the function."""


class CachedDecorator(Protocol):
    """What `Cache.cached` with arguments returns."""

    def __call__(self, function: Callable[P, R], /) -> CachedFunction[P, R]:
        """Decorate *function*."""


class Caching(Protocol):
    """What a decorated function needs of its cache."""

    def get_or_load(self, key: str, loader: Callable[[], Any]) -> Any:
        """As `Cache.get_or_load`."""

    async def aget_or_load(self, key: str, loader: Callable[[], Awaitable[Any]]) -> Any:
        """As `Cache.aget_or_load`."""

    def forget(self, key: str) -> None:
        """Forget *key* on this node alone."""

    def flush(self, key: str) -> Receipt:
        """As `Cache.flush`."""

    def flush_all(self) -> Receipt:
        """As `Cache.flush_all`."""

    def info(self) -> object:
        """As `Cache.info`."""


def cached(cache: Caching, key: Key | None, function: Callable[P, R]) -> CachedFunction[P, R]:
    """Wrap *function* so that *cache* keeps its results under the keys that *key* makes."""
    cache_key = key_maker(key, function)

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await cache.aget_or_load(cache_key(*args, **kwargs), functools.partial(function, *args, **kwargs))
    else:

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            return cache.get_or_load(cache_key(*args, **kwargs), functools.partial(function, *args, **kwargs))

    def flush(*args: P.args, **kwargs: P.kwargs) -> Receipt:
        return cache.flush(cache_key(*args, **kwargs))

    def refresh(*args: P.args, **kwargs: P.kwargs) -> R:
        cache.forget(cache_key(*args, **kwargs))
        return made(*args, **kwargs)

    made = cast(CachedFunction[P, R], wrapper)
    made.cache = cache
    made.cache_key = cache_key
    made.flush = flush
    made.refresh = refresh
    made.cache_clear = cache.flush_all
    made.cache_info = cache.info
    return made


def flushes(cache: Caching, keys: Sequence[Key], function: F) -> F:
    """Wrap *function* so that the keys that *keys* make are flushed each time it has returned."""
    makers = [key_maker(key, function) for key in keys]

    def flush(*args: Any, **kwargs: Any) -> None:
        for make in makers:
            cache.flush(make(*args, **kwargs))

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            result = await function(*args, **kwargs)
            flush(*args, **kwargs)
            return result
    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            result = function(*args, **kwargs)
            flush(*args, **kwargs)
            return result

    return cast(F, wrapper)
