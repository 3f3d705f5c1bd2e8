"""Every server of docs/operating.md: its workers are peers of each other, and leave when it is stopped."""

import json
import signal
import subprocess
import sys

import pytest

from tests.net.meshes import wait_until
from tests.servers.recipes import commands, files, kill_signal, pod

MULTIPLE = [line for line in commands() if "--workers" in line]


@pytest.mark.parametrize("command", MULTIPLE)
def test_the_workers_of_a_server_are_each_others_peers(serve, command):
    """A flush in any worker reaches all others and the watching node; SIGTERM ends each with a goodbye."""
    server = serve(command)
    server.ask_all("GET", 4)
    server.wait_for_peers(4)
    acknowledged = server.ask_all("POST", 4)

    assert sorted(len(peers) for peers in acknowledged.values()) == [4, 4, 4, 4], acknowledged
    assert server.terminate() < 10
    assert "Traceback" not in server.complaints()


def test_a_master_that_uses_the_mesh_may_fork_its_workers(serve):
    """gunicorn --preload with a mesh that runs before the fork: the master is a node too, and outlives four forks."""
    preload = next(line for line in commands() if "--preload" in line)
    server = serve(preload, more='users.get_or_load("ada", lambda: "the master\'s")\n')
    loaded = server.ask_all("GET", 4)
    server.wait_for_peers(5)
    acknowledged = server.ask_all("POST", 4)

    assert set(loaded.values()) == {"Ada"}
    assert [len(peers) for peers in acknowledged.values()] == [5] * 4, acknowledged
    assert server.terminate() < 10
    assert "Traceback" not in server.complaints()


def test_a_reloaded_worker_leaves_and_its_successor_joins(serve):
    """uvicorn --reload: a changed file costs one node, which says goodbye, and brings another."""
    server = serve(next(line for line in commands() if "--reload" in line))
    (first,) = server.ask_all("GET", 1)
    server.wait_for_peers(1)
    (before,) = server.watch.status().peers
    app = server.folder / "shop_asgi.py"
    app.write_text(app.read_text() + "\n# changed\n")
    wait_until(lambda: before.node_id not in {peer.node_id for peer in server.watch.status().peers})
    server.wait_for_peers(1)

    assert first not in server.ask_all("POST", 1)
    assert server.terminate() < 10
    assert "Traceback" not in server.complaints()


CELERY = """
broker_url = "filesystem://"
broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
result_backend = "file://results"
worker_prefetch_multiplier = 1
broker_connection_retry_on_startup = True
"""

ASKS_CELERY = """
import json, sys, time
from tasks import rename
answers, deadline = {}, time.monotonic() + 20
while sorted(len(set(peers)) for peers in answers.values()) != [4] * 4:
    assert time.monotonic() < deadline, answers
    for asked in [rename.delay() for _ in range(8)]:
        pid, peers = asked.get(timeout=20, interval=0.02)
        answers[pid] = peers
print(json.dumps(answers))
"""


def test_the_pool_of_celery_is_a_mesh(serve, tmp_path):
    """A task that flushes reaches every process of the pool; a warm shutdown ends each with a goodbye."""
    for folder in ("queue", "control", "results"):
        (tmp_path / folder).mkdir()
    (tmp_path / "celeryconfig.py").write_text(CELERY)
    server = serve(next(line for line in commands() if line.startswith("celery")))
    asking = subprocess.run(
        [sys.executable, "-c", ASKS_CELERY],
        cwd=tmp_path,
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert asking.returncode == 0, asking.stderr + server.complaints()
    server.wait_for_peers(4)

    assert len(json.loads(asking.stdout)) == 4
    assert server.terminate() < 10
    assert "Traceback" not in server.complaints()


def test_the_processes_of_a_pod_find_each_other_by_name(serve):
    """With the pod's environment, and a name that stands for this machine, the workers are each other's peers."""
    command, environment = pod()
    environment["FLUSHMESH_DNS"] = "localhost:" + environment["FLUSHMESH_DNS"].partition(":")[2]
    server = serve(command.replace("0.0.0.0", "127.0.0.1"), **environment)
    server.ask_all("GET", 4)
    server.wait_for_peers(4)
    acknowledged = server.ask_all("POST", 4)

    assert sorted(len(peers) for peers in acknowledged.values()) == [4, 4, 4, 4], acknowledged
    assert server.terminate() < 10


def test_a_service_that_is_stopped_says_goodbye(serve, tmp_path):
    """A plain program that systemd stops as the page says ends with a goodbye."""
    (tmp_path / "plain.py").write_text("from shop import mesh\nimport signal\nmesh.start()\nsignal.pause()\n")
    server = serve("python plain.py")
    server.wait_for_peers(1)

    assert server.terminate(signal.Signals[kill_signal()]) < 5


def test_every_command_of_the_page_is_run():
    """What docs/operating.md tells to type is what these tests type."""
    assert [line.split()[0] for line in commands()] == ["gunicorn"] * 3 + ["uvicorn"] * 2 + ["hypercorn", "celery"]
    assert set(files()) == {"flushmesh.toml", "shop.py", "shop_asgi.py", "tasks.py"}
