"""Writing: what surrounds a change of the source of truth."""

import threading

import pytest

from flushmesh.errors import MeshClosed
from flushmesh.flight import Flight
from flushmesh.fresh import Fresh
from tests.unit.caches import InThread, cache_of, never, until


def test_writing_flushes_on_the_way_out(cache, mesh):
    """The flush comes after the body, and the receipt is there then."""
    cache.get_or_load("k", lambda: "old")
    with cache.writing("k") as write:
        assert mesh.sent == []
        assert "k" not in cache
        write.set("new")

    assert mesh.sent == [("c", "k")]
    assert write.receipt.sequence == 1
    assert cache.get_or_load("k", never) == "new"


def test_writing_flushes_also_when_the_body_raises(cache, mesh):
    """A write that failed may have been done all the same: it is flushed, and its value not kept."""
    with pytest.raises(LookupError), cache.writing("k") as write:
        write.set("new")
        raise LookupError

    assert mesh.sent == [("c", "k")]
    assert "k" not in cache


def test_a_write_that_is_used_twice_keeps_nothing_of_the_first(cache, mesh):
    """Each time around is a write of its own, and keeps only what was set in it."""
    write = cache.writing("k")
    with write:
        write.set("first")
    with write:
        pass

    assert "k" not in cache
    assert (len(mesh.sent), write.receipt.sequence) == (2, 2)


def test_many_keys_and_tags_are_flushed_in_one_write(cache, mesh):
    """Each once, keys before tags; the receipt is that of the last, for all."""
    cache.update({"a": 1, "b": 2, "free": 4})
    cache.get_or_load("tagged", lambda: 3, tags=["t"])
    mesh.sent.clear()
    with cache.writing("a", "b", "a", tags=["t", "u", "t"]) as write:
        assert list(cache) == ["free"]
        assert mesh.sent == []

    assert mesh.sent == [("c", "a"), ("c", "b"), ("c", None, {"tag": "t"}), ("c", None, {"tag": "u"})]
    assert write.receipt.sequence == len(mesh.sent)
    assert list(cache) == ["free"]


def test_values_of_several_keys_are_kept_by_name(cache):
    """`set` says which; a key without a value is flushed all the same."""
    cache["b"] = "old"
    with cache.writing("a", "b", "c") as write:
        write.set(1, "a")
        write.set(Fresh(3, ttl=5, tags=["t"]), key="c")

    assert dict(cache.items()) == {"a": 1, "c": 3}
    cache.flush_tag("t")
    assert dict(cache.items()) == {"a": 1}


def test_a_value_of_no_key_in_particular_is_refused(cache, mesh):
    """Where there are several keys, or none, or another was meant."""
    with (
        pytest.raises(TypeError, match="say of which key it is the value; the write has 2"),
        cache.writing("a", "b") as w,
    ):
        w.set(1)
    with pytest.raises(TypeError, match="the write has 0"), cache.writing(tags=["t"]) as w:
        w.set(1)
    with pytest.raises(ValueError, match='"c" is not being written here; name it in writing'), cache.writing("a") as w:
        w.set(1, "c")

    assert len(cache) == 0
    assert mesh.sent == [("c", "a"), ("c", "b"), ("c", None, {"tag": "t"}), ("c", "a")]


def test_a_write_of_nothing_is_refused(cache, mesh):
    """It would flush nothing, which cannot be what was meant."""
    with pytest.raises(TypeError, match="name at least one key or tag that is being written"):
        cache.writing()

    assert mesh.sent == []


def test_a_write_is_checked_before_it_begins(cache, mesh):
    """One wrong key among good ones, and nothing is touched."""
    cache["a"] = 1
    mesh.sent.clear()
    for keys, tags in ((("a", 5), ()), (("a", ""), ()), (("a",), ("",)), (("a",), "t")):
        with pytest.raises((TypeError, ValueError)):
            cache.writing(*keys, tags=tags)

    assert (dict(cache.items()), mesh.sent) == ({"a": 1}, [])


