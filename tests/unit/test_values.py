"""Values: what can be kept, and what its second reader would find spent."""

import asyncio
import contextlib
import csv
import functools
import io
import sqlite3
from unittest import mock

import pytest

from flushmesh import Fresh
from flushmesh.values import KEPT, KEPT_MAX, refuse_one_shot


@contextlib.contextmanager
def entered():
    """Stand for a context manager."""
    yield


@contextlib.asynccontextmanager
async def aentered():
    """Stand for an asynchronous one."""
    yield


async def agenerator():
    """Stand for an asynchronous generator."""
    yield 1


class Cursor:
    """A cursor that is not its own iterator."""

    def fetchone(self):
        """Return a row."""


def rows():
    """Return a cursor."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        return connection.execute("select 1")


class Stream:
    """Is read in async code."""

    def __aiter__(self):
        return self

    async def __anext__(self):
        """Return a line."""


ONE_SHOT = {
    "generator": lambda: (x for x in [1]),
    "map": lambda: map(int, ["1"]),
    "iterator": lambda: iter([1]),
    "cursor": rows,
    "another cursor": Cursor,
    "file": lambda: io.StringIO("1\n"),
    "csv": lambda: csv.reader(io.StringIO("1\n")),
    "async generator": agenerator,
    "stream": Stream,
    "context manager": entered,
    "async context manager": aentered,
}


@pytest.mark.parametrize("make", ONE_SHOT.values(), ids=ONE_SHOT)
def test_what_can_be_read_once_is_refused(cache, make):
    """However it comes in, it is not kept, the error says why, and the next value is loaded."""
    ways = [
        lambda: cache.get_or_load("k", make),
        lambda: cache.get_or_load("k", lambda: Fresh(make(), ttl=1)),
        lambda: cache.cached(key="k")(make)(),
        lambda: cache.__setitem__("k", make()),
        lambda: cache.setdefault("k", make()),
    ]
    for way in ways:
        with pytest.raises(TypeError, match="cannot be kept: it can be read once|a generator runs later"):
            way()

    assert "k" not in cache
    assert cache.get_or_load("k", lambda: "v") == "v"


def timed(function):
    """Decorate as a metric would."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


async def load(x=1):
    """Load."""
    return f"v{x}"


class Later:
    """Is awaited by way of its own."""

    def __await__(self):
        yield


@pytest.mark.parametrize("make", [load, timed(load), Later], ids=["coroutine", "behind a decorator", "own awaitable"])
def test_an_awaitable_is_no_value(cache, make):
    """`get_or_load` of an async function says which method awaits, the first time and each time."""
    for _ in range(2):
        with pytest.raises(TypeError, match="it can be awaited once. For an async function use aget_or_load"):
            cache.get_or_load("k", make)
    assert "k" not in cache


def test_a_future_is_no_value(cache):
    """Nor is a task, or what an async loader forgot to await."""

    async def forgetful():
        return load()

    async def main():
        task = asyncio.create_task(load())
        with pytest.raises(TypeError, match="a Task cannot be kept"):
            cache.get_or_load("k", lambda: task)
        with pytest.raises(TypeError, match="a coroutine cannot be kept"):
            await cache.aget_or_load("k", forgetful)
        assert await task == "v1"

    asyncio.run(main())


def test_a_hidden_async_function_is_refused_at_its_first_call(cache):
    """Behind a decorator that is not async, it is seen by what it returns."""
    decorated = cache.cached(key="u:{x}")(timed(load))

    for _ in range(2):
        with pytest.raises(TypeError, match="put @cached directly on it, below other decorators"):
            decorated(1)


def test_an_object_whose_call_is_async_is_awaited(cache):
    """A callable object is decorated like an `async def`."""

    class Service:
        calls = 0

        async def __call__(self, x):
            self.calls += 1
            return x

    service = Service()
    decorated = cache.cached(key="s:{x}")(service)

    async def main():
        return [await decorated(1), await decorated(1)]

    assert asyncio.run(main()) == [1, 1]
    assert service.calls == 1


def test_an_object_whose_call_is_a_generator_is_refused(cache):
    """As a generator function is, when decorating."""

    class Service:
        def __call__(self):
            yield 1

    for decorate in (cache.cached(key="k"), cache.flushes("k")):
        with pytest.raises(TypeError, match="a generator runs later"):
            decorate(Service())


@pytest.mark.parametrize(
    "value", [[1], {}, (1,), "s", object(), {1}.__class__, mock.MagicMock(), range(3), {1: 2}.keys()]
)
def test_what_can_be_read_again_is_kept(value):
    """Neither iterables nor mocks are taken for what they are not."""
    refuse_one_shot(value)


def test_a_receipt_may_be_kept(cache):
    """It can be awaited as often as one likes."""
    receipt = cache.get_or_load("k", lambda: cache.flush("other"))

    assert cache.get("k") is receipt


def test_the_classes_that_are_remembered_are_bounded(cache):
    """Classes that are made as the application runs are forgotten again."""
    for number in range(3 * KEPT_MAX):
        cache.get_or_load(f"k{number}", type(f"Row{number}", (), {}))

    assert len(KEPT) <= KEPT_MAX
    with pytest.raises(TypeError, match="it can be read once"):
        cache.get_or_load("k", lambda: iter([1]))
