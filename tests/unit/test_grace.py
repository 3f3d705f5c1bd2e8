"""Grace: an old value in place of an error, and the word that it is one."""

import asyncio
from math import inf

import pytest

from flushmesh.failure import Failure
from flushmesh.flight import Flight
from flushmesh.fresh import Fresh
from flushmesh.grace import graced
from tests.unit.caches import InThread, cache_of, never, raising, until

DOWN = OSError("the database is down")


@pytest.fixture
def cache(mesh, clock):
    """A cache with a minute of life and half a minute of grace, which holds k."""
    cache = cache_of(mesh, clock, ttl=60.0, grace=30.0)
    cache.get_or_load("k", lambda: Fresh("old", tags=["t"]))
    return cache


def expire(cache, clock):
    clock.now += 60


def flush(cache, clock):
    cache.flush("k")


def flush_tag(cache, clock):
    cache.flush_tag("t")


def flush_all(cache, clock):
    cache.flush_all()


def apply(cache, clock):
    cache.apply("k", None, None, "peer", 1)


def distrust(cache, clock):
    cache.distrust(clock.now)


ENDS = pytest.mark.parametrize("end", [expire, flush, flush_tag, flush_all, apply, distrust], ids=lambda f: f.__name__)


@ENDS
def test_an_old_value_stands_in_when_the_loader_raises(cache, clock, end):
    """However it ended, it is returned in place of the error, and whoever watches is told."""
    end(cache, clock)
    with graced() as old:
        assert cache.get_or_load("k", raising(DOWN)) == "old"

    assert [(each.key, each.age, each.error) for each in old] == [("k", clock.now - 1000.0, DOWN)]


@ENDS
def test_an_old_value_is_no_hit(cache, clock, end):
    """It stands in for an error alone: a look finds nothing, and a loader that works is asked."""
    end(cache, clock)

    assert cache.get("k") is None
    assert "k" not in cache
    assert (len(cache), dict(cache.items())) == (0, {})
    with graced() as old:
        assert cache.get_or_load("k", lambda: "new") == "new"
    assert old == []


@ENDS
def test_without_grace_the_error_is_raised(mesh, clock, end):
    """A cache that holds security decisions is left as it is: nothing old, ever."""
    cache = cache_of(mesh, clock, ttl=60.0)
    cache.get_or_load("k", lambda: Fresh("old", tags=["t"]))
    end(cache, clock)

    with pytest.raises(OSError, match="down"):
        cache.get_or_load("k", raising(DOWN))
    assert cache.currsize == (1 if end is expire else 0)


def test_without_grace_what_is_not_proven_any_more_does_not_stand_in(mesh, clock):
    """An entry within its ttl whose proof is too old is not returned either."""
    cache = cache_of(mesh, clock, ttl=60.0, staleness=8.0)
    cache.get_or_load("k", lambda: "old")
    clock.now += 9

    with pytest.raises(OSError, match="down"):
        cache.get_or_load("k", raising(DOWN))


def test_with_grace_what_is_not_proven_any_more_stands_in(mesh, clock):
    """Cut off from the peers and from the source of truth at once, an old value is what there is."""
    cache = cache_of(mesh, clock, ttl=60.0, staleness=8.0, grace=30.0)
    cache.get_or_load("k", lambda: "old")
    clock.now += 9

    assert cache.get_or_load("k", raising(DOWN)) == "old"


def test_grace_ends(cache, clock):
    """It counts from the end of the entry, to the moment."""
    clock.now += 60 + 29.5
    assert cache.get_or_load("k", raising(DOWN)) == "old"
    clock.now += 0.5

    with pytest.raises(OSError, match="down"):
        cache.get_or_load("k", raising(DOWN))


def test_a_second_flush_does_not_lengthen_the_grace(cache, clock):
    """What is flushed already ends when it would have."""
    cache.flush("k")
    clock.now += 20
    cache.flush("k")
    cache.flush_tag("t")
    clock.now += 10

    with pytest.raises(OSError, match="down"):
        cache.get_or_load("k", raising(DOWN))


def test_an_old_value_is_not_stored_anew(cache, clock):
    """Every read asks the source again, and the grace does not begin again."""
    clock.now += 60
    loads = []

    def fail():
        loads.append(1)
        raise DOWN

    for _ in range(3):
        assert cache.get_or_load("k", fail) == "old"

    assert len(loads) == 3
    assert (cache.info().loads, cache.info().load_errors) == (4, 3)
    clock.now += 30
    with pytest.raises(OSError, match="down"):
        cache.get_or_load("k", fail)


