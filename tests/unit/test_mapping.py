"""The mapping face: the laws of MutableMapping, and the contract of cachetools where it makes sense."""

from collections.abc import ItemsView, KeysView, MutableMapping, ValuesView

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flushmesh.fresh import Fresh
from tests.unit.caches import Broadcasts, cache_of, never
from tests.unit.clock import Clock


def test_the_mapping_writes(cache, mesh):
    """Storing and deleting an item flush its key on the peers; reading does not."""
    cache["k"] = "v"
    assert (cache["k"], len(cache), list(cache), "k" in cache) == ("v", 1, ["k"], True)
    del cache["k"]
    assert (len(cache), mesh.sent) == (0, [("c", "k"), ("c", "k")])
    with pytest.raises(KeyError):
        cache["k"]


def test_deleting_what_is_not_held_flushes_and_raises(cache, mesh):
    """The peers may hold it all the same."""
    with pytest.raises(KeyError):
        del cache["k"]

    assert mesh.sent == [("c", "k")]


def test_the_mapping_has_everything_a_mapping_has(cache):
    """pop, setdefault, update, items and clear come with MutableMapping."""
    cache.update({"a": 1, "b": 2})
    assert cache.setdefault("a", 9) == 1
    assert cache.pop("a") == 1
    assert dict(cache.items()) == {"b": 2}
    cache.clear()
    assert list(cache) == []


class Fleeting:
    """A clock by which everything that was held expires while somebody looks: each reading is a minute later."""

    def __init__(self):
        self.now = 0.0
        self.step = 0.0

    def __call__(self):
        self.now += self.step
        return self.now


def items(cache):
    return list(cache.items())


def values(cache):
    return list(cache.values())


def pop(cache):
    return cache.pop("k0", "default")


def popitem(cache):
    try:
        return cache.popitem()
    except KeyError as error:
        # The one error that it has: there is nothing.
        assert "is empty" in str(error)  # noqa: PT017
        return None


@pytest.mark.parametrize("look", [list, len, items, values, pop, popitem], ids=lambda look: look.__name__)
def test_what_expires_meanwhile_is_no_error(mesh, look):
    """No look at the whole mapping, and no removal, raises because an entry expires during it."""
    clock = Fleeting()
    cache = cache_of(mesh, clock)
    for number in range(5):
        cache[f"k{number}"] = number

    clock.step = 15.0
    for _ in range(5):
        look(cache)


def test_what_is_flushed_meanwhile_is_no_error(cache):
    """An iteration goes through what was held when it began."""
    for looks in (cache.items, cache.values, cache.keys):
        cache.update(a=1, b=2, c=3)
        seen = []
        for item in looks():
            cache.flush_all()
            seen.append(item)

        assert len(seen) == 3


# The contract, after the tests that every class of cachetools inherits.


def test_a_new_cache_is_empty(cache):
    """It has room, and nothing in it."""
    assert isinstance(cache, MutableMapping)
    assert (len(cache), cache.maxsize, cache.currsize, list(cache), dict(cache.items())) == (0, 100, 0, [], {})


def test_what_is_inserted_is_there(mesh):
    """Up to the bound; beyond it one goes for each that comes."""
    cache = cache_of(mesh, maxsize=2)
    cache.update({"1": 1, "2": 2})
    assert (len(cache), cache.currsize, cache["1"], cache["2"]) == (2, 2, 1, 2)
    cache["3"] = 3
    assert (len(cache), cache["3"], "1" in cache or "2" in cache) == (2, 3, True)
    cache["3"] = 4

    assert (len(cache), cache["3"]) == (2, 4)


def test_what_is_deleted_is_gone(cache):
    """Once; the second time there is nothing to delete."""
    cache.update({"1": 1, "2": 2})
    del cache["1"]
    assert (len(cache), "1" in cache, cache["2"]) == (1, False, 2)
    with pytest.raises(KeyError, match="1"):
        del cache["1"]


def test_pop_removes_and_returns(cache, mesh):
    """It flushes what it removes; without a value it returns the default, and flushes nothing."""
    cache.update({"1": 1, "2": None})
    mesh.sent.clear()
    assert (cache.pop("1"), cache.pop("2", "default"), cache.pop("1", "default"), cache.pop("1", None)) == (
        1,
        None,
        "default",
        None,
    )
    with pytest.raises(KeyError, match="1"):
        cache.pop("1")

    assert mesh.sent == [("c", "1"), ("c", "2")]


def test_popitem_removes_one_after_the_other_until_there_is_none(cache, mesh):
    """Then a KeyError, which says of what."""
    cache.update({"1": 1, "2": 2, "3": 3})
    mesh.sent.clear()

    assert {cache.popitem() for _ in range(3)} == {("1", 1), ("2", 2), ("3", 3)}
    assert len(mesh.sent) == 3
    with pytest.raises(KeyError, match='cache "c" is empty') as caught:
        cache.popitem()
    assert caught.value.__context__ is None


