"""
Cached: functions whose results a cache keeps.

A wrapper is an ordinary function, so that it binds as a method and looks like the one it
wraps; what else it can do hangs on it as attributes, and takes what the function takes,
the `self` of a method included.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import FunctionType
from typing import Any, Concatenate, Final, ParamSpec, Protocol, Self, TypeVar, cast, overload

from flushmesh.duration import seconds
from flushmesh.entry import MISS
from flushmesh.functions import Called, called, check_function, is_async, wraps
from flushmesh.keys import KEY_BYTES_MAX, Key, Spelling, key_maker, listed, spelling
from flushmesh.loading import Load
from flushmesh.receipt import Receipt
from flushmesh.status import CacheInfo

# Within each of these types equal values have equal texts.  Not within float: 0.0 equals -0.0.
REMEMBERED: Final = frozenset({str, int, bool, bytes, type(None)})
# Whatever is passed, as it is passed.
ANYTHING: Final = "*args, **kwargs"
# About a megabyte for a function.
KNOWN_MAX: Final = 4_096

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")


class CachedFunction(Protocol[P, R]):
    """
    A function whose results a cache keeps.

    `cache_key(...)` is the key of a call.  `flush(...)` flushes it on every node, and
    `refresh(...)` loads it again on this one.  `cache_clear()` flushes the whole cache,
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
        """Return the value of *key*, loading it unless another caller does."""

    async def arun(self, key: str, load: Load[Any]) -> Any:
        """As `run`, for a loader that is awaited."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How the results of a function are kept: under which key, how long, with which tags, and whether at all."""

    key: Key | None = None
    ttl: float | timedelta | None = None
    tags: Iterable[Key] = ()
    cache_if: Callable[[Any], bool] | None = None

    def load_maker(self, reached: Called, tags: Sequence[Key]) -> Callable[..., Load[Any]]:
        """Return what makes, from the arguments of a call, the load of its result."""
        ttl = None if self.ttl is None else seconds("ttl", self.ttl)
        tag_makers = [key_maker(tag, reached.outer, "tag") for tag in tags]

        def make(*args: Any, **kwargs: Any) -> Load[Any]:
            tags = [make_tag(*args, **kwargs) for make_tag in tag_makers] if tag_makers else ()
            return Load(functools.partial(reached.guarded(*args, **kwargs), *args, **kwargs), ttl, tags, self.cache_if)

        return make


def cached(cache: Caching, loads: Loads, keeping: Keeping, function: Callable[P, R]) -> CachedFunction[P, R]:
    """Wrap *function* so that *cache* keeps its results as *keeping* says."""
    check_function("cached", function)
    tags = listed(keeping.tags, "tag")
    cache_key = key_maker(keeping.key, function)
    reached = called(function, by_name=not all(map(callable, (keeping.key, *tags))))
    load = keeping.load_maker(reached, tags)
    key_of = _with_self(reached, cache_key)

    def run(key: str, /, *args: Any, **kwargs: Any) -> Any:
        return loads.run(key, load(*args, **kwargs))

    async def arun(key: str, /, *args: Any, **kwargs: Any) -> Any:
        return await loads.arun(key, load(*args, **kwargs))

    def flush(*args: P.args, **kwargs: P.kwargs) -> Receipt:
        return cache.flush(key_of(*args, **kwargs))

    def refresh(*args: P.args, **kwargs: P.kwargs) -> R:
        cache.forget(key_of(*args, **kwargs))
        return made(*args, **kwargs)

    source = _spelling(keeping.key, tags, reached)
    known = Known(source.make)
    kind, wait, load_key = ("async def", "await ", arun) if is_async(function) else ("def", "", run)
    wrapper = source.compile(
        f"{kind} wrapper",
        *_key_lines(source),
        "_flushmesh_value = _flushmesh_get(_flushmesh_key, _flushmesh_MISS)",
        "if _flushmesh_value is not _flushmesh_MISS: return _flushmesh_value",
        f"return {wait}_flushmesh_run(_flushmesh_key, {source.arguments})",
        _flushmesh_get=cache.get,
        _flushmesh_MISS=MISS,
        _flushmesh_run=load_key,
        _flushmesh_find=known.find,
        _flushmesh_add=known.add,
        _flushmesh_REMEMBERED=REMEMBERED,
    )
    made = cast(CachedFunction[P, R], wraps(function, wrapper))
    made.cache = cache
    made.cache_key = key_of
    made.flush = flush
    made.refresh = refresh
    made.cache_clear = cache.flush_all
    made.cache_info = cache.info
    return made


