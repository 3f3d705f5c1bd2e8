"""
Rivals: the caches that ours is measured beside, each as a reader of one key.

Those that come from PyPI belong to the extra `bench`; one that cannot be imported is left
out, and `missing` says so.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from importlib import import_module
from threading import RLock
from typing import Any

import cachetools
from measure import Contender, repeated

from flushmesh.clock import clock

TTL = 300.0
CACHETOOLS = "cachetools.cached, TTLCache, RLock"
DOGPILE = "dogpile.cache, memory region"


def plain(values: dict[str, object]) -> Callable[[str], object]:
    """Return the least that a cache with a ttl can do: look up, read the clock that ours reads, compare."""
    expires = clock() + TTL
    entries = {key: (value, expires) for key, value in values.items()}
    now = clock

    def get(key: str) -> object:
        value, expires = entries[key]
        return value if now() < expires else None

    return get


def locked_ttl_cache(values: dict[str, object]) -> Callable[[str], object]:
    """Return what one writes around a TTLCache that threads share."""
    cache, lock = ttl_cache(values), RLock()

    def get(key: str) -> object:
        with lock:
            return cache.get(key)

    return get


def ttl_cache(values: dict[str, object]) -> cachetools.TTLCache[str, object]:
    """Return a TTLCache with *values* in it."""
    cache: cachetools.TTLCache[str, object] = cachetools.TTLCache(len(values), TTL, timer=time.monotonic)
    cache.update(values)
    return cache


def readers(values: dict[str, object], missing: list[str]) -> dict[str, Contender]:
    """Return, by name, what reads each key of a rival that has no decorator to its name; note who is *missing*."""
    found: dict[str, Contender] = {
        "cachetools.TTLCache": repeated("get(key)", get=ttl_cache(values).get),
        "functools.lru_cache": repeated("get(key)", get=functools.lru_cache(len(values))(values.__getitem__)),
    }
    if cachebox := optional("cachebox", missing):
        box = cachebox.TTLCache(len(values), TTL)
        for key, value in values.items():
            box[key] = value
        found["cachebox.TTLCache"] = repeated("get(key)", get=box.get)
    if theine := optional("theine", missing):
        from datetime import timedelta

        kept = theine.Cache(len(values))
        for key, value in values.items():
            kept.set(key, value, timedelta(seconds=TTL))
        found["theine.Cache"] = repeated("get(key)", get=kept.get)
    return found


def decorated(load: Callable[[int], object], missing: list[str], size: int) -> dict[str, Callable[[int], object]]:
    """Return, by name, *load* under the decorators of the rivals."""
    keep = cachetools.cached(cachetools.TTLCache(size, TTL), lock=RLock())
    found: dict[str, Callable[[int], object]] = {
        CACHETOOLS: keep(load),
        "functools.lru_cache, no ttl": functools.lru_cache(size)(load),
    }
    if dogpile := optional("dogpile.cache", missing):
        region = dogpile.make_region().configure("dogpile.cache.memory", expiration_time=TTL)
        found[DOGPILE] = region.cache_on_arguments()(load)
    return found


def async_decorated(load: Callable[[int], Any], missing: list[str], size: int) -> dict[str, Callable[[int], Any]]:
    """Return, by name, the coroutine function *load* under the decorators of the rivals."""
    cashews = optional("cashews", missing)
    if cashews is None:
        return {}
    cache = cashews.Cache()
    cache.setup("mem://", size=size)
    return {"cashews, memory": cache(ttl=TTL, key="user:{user_id}")(load)}


def caching_client(redis: Any, port: int, **options: Any) -> Any:
    """Return a client of the Redis at *port* that caches what it has read until Redis says that it has changed."""
    return redis.Redis("127.0.0.1", port, protocol=3, cache_config=redis.cache.CacheConfig(), **options)


def admit_old_server(redis: Any, version: str, notes: list[str]) -> None:
    """Have redis-py cache beside a server of *version* too; add to *notes* if it would refuse."""
    connection = redis.connection.CacheProxyConnection
    wanted = connection.MIN_ALLOWED_VERSION
    if _numbers(version) >= _numbers(wanted):
        return
    connection.MIN_ALLOWED_VERSION = version
    notes.append(
        f"redis-py supports client-side caching from Redis {wanted} on; this Redis {version} has the commands "
        "for it, so the check was lowered"
    )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def needed(module: str) -> Any:
    """Import *module*, which the extra `bench` installs; raise ImportError if it cannot be had."""
    return import_module(module)


def optional(module: str, missing: list[str]) -> Any:
    """Import *module* if it can be had; note in *missing* if not."""
    try:
        return needed(module)
    except ImportError as error:
        missing.append(f"{module} is not beside the others: {error}")
        return None
