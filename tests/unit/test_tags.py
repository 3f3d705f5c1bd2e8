"""Tags: flushes of what was not known to be covered until its load was done."""

import asyncio
import threading

import pytest

from flushmesh import tags as tags_module
from flushmesh.entry import MISS
from flushmesh.flight import Flight, Passenger
from flushmesh.fresh import TAGS_MAX, Fresh
from flushmesh.store import Store
from flushmesh.write import Write
from tests.unit.caches import InThread, cache_of, never, until


@pytest.fixture
def store(clock):
    return Store(maxsize=100, ttl=10.0, clock=clock)


def load(store, key, *tags, value="v"):
    """Load *value* with *tags* as a caller would."""
    return store.end(store.take_off(Flight(key)), Fresh(value, tags=tags)).stored


def test_a_tag_flush_forgets_every_key_with_the_tag_and_no_other(cache, mesh):
    """What carries the tag goes, what does not stays, and the peers are told the tag alone."""
    cache.get_or_load("ada", lambda: 1, tags=["team:7", "city:1"])
    cache.get_or_load("bob", lambda: 2, tags=["team:7"])
    cache.get_or_load("eve", lambda: 3, tags=["team:8", "city:1"])
    cache.flush_tag("team:7")

    assert list(cache) == ["eve"]
    assert mesh.sent == [("c", None, {"tag": "team:7"})]


def test_tags_come_from_the_call_and_from_the_loader(cache):
    """Those of `get_or_load` and of `Fresh` add up."""
    cache.get_or_load("k", lambda: Fresh("v", tags=["b", "a"]), tags=["a", "c"])

    assert cache.entries()[0].tags == ("a", "c", "b")


def test_tags_of_a_decorated_function_are_templates(cache):
    """They are filled in from the arguments, as the key is."""

    @cache.cached(key="user:{user_id}", tags=["team:{team_id}", lambda user_id, team_id: f"user-{user_id}"])
    def load_user(user_id, team_id):
        return user_id

    load_user(1, 7)
    load_user(2, team_id=8)
    cache.flush_tag("team:7")
    assert list(cache) == ["user:2"]
    cache.flush_tag("user-2")
    assert list(cache) == []


def test_a_tag_template_that_names_no_parameter_is_refused_when_decorating(cache):
    """The mistake is found at import, and the parameters are listed."""
    with pytest.raises(TypeError, match='has no parameter "team"; it has: user_id, team_id'):

        @cache.cached(key="user:{user_id}", tags=["team:{team}"])
        def load_user(user_id, team_id):
            """Stand for a loader."""


@pytest.mark.parametrize(
    ("tags", "error", "words"),
    [
        ("team", TypeError, r'tags=\["team"\], not one str'),
        ([7], TypeError, "a tag is a str, not int"),
        ([""], ValueError, "a tag cannot be empty"),
        (["x" * 1025], ValueError, "a tag has at most 1024 bytes"),
        ([str(number) for number in range(TAGS_MAX + 1)], ValueError, "at most 64, this one has 65"),
    ],
)
def test_wrong_tags_are_refused_before_the_loader_runs(cache, tags, error, words):
    """Whoever names them wrongly is told, and nothing was loaded, stored or sent."""
    calls = [
        lambda: cache.get_or_load("k", never, tags=tags),
        lambda: asyncio.run(cache.aget_or_load("k", never, tags=tags)),
        lambda: cache.writing("k", tags=tags),
        lambda: Fresh("v", tags=tags),
    ]
    for call in calls:
        with pytest.raises(error, match=words):
            call()

    assert cache.info().loads == 0


@pytest.mark.parametrize("tag", [7, None, "", "x" * 1025])
def test_a_wrong_tag_is_not_flushed(cache, mesh, tag):
    """`flush_tag` checks its tag before anything is sent."""
    with pytest.raises((TypeError, ValueError), match="a tag"):
        cache.flush_tag(tag)

    assert mesh.sent == []


