"""
Green threads: gevent and eventlet turn threads into something that gRPC cannot live on.

Its own threads would wait for a hub that waits for them.  So a mesh says no in words before
anything hangs.
"""

from __future__ import annotations

import sys

from flushmesh.errors import StartError


def refuse_green_threads() -> None:
    """Raise StartError if threads are not real ones; never imports what the application has not."""
    gevent = sys.modules.get("gevent.monkey")
    eventlet = sys.modules.get("eventlet.patcher")
    if gevent is not None and gevent.is_module_patched("threading"):
        refused = "gevent"
    elif eventlet is not None and eventlet.is_monkey_patched("thread"):
        refused = "eventlet"
    else:
        return
    raise StartError(
        f"a mesh needs real threads, and {refused} has replaced them in this process; run it under threads, asyncio "
        "or more processes instead (gunicorn: --worker-class gthread)"
    )
