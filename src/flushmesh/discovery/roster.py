"""Roster: the static list of addresses, and the file that it may come from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Final

from flushmesh.discovery import Announcement

# Looking costs a few microseconds.  A notice from the kernel would not: it tells of one file, and neither of the
# symbolic link that Kubernetes swaps, nor of what happens on a file server.
LOOK_INTERVAL: Final = 1.0


class Roster:
    """Proposes the addresses that *look* returns, which is asked again and again."""

    source = "roster"
    settles_after = 0.0

    def __init__(self, look: Callable[[], Collection[str]]) -> None:
        self._look = look

    async def run(self, announcement: Announcement, propose: Callable[[Collection[str]], None]) -> None:
        """Propose them, and again whenever they have changed."""
        proposed: Collection[str] | None = None
        while True:
            addresses = self._look()
            if addresses != proposed:
                propose(addresses)
                proposed = addresses
            await asyncio.sleep(LOOK_INTERVAL)
