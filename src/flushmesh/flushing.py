"""Flushing: functions that change the source of truth, and flush what they have changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from flushmesh.cached import Caching
from flushmesh.functions import called, check_function, is_async, wraps
from flushmesh.keys import Key, check_key, key_maker, listed
from flushmesh.values import is_awaitable, refuse_later

F = TypeVar("F", bound=Callable[..., object])


def flushes(cache: Caching, keys: Sequence[Key], tags: Iterable[Key], function: F) -> F:
    """
    Wrap *function* so that what *keys* and *tags* make is flushed each time it has returned.

    They are made before it runs and again afterwards: it may change what they are made of.
    """
    check_function("flushes", function)
    tags = listed(tags, "tag")
    guarded = called(function, by_name=not all(map(callable, (*keys, *tags)))).guarded
    made = [Made(cache.flush, "key", key_maker(key, function)) for key in keys]
    made += [Made(cache.flush_tag, "tag", key_maker(tag, function, "tag")) for tag in tags]

    def ended(result: Any, flushing: Flushing) -> Any:
        if is_awaitable(result):
            return finish(result, flushing)
        refuse_later(result)
        flushing.end()
        return result

    async def finish(result: Awaitable[Any], flushing: Flushing) -> Any:
        return ended(await result, flushing)

    async def awrapper(*args: Any, **kwargs: Any) -> Any:
        flushing = Flushing(made, args, kwargs)
        return await finish(guarded(*args, **kwargs)(*args, **kwargs), flushing)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        flushing = Flushing(made, args, kwargs)
        return ended(guarded(*args, **kwargs)(*args, **kwargs), flushing)

    return cast(F, wraps(function, awrapper if is_async(function) else wrapper))


@dataclass(frozen=True, slots=True)
class Made:
    """What makes one key or tag of a call, and how it is flushed."""

    flush: Callable[[str], object]
    what: str
    make: Callable[..., str]


class Flushing:
    """
    One call of a function that flushes: what is flushed once it has returned.

    Raises, before the function runs, what is wrong with a key; that the arguments do not
    have yet, or have no longer, what it is made of is not wrong.
    """

    def __init__(self, made: Sequence[Made], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._made = made
        self._args = args
        self._kwargs = kwargs
        self._before = [self._make(each, AttributeError, LookupError) for each in made]

    def end(self) -> None:
        """Flush every key and tag as it was before, and as it is now where that differs; raise the last error."""
        # A stack, because one that raises must not keep the others from being flushed.
        with ExitStack() as stack:
            for each, before in reversed(list(zip(self._made, self._before, strict=True))):
                stack.callback(self._flush_as_now, each, before)
                if before is not None:
                    stack.callback(each.flush, before)

    def _flush_as_now(self, made: Made, before: str | None) -> None:
        # Where there was one before, the function may have deleted what another would be made of.
        after = self._make(made, *((Exception,) if before is not None else ()))
        if after not in (before, None):
            made.flush(after)

    def _make(self, made: Made, *expected: type[Exception]) -> str | None:
        try:
            return check_key(made.make(*self._args, **self._kwargs), made.what)
        except expected:
            return None
