"""gevent and eventlet: where threads are not real, a mesh says no instead of hanging."""

import subprocess
import sys

import pytest

STARTS = """
from flushmesh import Mesh, StartError
mesh = Mesh("m", mdns=False)
cache = mesh.cache("c")
# A read loads where the mesh cannot start, and keeps nothing.
loaded = [cache.get_or_load("k", lambda: value) for value in "vw"]
try:
    cache.flush("k")
except StartError as error:
    print(loaded, error)
else:
    print("started at", mesh.status().address != "")
    mesh.close()
"""


def run(patch):
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", patch + STARTS], capture_output=True, text=True, timeout=30, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize(
    ("name", "patch"),
    [
        ("gevent", "from gevent import monkey; monkey.patch_all()"),
        ("eventlet", "import eventlet; eventlet.monkey_patch()"),
    ],
)
def test_patched_threads_are_refused(name, patch):
    """Reads load and keep nothing; a flush raises an error that names the culprit and says what to do instead."""
    said = run(patch)

    assert said.startswith(
        f"['v', 'w'] a mesh needs real threads, and {name} has replaced them in this process; run it under"
    )


@pytest.mark.parametrize("imported", ["import gevent.monkey", "import eventlet.patcher"])
def test_what_is_merely_imported_is_no_obstacle(imported):
    """Only patched threads are."""
    assert run(imported) == "started at True"