def test_an_old_value_goes_once_its_grace_is_over(cache, clock):
    """What stands in for nothing any more takes no room: the next fill lets it go."""
    clock.now += 60
    cache.get_or_load("other", lambda: "v")
    assert cache.currsize == 2
    clock.now += 30
    cache.get_or_load("third", lambda: "v", ttl=1.0)

    assert [entry.key for entry in cache.entries()] == ["other", "third"]
    assert cache.info().expiries == 1


def test_an_old_value_is_shown_as_unserved(cache, clock):
    """Looking inside tells what is kept for a bad day from what is served."""
    cache.flush("k")

    (entry,) = cache.entries()
    assert (entry.ttl_left, entry.unserved) == (0.0, "expired or flushed")


@pytest.mark.parametrize("named", [{"keys": ["k"]}, {"keys": [], "tags": ["t"]}], ids=["key", "tag"])
def test_nothing_stands_in_during_a_write(cache, clock, named):
    """Inside `writing` the error is raised, whether the key or a tag of its is being written; after it, not."""
    with cache.writing(*named["keys"], tags=named.get("tags", ())), pytest.raises(OSError, match="down"):
        cache.get_or_load("k", raising(DOWN))

    assert cache.get_or_load("k", raising(DOWN)) == "old"


def test_nothing_stands_in_while_disabled(cache, clock):
    """Nothing cached means nothing old either."""
    cache.disable(by=1)
    with pytest.raises(OSError, match="down"):
        cache.get_or_load("k", raising(DOWN))


def test_nothing_stands_in_after_the_end(cache):
    """A closed cache holds nothing."""
    flight = cache._store.take_off(Flight("other"))
    cache.close()

    assert cache._store.end(flight, failure=Failure(DOWN)).failure.error is DOWN
    assert cache.currsize == 0


def test_an_interrupted_load_is_no_failure_of_the_source(cache, clock):
    """Cancellation and interrupts are for the caller alone, and nothing stands in for them."""
    clock.now += 60

    with graced() as old, pytest.raises(KeyboardInterrupt):
        cache.get_or_load("k", raising(KeyboardInterrupt()))
    assert old == []


def test_a_flush_during_the_failing_load_does_not_take_the_grace(cache, clock):
    """The flushed value stands in when the load that the flush has revoked fails."""

    def fail():
        cache.flush("k")
        raise DOWN

    clock.now += 60
    assert cache.get_or_load("k", fail) == "old"


def test_everyone_who_waits_gets_the_old_value_and_its_word(cache, clock):
    """Threads that joined the failing load are told as the one that ran it."""
    clock.now += 60
    seen = []

    def read(loader):
        with graced() as old:
            value = cache.get_or_load("k", loader)
        seen.append([each.key for each in old])
        return value

    def fail():
        until(lambda: cache.info().misses == before + 2)
        raise DOWN

    before = cache.info().misses
    first = InThread(read, fail)
    until(lambda: cache.info().loads == 2)
    second = InThread(read, never)

    assert (first.result(), second.result()) == ("old", "old")
    assert seen == [["k"], ["k"]]


def test_blocks_that_watch_may_be_nested_and_see_tasks(cache, clock):
    """Each sees what happens inside it, in the tasks that it starts too, and nothing else."""
    clock.now += 60

    async def fail():
        raise DOWN

    async def main():
        with graced() as outer:
            await asyncio.create_task(cache.aget_or_load("k", fail))
            with graced() as inner:
                await cache.aget_or_load("k", fail)
        await cache.aget_or_load("k", fail)
        return len(outer), len(inner)

    assert asyncio.run(main()) == (2, 1)


def test_a_cache_without_ttl_and_bound_has_grace_after_a_flush(mesh, clock):
    """Where nothing ever runs out, what was flushed stands in all the same."""
    cache = cache_of(mesh, clock, ttl=inf, grace=30.0)
    cache.get_or_load("k", lambda: "old")
    cache.flush("k")
    assert cache.get_or_load("k", raising(DOWN)) == "old"
    clock.now += 30

    with pytest.raises(OSError, match="down"):
        cache.get_or_load("k", raising(DOWN))