def test_tags_that_are_being_written_are_not_filled(cache):
    """A load that turns out to carry one is returned and not stored, begun before, inside or across."""
    flight = cache._store.take_off(Flight("before"))
    across = None
    with cache.writing(tags=["t"]):
        assert cache._store.end(flight, Fresh("old", tags=["t"])).stored is False
        assert cache.get_or_load("inside", lambda: Fresh("old", tags=["t"])) == "old"
        assert cache.get_or_load("other", lambda: Fresh("v", tags=["u"])) == "v"
        across = cache._store.take_off(Flight("across"))
    assert cache._store.end(across, Fresh("old", tags=["t"])).stored is False

    assert list(cache) == ["other"]
    assert cache.get_or_load("inside", lambda: Fresh("new", tags=["t"])) == "new"
    assert cache.get_or_load("inside", never) == "new"


def test_a_kept_value_may_carry_the_tag_that_was_written(cache):
    """It is of the write itself, and stays after its flush."""
    with cache.writing("a", tags=["t"]) as write:
        write.set(Fresh(1, tags=["t"]))
    assert cache.get("a") == 1
    cache.flush_tag("t")

    assert "a" not in cache


def test_a_flush_of_its_tag_meanwhile_refuses_a_value(cache):
    """Somebody else wrote what it depends on."""
    with cache.writing("a") as write:
        cache.flush_tag("t")
        write.set(Fresh(1, tags=["t"]))
    with cache.writing("b") as write:
        cache.flush_tag("t")
        write.set(Fresh(2, tags=["u"]))

    assert dict(cache.items()) == {"b": 2}


def test_two_writes_of_one_tag_at_once_end_one_by_one(cache):
    """Until the last one ends nothing with the tag is filled, the value of the first included."""
    first, second = cache.writing("a", tags=["t"]), cache.writing(tags=["t"])
    with second:
        with first as write:
            write.set(Fresh(1, tags=["t"]))
        assert cache.get_or_load("k", lambda: Fresh("v", tags=["t"])) == "v"
    assert len(cache) == 0
    cache.get_or_load("k", lambda: Fresh("v", tags=["t"]))

    assert list(cache) == ["k"]


def test_readers_during_a_write_load_together_and_nothing_is_kept(cache):
    """They share one load as ever, and the next reader loads again."""
    go_on = threading.Event()

    def old():
        assert go_on.wait(5)
        return "old"

    with cache.writing("k"):
        readers = [InThread(cache.get_or_load, "k", old) for _ in range(3)]
        until(lambda: cache.info().misses == 3)
        go_on.set()
        assert [reader.result() for reader in readers] == ["old"] * 3
        assert cache.info().loads == 1
        assert "k" not in cache

    assert cache.get_or_load("k", lambda: "new") == "new"


def test_the_version_of_a_kept_value_is_flushed_with_its_key(cache, mesh):
    """Peers that hold it already, or a newer one, keep it; keys without a value are flushed whatever they hold."""
    with cache.writing("a", "b") as write:
        write.set(Fresh(1, version=8), "a")

    assert mesh.sent == [("c", "a", {"version": 8}), ("c", "b")]
    assert cache.get_or_load("a", never) == 1


def test_nothing_is_kept_and_no_version_flushed_when_the_body_raises(cache, mesh):
    """Which version the source of truth holds now, nobody can tell."""
    with pytest.raises(LookupError), cache.writing("a", tags=["t"]) as write:
        write.set(Fresh(1, version=8))
        raise LookupError

    assert mesh.sent == [("c", "a"), ("c", None, {"tag": "t"})]
    assert len(cache) == 0
    assert cache.get_or_load("a", lambda: Fresh(0, version=7)) == 0
    assert "a" in cache


def test_a_closed_mesh_is_found_before_the_write(cache, mesh):
    """What could not be flushed any more is not begun."""
    mesh.closed = True
    with pytest.raises(MeshClosed):
        cache.writing("k")


def test_a_value_too_large_is_refused_where_it_is_set(mesh):
    """The key is flushed all the same."""
    cache = cache_of(mesh, maxsize=3, getsizeof=len)
    with (
        pytest.raises(ValueError, match='the value of "k" is too large: 4 of a maxsize of 3'),
        cache.writing("k") as write,
    ):
        write.set("four")

    assert mesh.sent == [("c", "k")]
