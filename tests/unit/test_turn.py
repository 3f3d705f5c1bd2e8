"""The turn of one process: a lock file in a folder that every user may write to."""

import fcntl
import os
import tempfile

import pytest

from flushmesh.net.turn import Turn


@pytest.fixture
def lock(tmp_path, monkeypatch):
    """Where the lock file is."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"flushmesh-{os.getuid()}.lock"


def test_a_turn_holds_the_lock_until_its_end(lock):
    """Between `__enter__` and `__exit__` no other descriptor gets the lock."""
    with Turn(), open(lock, "r+") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    with open(lock, "r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_link_in_place_of_the_lock_file_is_not_followed(lock, tmp_path):
    """Whatever a link points to is neither emptied nor made."""
    precious = tmp_path / "precious"
    precious.write_text("kept")
    for target in (precious, tmp_path / "absent"):
        lock.symlink_to(target)
        with Turn():
            pass
        lock.unlink()

    assert precious.read_text() == "kept"
    assert not (tmp_path / "absent").exists()


def test_what_is_found_in_place_of_the_lock_file_does_not_stop_a_start(lock):
    """A file keeps its content, a pipe does not block, a folder is passed over."""
    lock.write_text("kept")
    with Turn():
        pass
    assert lock.read_text() == "kept"
    lock.unlink()
    for make in (os.mkfifo, os.mkdir):
        make(lock)
        with Turn():
            pass
        (os.rmdir if lock.is_dir() else os.unlink)(lock)


def test_a_turn_leaves_no_descriptor_behind(lock):
    """Neither its end nor a child that disowns it keeps the file open, however often they say so."""
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with Turn() as turn:
            turn.disown()
    turn.disown()

    assert os.listdir("/proc/self/fd") == before


def test_a_file_system_without_locks_delays_nothing(lock, monkeypatch):
    """An error other than that the lock is held ends the attempt at once."""
    calls = []

    def flock(descriptor, operation):
        calls.append(operation)
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with Turn():
        pass

    assert calls == [fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_UN]
