"""
Forking: what becomes of the meshes of a process when it forks.

gRPC does not survive a fork in which anything of it is alive.  So before a fork every
mesh lets go of it; afterwards the parent's meshes resume, with the same id and journal,
while the child's are as new and start with the first use.  Peers see a stream that broke
and came back; no entry is lost, and no flush.

Each fork of a process in which a mesh runs takes about 50 ms for that, also the one
hidden in `subprocess.Popen(preexec_fn=...)`.  Without `preexec_fn`, `subprocess`
does not come by here and costs nothing; nor does a fork while no mesh runs.

Where something else in the process keeps gRPC alive, the child is isolated: see
`net/remains.py`.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from threading import RLock
from typing import Final, Protocol
from weakref import WeakSet

from flushmesh.net.remains import Remains, keep_aio, remains, revived, settle
from flushmesh.net.turn import Turn

log = logging.getLogger("flushmesh")

# Threads of gRPC that were told to end do so within milliseconds, on a machine that is not busy.
SETTLE_MAX: Final = 1.0
# Where they did not the last time, the application itself uses gRPC, and waiting is in vain.
SETTLE_AGAIN_MAX: Final = 0.1


class Forkable(Protocol):
    """A mesh, as a fork sees it; each is called on the thread that forks."""

    def hold(self) -> bool:
        """Neither start nor close until `resume`; tell whether it runs."""

    def suspend(self) -> None:
        """Let go of gRPC."""

    def resume(self) -> None:
        """Go on, in the parent."""

    def reset(self, *, isolated: bool) -> None:
        """Begin anew, in the child; *isolated* if gRPC can never run there."""


@dataclass(slots=True)
class _Fork:
    """One fork in progress."""

    meshes: list[Forkable]
    turn: Turn | None = None
    left: Remains = Remains.NONE


@dataclass(slots=True)
class _Forks:
    """
    Every mesh of this process, and the forks in progress.

    One thread forks at a time; a signal handler may fork while its own thread does.
    """

    meshes: WeakSet[Forkable] = field(default_factory=WeakSet)
    lock: RLock = field(default_factory=RLock)
    stack: list[_Fork] = field(default_factory=list)
    hooked: bool = False
    patience: float = SETTLE_MAX


_forks = _Forks()


def watch(mesh: Forkable) -> None:
    """See *mesh* through every fork from now on, for as long as it lives."""
    with _forks.lock:
        _forks.meshes.add(mesh)
        if not _forks.hooked:
            _forks.hooked = True
            os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)


def _before() -> None:
    _forks.lock.acquire()
    fork = _Fork(list(_forks.meshes))
    _forks.stack.append(fork)
    running = [mesh for mesh in fork.meshes if mesh.hold()]
    if running:
        # From before the port is free until it is taken again.
        fork.turn = Turn().__enter__()
        for mesh in running:
            mesh.suspend()
    fork.left = settle(_forks.patience) if running else remains()
    if running:
        _forks.patience = SETTLE_AGAIN_MAX if fork.left else SETTLE_MAX


def _after_in_parent() -> None:
    if not _forks.stack:
        return  # A signal handler has forked within `_before`, and this is its child.
    fork = _forks.stack.pop()
    try:
        for mesh in fork.meshes:
            mesh.resume()
    finally:
        if fork.turn is not None:
            fork.turn.__exit__()
        _forks.lock.release()


def _after_in_child() -> None:
    # A program that forks by itself, without Python's knowledge, comes by here alone.
    fork = _forks.stack[-1] if _forks.stack else _Fork(list(_forks.meshes))
    _forks.lock = RLock()
    _forks.stack.clear()
    if fork.turn is not None:
        fork.turn.disown()
    if fork.left is Remains.AIO:
        keep_aio()
    isolated = fork.left is Remains.AIO or (fork.left is Remains.CORE and not revived())
    for mesh in fork.meshes:
        mesh.reset(isolated=isolated)
