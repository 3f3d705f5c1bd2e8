"""
What flushmesh raises.

    FlushmeshError
    ├── RosterError      also ValueError     the roster file or an option is wrong
    ├── StartError       also OSError        the node cannot listen, or has no threads to run on
    ├── MeshClosed       also RuntimeError   used after close()
    ├── Isolated         also RuntimeError   a flush in a forked child that can reach nobody
    └── RecursiveLoad    also RuntimeError   a loader asks for the key it is loading

Keys and arguments that are wrong raise plain TypeError or ValueError.  What another
node does wrong is never raised here: its stream is dropped, and that is logged.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any


class FlushmeshError(Exception):
    """The base of everything flushmesh raises on its own; each of them can be pickled and copied."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        # `args` hold the finished message.  `__init__`, which builds it from something else, must not run again.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class RosterError(FlushmeshError, ValueError):
    """The roster file, or an option it stands for, is wrong; one line says where and what would be right."""


class StartError(FlushmeshError, OSError):
    """The node cannot listen where it was told to, or cannot run in this process at all."""


class MeshClosed(FlushmeshError, RuntimeError):  # noqa: N818 - a state, like concurrent.futures.BrokenExecutor
    """The mesh was used after close()."""

    def __init__(self, mesh: str) -> None:
        self.mesh = mesh
        super().__init__(f'mesh "{mesh}" is closed; a closed mesh cannot be used again, make a new one')


class Isolated(FlushmeshError, RuntimeError):  # noqa: N818 - a state, like MeshClosed
    """
    A flush was made in a forked child whose mesh can reach nobody.

    Something else than the mesh kept gRPC running in the parent when it forked, and gRPC never
    runs again in such a child.  What was asked to be forgotten is forgotten in this process
    alone; what is loaded here is served for at most `max_staleness` seconds.
    """

    def __init__(self) -> None:
        super().__init__(
            "this process was forked while the application itself used gRPC, which cannot run here any more: "
            "flushes reach no peer, entries live for max_staleness at most; fork before gRPC is used, "
            'or start the process anew (multiprocessing "spawn")'
        )


class RecursiveLoad(FlushmeshError, RuntimeError):  # noqa: N818 - what happened, like RecursionError
    """A loader asked for the very key that it is loading."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f'the loader of "{key}" asks the cache for "{key}" itself; call the source of truth instead')
