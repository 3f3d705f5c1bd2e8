"""What holds for every test."""

import threading

import pytest


@pytest.fixture(autouse=True)
def _leaves_nothing_behind():
    """A thread that outlives its test fails the test."""
    before = set(threading.enumerate())
    yield
    # gRPC keeps one poller thread for as long as any of its objects lives.
    left = [thread for thread in threading.enumerate() if thread not in before and "_poll_" not in thread.name]
    for thread in left:
        thread.join(2)
    alive = [thread.name for thread in left if thread.is_alive()]
    assert not alive, f"threads left behind: {alive}"
