"""
Life: whether a mesh runs, from its start to its close, through any fork between.

The locks are such that a close may come from anywhere: from two threads at once, from the
driver's own thread, from a signal handler that interrupts a start.
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import Callable
from random import random
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from flushmesh.clock import clock
from flushmesh.errors import Isolated, MeshClosed, StartError
from flushmesh.forking import watch
from flushmesh.greenthreads import refuse_green_threads
from flushmesh.status import MeshState

if TYPE_CHECKING:
    from flushmesh.net.driver import Driver

log = logging.getLogger("flushmesh")

# How long a fork waits for whoever starts or closes at that moment.
HOLD_MAX: Final = 2.0

# How long after a start that failed a use of the mesh tries the next one; it doubles each time.
RESTART_MIN: Final = 1.0
RESTART_MAX: Final = 60.0

# What a forked child has of a driver that could not be suspended; its end would touch gRPC.
_inherited: Final[list[object]] = []


class Life:
    """
    The life of the mesh *mesh*.

    *launch* makes a driver that runs.  *on_started* is called after it has returned,
    *on_unstarted* after it has raised StartError.  *on_end* is called when the mesh serves
    nothing any more, *on_forked* in a child, where everything begins again.  `driver` is there
    while flushes are taken.
    """

    def __init__(
        self,
        mesh: str,
        launch: Callable[[], Driver],
        on_started: Callable[[], None],
        on_unstarted: Callable[[], None],
        on_end: Callable[[], None],
        on_forked: Callable[[], None],
    ) -> None:
        self.state = MeshState.NEW
        self._mesh = mesh
        self._launch = launch
        self._on_started = on_started
        self._on_unstarted = on_unstarted
        self._on_end = on_end
        self._on_forked = on_forked
        self._told = False
        self._interrupted = False
        self._begin()
        watch(self)

    def _begin(self) -> None:
        # Protects `driver`, `_ending` and `state`; held while starting and through a fork, not while closing.
        self._lock = RLock()
        self._held = False
        self.driver: Driver | None = None
        self._ending: Driver | None = None
        self._finalizers: list[Any] = []
        self._failed: StartError | None = None
        self._restart_at = 0.0
        self._restart_after = RESTART_MIN

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self.state is MeshState.CLOSED

    @property
    def running(self) -> Driver | None:
        """The driver whose thread answers questions, also while it says goodbye."""
        return self.driver or self._ending

    def ensure_started(self) -> StartError | None:
        """
        Start unless it runs, and return why that failed; raise MeshClosed once closed.

        After a failure the next attempt is made later and later, by one caller at a time; the
        others do not wait for it.
        """
        if self.driver is not None:
            return None
        if self.closed:
            raise MeshClosed(self._mesh)
        failed = self._failed
        if failed is not None and (clock() < self._restart_at or not self._lock.acquire(blocking=False)):
            return failed
        try:
            self.start()
        except StartError as error:
            if failed is None or str(error) != str(failed):
                log.warning("%s; until the mesh starts, nothing that is loaded is kept", error)
            return error
        finally:
            if failed is not None:
                self._lock.release()
        return None

    def start(self) -> None:
        """Start unless it runs; raise StartError, or MeshClosed once closed."""
        with self._lock:
            try:
                self._start_locked()
            except StartError as error:
                self._failed = error
                self._restart_at = clock() + self._restart_after * (0.5 + 0.5 * random())  # noqa: S311 - spread, not secrecy
                self._restart_after = min(2 * self._restart_after, RESTART_MAX)
                self._on_unstarted()
                raise

    def _start_locked(self) -> None:
        """Start."""
        if self.driver is not None:
            return
        if self.closed:
            raise MeshClosed(self._mesh)
        if self.state is MeshState.ISOLATED:
            if not self._told:
                self._told = True
                log.warning("%s", Isolated())
            return
        refuse_green_threads()
        driver = self._launch()
        self._failed, self._restart_after = None, RESTART_MIN
        self._on_started()
        self._say_goodbye_at_exit()
        self.driver = driver
        if self._interrupted:
            self.close()
            raise MeshClosed(self._mesh)

    def close(self) -> None:
        """Say goodbye and stop; a second call waits for the first."""
        driver = self.driver
        if driver is not None and driver.is_current_thread:
            # This thread must not wait for the lock: one that forks may have it, and wait for this one to end.
            self._close()
        else:
            with self._lock:
                self._close()
        ending = self._ending
        if ending is not None:
            ending.stop()

    def _close(self) -> None:
        # If there is no driver yet, a signal handler may have come into `start`.
        self._interrupted = True
        self._ending = self.driver or self._ending
        self.driver = None
        self.state = MeshState.CLOSED

    def ended(self) -> None:
        """Record that the driver has stopped, or died: its last act, on its own thread."""
        self.driver = self._ending = None
        self.state = MeshState.CLOSED
        atexit.unregister(self.close)
        for finalizer in self._finalizers:
            finalizer.cancel()
        self._on_end()

    def _say_goodbye_at_exit(self) -> None:
        atexit.register(self.close)
        # The processes of these two end without atexit, but not without this.
        modules = [sys.modules[name] for name in ("multiprocessing.util", "billiard.util") if name in sys.modules]
        self._finalizers = [module.Finalize(self, self.close, exitpriority=0) for module in modules]

    # What a fork needs, on the thread that forks; see forking.py.

    def hold(self) -> bool:
        """Keep everybody from starting and closing until `resume`; tell whether anything runs."""
        # Whoever has the lock for longer is stuck, and must not keep the process from forking.
        self._held = self._lock.acquire(timeout=HOLD_MAX)
        driver = self.driver or self._ending
        return driver is not None and not driver.suspended

    def suspend(self) -> None:
        """Let go of gRPC; flushes wait for the driver to resume."""
        if self.driver is not None and self.driver.is_current_thread:
            log.warning("the mesh's own thread forks this process: the child is isolated and may crash in gRPC")
        elif self.driver is not None:
            self.driver.suspend()
        elif self._ending is not None:
            self._ending.stop()

    def resume(self) -> None:
        """In the parent: go on where it stopped, and let others start and close again."""
        driver = self.driver or self._ending
        try:
            if driver is not None and driver.suspended:
                driver.resume()
        except StartError:
            log.exception("the mesh has stopped: it cannot start again after a fork")
            assert driver is not None
            driver.finish()
        finally:
            if self._held:
                self._lock.release()

    def reset(self, *, isolated: bool) -> None:
        """In the child: be as new; what runs is the parent's."""
        driver = self.driver or self._ending
        if driver is not None:
            driver.disown()
            if not driver.suspended:
                isolated = True
                _inherited.append(driver)
        self._on_forked()
        self._begin()
        if not self.closed:
            self.state = MeshState.ISOLATED if isolated or self.state is MeshState.ISOLATED else MeshState.NEW
