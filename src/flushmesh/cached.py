"""
Decorated functions: one whose results a cache keeps, and one that flushes what it changes.

A wrapper is an ordinary function, so that it binds as a method and looks like the one it
wraps; what else it can do hangs on it as attributes, and takes what the function takes,
the `self` of a method included.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, cast, overload

from flushmesh.duration import seconds
from flushmesh.entry import MISS
from flushmesh.keys import Key, key_maker
from flushmesh.loading import Load
from flushmesh.receipt import Receipt
from flushmesh.status import CacheInfo

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
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
    cache_info: Callable[[], CacheInfo]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return the kept result of this call, or call the function."""

    @overload
    def __get__(self, instance: None, owner: type[object] | None = None) -> Self: ...
    @overload
    def __get__(
        self: CachedFunction[Concatenate[S, Q], R], instance: S, owner: type[object] | None = None
    ) -> Callable[Q, R]: ...


class CachedDecorator(Protocol):
    """What `Cache.cached` with arguments returns."""

    def __call__(self, function: Callable[P, R], /) -> CachedFunction[P, R]:
        """Decorate *function*."""


class Caching(Protocol):
    """What a decorated function needs of its cache."""

    def get(self, key: str, default: Any, /) -> Any:
        """As `Cache.get`."""

    def forget(self, key: str) -> None:
        """Forget *key* on this node alone."""

    def flush(self, key: str) -> Receipt:
        """As `Cache.flush`."""

    def flush_tag(self, tag: str) -> Receipt:
        """As `Cache.flush_tag`."""

    def flush_all(self) -> Receipt:
        """As `Cache.flush_all`."""

    def info(self) -> CacheInfo:
        """As `Cache.info`."""


class Loads(Protocol):
    """What a decorated function needs of the loads of its cache."""

    def run(self, key: str, load: Load[Any]) -> Any:
        """Return the value of *key*, loading it unless somebody else does."""

    async def arun(self, key: str, load: Load[Any]) -> Any:
        """As `run`, for a loader that is awaited."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How the results of a function are kept: under which key, how long, with which tags, and whether at all."""

    key: Key | None = None
    ttl: float | timedelta | None = None
    tags: Iterable[Key] = ()
    cache_if: Callable[[Any], bool] | None = None

    def load_maker(self, function: Callable[..., Any]) -> Callable[..., Load[Any]]:
        """Return what makes, from the arguments of a call of *function*, the load of its result."""
        ttl = None if self.ttl is None else seconds("ttl", self.ttl)
        tag_makers = _makers(self.tags, function, "tag")

        def make(*args: Any, **kwargs: Any) -> Load[Any]:
            tags = [make_tag(*args, **kwargs) for make_tag in tag_makers] if tag_makers else ()
            return Load(functools.partial(function, *args, **kwargs), ttl, tags, self.cache_if)

        return make


def cached(cache: Caching, loads: Loads, keeping: Keeping, function: Callable[P, R]) -> CachedFunction[P, R]:
    """Wrap *function* so that *cache* keeps its results as *keeping* says."""
    _check_function("cached", function)
    cache_key = key_maker(keeping.key, function)
    load = keeping.load_maker(function)
    get = cache.get

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            key = cache_key(*args, **kwargs)
            value = get(key, MISS)
            return value if value is not MISS else await loads.arun(key, load(*args, **kwargs))
    else:

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            key = cache_key(*args, **kwargs)
            value = get(key, MISS)
            return value if value is not MISS else loads.run(key, load(*args, **kwargs))

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


def flushes(cache: Caching, keys: Sequence[Key], tags: Sequence[Key], function: F) -> F:
    """Wrap *function* so that what *keys* and *tags* make is flushed each time it has returned."""
    _check_function("flushes", function)
    key_makers = [key_maker(key, function) for key in keys]
    tag_makers = _makers(tags, function, "tag")

    def flush(*args: Any, **kwargs: Any) -> None:
        for make in key_makers:
            cache.flush(make(*args, **kwargs))
        for make in tag_makers:
            cache.flush_tag(make(*args, **kwargs))

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


def _check_function(decorator: str, function: object) -> None:
    """Raise TypeError unless calling *function* does what it is there for, once."""
    if isinstance(function, staticmethod | classmethod):
        raise TypeError(f"{decorator}: decorate the function below @{type(function).__name__}, not above it")
    if not callable(function):
        raise TypeError(f"{decorator}: a function, not {function!r}; options go by name, as in key=...")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{decorator}: a generator runs later than its call, and once; return a list")


def _makers(templates: Iterable[Key], function: Callable[..., object], what: str) -> list[Callable[..., str]]:
    if isinstance(templates, str):
        raise TypeError(f'{what}s: a list, as in {what}s=["{templates}"], not one str')
    return [key_maker(template, function, what) for template in templates]
