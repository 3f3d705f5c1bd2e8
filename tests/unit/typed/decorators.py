"""
Every form of the decorators, as a type checker sees it.

Never imported: test_types.py has mypy read it.  A line that ends in `# wrong: CODE` is to be
refused with that code, and no other line with any.
"""

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, assert_type

from flushmesh import Cache, CachedFunction, CacheInfo, Fresh, Mesh, Receipt

mesh = Mesh("m")
users: Cache[str] = mesh.cache("users")


# A function.


@users.cached(key="user:{user_id}", ttl=timedelta(minutes=5), tags=["team:{team}"], cache_if=bool)
def load_user(user_id: int, *, team: str = "none") -> str:
    return f"{user_id} {team}"


assert_type(load_user(42), str)
assert_type(load_user(user_id=42, team="red"), str)
assert_type(load_user.flush(42), Receipt)
assert_type(load_user.refresh(42, team="red"), str)
assert_type(load_user.cache_key(42), str)
assert_type(load_user.cache_clear(), Receipt)
assert_type(load_user.cache_info(), CacheInfo)
assert_type(load_user.__wrapped__(42), str)
load_user.cache.flush_all()
load_user("42")  # wrong: arg-type
load_user()  # wrong: call-arg
load_user(42, "red")  # wrong: call-arg
load_user.flush("42")  # wrong: arg-type
load_user.flush()  # wrong: call-arg
load_user.refresh(42, group="red")  # wrong: call-arg
load_user.cache_key("42")  # wrong: arg-type
load_user.forget(42)  # wrong: attr-defined


# A function, without parentheses.


@users.cached
def load_team(team_id: int) -> list[str]:
    return [str(team_id)]


assert_type(load_team(7), list[str])
assert_type(load_team.flush(team_id=7), Receipt)
load_team("7")  # wrong: arg-type


# A coroutine function, with and without.


@users.cached(key="user:{user_id}")
async def aload_user(user_id: int) -> str:
    return str(user_id)


@users.cached
async def aload_team(team_id: int) -> list[str]:
    return [str(team_id)]


async def use() -> None:
    assert_type(await aload_user(42), str)
    assert_type(await aload_user.refresh(42), str)
    coroutine: Coroutine[Any, Any, str] = aload_user(42)
    assert_type(await coroutine, str)
    assert_type(aload_user.flush(42), Receipt)
    assert_type((await aload_user.flush(42)).outcome.value, str)
    assert_type(await aload_team(7), list[str])
    await aload_user("42")  # wrong: arg-type
    assert_type(await users.aget_or_load("k", aload), str)
    await users.aget_or_load("k", load_text)  # wrong: arg-type


# Methods of every kind.


class Users:
    @users.cached(key="{self}:{user_id}")
    def load(self, user_id: int) -> str:
        return str(user_id)

    @users.cached(key="{self}:{user_id}")
    async def aload(self, user_id: int) -> str:
        return str(user_id)

    @staticmethod
    @users.cached(key="{user_id}")
    def load_statically(user_id: int) -> str:
        return str(user_id)

    @classmethod
    @users.cached(key="{cls.__name__}:{user_id}")
    def load_for(cls, user_id: int) -> str:
        return f"{cls} {user_id}"

    @users.flushes("{self}:{user_id}", tags=["all"])
    def rename(self, user_id: int, name: str) -> bool:
        return bool(name)


some = Users()
assert_type(some.load(42), str)
assert_type(some.load(user_id=42), str)
assert_type(Users.load(some, 42), str)
assert_type(Users.load.flush(some, 42), Receipt)
assert_type(Users.load.refresh(some, 42), str)
assert_type(Users.load_statically(42), str)
# What is no plain function mypy does not bind as @staticmethod and @classmethod do: it passes the instance to the
# one and no class to the other.
some.load_statically(42)  # wrong: call-arg
Users.load_for(42)  # wrong: call-arg, arg-type
assert_type(Users.load_statically.flush(42), Receipt)
assert_type(some.load_for(42), str)
assert_type(some.rename(42, "Ada"), bool)
some.load("42")  # wrong: arg-type
some.load(some, 42)  # wrong: call-arg, arg-type
Users.load.flush(42)  # wrong: call-arg, arg-type
Users.load_statically("42")  # wrong: arg-type
some.rename("42", "Ada")  # wrong: arg-type


async def use_methods() -> None:
    assert_type(await some.aload(42), str)
    assert_type(await Users.aload.refresh(some, 42), str)


# A function that writes keeps its type.


@users.flushes("user:{user_id}", lambda user_id, name: f"name:{name}", tags=["all"])
def rename(user_id: int, name: str) -> bool:
    return bool(name)


@users.flushes("user:{user_id}")
async def arename(user_id: int) -> bool:
    return bool(user_id)


assert_type(rename(1, name="Ada"), bool)
rename("1", "Ada")  # wrong: arg-type
coroutine: Coroutine[Any, Any, bool] = arename(1)


# What takes a decorated function.


def takes(function: CachedFunction[[int], list[str]]) -> None:
    function.flush(1)


takes(load_team)
takes(rename)  # wrong: arg-type


# Reading and writing without decorators.


def load_text() -> str:
    return "v"


def load_fresh() -> Fresh[str]:
    return Fresh("v", ttl=5, tags=["t"], version=3)


async def aload() -> str:
    return "v"


def load_number() -> int:
    return 1


assert_type(users.get_or_load("k", load_text, ttl=5, tags=["t"], cache_if=bool), str)
assert_type(users.get_or_load("k", load_fresh), str)
assert_type(users.get("k"), str | None)
assert_type(users.get("k", "v"), str)
assert_type(users.get("k", 1), str | int)
assert_type(users["k"], str)
assert_type(users.pop("k"), str)
assert_type(users.pop("k", None), str | None)
assert_type(users.flush("k", version=3), Receipt)
users["k"] = Fresh("v")
users["k"] = 5  # wrong: assignment
users.get_or_load("k", load_number)  # wrong: arg-type
users.get_or_load(5, load_text)  # wrong: arg-type
users.flush(5)  # wrong: arg-type
with users.writing("k", tags=["t"]) as write:
    write.set("v")
    write.set(Fresh("v"), key="k")
    write.set(5)  # wrong: arg-type
assert_type(write.receipt, Receipt)
users.cached("user:{user_id}")  # wrong: call-overload
