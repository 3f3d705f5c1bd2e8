"""Functions that stand below other decorators: what is called may not be what it looks like."""

import contextlib
import functools

import pytest

from flushmesh.keys import key_maker
from tests.unit.caches import cache_of
from tests.unit.test_values import timed


def with_session(function):
    """Pass a session in front of the arguments, as injecting decorators do."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function("session", *args, **kwargs)

    return wrapper


def with_keyword_session(function):
    """Pass a session by name."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, session="session", **kwargs)

    return wrapper


def retried(times):
    """Decorate with a loop inside, and with a decorator that takes arguments."""

    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            for _ in range(times):
                with contextlib.suppress(OSError):
                    return (lambda: function(*args, **kwargs))()
            return None

        return wrapper

    return decorate


DECORATE = {
    "timed": timed,
    "two": lambda function: timed(timed(function)),
    "retried": retried(3),
    "a context": contextlib.suppress,
    "a session by name": with_keyword_session,
}


@pytest.mark.parametrize("how", ["timed", "two", "retried", "a session by name"])
@pytest.mark.parametrize("key", ["user:{user_id}", None], ids=["template", "no key"])
def test_a_function_below_a_decorator_is_decorated_as_without_it(cache, mesh, how, key):
    """Wrappers that pass on what they are given change nothing, defaults and names of arguments included."""
    calls = []

    @cache.cached(key=key)
    @DECORATE[how]
    def load(user_id=1, session=None):
        calls.append(session)
        return f"user {user_id}"

    assert [load(), load(1), load(user_id=1), load(2), load("3")] == ["user 1", "user 1", "user 1", "user 2", "user 3"]
    assert len(calls) == 3
    load.flush(2)
    assert load(2) == "user 2"
    assert len(calls) == 4
    assert mesh.sent == [("c", load.cache_key(2))]


@pytest.mark.parametrize("key", ["user:{user_id}", None], ids=["template", "no key"])
def test_a_decorator_that_passes_arguments_of_its_own_is_refused(cache, key):
    """Where its looks would make the key of another call, the first call says so, and nothing is kept."""

    @cache.cached(key=key)
    @with_session
    def load(session, user_id="nobody"):
        return f"user {user_id}"

    for call in (lambda: load(7), lambda: load(8), lambda: load("session2"), lambda: load(7, 8), lambda: load()):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(TypeError, match='a decorator passes another "session" on than it is given; decorate the funct'):
        load(7)
    assert len(cache) == 0


def test_a_decorator_that_needs_no_argument_of_the_caller_is_named_in_the_error(cache):
    """Arguments that do not fit what is below may fit what is between."""
    load = cache.cached(key="user:{user_id}")(with_session(lambda session, user_id: user_id))

    for call in (lambda: load(7), lambda: load.flush(7)):
        with pytest.raises(TypeError, match="missing a required argument: 'user_id', unless a decorator passes"):
            call()


def test_a_function_that_flushes_is_not_run_with_arguments_of_a_decorator(cache, mesh):
    """The write that would flush another key is not begun."""
    written = []

    @cache.flushes("user:{user_id}")
    @with_session
    def write(session, user_id=1):
        written.append(user_id)

    with pytest.raises(TypeError, match="a decorator passes another"):
        write(7)
    assert (written, mesh.sent) == ([], [])


def test_a_function_with_a_session_by_position_is_decorated_below(cache):
    """What the errors say to do works."""

    @with_session
    @cache.cached(key="user:{user_id}")
    def load(session, user_id):
        return f"user {user_id}"

    above = cache.cached(key=lambda user_id: f"again:{user_id}")(with_session(lambda session, user_id: user_id))

    assert [load(7), load(8), load(7)] == ["user 7", "user 8", "user 7"]
    assert [above(7), above(8), above(7)] == [7, 8, 7]


