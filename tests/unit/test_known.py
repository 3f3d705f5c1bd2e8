"""What a decorated function remembers of the keys it has made."""

import gc
import weakref

import pytest

from flushmesh import cached as cached_module
from tests.unit.caches import cache_of


class Text(str):
    """A str that can be watched."""


class User:
    """An object of the application."""

    def __init__(self, name):
        self.name = name

    def __str__(self):
        return self.name


ALIKE = [
    1,
    1.0,
    True,
    "1",
    b"1",
    0,
    0.0,
    -0.0,
    False,
    None,
    "None",
    "",
    b"",
    (),
    (1,),
    (True,),
    float("nan"),
]


def test_values_that_are_equal_are_told_apart_by_their_types(cache):
    """1, 1.0 and True are one to a dict, and three to a function without a key."""

    @cache.cached(key="{value}|{again}")
    def by_text(value, again):
        return value

    for _ in range(3):
        for value in (1, 1.0, True, "1", 0, -0.0, 0.0, False, None, "None", b"1"):
            assert by_text.cache_key(value, 1) == f"{value}|1"
            cache.flush_all()
            assert repr(by_text(value, 1)) == repr(value)
            assert list(cache) == [f"{value}|1"]


@pytest.mark.parametrize("times", [1, 3])
def test_a_function_without_a_key_keeps_types_apart_however_often_it_is_called(cache, times):
    """What is remembered is what would be made."""

    @cache.cached
    def load(value, other=None):
        return value

    for _ in range(times):
        assert [repr(load(value)) for value in ALIKE] == [repr(value) for value in ALIKE]
        assert [repr(load(1, value)) for value in ALIKE] == ["1"] * len(ALIKE)
    assert set(cache) == {load.cache_key(value) for value in ALIKE} | {load.cache_key(1, value) for value in ALIKE}
    assert cache.info().loads == 2 * len({repr(value) for value in ALIKE}) - 1


def test_nothing_of_the_application_is_kept_alive(cache):
    """Neither an argument nor the text that it is: only plain values are remembered."""

    class Holder:
        name = "h"

        @cache.cached(key="{self.name}:{user}:{text}")
        def load(self, user, text):
            return 1

    @cache.cached(key="{user}")
    def load(user):
        return 1

    user, text, holder = User("ada"), Text("text"), Holder()
    seen = [weakref.ref(each) for each in (user, text, holder)]
    for _ in range(3):
        holder.load(user, text)
        load(user)
        load(text)
        load.flush(text)
    del user, text, holder
    gc.collect()

    assert [each() for each in seen] == [None, None, None]


def test_arguments_are_looked_at_in_each_call(cache):
    """An attribute that has changed makes another key."""
    user = User("ada")

    @cache.cached(key="{user.name}")
    def load(user):
        return user.name

    assert load(user) == "ada"
    user.name = "eve"
    assert load(user) == "eve"


def test_what_is_remembered_is_bounded(monkeypatch, mesh):
    """More arguments than the bound are forgotten, and go on giving their keys."""
    monkeypatch.setattr(cached_module, "KNOWN_MAX", 8)
    cache = cache_of(mesh, maxsize=1_000)
    made = []
    known = cached_module.Known(lambda value: made.append(value) or str(value))

    for value in [*range(20), *range(12, 20)]:
        assert (known.find((value, int)) or known.add(value, int)) == str(value)
    assert sorted(set(made)) == list(range(20))
    assert len(made) < 28

    load = cache.cached(key="{x}")(lambda x: x)
    assert [load(value) for value in [*range(50), *range(50)]] == [*range(50), *range(50)]


def test_a_key_that_is_too_long_is_refused_each_time(cache):
    """And is not remembered."""

    @cache.cached(key="{x}")
    def load(x):
        return x

    for _ in range(2):
        with pytest.raises(ValueError, match="at most 1024 bytes"):
            load("x" * 2_000)
    assert cache.info().loads == 0