class Known:
    """
    The keys that a function's latest plain arguments gave, each argument followed by its type.

    Making a key costs more than looking it up.  Holds KNOWN_MAX keys, then begins again.
    """

    def __init__(self, make: Callable[..., str]) -> None:
        self._make = make
        self._keys: dict[tuple[object, ...], str] = {}
        self.find = self._keys.get

    def add(self, *arguments: object) -> str:
        """Make the key of *arguments*, and remember it."""
        key = self._make(*arguments[::2])
        if len(self._keys) >= KNOWN_MAX:
            self._keys.clear()
        if len(key) <= KEY_BYTES_MAX:
            self._keys[arguments] = key
        return key


def _key_lines(source: Spelling) -> Iterator[str]:
    """Yield the lines of a wrapper that find its key."""
    if ANYTHING in source.values:
        yield f"_flushmesh_key = _flushmesh_make({ANYTHING})"
        return
    values, typed, plain = [], "", []
    for number, value in enumerate(source.values):
        values.append(value if value.isidentifier() else f"_flushmesh_value_{number}")
        if value != values[-1]:
            yield f"{values[-1]} = {value}"
        kind = f"_flushmesh_type_{number}"
        typed += f"{values[-1]}, {kind}, "
        plain.append(f"({kind} := type({values[-1]})) in _flushmesh_REMEMBERED")
    made = f"_flushmesh_make({', '.join(values)})"
    yield f"_flushmesh_key = _flushmesh_find(({typed})) if {' and '.join(plain) or 'True'} else {made}"
    yield f"if _flushmesh_key is None: _flushmesh_key = _flushmesh_add({typed})"


def _spelling(key: Key | None, tags: Sequence[Key], reached: Called) -> Spelling:
    """
    Return the source of a wrapper: with the parameters of the function if that is an ordinary one.

    Then the interpreter has bound the arguments before the key is made of them.  But a callable
    key, and a function that is not what it looks like, are passed what the caller passes, without
    the defaults.
    """
    function = reached.outer
    ordinary = isinstance(function, FunctionType) and not {"__signature__", "__wrapped__"} & vars(function).keys()
    if ordinary and not (callable(key) or any(map(callable, tags))):
        return spelling(key, function)
    return Spelling(ANYTHING, ANYTHING, [ANYTHING], key_maker(key, function), {})


def _with_self(reached: Called, make: Callable[..., str]) -> Callable[..., str]:
    """
    Return *make*, which refuses arguments without the `self` or `cls` of a method.

    Attributes of a bound method are those of the function: `repo.load.flush("x")` passes no `self`,
    and "x" would be taken for it.
    """
    name = reached.name
    first = next(iter(reached.signature.parameters), "")
    if first not in ("self", "cls") or "." not in name or name.rpartition(".")[0].endswith("<locals>"):
        return make

    @functools.wraps(make)
    def with_self(*args: object, **kwargs: object) -> str:
        if args and not _is_self(args[0], first, name.rpartition(".")[2]):
            given = type(args[0]).__name__
            raise TypeError(f"{name}: flush, refresh and cache_key take {first} first, not a {given}")
        return make(*args, **kwargs)

    return with_self


def _is_self(value: object, first: str, method: str) -> bool:
    if first == "cls":
        return isinstance(value, type)
    # A str has a `count` too.
    return type(value).__module__ != "builtins" and hasattr(type(value), method)
