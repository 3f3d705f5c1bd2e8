"""Decorated functions: those whose results are kept, and those that flush what they change."""

import asyncio
import dataclasses
import functools
import inspect
import re

import pytest

from tests.unit.caches import cache_of


def test_cached_functions_keep_their_results(cache):
    """The wrapper loads once for each key, and looks like the function."""
    calls = []

    @cache.cached(key="user:{user_id}")
    def load_user(user_id, verbose=False):
        """Load a user."""
        calls.append(user_id)
        return f"user {user_id}"

    assert [load_user(1), load_user(user_id=1), load_user(2, verbose=True)] == ["user 1", "user 1", "user 2"]
    assert calls == [1, 2]
    assert load_user.cache_key(1) == "user:1"
    assert load_user.cache is cache
    assert load_user.__wrapped__(1) == "user 1"
    assert (load_user.__name__, load_user.__doc__) == ("load_user", "Load a user.")


def test_cached_functions_are_flushed_by_their_arguments(cache, mesh):
    """`flush` takes what the function takes."""

    @cache.cached(key="user:{user_id}")
    def load_user(user_id):
        return object()

    first = load_user(1)
    load_user.flush(1)

    assert load_user(1) is not first
    assert mesh.sent == [("c", "user:1")]


def test_cached_coroutine_functions_keep_their_results(cache):
    """`async def` is decorated alike."""
    calls = []

    @cache.cached(key="user:{user_id}")
    async def load_user(user_id):
        calls.append(user_id)
        return f"user {user_id}"

    async def main():
        return [await load_user(1), await load_user(1)]

    assert asyncio.run(main()) == ["user 1", "user 1"]
    assert calls == [1]


def test_cached_works_without_parentheses(cache):
    """A bare decorator makes its key of everything."""
    calls = []

    @cache.cached
    def double(number):
        calls.append(number)
        return 2 * number

    assert [double(1), double(1), double(2)] == [2, 2, 4]
    assert calls == [1, 2]


def test_refresh_loads_anew_here(cache, mesh):
    """refresh replaces what is held on this node and tells nobody."""
    versions = iter(range(10))

    @cache.cached(key="k:{x}")
    def load(x):
        return next(versions)

    assert [load(1), load(1), load.refresh(1), load(1)] == [0, 0, 1, 1]
    assert mesh.sent == []


def test_refresh_of_a_coroutine_function_is_awaited(cache):
    """The refreshed value is what the wrapper would return: an awaitable."""
    versions = iter(range(10))

    @cache.cached(key="k:{x}")
    async def load(x):
        return next(versions)

    async def main():
        return [await load(1), await load.refresh(1), await load(1)]

    assert asyncio.run(main()) == [0, 1, 1]


def test_cached_functions_have_what_those_of_cachetools_have(cache, mesh):
    """cache_clear and cache_info are there."""

    @cache.cached(key="k:{x}")
    def load(x):
        return x

    load(1)
    assert load.cache_info().loads == 1
    load.cache_clear()

    assert len(cache) == 0
    assert mesh.sent == [("c", None)]


def test_flushes_flushes_after_success(cache, mesh):
    """The keys are flushed once the function has returned, and not before."""
    cache["user:1"] = "old"
    mesh.sent.clear()

    @cache.flushes("user:{user_id}", lambda user_id, name: f"name:{name}")
    def rename(user_id, name):
        assert mesh.sent == []
        return name.upper()

    assert rename(1, name="ada") == "ADA"
    assert mesh.sent == [("c", "user:1"), ("c", "name:ada")]
    assert "user:1" not in cache


def test_flushes_flushes_coroutine_functions_alike(cache, mesh):
    """`async def` is decorated alike."""

    @cache.flushes("user:{user_id}")
    async def rename(user_id):
        await asyncio.sleep(0)
        assert mesh.sent == []

    asyncio.run(rename(1))
    assert mesh.sent == [("c", "user:1")]


def test_flushes_does_nothing_when_the_function_raises(cache, mesh):
    """What was not done is not flushed."""

    @cache.flushes("user:{user_id}")
    def rename(user_id):
        raise LookupError

    with pytest.raises(LookupError):
        rename(1)
    assert mesh.sent == []


def test_flushes_checks_its_template(cache):
    """A name that is no parameter is found when decorating."""
    with pytest.raises(TypeError, match='has no parameter "id"'):

        @cache.flushes("user:{id}")
        def rename(user_id):
            """Stand for a writer."""


