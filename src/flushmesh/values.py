"""Values: what can be kept, and what can be had once."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Final

from flushmesh.receipt import Receipt

# Classes whose values can be kept; the question is a part of every fill.  Others join as they come.
KEPT: Final[set[type]] = {str, int, float, bool, bytes, type(None), list, dict, tuple}
# So many classes that are made as the application runs may be kept alive here.
KEPT_MAX: Final = 256


@contextlib.contextmanager
def _nothing() -> Any:
    yield


@contextlib.asynccontextmanager
async def _anothing() -> Any:
    yield


# What @contextmanager and @asynccontextmanager make: generators in another shape.
CONTEXTS: Final = (type(_nothing()), type(_anothing()))

# What the class of any other one-shot value has.
_MARKS: Final = ("__await__", "__next__", "__anext__", "fetchone")
# What a function returns that has not done yet what it was called for.
_LATER: Final = (GeneratorType, AsyncGeneratorType, map, filter, Future)


def refuse_one_shot(value: object) -> None:
    """
    Raise TypeError if *value* can be awaited, iterated over or entered only once.

    Its second reader would get an error or nothing.
    """
    kind = type(value)
    if not (issubclass(kind, CONTEXTS) or any(hasattr(kind, mark) for mark in _MARKS)):
        if len(KEPT) >= KEPT_MAX:
            KEPT.clear()
        KEPT.add(kind)
        return
    if is_awaitable(value):
        if inspect.iscoroutine(value):
            value.close()  # Or there would be a warning, besides, that it was never awaited.
        raise TypeError(
            f"a {kind.__name__} cannot be kept: it can be awaited once. "
            "For an async function use aget_or_load, or put @cached directly on it, below other decorators"
        )
    if issubclass(kind, CONTEXTS) or _is_iterator(value) or hasattr(kind, "fetchone"):
        raise TypeError(f"a {kind.__name__} cannot be kept: it can be read once; return what is in it, as in list(...)")


def _is_iterator(value: object) -> bool:
    """Return whether *value* iterates over itself, as generators, files and most cursors do, also in async code."""
    # A mock has every method that there is, and is not its own iterator.
    if isinstance(value, Iterator):
        return iter(value) is value
    return isinstance(value, AsyncIterator) and aiter(value) is value


def is_awaitable(value: object) -> bool:
    """Return whether *value* has to be awaited; a receipt may be, as often as one likes."""
    return inspect.isawaitable(value) and not isinstance(value, Receipt)


def refuse_later(result: object) -> None:
    """Raise TypeError if *result* shows that the function which returned it has not run to its end yet."""
    if isinstance(result, CONTEXTS):
        raise TypeError("flushes: a context manager runs its end after the call; use cache.writing(...) inside it")
    if isinstance(result, _LATER):
        kind = type(result).__name__
        raise TypeError(f"flushes: the function returned a {kind}, which runs after the call; wait for it inside")
