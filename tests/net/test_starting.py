"""A mesh that cannot start: reads go on without it, flushes say so, and it is tried again."""

import threading
from itertools import pairwise

import pytest

from flushmesh import Mesh, MeshClosed, MeshState, StartError, life
from flushmesh.net.driver import Driver
from tests.net.meshes import DEADLINE, follows, wait_until
from tests.unit.clock import Clock


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(life, "clock", clock)
    return clock


@pytest.fixture
def broken(monkeypatch):
    """Keep every mesh from starting until this is cleared; count the attempts."""

    class Broken:
        attempts = 0
        reason = "no threads to be had"

    broken, start = Broken(), Driver.start

    def fail(driver, *arguments, **options):
        broken.attempts += 1
        if broken.reason:
            raise StartError(broken.reason)
        start(driver, *arguments, **options)

    monkeypatch.setattr(Driver, "start", fail)
    return broken


def loads(cache, *values):
    return [cache.get_or_load("k", lambda value=value: value) for value in values]


def test_reads_of_a_mesh_that_cannot_start_load_and_keep_nothing(broken, clock, caplog):
    """They return what the loader does; one line says so for as long as the cause is the same."""
    mesh = Mesh("m", mdns=False)
    cache = mesh.cache("c")

    assert loads(cache, "v", "w") == ["v", "w"]
    assert cache.get("k") is None
    assert loads(mesh.cache("made later"), "v", "w") == ["v", "w"]
    for _ in range(20):
        clock.now += life.RESTART_MAX
        assert loads(cache, "x") == ["x"]
    assert mesh.status().state is MeshState.NEW
    assert [record.getMessage() for record in caplog.records] == [
        "no threads to be had; until the mesh starts, nothing that is loaded is kept"
    ]


def test_only_a_start_and_a_flush_raise(broken, clock):
    """A read never does; a flush has no peer to tell, and forgets here all the same."""
    mesh = Mesh("m", mdns=False)
    cache = mesh.cache("c")
    for use in (mesh.start, mesh.__enter__, lambda: cache.flush("k"), cache.flush_all, lambda: cache.flush_tag("t")):
        with pytest.raises(StartError, match="no threads to be had"):
            use()

    assert loads(cache, "v") == ["v"]
    assert mesh.ready() is False


def test_a_start_is_tried_again_later_and_later(broken, clock):
    """Uses in between cost no attempt."""
    mesh = Mesh("m", mdns=False)
    cache = mesh.cache("c")
    at, end = [], clock.now + 1000
    while clock.now < end:
        before = broken.attempts
        loads(cache, "v")
        with pytest.raises(StartError):
            cache.flush("k")
        if broken.attempts > before:
            assert broken.attempts == before + 1
            at.append(clock.now)
        clock.now += 0.25
    pauses = [later - earlier for earlier, later in pairwise(at)]

    assert life.RESTART_MIN / 2 <= pauses[0] <= life.RESTART_MIN + 0.25
    assert all(later < 4.5 * earlier for earlier, later in pairwise(pauses))
    assert max(pauses) <= life.RESTART_MAX + 0.25
    assert min(pauses[-5:]) >= life.RESTART_MAX / 2


def test_a_mesh_that_starts_at_last_is_whole(broken, clock, ports):
    """It keeps what it loads from then on, follows its peers, and can fail and recover again."""
    roster = ports(2)
    mesh = Mesh("m", name="a", listen=roster, peers=[roster])
    cache = mesh.cache("c")
    assert loads(cache, "v", "w") == ["v", "w"]
    broken.reason = ""
    clock.now += life.RESTART_MIN

    assert loads(cache, "x", "y") == ["x", "x"]
    with Mesh("m", name="b", listen=roster, peers=[roster]) as b, mesh:
        wait_until(lambda: follows(mesh, "b") and follows(b, "a"))
        assert b.cache("c").flush("k").wait(DEADLINE).complete
        assert cache.get("k") is None


def test_a_read_does_not_wait_for_the_attempt_of_another(broken, clock, monkeypatch):
    """While one caller tries to start it again, the others load at once."""
    mesh = Mesh("m", mdns=False)
    cache = mesh.cache("c")
    loads(cache, "v")
    clock.now += life.RESTART_MAX
    trying, go_on = threading.Event(), threading.Event()

    def hang(*_arguments, **_options):
        trying.set()
        assert go_on.wait(DEADLINE)
        raise StartError("still none")

    monkeypatch.setattr(Driver, "start", hang)
    thread = threading.Thread(target=loads, args=(cache, "v"))
    thread.start()
    assert trying.wait(DEADLINE)

    assert loads(cache, "w", "x") == ["w", "x"]
    go_on.set()
    thread.join(DEADLINE)


def test_a_mesh_that_could_not_start_can_be_closed(broken, clock):
    """Then it raises as any other."""
    mesh = Mesh("m", mdns=False)
    cache = mesh.cache("c")
    loads(cache, "v")
    mesh.close()

    for use in (lambda: loads(cache, "v"), lambda: cache.flush("k"), mesh.start):
        with pytest.raises(MeshClosed):
            use()


def test_a_process_without_threads_to_spare_is_one_that_cannot_start(monkeypatch):
    """The system's refusal is a StartError, and says what was wanted."""
    mesh = Mesh("m", mdns=False)

    def fail(_self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)

    with pytest.raises(StartError, match="^cannot start the mesh's thread: can't start new thread$"):
        mesh.start()