def test_cached_methods_bind(cache):
    """The wrapper of a method gets its `self`."""

    class Users:
        def __init__(self, prefix):
            self.prefix = prefix

        @cache.cached(key="{self.prefix}:{user_id}")
        def load(self, user_id):
            return f"{self.prefix} {user_id}"

    assert [Users("a").load(1), Users("b").load(1)] == ["a 1", "b 1"]


def test_cached_methods_are_flushed_with_their_self(cache, mesh):
    """What hangs on the wrapper takes what the function takes, `self` first, however it is reached."""

    class Users:
        prefix = "a"
        loads = 0

        @cache.cached(key="{self.prefix}:{user_id}")
        def load(self, user_id):
            self.loads += 1
            return user_id

    users = Users()
    users.load(1)
    Users.load.flush(users, 1)
    users.load(1)
    users.load.refresh(users, 1)

    assert mesh.sent == [("c", "a:1")]
    assert Users.load.cache_key(users, 1) == users.load.cache_key(users, 1) == "a:1"
    assert users.loads == 3
    for call in (Users.load.flush, users.load.flush):
        with pytest.raises(TypeError):
            call(1)


def test_static_and_class_methods_are_decorated_below(cache):
    """Above @staticmethod and @classmethod the decorator says where it belongs."""

    class Users:
        name = "users"

        @staticmethod
        @cache.cached(key="static:{user_id}")
        def load(user_id):
            return f"user {user_id}"

        @classmethod
        @cache.cached(key="{cls.name}:{user_id}")
        def load_for(cls, user_id):
            return f"{cls.name} {user_id}"

    assert (Users.load(1), Users().load(1), Users.load_for(1), Users().load_for(2)) == (
        "user 1",
        "user 1",
        "users 1",
        "users 2",
    )
    assert list(cache) == ["static:1", "users:1", "users:2"]
    for kind in (staticmethod, classmethod):
        for decorate in (cache.cached(key="k"), cache.cached, cache.flushes("k")):
            with pytest.raises(TypeError, match=f"decorate the function below @{kind.__name__}, not above it"):
                decorate(kind(lambda cls: cls))


def test_what_cannot_be_decorated_is_refused(cache):
    """A generator runs later than its call, and its items can be had once; a str is no function."""

    def items():
        yield 1

    async def aitems():
        yield 1

    for function in (items, aitems):
        for decorate in (cache.cached, cache.cached(key="k"), cache.flushes("k")):
            with pytest.raises(TypeError, match="is a generator|a generator runs later"):
                decorate(function)
    with pytest.raises(TypeError, match=r"cached: a function, not 'user:\{user_id\}'; options go by name, as in key="):
        cache.cached("user:{user_id}")


def test_a_lambda_needs_a_key(cache):
    """All lambdas of a module have one name, and would share their results."""
    with pytest.raises(TypeError, match="has no name to make a key of; say which key"):
        cache.cached(lambda x: x)

    assert cache.cached(key="double:{x}")(lambda x: 2 * x)(2) == 4


def test_tags_that_are_one_str_are_refused(cache):
    """A str is a list of letters, and never what was meant."""
    with pytest.raises(TypeError, match=r'tags=\["team"\], not one str'):

        @cache.cached(key="{x}", tags="team")
        def load(x):
            """Stand for a loader."""

    with pytest.raises(TypeError, match=r'tags=\["team"\], not one str'):

        @cache.flushes("{x}", tags="team")
        def write(x):
            """Stand for a writer."""


def test_a_wrapper_is_a_function_like_the_one_it_wraps(cache):
    """Its signature, its name and its kind are those of the function."""

    @cache.cached(key="{x}:{y}")
    async def load(x: int, *, y: str = "y") -> str:
        """Load."""

    assert inspect.iscoroutinefunction(load)
    assert str(inspect.signature(load)) == "(x: int, *, y: str = 'y') -> str"
    assert (load.__name__, load.__doc__, load.__module__) == ("load", "Load.", __name__)