def test_a_tag_flush_refuses_the_fill_of_a_load_that_turns_out_to_carry_it(store):
    """Which tags a value has is known only at its end; a flush since its beginning counts."""
    flight = store.take_off(Flight("k"))

    store.flush_tag("t")

    assert store.end(flight, Fresh("old", tags=["other", "t"])).stored is False
    assert store.get("k", MISS) is MISS


def test_a_tag_flush_before_a_load_does_not_refuse_its_fill(store):
    """Only what was flushed since the load began is too old, also while an older load is open."""
    older = store.take_off(Flight("older"))
    store.flush_tag("t")

    assert load(store, "k", "t") is True
    assert store.end(older, Fresh("old", tags=["t"])).stored is False


def test_a_tag_flush_leaves_a_running_load_with_other_tags_alone(store):
    """A load is not refused for a tag that it does not carry."""
    flight = store.take_off(Flight("k"))

    store.flush_tag("t")

    assert store.end(flight, Fresh("v", tags=["other"])).stored is True


def test_of_those_who_wait_only_the_ones_from_before_the_flush_get_the_value(store):
    """Who came after the tag flush starts anew; who came before it is given what was asked for."""
    flight = store.take_off(Flight("k"))
    before = store.take_off(Flight("k"))
    store.flush_tag("t")
    between = store.take_off(Flight("k"))
    store.flush_tag("other")
    after = store.take_off(Flight("k"))
    store.end(flight, Fresh("old", tags=["t", "other", "third"]))

    assert [type(each) for each in (before, between, after)] == [Passenger] * 3
    landing = before.landing
    assert before.takes(landing)
    assert landing.unpack() == "old"
    assert not between.takes(landing)
    assert not after.takes(landing)


def test_who_came_between_two_flushes_of_one_tag_is_not_given_what_was_loaded_before_the_first(store):
    """Of several flushes the first counts."""
    flight = store.take_off(Flight("k"))
    store.flush_tag("t")
    between = store.take_off(Flight("k"))
    store.flush_tag("t")
    store.end(flight, Fresh("old", tags=["t"]))

    assert not between.takes(between.landing)


def test_who_waits_since_before_the_flush_of_another_tag_gets_the_value(store):
    """A flush that the value does not carry turns nobody away."""
    flight = store.take_off(Flight("k"))
    store.flush_tag("other")
    waiting = store.take_off(Flight("k"))
    store.end(flight, Fresh("v", tags=["t"]))

    assert waiting.takes(waiting.landing)
    assert store.get("k", MISS) == "v"


def test_a_thread_that_came_after_the_tag_flush_loads_anew(cache):
    """In threads: the first gets the old value, the second one that was loaded after the flush."""
    begun, go_on = threading.Event(), threading.Event()

    def old():
        begun.set()
        assert go_on.wait(5)
        return Fresh("old", tags=["t"])

    first = InThread(cache.get_or_load, "k", old)
    assert begun.wait(5)
    cache.flush_tag("t")
    second = InThread(cache.get_or_load, "k", lambda: Fresh("new", tags=["t"]))
    until(lambda: cache.info().misses == 2)
    go_on.set()

    assert (first.result(), second.result()) == ("old", "new")
    assert cache.get_or_load("k", never) == "new"


def test_a_task_that_came_after_the_tag_flush_loads_anew(cache):
    """In tasks: as in threads."""

    async def main():
        go_on = asyncio.Event()

        async def old():
            await go_on.wait()
            return Fresh("old", tags=["t"])

        async def new():
            return Fresh("new", tags=["t"])

        first = asyncio.create_task(cache.aget_or_load("k", old))
        await asyncio.sleep(0)
        cache.flush_tag("t")
        second = asyncio.create_task(cache.aget_or_load("k", new))
        await asyncio.sleep(0)
        go_on.set()
        return await first, await second

    assert asyncio.run(main()) == ("old", "new")
    assert cache.get("k") == "new"


