"""Keys and tags that are subclasses of str: what is kept and sent is their characters."""

import gc
import weakref
from contextlib import suppress
from math import inf

import pytest

from flushmesh import Cache, Fresh
from flushmesh.hooks import CacheHooks
from flushmesh.options import CacheOptions
from tests.unit.caches import cache_of
from tests.unit.clock import Clock
from tests.unit.test_keys import Folded


class Smart(str):
    """A str that holds on to the document it is from."""

    def __init__(self, text):
        self.document = Document()


class Document:
    """Large."""


def _write(cache, key):
    with cache.writing(key, "other", tags=[key]) as write:
        write.set(1, key=key)
    return write


WAYS = {
    "get_or_load": lambda cache, key: cache.get_or_load(key, lambda: 1),
    "a tag of a load": lambda cache, key: cache.get_or_load("k", lambda: 1, tags=[key]),
    "a tag of the value": lambda cache, key: cache.get_or_load("k", lambda: Fresh(1, tags=[key])),
    "flush": lambda cache, key: cache.flush(key),
    "flush of a version": lambda cache, key: cache.flush(key, version=3),
    "flush_tag": lambda cache, key: cache.flush_tag(key),
    "forget": lambda cache, key: cache.forget(key),
    "an item": lambda cache, key: cache.__setitem__(key, 1),
    "del": lambda cache, key: cache.__delitem__(key),
    "pop": lambda cache, key: (cache.__setitem__(key, 1), cache.pop(key)),
    "setdefault": lambda cache, key: cache.setdefault(key, 1),
    "a write": lambda cache, key: _write(cache, key),
    "update": lambda cache, key: cache.update({key: 1}),
    "a callable key": lambda cache, key: cache.cached(key=lambda: key)(lambda: 1)(),
    "a template": lambda cache, key: cache.cached(key="{x}", tags=["{x}"])(lambda x: 1)(key),
    "a flush of a decorated function": lambda cache, key: cache.cached(key="{x}")(lambda x: 1).flush(key),
    "flushes": lambda cache, key: cache.flushes("{x}", lambda x: x, tags=["{x}"])(lambda x: 1)(key),
    "get": lambda cache, key: cache.get(key),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_document_is_kept_alive_by_a_key(mesh, way):
    """Nothing that is kept, remembered or sent holds on to what a key came with."""
    cache = cache_of(mesh)
    key = Smart("k")
    document = weakref.ref(key.document)
    with suppress(KeyError):
        way(cache, key)
    del key
    gc.collect()

    assert document() is None
    assert all(type(text) is str for _, *sent in mesh.sent for text in sent if isinstance(text, str))
    assert [type(key) for key in cache] == [str] * len(cache)


@pytest.mark.parametrize("way", ["flush", "forget", "pop", "an item", "flush of a version"])
def test_a_write_by_a_key_that_compares_in_its_own_way_finds_the_text(mesh, way):
    """What is held under the text is flushed, and nothing else."""
    cache = cache_of(mesh)
    for key in ("User:1", "user:1"):
        cache.get_or_load(key, lambda: "old")

    WAYS[way](cache, Folded("User:1"))

    assert cache.get("User:1") != "old"
    assert cache.get("user:1") == "old"


def test_a_callable_key_that_compares_in_its_own_way_finds_no_other_text(mesh):
    """What it returns is its characters before anything is looked up."""
    cache = cache_of(mesh)
    load = cache.cached(key=lambda name: Folded(name))(lambda name: name)

    assert [load("user:1"), load("User:1"), load("USER:1")] == ["user:1", "User:1", "USER:1"]


def test_a_flush_of_a_peer_finds_what_was_loaded_by_such_a_key(mesh):
    """The text that travels is the text that is held."""
    cache = cache_of(mesh)
    cache.get_or_load(Folded("User:1"), lambda: "old")

    cache.apply("User:1", None, None, "peer", 1)

    assert cache.get(Folded("User:1")) is None
    assert len(cache) == 0


def test_a_name_is_a_plain_str(mesh):
    """The name of a cache travels with each flush."""
    cache = Cache(Smart("c"), mesh, CacheOptions(), CacheHooks("c"), Clock(), inf)

    assert type(cache.name) is str