def test_our_own_decorators_stand_on_one_another(cache, mesh):
    """Each passes on what it is given, in every order and above and below others."""
    other = cache_of(mesh)

    @cache.flushes("a:{user_id}")
    @timed
    @other.flushes("b:{user_id}", lambda user_id: f"c:{user_id}")
    @other.cached(key=lambda user_id: "d")
    def write(user_id, how="plainly"):
        return user_id

    load = cache.cached(key="e:{user_id}")(write)

    assert (write(7), load(8), load(user_id=8)) == (7, 7, 7)
    assert [key for _, key in mesh.sent] == ["b:7", "c:7", "a:7", "b:8", "c:8", "a:8"]
    with pytest.raises(TypeError, match="a decorator passes another"):
        cache.cached(key="{user_id}")(with_session(write))(1)


def test_the_parameters_of_a_wrapper_count(cache):
    """A wrapper with parameters of its own is called by them, whatever it wraps."""

    def load(session, user_id=1):
        return user_id

    @functools.wraps(load)
    def wrapper(user_id, *, fresh=False):
        return load("session", user_id)

    made = cache.cached(key="user:{user_id}:{fresh}")(timed(wrapper))

    assert [made(7), made(8)] == [7, 8]
    assert made.cache_key(7) == "user:7:False"
    with pytest.raises(TypeError, match='has no parameter "session"; it has: user_id, fresh'):
        key_maker("{session}", wrapper)


def test_a_wrapper_of_unknown_ways_is_refused_when_decorating(cache):
    """What an object or C code passes on cannot be seen; a callable key needs not know."""

    class Inject:
        def __init__(self, function):
            functools.update_wrapper(self, function)
            self.function = function

        def __call__(self, *args, **kwargs):
            return self.function("session", *args, **kwargs)

    def load(session, user_id=1):
        return user_id

    for wrap in (Inject, functools.lru_cache):
        for decorate in (cache.cached(key="{user_id}"), cache.cached, cache.flushes("{user_id}")):
            with pytest.raises(TypeError, match="load: a decorator may pass arguments of its own; decorate the"):
                decorate(wrap(load))
    assert cache.cached(key=lambda user_id: f"{user_id}")(Inject(load))(7) == 7


def test_a_signature_that_is_said_is_believed(cache):
    """`__signature__` is how a decorator says what it takes."""

    @functools.wraps(test_a_signature_that_is_said_is_believed)
    def load(*args, **kwargs):
        return args[0] if args else kwargs["user_id"]

    def other(user_id): ...

    load.__signature__ = __import__("inspect").signature(other)
    made = cache.cached(key="user:{user_id}")(load)

    assert [made(7), made(user_id=7), made(8)] == [7, 7, 8]
    assert cache.info().loads == 2


class Repo:
    """A class whose methods are decorated."""

    def decorate(self, cache):
        """Make a class with decorated methods, once there is a cache."""

        class Made:
            @cache.cached(key="branch:{name}")
            def count(self, name="main"):
                return name

            @classmethod
            @cache.cached(key="class:{name}")
            def load_for(cls, name="main"):
                return name

        return Made


def test_the_self_of_a_method_is_not_forgotten(cache, mesh):
    """A bound method's `flush` takes `self` too, and does not take its first argument for it."""
    kind = Repo().decorate(cache)
    made = kind()

    for wrong in ("side", b"side", 1, None, ("side",), object()):
        for call in (made.count.flush, made.count.refresh, made.count.cache_key):
            with pytest.raises(TypeError, match="flush, refresh and cache_key take self first"):
                call(wrong)
    with pytest.raises(TypeError, match="take cls first"):
        kind.load_for.flush("side")
    assert mesh.sent == []

    made.count.flush(made, "side")
    kind.load_for.flush(kind, name="side")
    assert made.count.refresh(self=made) == "main"
    assert mesh.sent == [("c", "branch:side"), ("c", "class:side")]


def test_a_function_may_have_parameters_of_any_name(cache):
    """None is in the way of the names that decorating uses."""

    @cache.cached(key="{key}:{get}:{value_0}:{text}")
    def load(key, get, value_0=1, *, text="t", run=2, function=3, **more):
        return key, get, value_0, text, run, function, more

    assert load("k", "g", args=1, kwargs=2) == ("k", "g", 1, "t", 2, 3, {"args": 1, "kwargs": 2})
    assert load.cache_key("k", "g") == "k:g:1:t"
