"""Caches without a mesh behind them, and what their tests have in common."""

import threading
import time
from math import inf

from flushmesh.cache import Cache
from flushmesh.errors import MeshClosed
from flushmesh.hooks import CacheHooks
from flushmesh.options import CacheOptions
from flushmesh.receipt import Receipt
from tests.unit.clock import Clock


class Broadcasts:
    """Stands for the mesh: remembers what was broadcast."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str | None]] = []
        self.closed = False

    def ensure_started(self) -> None:
        if self.closed:
            raise MeshClosed("m")

    def broadcast(
        self, cache: str, key: str | None = None, tag: str | None = None, version: int | None = None
    ) -> Receipt:
        # Most tests are about keys, and read better without what is not there.
        more = {name: value for name, value in (("tag", tag), ("version", version)) if value is not None}
        self.sent.append((cache, key, more) if more else (cache, key))
        return Receipt(0.0, None, sequence=len(self.sent))

    def run_hook(self, hook, event):
        hook(event)


def cache_of(mesh, clock=None, hooks=None, staleness=inf, **options):
    """Make a cache of *options*."""
    options = {"maxsize": 100, "ttl": 60.0} | options
    return Cache("c", mesh, CacheOptions(**options), CacheHooks("c", **(hooks or {})), clock or Clock(), staleness)


def raising(error):
    """Return a function that raises *error*, whatever it is called with."""

    def loader(*_):
        raise error

    return loader


def never():
    """Stand for a loader that must not run."""
    raise AssertionError("this loader must not run")


def until(condition, within=5.0):
    """Wait until *condition()* holds; fail once *within* seconds are over."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.001)


class InThread:
    """
    A call in a thread of its own.

    A daemon, so that a wait without end fails its test and no more.
    """

    def __init__(self, call, *args, **kwargs):
        self._ended = threading.Event()
        self._result = None
        self._error = None
        self._thread = threading.Thread(target=self._run, args=(call, args, kwargs), daemon=True)
        self._thread.start()

    def _run(self, call, args, kwargs):
        try:
            self._result = call(*args, **kwargs)
        except BaseException as error:
            self._error = error
        self._ended.set()

    def result(self, within=5.0):
        """Return what the call returned, or raise what it raised."""
        assert self._ended.wait(within), "the call does not end"
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result
