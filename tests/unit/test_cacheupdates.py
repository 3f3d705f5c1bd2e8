"""What the mesh's thread does to the caches: an error in one of them costs that one its entries, and nothing else."""

from math import inf

import cachetools
import pytest

from flushmesh.cacheupdates import CacheUpdates
from flushmesh.protocol.effects import Apply
from flushmesh.protocol.messages import Flush, Identity
from tests.unit.caches import cache_of

PEER = Identity(b"p" * 16, "peer", "")


class Failing(cachetools.LRUCache):
    """A policy that raises *error* when it lets go of *key*, and when it is made while *broken*."""

    key, error, broken = "bad", None, False

    def __init__(self, *arguments, **options):
        if Failing.broken:
            raise Failing.error
        super().__init__(*arguments, **options)

    def __delitem__(self, key, *arguments, **options):
        if key == Failing.key and Failing.error is not None:
            raise Failing.error
        super().__delitem__(key, *arguments, **options)


@pytest.fixture(params=[LookupError("a bug"), MemoryError(), SystemExit(), KeyboardInterrupt()], ids=repr)
def error(request):
    yield request.param
    Failing.error, Failing.broken = None, False


@pytest.fixture
def caches(mesh, clock):
    """Two caches with entries, one of a policy that fails, and the updates of both."""
    caches = {"failing": cache_of(mesh, clock, policy=Failing), "other": cache_of(mesh, clock)}
    for name, cache in caches.items():
        cache.name = name
        for key in ("good", "bad", "rest"):
            cache.get_or_load(key, lambda: "old")
    return caches


def flushes(*keys):
    return Apply(PEER, 1, tuple(Flush(name, key) for key in keys for name in ("failing", "other")))


def test_an_error_empties_its_cache_and_no_other(caches, error, caplog):
    """The rest of the batch is applied; the failing cache has forgotten everything, which is logged once."""
    Failing.error = error
    CacheUpdates(caches).apply(flushes("bad", "rest"))

    assert dict(caches["failing"].items()) == {}
    assert dict(caches["other"].items()) == {"good": "old"}
    assert caches["failing"].info().flushes_applied == 1
    assert [record.getMessage() for record in caplog.records] == [
        'cache "failing" is emptied: it failed to apply a flush'
    ]


def test_an_emptied_cache_goes_on_as_new(caches, error, clock):
    """It loads, keeps, counts and forgets again, and what was being loaded when it failed is not kept."""
    updates, failing = CacheUpdates(caches), caches["failing"]

    def loader():
        Failing.error = error
        updates.apply(flushes("bad"))
        Failing.error = None
        return "too old"

    assert failing.get_or_load("loading", loader) == "too old"
    assert failing.get("loading") is None
    failing.get_or_load("k", lambda: "new")
    updates.trust(clock())

    assert failing.get("k") == "new"
    assert failing.currsize == 1
    updates.apply(flushes("k"))
    assert failing.get("k") is None


def test_a_cache_whose_policy_cannot_be_made_again_goes_on_with_another(caches, error, clock):
    """What was to be forgotten is gone, and the least recently used entries go from then on."""
    updates, failing = CacheUpdates(caches), caches["failing"]
    Failing.error, Failing.broken = error, True
    updates.apply(flushes("bad"))
    updates.trust(clock())

    assert failing.get("good") is None
    assert [failing.get_or_load("k", lambda value=value: value) for value in "vw"] == ["v", "v"]


def test_a_proof_that_cannot_be_taken_back_empties_the_cache(caches, error, clock):
    """Distrust fails in one cache with an infinite bound, where it lets go of everything; the other runs out."""
    Failing.error = error
    caches["failing"]._store._max_staleness = inf
    Failing.clear = property(lambda self: (_ for _ in ()).throw(error))
    try:
        CacheUpdates(caches).distrust(clock())
    finally:
        del Failing.clear

    assert dict(caches["failing"].items()) == {}


def test_an_error_in_the_mesh_itself_empties_every_cache(caches):
    """It is not known then what was missed."""
    CacheUpdates(caches).forget_all()

    assert [len(cache) for cache in caches.values()] == [0, 0]


def test_a_log_handler_that_raises_keeps_no_flush_from_being_applied(caches, error, monkeypatch):
    """Logging runs code of the application too."""

    def fail(*_arguments, **_options):
        raise LookupError("a handler's bug")

    monkeypatch.setattr("flushmesh.cacheupdates.log.warning", fail)
    Failing.error = error
    CacheUpdates(caches).apply(flushes("bad", "rest"))

    assert [dict(cache.items()) for cache in caches.values()] == [{}, {"good": "old"}]


def test_a_forked_child_serves_from_a_cache_that_could_not_be_emptied(caches, error, clock):
    """Its contents are new."""
    updates, failing = CacheUpdates(caches), caches["failing"]
    Failing.error, Failing.broken = error, True
    updates.apply(flushes("bad"))
    Failing.broken = False
    failing.reset()
    updates.reset()

    assert [failing.get_or_load("k", lambda value=value: value) for value in "vw"] == ["v", "v"]
