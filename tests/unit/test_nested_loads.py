"""Loads that ask for what another load, which waits for its place, is to bring."""

import asyncio
import threading
import time
from math import inf

import pytest

from flushmesh.cache import Cache
from flushmesh.hooks import CacheHooks
from flushmesh.options import CacheOptions
from tests.unit.stress import Nobody

SOON = 10.0


@pytest.fixture
def cache():
    return Cache("c", Nobody(), CacheOptions(max_loads=1), CacheHooks("c"), time.monotonic, inf)


class Queued:
    """A thread whose load of "k" waits for a place."""

    def __init__(self, cache):
        self.values = []
        self.thread = threading.Thread(
            target=lambda: self.values.append(cache.get_or_load("k", lambda: "queued")), daemon=True
        )
        self.thread.start()
        deadline = time.monotonic() + SOON
        while not cache._loading._gate._queue:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def result(self):
        self.thread.join(SOON)
        return self.values


def in_thread(call):
    """Return what *call* returns, or nothing if it does not end."""
    values = []
    thread = threading.Thread(target=lambda: values.append(call()), daemon=True)
    thread.start()
    thread.join(SOON)
    return values


def test_a_load_does_not_wait_for_one_that_waits_for_its_place(cache):
    """What a load needs itself it loads itself, while another load of it is held up by the place of this one."""
    queued = []

    def outer():
        queued.append(Queued(cache))
        return cache.get_or_load("k", lambda: "nested")

    assert in_thread(lambda: cache.get_or_load("outer", outer)) == ["nested"]
    assert queued[0].result() == ["queued"]
    assert cache.get("k") == "queued"


def test_an_async_load_does_not_wait_for_one_that_waits_for_its_place(cache):
    """A task that loads is no different from a thread."""
    queued = []

    async def nested():
        return "nested"

    async def outer():
        queued.append(Queued(cache))
        return await cache.aget_or_load("k", nested)

    assert in_thread(lambda: asyncio.run(cache.aget_or_load("outer", outer))) == ["nested"]
    assert queued[0].result() == ["queued"]


def test_a_blocked_loop_does_not_wait_for_what_waits_for_its_own_loads(cache):
    """A sync call on the thread of a loop, whose load holds the place, loads for itself."""

    async def main():
        go_on = asyncio.Event()
        holds = asyncio.create_task(cache.aget_or_load("holds the place", go_on.wait))
        while not cache._loading._gate._holders:
            await asyncio.sleep(0)
        queued = Queued(cache)
        value = cache.get_or_load("k", lambda: "sync")
        go_on.set()
        await holds
        return value, queued

    ((value, queued),) = in_thread(lambda: asyncio.run(main()))

    assert value == "sync"
    assert queued.result() == ["queued"]
