"""Functions that flush what they change: which keys, and when."""

import asyncio
import contextlib
import functools
from concurrent.futures import Future

import pytest

from tests.unit.caches import raising
from tests.unit.test_values import timed


class User:
    """A row."""

    def __init__(self, name):
        self.name = name


def test_what_a_function_renames_is_flushed_under_both_names(cache, mesh):
    """Keys and tags are made before the function runs, and again afterwards."""

    @cache.flushes("user:{user.name}", "all", lambda user, name: f"by:{user.name}", tags=["team:{user.name}"])
    def rename(user, name):
        user.name = name

    rename(User("ada"), "eve")

    assert mesh.sent == [
        ("c", "user:ada"),
        ("c", "user:eve"),
        ("c", "all"),
        ("c", "by:ada"),
        ("c", "by:eve"),
        ("c", None, {"tag": "team:ada"}),
        ("c", None, {"tag": "team:eve"}),
    ]


@pytest.mark.parametrize("error", [AttributeError, KeyError, RuntimeError], ids=lambda kind: kind.__name__)
def test_what_a_function_deletes_is_flushed(cache, mesh, error):
    """Afterwards there may be nothing to make a key of, whatever asking for it raises."""

    class Row:
        deleted = False

        @property
        def name(self):
            if self.deleted:
                raise error("deleted")
            return "ada"

    @cache.flushes("user:{user.name}", tags=["team:{user.name}"])
    def delete(user):
        user.deleted = True
        return "done"

    assert delete(Row()) == "done"
    assert mesh.sent == [("c", "user:ada"), ("c", None, {"tag": "team:ada"})]


def test_what_a_function_makes_is_flushed(cache, mesh):
    """Before, there may be nothing yet to make a key of."""

    @cache.flushes("user:{user.id}", "row:{row[id]}")
    def create(user, row):
        user.id = row["id"] = 7

    create(User("ada"), {})
    assert mesh.sent == [("c", "user:7"), ("c", "row:7")]


def test_what_cannot_be_a_key_stops_the_function_before_it_runs(cache, mesh):
    """A write is not done if it is known that it could not be flushed."""
    written = []

    @cache.flushes("user:{user}")
    def write(user):
        written.append(user)

    for wrong, error in ((User("ada"), TypeError), ("x" * 2_000, ValueError)):
        with pytest.raises(error):
            write(wrong)
    with pytest.raises(TypeError):
        write()
    assert (written, mesh.sent) == ([], [])


def test_a_key_that_can_never_be_made_is_an_error_after_all_others_are_flushed(cache, mesh):
    """The caller learns of it, and nothing else is lost."""

    @cache.flushes("a", "user:{user.id}", "b", tags=["t"])
    def write(user):
        """Stand for a writer."""

    with pytest.raises(AttributeError):
        write(User("ada"))
    assert mesh.sent == [("c", "a"), ("c", "b"), ("c", None, {"tag": "t"})]


def test_a_flush_that_raises_keeps_no_other_from_being_tried(cache, mesh, monkeypatch):
    """What can be forgotten is forgotten, and the error reaches the caller."""
    flush = cache.flush
    monkeypatch.setattr(type(cache), "flush", lambda self, key: raising(OSError())() if key == "a" else flush(key))

    @cache.flushes("a", "b", tags=["t"])
    def write():
        """Stand for a writer."""

    with pytest.raises(OSError):
        write()
    assert mesh.sent == [("c", "b"), ("c", None, {"tag": "t"})]


def test_a_hidden_async_function_is_awaited_before_the_flush(cache, mesh):
    """Behind a decorator, or as an object, it is seen by what it returns."""

    async def rename(user):
        await asyncio.sleep(0)
        assert mesh.sent == []
        user.name = "eve"
        return "done"

    class Service:
        async def __call__(self, user):
            return await rename(user)

    def as_task(user):
        return asyncio.ensure_future(rename(user))

    async def main():
        for write in (timed(rename), Service(), as_task, lambda user: rename(user)):
            mesh.sent.clear()
            assert await cache.flushes("user:{user.name}")(write)(User("ada")) == "done"
            assert mesh.sent == [("c", "user:ada"), ("c", "user:eve")]

    asyncio.run(main())


def test_what_is_awaited_twice_is_flushed_after_the_second_time(cache, mesh):
    """An `async def` may return what is still to be awaited."""

    async def write():
        await asyncio.sleep(0)
        assert mesh.sent == []
        return "done"

    @cache.flushes("k")
    async def begin():
        return write()

    async def main():
        return await (await begin())

    assert asyncio.run(main()) == "done"
    assert mesh.sent == [("c", "k")]


def test_a_hidden_async_function_that_raises_flushes_nothing(cache, mesh):
    """As one that is seen does not."""

    async def fail():
        raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(cache.flushes("k")(timed(fail))())
    assert mesh.sent == []


def test_what_runs_after_the_call_is_refused(cache, mesh):
    """A generator, a context manager, a future of a thread: the flush would come before the write."""
    written = []

    def edit():
        written.append(1)
        yield

    async def aedit():
        yield

    @functools.wraps(edit)
    def hidden():
        return edit()

    @functools.wraps(aedit)
    def ahidden():
        return aedit()

    for write in (
        contextlib.contextmanager(edit),
        contextlib.asynccontextmanager(aedit),
        hidden,
        ahidden,
        lambda: map(written.append, [1]),
        lambda: filter(written.append, [1]),
        Future,
    ):
        with pytest.raises(TypeError, match="flushes: .* after the call"):
            cache.flushes("k")(write)()
    assert (written, mesh.sent) == ([], [])


def test_what_a_function_returns_is_returned(cache, mesh):
    """A receipt is not awaited, and rows may be read from a cursor."""
    rows = iter([1])
    receipt = cache.flush("other")

    for result in (receipt, rows, [1], None):
        mesh.sent.clear()
        assert cache.flushes("k")(lambda result=result: result)() is result
        assert mesh.sent == [("c", "k")]
