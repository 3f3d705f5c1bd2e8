"""
RosterWatch: the roster file of a mesh that runs.

New peers count at once, whatever else has changed at the next start of the process.  A
file with a mistake in it changes nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Final

from flushmesh.errors import RosterError
from flushmesh.options import MeshOptions
from flushmesh.rosterfile import read_roster

log = logging.getLogger("flushmesh")

_KEYS: Final = tuple(field.name for field in fields(MeshOptions) if field.name not in ("peers", "caches"))


class RosterWatch:
    """
    The roster file at *path*, with the FLUSHMESH_* variables of *environ* over it.

    `options` are those the mesh was made of.  Raises RosterError if the file is wrong from
    the beginning; later mistakes are logged.
    """

    def __init__(self, path: str | os.PathLike[str], environ: Mapping[str, str]) -> None:
        self._path = path
        # The process may change its directory later.
        self._place = Path(path).absolute()
        self._environ = {name: value for name, value in environ.items() if name.startswith("FLUSHMESH_")}
        # Before it is understood: what changes in between is seen by the first look.
        self._read = self._seen = self._contents()
        self.options = self._now = read_roster(path, self._environ)
        self._mistaken = False
        self._waiting: list[str] = []

    def look(self) -> tuple[str, ...]:
        """Return the addresses of the peers, after a look whether the file has changed."""
        contents = self._contents()
        # A file that is being written is half a file: only what two looks in a row have seen counts.
        if contents == self._seen and contents != self._read:
            self._read = contents
            self._reread()
        self._seen = contents
        return self._now.peer_addresses

    def _contents(self) -> bytes | None:
        try:
            return self._place.read_bytes()
        except OSError:
            return None

    def _reread(self) -> None:
        try:
            options = read_roster(self._path, self._environ, self._place)
        except RosterError as error:
            self._mistaken = True
            log.warning("%s; the roster stays as it was", error)
            return
        news = _differences(self._now, options)
        waiting = _changed_keys(self.options, options)
        if news or self._mistaken:
            log.info("%s: read again: %s", self._path, news or "the peers are the same")
        if waiting and waiting != self._waiting:
            log.warning("%s: takes effect when the process starts anew: %s", self._path, ", ".join(waiting))
        self._mistaken = False
        self._now, self._waiting = options, waiting


def _differences(before: MeshOptions, after: MeshOptions) -> str:
    """Say which peers are new and which are gone, or nothing if all are the same."""
    new = [peer for peer in after.peers if peer not in before.peers]
    gone = [peer for peer in before.peers if peer not in after.peers]
    told = [("new peers ", new), ("no longer peers ", gone)]
    return "; ".join(words + ", ".join(peers) for words, peers in told if peers)


def _changed_keys(before: MeshOptions, after: MeshOptions) -> list[str]:
    """Return the keys that differ, except for `peers`."""
    keys = [key for key in _KEYS if getattr(before, key) != getattr(after, key)]
    caches = dict.fromkeys([*before.caches, *after.caches])
    return keys + [f"caches.{name}" for name in caches if before.caches.get(name) != after.caches.get(name)]
