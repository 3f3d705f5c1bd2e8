"""
Remains: what is alive of gRPC in this process although every mesh has let go of it.

Measured with grpcio 1.85.1 on Linux.  gRPC's core starts threads of its own with the first
object, names them, and ends them with the last.  grpc.aio adds one Python thread for as
long as any of its objects lives.  A fork takes none of them along:

- Without any of them the child can begin anew.
- With the threads of the core alone, gRPC's own fork support (on unless
  GRPC_ENABLE_FORK_SUPPORT=0) starts them again in the child, and all is well there.
- With the thread of grpc.aio every call in the child hangs, and so does the end of its last
  inherited object, which waits for that thread.  One child in four crashed in the core,
  without any mesh, unless GRPC_ENABLE_FORK_SUPPORT=0.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Final

# As the kernel has them, cut off after fifteen characters.
_CORE_THREADS: Final = ("grpc_", "event_engine", "lifeguard", "timer_manager", "default-executo", "resolver-execut")
_AIO_THREAD: Final = "(_poll_wrapper)"
_TASKS: Final = Path("/proc/self/task")


class Remains(IntEnum):
    """What of gRPC is alive; the more, the worse for a fork."""

    NONE = 0
    CORE = 1
    AIO = 2


def remains() -> Remains:
    """Look once; where the system has no /proc, only grpc.aio is seen."""
    if "grpc" not in sys.modules:
        return Remains.NONE
    if any(thread.name.endswith(_AIO_THREAD) for thread in threading.enumerate()):
        return Remains.AIO
    for task in _tasks():
        # A thread may end between being listed and being read.
        with suppress(OSError):
            if (task / "comm").read_text().startswith(_CORE_THREADS):
                return Remains.CORE
    return Remains.NONE


def settle(timeout: float) -> Remains:
    """Wait up to *timeout* seconds for what has just been let go of to end; return what has not."""
    deadline = time.monotonic() + timeout
    left = remains()
    if left:
        # An object of gRPC that lies in a cycle keeps all of it alive.
        gc.collect()
    while left and time.monotonic() < deadline:
        time.sleep(0.002)
        left = remains()
    return left


def revived() -> bool:
    """Tell, in a forked child, whether gRPC has started its threads again."""
    return len(_tasks()) > threading.active_count()


def keep_aio() -> None:
    """Keep what a forked child has inherited of grpc.aio for ever: the end of the last of it would never end."""
    from grpc._cython import cygrpc  # type: ignore[attr-defined]  # not among the stubs

    kinds = (cygrpc.AioChannel, cygrpc.AioServer)
    # Not isinstance(), which asks objects of the application what they pretend to be.
    _kept.extend(thing for thing in gc.get_objects() if type(thing) in kinds)


_kept: Final[list[object]] = []


def _tasks() -> list[Path]:
    try:
        return list(_TASKS.iterdir())
    except OSError:
        return []
