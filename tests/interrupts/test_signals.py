"""Real signals, and exceptions set from other threads, thousands of them: what the walk cannot see."""

import ctypes
import os
import random
import signal
import threading
import time
from contextlib import suppress

import pytest

from tests.interrupts.world import World
from tests.unit.caches import InThread

SECONDS = float(os.environ.get("FLUSHMESH_STORM", "2"))

# Many times as long as any of the limits.
ROUNDS = 1000


class TimeLimitError(BaseException):
    """
    What a task queue raises in a worker whose time is over.

    Not an Exception: one that comes while a loader runs is an error of the source like any
    other, and by `grace` the old value stands in for it.
    """


def work(world, first):
    """Do everything that one can do, again and again; an exception in a finalizer goes no further, so not forever."""
    cache = world.cache
    for number in range(first, first + ROUNDS):
        key = "kabc"[number % 4]
        cache.get_or_load(key, lambda key=key: f"{key} loaded", tags=["t"])
        with cache.writing("a") as write:
            write.set("a written")
        cache.flush(key)
        cache.flush_tag("t")
        cache["b"] = "b set"
        cache.pop("b", None)
        cache.setdefault("b", "b set")


@pytest.mark.parametrize("options", [{}, {"max_loads": 1, "maxsize": 3}, {"grace": 30.0, "getsizeof": len}], ids=str)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_storm_of_time_limits_breaks_nothing(options):
    """A signal handler raises at any moment; every thousandth time every promise is looked at."""

    def limit(*_):
        raise TimeLimitError

    drawn = random.Random(7)
    world, limits = World({"maxsize": 20} | options), 0
    until = time.monotonic() + SECONDS
    before = signal.signal(signal.SIGALRM, limit)
    try:
        while time.monotonic() < until:
            try:
                signal.setitimer(signal.ITIMER_REAL, drawn.uniform(20e-6, 400e-6))
                work(world, limits)
            except TimeLimitError:
                limits += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            if limits % 1000 == 0:
                world.check()
    finally:
        signal.signal(signal.SIGALRM, before)
    world.check()
    assert limits > 100


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_exceptions_that_another_thread_sets_break_nothing():
    """A thread is told to stop by PyThreadState_SetAsyncExc, at any moment; another one goes on."""
    drawn = random.Random(7)
    world, until = World(), time.monotonic() + SECONDS

    while time.monotonic() < until:
        begun = threading.Event()

        def run(begun=begun):
            begun.set()
            work(world, 0)

        thread = threading.Thread(target=_stopped(run), daemon=True)
        thread.start()
        assert begun.wait(5)
        time.sleep(drawn.uniform(0, 400e-6))
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(TimeLimitError))
        thread.join(5)
        assert not thread.is_alive()
    world.check()


def _stopped(run):
    def wrapped():
        with suppress(TimeLimitError):
            run()

    return wrapped


@pytest.mark.parametrize("what", ["flush_all", "flush", "get_or_load", "write"])
def test_a_signal_handler_may_use_the_cache(what):
    """It runs in the middle of whatever its thread does with the cache, and returns."""
    world = World()
    cache = world.cache
    does = {
        "flush_all": cache.flush_all,
        "flush": lambda: cache.flush("k"),
        "get_or_load": lambda: cache.get_or_load("inner", lambda: "inner loaded"),
        "write": lambda: cache.__setitem__("a", "a set"),
    }[what]
    handled = []

    def handle(*_):
        does()
        handled.append(1)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 300e-6, 300e-6)
    try:
        until = time.monotonic() + SECONDS / 2
        number = 0
        while time.monotonic() < until:
            number += 1
            cache.get_or_load(f"k{number}", lambda: "v")
            cache.flush(f"k{number}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(handled) > 50
    InThread(cache.flush_all).result()
    world.check()
