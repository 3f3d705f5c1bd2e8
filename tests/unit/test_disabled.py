"""Nothing cached: every read loads, every flush still goes out."""

import asyncio
import os
import threading

import pytest

from flushmesh import Mesh, RecursiveLoad, RosterError
from flushmesh.entry import MISS
from flushmesh.flight import Flight
from flushmesh.fresh import Fresh
from tests.unit.caches import InThread, cache_of, never, until


@pytest.fixture
def cache(mesh, clock):
    """A cache that holds k, and is disabled."""
    cache = cache_of(mesh, clock)
    cache.get_or_load("k", lambda: Fresh("held", tags=["t"]))
    cache.disable(by=1)
    return cache


def test_every_read_loads_and_nothing_is_stored(cache):
    """Whatever is held and whoever asks."""
    loads = iter(range(10))

    async def load():
        return next(loads)

    assert [cache.get_or_load("k", lambda: next(loads)) for _ in range(3)] == [0, 1, 2]
    assert [asyncio.run(cache.aget_or_load("k", load)) for _ in range(2)] == [3, 4]
    assert cache.cached(key="k")(lambda: next(loads))() == 5
    assert cache.get("k", "nothing") == "nothing"
    assert (len(cache), list(cache), "k" in cache, cache.pop("k", None)) == (0, [], False, None)


def test_what_was_held_is_served_again_afterwards(cache, mesh):
    """Nothing that was loaded meanwhile is."""
    cache.get_or_load("k", lambda: "meanwhile")
    cache.get_or_load("other", lambda: "meanwhile")
    cache.disable(by=-1)

    assert cache.get_or_load("k", never) == "held"
    assert "other" not in cache
    assert mesh.sent == []


@pytest.mark.parametrize("flush", ["flush", "flush_tag", "flush_all", "apply", "writing", "item"])
def test_flushes_go_out_and_are_applied(cache, mesh, flush):
    """What is flushed meanwhile is not served afterwards."""
    if flush == "writing":
        with cache.writing("k") as write:
            write.set("mine")
    elif flush == "item":
        cache["k"] = "mine"
    else:
        arguments = {"flush": ["k"], "flush_tag": ["t"], "flush_all": [], "apply": ["k", None, None, "peer", 1]}
        getattr(cache, flush)(*arguments[flush])
    cache.disable(by=-1)

    assert "k" not in cache
    assert len(mesh.sent) == (flush != "apply")


def test_a_load_that_ends_meanwhile_is_not_stored(mesh, clock):
    """Though it began before."""
    cache = cache_of(mesh, clock)
    flight = cache._store.take_off(Flight("k"))
    cache.disable(by=1)
    assert cache._store.end(flight, Fresh("v")).stored is False
    cache.disable(by=-1)

    assert cache._store.get("k", MISS) is MISS


def test_readers_do_not_wait_for_one_another(cache):
    """Each loads for itself, also while another load of the key is running."""

    def load():
        return cache.info().loads

    first = InThread(cache.get_or_load, "k", lambda: until(lambda: cache.info().loads == 3))
    until(lambda: cache.info().loads == 2)

    assert InThread(cache.get_or_load, "k", load).result() == 3
    assert first.result() is None


def test_a_load_that_asks_for_its_own_key_is_told(cache):
    """Without an end it would call itself."""
    with pytest.raises(RecursiveLoad):
        cache.get_or_load("k", lambda: cache.get_or_load("k", never))


def test_what_is_held_is_shown_as_unserved(cache):
    """Looking inside says why."""
    (entry,) = cache.entries()

    assert (entry.key, entry.unserved) == ("k", "the mesh is disabled")


def test_blocks_may_be_nested_and_count_for_every_cache():
    """The last one out enables, also the caches that were made inside."""
    mesh = Mesh("m", mdns=False)
    before = mesh.cache("before")
    with mesh.disabled():
        with mesh.disabled():
            inside = mesh.cache("inside")
        assert [cache._store._disabled for cache in (before, inside)] == [1, 1]
        with pytest.raises(LookupError), mesh.disabled():
            raise LookupError

    assert [cache._store._disabled for cache in (before, inside)] == [0, 0]


@pytest.mark.parametrize(("value", "disabled"), [("1", True), ("yes", True), ("0", False), ("no", False), ("", False)])
def test_the_environment_disables_for_good(monkeypatch, value, disabled):
    """FLUSHMESH_DISABLED=1 is read when the mesh is made, from a file or not."""
    monkeypatch.setenv("FLUSHMESH_DISABLED", value)
    mesh = Mesh("m", mdns=False)
    with mesh.disabled():
        cache = mesh.cache("c")

    assert bool(cache._store._disabled) is disabled


def test_a_word_in_the_environment_that_is_neither_is_refused(monkeypatch):
    """It names the variable and says what would be right."""
    monkeypatch.setenv("FLUSHMESH_DISABLED", "maybe")
    with pytest.raises(RosterError, match="FLUSHMESH_DISABLED: 1 or 0, yes or no, true or false, not 'maybe'"):
        Mesh("m")


def test_a_child_of_a_thread_outside_is_not_disabled():
    """A fork while another thread is inside `disabled()`: the child has no such thread, and is not disabled by it."""
    mesh = Mesh("m", mdns=False)
    cache = mesh.cache("c")
    inside, leave = threading.Event(), threading.Event()

    def other():
        with mesh.disabled():
            inside.set()
            assert leave.wait(5)

    thread = InThread(other)
    assert inside.wait(5)
    with mesh.disabled():
        disabled = in_child(lambda: cache._store._disabled)
    leave.set()
    thread.result()

    assert disabled == b"1"
    assert in_child(lambda: cache._store._disabled) == b"0"
    assert cache._store._disabled == 0


def in_child(call):
    """Return what *call* returns in a forked child, as text."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, str(call()).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read, "rb") as pipe:
        return pipe.read()
