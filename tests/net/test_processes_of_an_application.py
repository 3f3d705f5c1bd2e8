"""Whatever else an application does with processes and loops, beside a mesh that runs."""

import os
import subprocess
import sys
import textwrap

COMMON = """
import sys, time
from flushmesh import Mesh

def wait_until(condition):
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.002)

def follows(mesh, *names):
    return sorted(peer.name for peer in mesh.status().peers if peer.state == "following") == sorted(names)

mesh = Mesh(sys.argv[1], name="a", listen=sys.argv[2], peers=[sys.argv[2]])
cache = mesh.cache("c")
"""


def run(script, mesh, roster, **environment):
    """Run *script* as a program beside the node of *mesh* at *roster*; return what it says and complains of."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", COMMON + textwrap.dedent(script), mesh, roster],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env=os.environ | environment,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split("\n")[:-1], ended.stderr


def watched(start, ports):
    """Start a node that watches, in a mesh of its own name; return it, the name and the roster."""
    name, roster = f"m{os.urandom(4).hex()}", ports(8)
    return start("b", mesh=name, listen=roster, peers=[roster]), name, roster


def test_popen_with_and_without_preexec_fn(start, ports):
    """Commands started in a loop disturb no flush; without preexec_fn they cost the mesh nothing."""
    b, name, roster = watched(start, ports)
    said, complaints = run(
        """
        import subprocess, threading
        mesh.start()
        wait_until(lambda: follows(mesh, "b"))
        done = threading.Event()
        def flush():
            while not done.is_set():
                cache.flush("k")
                time.sleep(0.001)
        flushing = threading.Thread(target=flush)
        flushing.start()
        began = time.monotonic()
        for _ in range(10):
            assert subprocess.run(["true"]).returncode == 0
        plain = time.monotonic() - began
        links = {link.number for link in mesh._node.links}
        for _ in range(10):
            assert subprocess.run(["true"], preexec_fn=lambda: None).returncode == 0
        print(plain < 0.5, links.isdisjoint(link.number for link in mesh._node.links))
        done.set()
        flushing.join()
        print(cache.flush("last").wait(10).acknowledged, mesh._node.journal.flushes)
        mesh.close()
        """,
        name,
        roster,
    )

    assert said[0] == "True True"
    assert said[1].startswith("('b',)")
    b.wait_for("flushed", [["a", sequence] for sequence in range(1, int(said[1].split()[-1]) + 1)])
    assert "Traceback" not in complaints
    b.wait_for("peers", {})


def test_multiprocessing_of_every_kind(start, ports, tmp_path):
    """Children that are forked, spawned or made by a fork server become nodes of their own, and leave when they end."""
    b, name, roster = watched(start, ports)
    script = tmp_path / "app.py"
    script.write_text(
        COMMON
        + textwrap.dedent("""
        import multiprocessing

        def work(queue):
            wait_until(lambda: {"a", "b"} <= {peer.name for peer in mesh.status().peers} if mesh.start() is None else 0)
            queue.put(sorted(set(cache.flush("k").wait(10).acknowledged)))

        if __name__ == "__main__":
            mesh.start()
            wait_until(lambda: follows(mesh, "b"))
            for method in ("fork", "spawn", "forkserver"):
                context = multiprocessing.get_context(method)
                queue = context.Queue()
                child = context.Process(target=work, args=(queue,))
                child.start()
                print(method, queue.get(timeout=20))
                child.join(10)
                wait_until(lambda: follows(mesh, "b") and len(mesh.status().peers) == 1)
            mesh.close()
        """)
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", script, name, roster], capture_output=True, text=True, timeout=50, check=False
    )

    assert ended.stderr == ""
    assert ended.stdout.splitlines() == [f"{method} ['a', 'b']" for method in ("fork", "spawn", "forkserver")]
    b.wait_for("peers", {})


def test_one_mesh_outlives_several_loops(start, ports):
    """Two asyncio.run in a row use one mesh: it runs on a loop of its own."""
    b, name, roster = watched(start, ports)
    said, complaints = run(
        """
        import asyncio
        async def use():
            async def load():
                return "v"
            value = await cache.aget_or_load("k", load)
            wait_until(lambda: follows(mesh, "b"))
            return value, (await cache.flush("k")).acknowledged
        print(asyncio.run(use()), asyncio.run(use()))
        mesh.close()
        """,
        name,
        roster,
    )

    assert (said, complaints) == (["('v', ('b',)) ('v', ('b',))"], "")
    b.wait_for("peers", {})


GRPC_AIO = """
import asyncio, grpc, grpc.aio, os, threading

async def answer(request, context):
    return request

async def serve():
    server = grpc.aio.server()
    method = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("app", {"echo": method})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    return server, channel, channel.unary_unary("/app/echo")
"""


def test_an_application_with_grpc_aio_on_its_own_loop(start, ports):
    """Both use gRPC at the same time, and neither disturbs the other."""
    b, name, roster = watched(start, ports)
    said, complaints = run(
        GRPC_AIO
        + """
async def main():
    server, channel, echo = await serve()
    with mesh:
        for number in range(50):
            assert await echo(b"%d" % number) == b"%d" % number
            cache.flush("k")
        while not follows(mesh, "b"):
            await asyncio.sleep(0.01)
        print((await cache.flush("k")).acknowledged)
        assert await echo(b"x") == b"x"
    assert await echo(b"y") == b"y"
    await channel.close()
    await server.stop(0)
asyncio.run(main())
""",
        name,
        roster,
    )

    assert said == ["('b',)"]
    assert "Traceback" not in complaints
    b.wait_for("peers", {})
