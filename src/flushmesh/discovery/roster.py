"""Roster: the static list of addresses."""

from __future__ import annotations

from collections.abc import Callable, Collection

from flushmesh.discovery import Announcement


class Roster:
    """Proposes the same addresses for ever."""

    source = "roster"
    settles_after = 0.0

    def __init__(self, addresses: Collection[str]) -> None:
        self._addresses = addresses

    async def run(self, announcement: Announcement, propose: Callable[[Collection[str]], None]) -> None:
        """Propose them, once."""
        propose(self._addresses)
