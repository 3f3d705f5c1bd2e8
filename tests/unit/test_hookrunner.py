"""The thread of the hooks: in order, bounded, and never the mesh's own."""

import threading

import pytest

from flushmesh import hookrunner
from flushmesh.hookrunner import HookRunner
from tests.unit.caches import until


@pytest.fixture
def runner():
    runner = HookRunner()
    yield runner
    runner.close()


def test_no_thread_starts_before_the_first_event(runner):
    """A mesh without hooks has no thread for them."""
    assert runner._thread is None

    runner.put(list, ())

    assert runner._thread.daemon


def test_events_come_in_order_on_one_other_thread(runner):
    """A hook never runs on the thread that puts its event."""
    seen = []
    for number in range(1000):
        runner.put(lambda event: seen.append((event, threading.current_thread())), number)

    until(lambda: len(seen) == 1000)
    assert [event for event, _ in seen] == list(range(1000))
    assert {thread for _, thread in seen} == {runner._thread}
    assert runner._thread is not threading.current_thread()


def test_a_slow_hook_holds_up_no_more_than_its_queue(runner, monkeypatch, caplog):
    """Beyond the bound events are left out and counted; each burst is logged once."""
    monkeypatch.setattr(hookrunner, "EVENTS_MAX", 3)
    inside, go_on, seen = threading.Event(), threading.Event(), []

    def slow(event):
        inside.set()
        assert go_on.wait(10)
        seen.append(event)

    def burst():
        inside.clear()
        go_on.clear()
        runner.put(slow, "first")
        assert inside.wait(10)
        for number in range(5):
            runner.put(slow, number)
        go_on.set()
        until(lambda: not runner._overflowing and not runner._events)

    burst()
    assert seen == ["first", 0, 1, 2]
    assert runner.dropped == 2
    burst()

    assert seen == ["first", 0, 1, 2] * 2
    assert runner.dropped == 4
    assert [record.getMessage() for record in caplog.records] == [
        "on_flushed is slower than its events: 3 wait, more are left out"
    ] * 2


def test_a_process_without_threads_to_spare_leaves_events_out(runner, monkeypatch):
    """What starts the thread is the apply of a flush, which must not fail for that."""

    def fail(_self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)

    runner.put(list, ())

    assert runner.dropped == 1


def test_after_the_close_no_hook_is_called():
    """The one that runs ends, what waits is left out, and the thread is gone."""
    runner, inside, go_on, seen = HookRunner(), threading.Event(), threading.Event(), []

    def slow(event):
        inside.set()
        assert go_on.wait(10)
        seen.append(event)

    runner.put(slow, 1)
    runner.put(slow, 2)
    assert inside.wait(10)
    runner.close()
    runner.put(slow, 3)
    go_on.set()
    runner._thread.join(10)

    assert seen == [1]
    assert not runner._thread.is_alive()


def test_a_hook_may_close_its_runner():
    """A mesh can be closed in a hook."""
    runner = HookRunner()
    runner.put(lambda _event: runner.close(), 1)

    runner._thread.join(10)

    assert not runner._thread.is_alive()
