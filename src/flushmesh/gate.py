"""
Gate: how many loads of a cache run at once.

Whoever finds it full waits, first come, first served, as a thread or as a task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from threading import Lock

from flushmesh.flight import is_loading, running_loop


class Gate:
    """
    Lets at most *most* through at once.

    A load inside another load does not wait, nor does a blocking load on a thread that runs an
    event loop: they would hold up the very ones that they wait for.  For the same reason
    neither of them waits for the load of another that is still waiting here.
    """

    def __init__(self, most: int) -> None:
        self._lock = Lock()  # Protects the other two.
        self._free = most
        self._waiting: deque[Future[None]] = deque()

    def enter(self) -> bool:
        """Wait for a place; tell whether there is one to give back by `leave`."""
        if is_loading() or running_loop() is not None:
            return False
        place = self._place()
        if place is not None:
            try:
                place.result()
            except BaseException:
                self._give_up(place)
                raise
        return True

    async def aenter(self) -> bool:
        """Await a place; tell whether there is one to give back by `leave`."""
        if is_loading():
            return False
        place = self._place()
        if place is not None:
            try:
                await asyncio.wrap_future(place)
            except BaseException:
                self._give_up(place)
                raise
        return True

    def leave(self) -> None:
        """Give a place to whoever has waited longest."""
        with self._lock:
            while self._waiting:
                place = self._waiting.popleft()
                if place.set_running_or_notify_cancel():
                    break
            else:
                self._free += 1
                return
        place.set_result(None)

    def _place(self) -> Future[None] | None:
        """Take a place, or return what tells when there is one."""
        with self._lock:
            if self._free > 0:
                self._free -= 1
                return None
            place: Future[None] = Future()
            self._waiting.append(place)
            return place

    def _give_up(self, place: Future[None]) -> None:
        # It may have been given at this very moment.
        if not place.cancel():
            self.leave()
