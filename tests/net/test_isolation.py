"""A fork of a process in which the application itself uses gRPC."""

import pytest

from flushmesh import Isolated, Mesh, MeshState
from tests.net.meshes import wait_until
from tests.net.test_processes_of_an_application import GRPC_AIO, run, watched

IN_A_CHILD = """
def in_child(function):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            answer = function()
        except BaseException as error:
            answer = repr(error)
        os.write(write, answer.encode())
        # Not os._exit: what was inherited of gRPC comes to its end too.
        sys.exit(0)
    answer = os.read(read, 10000).decode()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return answer

def use():
    import gc
    from flushmesh import Isolated
    first = cache.get_or_load("k", lambda: "the child's"), cache.get("k")
    try:
        cache.flush("k")
    except Isolated as error:
        refused = str(error)[:25]
    globals().update(everything=None, server=None, channel=None, echo=None)
    gc.collect()
    return f"{mesh.status().state} {first} {refused} {cache.get('k')}"
"""


def test_a_child_of_an_application_with_grpc_aio_is_isolated(start, ports):
    """It is told so once, loads for itself, raises on a flush, and ends; the parent goes on as if nothing was."""
    b, name, roster = watched(start, ports)
    said, complaints = run(
        GRPC_AIO
        + IN_A_CHILD
        + """
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
everything = asyncio.run_coroutine_threadsafe(serve(), loop).result(10)
server, channel, echo = everything
mesh.start()
wait_until(lambda: follows(mesh, "b"))
for _ in range(3):
    print(in_child(use))
async def call():
    return await echo(b"x")
print(asyncio.run_coroutine_threadsafe(call(), loop).result(10), cache.flush("k").wait(10).acknowledged)
mesh.close()
os._exit(0)
""",
        name,
        roster,
        # With it on, one child in four crashes in threads that gRPC has revived, with or without a mesh.
        GRPC_ENABLE_FORK_SUPPORT="0",
    )

    assert said == ['isolated ("the child\'s", "the child\'s") this process was forked w None'] * 3 + ["b'x' ('b',)"]
    assert complaints.count("this process was forked while the application itself used gRPC") == 3
    assert "Traceback" not in complaints
    b.wait_for("peers", {})


SYNC = (
    IN_A_CHILD
    + """
import os, grpc
channel = grpc.insecure_channel("127.0.0.1:1")
try:
    channel.unary_unary("/app/echo")(b"", timeout=0.2)
except grpc.RpcError:
    pass
mesh.start()
wait_until(lambda: follows(mesh, "b"))
"""
)


def test_a_child_beside_a_synchronous_channel_is_whole_with_grpcs_own_fork_support(start, ports):
    """gRPC revives its threads in the child, and the mesh of the child is a node like any other."""
    b, name, roster = watched(start, ports)
    said, _complaints = run(
        SYNC
        + """
def flush():
    wait_until(lambda: cache.flush("k").wait(10).acknowledged)
    acknowledged = set(cache.flush("k").wait(10).acknowledged)
    mesh.close()
    return f"{sorted(acknowledged)}"
print(in_child(flush))
print(cache.flush("k").wait(10).acknowledged)
mesh.close()
""",
        name,
        roster,
        GRPC_ENABLE_FORK_SUPPORT="1",
    )

    assert said == ["['a', 'b']", "('b',)"]
    b.wait_for("peers", {})


def test_a_child_beside_a_synchronous_channel_is_isolated_without_fork_support(start, ports):
    """Where nothing revives gRPC in the child, nothing is tried there."""
    b, name, roster = watched(start, ports)
    said, complaints = run(
        SYNC
        + """
print(in_child(use))
print(cache.flush("k").wait(10).acknowledged)
mesh.close()
""",
        name,
        roster,
        GRPC_ENABLE_FORK_SUPPORT="0",
    )

    assert said == ['isolated ("the child\'s", "the child\'s") this process was forked w None', "('b',)"]
    assert complaints.count("this process was forked while the application itself used gRPC") == 1


def test_an_isolated_mesh_serves_no_entry_beyond_its_bound():
    """Nothing is proven there, so an entry lives for max_staleness after its own load at most."""
    mesh = Mesh("m", mdns=False, max_staleness=0.2)
    mesh._life.reset(isolated=True)
    cache = mesh.cache("c", ttl=60.0)
    assert cache.get_or_load("k", lambda: "v") == "v"

    wait_until(lambda: cache.get("k") is None)
    with pytest.raises(Isolated):
        cache.flush("k")
    assert mesh.status().state is MeshState.ISOLATED
