"""Copies: reads of values that nobody can change for the others."""

import asyncio
import copy
import threading

import pytest

from tests.unit.caches import InThread, cache_of, never, raising, until


@pytest.fixture
def cache(mesh, clock):
    """A cache of lists, of which each reader gets its own."""
    return cache_of(mesh, clock, copy=copy.deepcopy)


def loaded(cache):
    return cache.get_or_load("k", lambda: [[1]])


def aloaded(cache):
    async def load():
        return [[1]]

    return asyncio.run(cache.aget_or_load("k", load))


def decorated(cache):
    return cache.cached(key="k")(lambda: [[1]])()


def looked_up(cache):
    return cache.get("k", [[1]])


def item(cache):
    return cache["k"] if "k" in cache else loaded(cache)


def in_values(cache):
    return next(iter(cache.values()), None) or loaded(cache)


def in_items(cache):
    return next((value for _, value in cache.items()), None) or loaded(cache)


READS = [loaded, aloaded, decorated, looked_up, item, in_values, in_items]


@pytest.mark.parametrize("read", READS, ids=lambda read: read.__name__)
def test_what_one_reader_changes_no_other_sees(cache, read):
    """The one that loaded included, however it reads."""
    for _ in range(3):
        value = read(cache)
        assert value == [[1]]
        value[0].append(2)


@pytest.mark.parametrize("read", READS, ids=lambda read: read.__name__)
def test_without_copy_values_are_shared(mesh, clock, read):
    """Every reader gets the very object that is held."""
    cache = cache_of(mesh, clock)
    held = loaded(cache)

    assert read(cache) is held


def test_those_who_wait_for_one_load_get_a_copy_each(cache):
    """Nobody gets the loader's own object."""
    own, go_on = [[1]], threading.Event()

    def load():
        assert go_on.wait(5)
        return own

    readers = [InThread(cache.get_or_load, "k", load) for _ in range(3)]
    until(lambda: cache.info().misses == 3)
    go_on.set()
    values = [reader.result() for reader in readers]

    assert values == [[[1]]] * 3
    assert len({id(value) for value in (own, *values)}) == 4


def test_a_default_is_returned_as_it_is(cache):
    """It is the caller's own."""
    default = []

    assert cache.get("k", default) is default


def test_what_is_popped_is_not_copied(cache):
    """Whoever takes it out has it alone."""
    copies = []
    cache = cache_of(cache._mesh, copy=lambda value: copies.append(value) or copy.copy(value))
    cache["a"] = [1]
    cache["b"] = [2]

    assert (cache.pop("a"), cache.popitem()) == ([1], ("b", [2]))
    assert copies == []


def test_a_copy_that_fails_is_the_readers_error(mesh, clock):
    """It is raised at each read; what is held stays."""
    cache = cache_of(mesh, clock, copy=raising(TypeError("cannot be copied")))
    for loader in (lambda: "v", never):
        with pytest.raises(TypeError, match="cannot be copied"):
            cache.get_or_load("k", loader)

    assert "k" in cache
    assert cache.info().load_errors == 0


def test_a_due_hit_is_copied_too(mesh, clock):
    """The old value that refresh ahead returns is shared with others as any."""
    cache = cache_of(mesh, clock, ttl=100.0, refresh_ahead=0.8, copy=copy.deepcopy)
    loaded(cache).append("mine")
    clock.now += 80
    cache.get_or_load("k", lambda: [[2]]).append("mine")
    until(lambda: cache.get("k") == [[2]])
