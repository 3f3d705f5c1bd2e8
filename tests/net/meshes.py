"""What tests need of meshes in their own process."""

import time

DEADLINE = 10.0


def wait_until(condition):
    """Wait for *condition* to hold; sockets have no barrier to meet at."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.002)


def follows(mesh, *names):
    return {peer.name for peer in mesh.status().peers if peer.state == "following"} == set(names)