def test_setdefault_writes_once(cache, mesh):
    """What is there stays; what is not is written, and returned as its readers get it."""
    assert cache.setdefault("k", 1) == 1
    assert cache.setdefault("k", 2) == 1
    assert cache.setdefault("none") is None
    assert cache.setdefault("fresh", Fresh("v", ttl=5)) == "v"

    assert dict(cache.items()) == {"k": 1, "none": None, "fresh": "v"}
    assert mesh.sent == [("c", "k"), ("c", "none"), ("c", "fresh")]


def test_get_of_none_is_told_from_nothing_by_its_default(cache):
    """None is a value; whoever must tell the two apart gives a default of its own."""
    cache["k"] = None

    assert (cache.get("k"), cache.get("other")) == (None, None)
    assert (cache.get("k", "nothing"), cache.get("other", "nothing")) == (None, "nothing")
    assert cache.get_or_load("k", never) is None
    assert cache["k"] is None


def test_a_missing_item_is_a_key_error(cache):
    """It names the key; what has expired is as missing as what never was."""
    with pytest.raises(KeyError, match="k"):
        cache["k"]


def test_what_has_run_out_is_in_no_view(mesh, clock):
    """Length, iteration, membership and the views agree on what would be a hit now."""
    cache = cache_of(mesh, clock)
    cache["short"] = Fresh(1, ttl=1)
    cache["long"] = Fresh(2, ttl=10)
    clock.now += 1

    assert (len(cache), list(cache), "short" in cache) == (1, ["long"], False)
    assert (list(cache.keys()), list(cache.values()), list(cache.items())) == (["long"], [2], [("long", 2)])
    assert cache.currsize == 2


def test_the_views_are_views(cache):
    """Of the kinds that a mapping has."""
    cache["k"] = "v"
    assert isinstance(cache.keys(), KeysView)
    assert isinstance(cache.values(), ValuesView)
    assert isinstance(cache.items(), ItemsView)

    assert "k" in cache.keys()  # noqa: SIM118
    assert ("k", "v") in cache.items()


def test_looking_at_the_whole_counts_no_hits(cache):
    """Views, length and membership leave the counters and the second chances alone."""
    cache["k"] = "v"
    before = cache.info()
    assert (len(cache), list(cache), list(cache.items()), list(cache.values()), "k" in cache) == (
        1,
        ["k"],
        [("k", "v")],
        ["v"],
        True,
    )

    assert cache.info() == before


def test_update_is_a_write_of_each(cache, mesh):
    """From a mapping, from pairs, and by name."""
    cache.update({"a": 1}, b=2)
    cache.update([("c", 3)])

    assert dict(cache.items()) == {"a": 1, "b": 2, "c": 3}
    assert mesh.sent == [("c", "a"), ("c", "b"), ("c", "c")]


def test_clear_flushes_the_whole_cache(cache, mesh):
    """Once, not key by key."""
    cache.update({"a": 1, "b": 2})
    mesh.sent.clear()
    cache.clear()

    assert (len(cache), cache.currsize, mesh.sent) == (0, 0, [("c", None)])


def test_a_cache_says_what_it_is(cache):
    """Its name and its bounds, not its content."""
    cache["secret"] = "v"

    assert repr(cache) == "<Cache 'c' maxsize=100 ttl=60.0>"


def test_a_cache_is_compared_by_identity_and_never_false(mesh):
    """It is a place, and not what happens to be there: it can be a key of a dict, and `if cache` asks for None."""
    cache, other = cache_of(mesh), cache_of(mesh)

    assert cache
    assert cache == cache
    assert cache != other
    assert {cache: 1, other: 2}[cache] == 1


SOME_KEY = st.sampled_from("abc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("__setitem__"), SOME_KEY, st.integers()),
        st.tuples(st.sampled_from(["__delitem__", "__getitem__", "__contains__", "get"]), SOME_KEY),
        st.tuples(st.sampled_from(["pop", "get", "setdefault"]), SOME_KEY, st.integers()),
        st.tuples(st.sampled_from(["__len__", "clear"])),
        st.tuples(st.just("pop"), SOME_KEY),
        st.tuples(st.just("update"), st.dictionaries(SOME_KEY, st.integers())),
    ),
    max_size=30,
)


@given(STEPS)
def test_a_cache_with_room_behaves_as_a_dict(steps):
    """Whatever one does with it as a mapping, it returns and raises what a dict would."""
    cache, like = cache_of(Broadcasts(), Clock()), {}
    for name, *arguments in steps:
        outcomes = []
        for mapping in (cache, like):
            try:
                outcomes.append(getattr(mapping, name)(*arguments))
            except KeyError as error:
                outcomes.append(error.args)

        assert outcomes[0] == outcomes[1]
        assert dict(cache.items()) == like
        assert (len(cache), sorted(cache)) == (len(like), sorted(like))