def test_a_load_revoked_by_its_key_turns_away_who_came_after_any_tag_flush(store):
    """Of a load that was revoked nobody remembers the tags; in doubt it counts as covered."""
    flight = store.take_off(Flight("k"))
    store.flush_tag("t")
    waiting = store.take_off(Flight("k"))
    store.flush("k")
    store.end(flight, Fresh("old", tags=["t"]))

    assert not waiting.takes(waiting.landing)


def test_a_replaced_entry_answers_to_its_new_tags_alone(store):
    """The tags of what a key held before say nothing of what it holds now."""
    load(store, "k", "old")
    store.end_write(store.begin_write(Write(["k"])), {"k": (Fresh("v", tags=["new"]), 1)})

    assert store.flush_tag("old") is False
    assert store.get("k", MISS) == "v"
    assert store.flush_tag("new") is True


def test_a_tag_flush_tells_whether_anything_was_held(store):
    """A flush of a tag that nothing carries is told from one that found something."""
    load(store, "k", "t")

    assert [store.flush_tag("other"), store.flush_tag("t"), store.flush_tag("t")] == [False, True, False]


def test_a_tag_flush_looks_at_the_entries_with_the_tag_alone(clock):
    """Its cost grows with what carries the tag, not with the cache."""

    class Counted(dict):
        looks = 0

        def pop(self, *args):
            Counted.looks += 1
            return dict.pop(self, *args)

        def __iter__(self):
            raise AssertionError("a tag flush walks through the cache")

        items = keys = values = __iter__

    store = Store(maxsize=1_000, ttl=10.0, clock=clock)
    for number in range(1_000):
        load(store, f"k{number}", f"t{number % 100}")
    store.contents.entries = Counted(store.contents.entries)
    store.flush_tag("t7")

    assert len(store.contents.entries) == 990
    assert Counted.looks == 10


@pytest.mark.parametrize("let_go", ["flush", "flush_all", "evict", "expire"])
def test_the_index_forgets_what_is_gone(clock, let_go):
    """However an entry goes, nothing of it is left behind under its tags."""
    store = Store(maxsize=1, ttl=10.0, clock=clock)
    load(store, "k", "t", "u")
    if let_go == "flush":
        store.flush("k")
    elif let_go == "flush_all":
        store.flush_all()
    else:
        clock.now += 20 if let_go == "expire" else 0
        load(store, "other")

    assert store._tags._keys == {}


def test_flushed_tags_are_remembered_only_while_something_is_open(store):
    """With the last open load and the last open write, the memory of flushed tags is empty."""
    flight, write = store.take_off(Flight("a")), store.begin_write(Write(["b"]))
    store.flush_tag("t")
    store.end(flight, Fresh("v"))
    assert store._tags.flushed
    store.end_write(write)

    assert not store._tags.flushed
    store.flush_tag("t")
    assert not store._tags.flushed


def test_more_flushed_tags_than_can_be_remembered_revoke_what_is_open(store, monkeypatch):
    """At the bound the open loads and writes are refused, whatever their tags, and the memory begins anew."""
    monkeypatch.setattr(tags_module, "REMEMBERED_MAX", 3)
    flight, write = store.take_off(Flight("a")), store.begin_write(Write(["b"]))
    for number in range(4):
        store.flush_tag(f"t{number}")
    later = store.take_off(Flight("later"))

    assert store.end(flight, Fresh("v")).stored is False
    store.end_write(write, {"b": (Fresh("v"), 1)})
    assert not store.holds("b")
    assert len(store._tags.flushed) == 1
    assert store.end(later, Fresh("v", tags=["t1"])).stored is True


def test_a_tag_flush_from_a_peer_forgets_here_and_tells_nobody(mesh):
    """It is applied, counted, and given to the hook."""
    told = []
    cache = cache_of(mesh, hooks={"on_flushed": told.append})
    cache.get_or_load("k", lambda: "v", tags=["t"])
    cache.apply(None, "t", None, "peer", 3)

    assert "k" not in cache
    assert cache.info().flushes_applied == 1
    assert [(flushed.key, flushed.tag, flushed.held) for flushed in told] == [(None, "t", True)]
    assert mesh.sent == []