def test_a_wrapper_reports_wrong_arguments_as_the_function_would(cache):
    """A call that does not fit loads nothing."""

    @cache.cached(key="{x}")
    def load(x):
        """Stand for a loader."""

    for call in (
        lambda: load(),
        lambda: load(1, 2),
        lambda: load(y=1),
        lambda: load.flush(),
        lambda: load.cache_key(1, 2),
    ):
        with pytest.raises(TypeError):
            call()
    assert cache.info().loads == 0


def test_the_text_of_arguments_makes_the_key(cache):
    """42 and "42" are one user; without a template they are two."""

    @cache.cached(key="user:{user_id}")
    def load_user(user_id):
        return user_id

    @cache.cached
    def load_anything(user_id):
        return user_id

    assert (load_user(42), load_user("42")) == (42, 42)
    assert (load_anything(42), load_anything("42")) == (42, "42")


def test_a_key_may_be_a_callable(cache):
    """It takes what the function takes, and what it returns is checked as every key is."""
    load = cache.cached(key=lambda x, y=1: f"{x}/{y}")(lambda x, y=1: (x, y))

    assert load(1) == (1, 1)
    assert load.cache_key(1) == "1/1"
    with pytest.raises(TypeError, match="a key is a str, not int"):
        cache.cached(key=lambda x: x)(lambda x: x)(1)


def test_two_functions_without_key_never_share_results(cache):
    """Module and qualified name tell them apart, arguments and their types tell calls apart."""

    class One:
        @staticmethod
        @cache.cached
        def load(x):
            return "one", x

    class Other:
        @staticmethod
        @cache.cached
        def load(x):
            return "other", x

    assert (One.load(1), Other.load(1), One.load("1"), One.load(x=1)) == (
        ("one", 1),
        ("other", 1),
        ("one", "1"),
        ("one", 1),
    )
    assert len(cache) == 3


def test_an_argument_without_stable_text_is_refused_and_nothing_loaded(cache):
    """The error names the parameter, its type, and what to write; `self` is never silently dropped."""

    @dataclasses.dataclass
    class Users:
        name: str

        @cache.cached
        def load(self, user_id):
            """Stand for a loader."""

    with pytest.raises(TypeError, match=re.escape("self is of type Users, which has no stable text; say what tells")):
        Users("a").load(1)
    assert cache.info().loads == 0


def test_partial_functions_may_be_cached(cache):
    """What functools.partial has filled in is as good as an argument."""
    load = cache.cached(key="{x}:{y}")(functools.partial(lambda x, y: (x, y), y=2))

    assert (load(1), load.cache_key(1)) == ((1, 2), "1:2")


def test_flushes_flushes_tags_too(cache, mesh):
    """By template, as keys, after them."""
    cache.get_or_load("k", lambda: 1, tags=["team:7"])

    @cache.flushes("user:{user_id}", tags=["team:{team_id}", lambda user_id, team_id: "all"])
    def move(user_id, team_id):
        assert mesh.sent == []

    move(1, team_id=7)
    assert mesh.sent == [("c", "user:1"), ("c", None, {"tag": "team:7"}), ("c", None, {"tag": "all"})]
    assert "k" not in cache


def test_flushes_does_nothing_when_the_coroutine_raises_or_is_cancelled(cache, mesh):
    """After success only."""

    @cache.flushes("user:{user_id}", tags=["t"])
    async def rename(user_id):
        if user_id == 1:
            raise LookupError
        await asyncio.Event().wait()

    async def main():
        with pytest.raises(LookupError):
            await rename(1)
        task = asyncio.create_task(rename(2))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    assert mesh.sent == []


def test_flushes_keeps_methods_and_signatures(cache, mesh):
    """A decorated method is still one."""

    class Users:
        prefix = "a"

        @cache.flushes("{self.prefix}:{user_id}")
        def rename(self, user_id: int) -> int:
            """Rename."""
            return user_id

    assert Users().rename(1) == 1
    assert (str(inspect.signature(Users.rename)), Users.rename.__doc__) == ("(self, user_id: int) -> int", "Rename.")
    assert mesh.sent == [("c", "a:1")]


def test_refresh_of_a_failing_load_raises_and_leaves_the_key_free(mesh, clock):
    """What was held is gone on this node; nothing is told."""
    cache = cache_of(mesh, clock)
    results = iter([1, LookupError("gone"), 2])

    @cache.cached(key="k")
    def load():
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    assert load() == 1
    with pytest.raises(LookupError):
        load.refresh()
    assert load() == 2
    assert mesh.sent == []
