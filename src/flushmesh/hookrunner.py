"""
HookRunner: the thread on which a mesh calls `on_flushed`.

It is not the mesh's own thread: a hook that takes its time must not keep vouches and
acknowledgements waiting, or every peer would take this node for a silent one.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from threading import Event, Thread, current_thread
from typing import Any, Final

log = logging.getLogger("flushmesh")

# What waits for a slow hook; about 2 MB.
EVENTS_MAX: Final = 10_000

# How long a mesh that closes waits for the hook that runs at that moment.
JOIN_MAX: Final = 0.1


class HookRunner:
    """
    Calls hooks one by one, in the order of their events, on one daemon thread.

    The thread starts with the first event.  Beyond EVENTS_MAX waiting ones, events are left
    out and counted in `dropped`; that is logged once until the queue is empty again.  Once
    closed, no hook is called any more.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._events: deque[tuple[Callable[[Any], None], object]] = deque()
        self._come = Event()
        self._overflowing = False
        self._closed = False
        self._disowned = False
        self._thread: Thread | None = None

    def put(self, hook: Callable[[Any], None], event: object) -> None:
        """Have *hook* called with *event*; called on the mesh's own thread, which it never keeps."""
        if self._closed:
            return
        if len(self._events) >= EVENTS_MAX or not self._started():
            self.dropped += 1
            if not self._overflowing:
                self._overflowing = True
                log.warning("on_flushed is slower than its events: %d wait, more are left out", len(self._events))
            return
        self._events.append((hook, event))
        self._come.set()

    def close(self) -> None:
        """Call no hook any more; return once the running one has ended, but do not wait long for it."""
        self._closed = True
        self._events.clear()
        self._come.set()
        thread = self._thread
        if thread is not None and thread is not current_thread():
            thread.join(JOIN_MAX)

    def disown(self) -> None:
        """In a forked child: the thread is the parent's, even if it is this very one, in a hook."""
        self._closed = self._disowned = True
        self._events = deque()

    def _started(self) -> bool:
        if self._thread is None:
            thread = Thread(target=self._run, name="flushmesh hooks", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                # The process has as many threads as it may have.
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        while not self._closed:
            self._come.wait()
            # Cleared first: an event that comes after the look below sets it again.
            self._come.clear()
            while self._events and not self._closed:
                hook, event = self._events.popleft()
                hook(event)
                del hook, event
                if self._disowned:
                    # The hook has forked, and this is the child: its thread ends here, and with it the process.
                    os._exit(0)
            self._overflowing = False
