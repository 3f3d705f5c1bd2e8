"""
Bounded staleness with real processes: what is frozen or killed costs freshness for max_staleness, and nobody speed.

The long run, from the top of the tree: `python -m tests.net.stalenessprocess --rounds 20`.
"""

import random
import time
from statistics import median

import pytest

from tests.net.nodeprocess import DEADLINE
from tests.net.stalenessprocess import MAX_STALENESS, REPORT, StaleNode, undergo

ENTRIES = 20


@pytest.fixture
def stale_nodes(ports):
    """Start nodes that know each other by a roster, and wait until each has proof from all others."""
    started = []

    def start(*names: str, **options: object) -> list[StaleNode]:
        roster = ports(len(names))
        started.extend(StaleNode(name, listen=roster, peers=[roster], **options) for name in names)
        for node in started:
            node.wait_until_proven(*set(names) - {node.name})
        return list(started)

    yield start
    for node in started:
        node.kill()


def wait_for(node, true_of):
    """Ask *node* for its status until *true_of* holds of it; return that status."""
    deadline = time.monotonic() + DEADLINE
    while not true_of(status := node("status")):
        assert time.monotonic() < deadline, f"{node.name}: {status}"
        time.sleep(0.02)
    return status


@pytest.mark.timeout(150)
def test_no_hit_is_older_than_max_staleness_whoever_is_frozen_or_killed(tmp_path, ports):
    """Of all hits while nodes are frozen for 10 s, killed and restarted, none was outdated for longer than promised."""
    seed = random.randrange(2**32)

    verdict = undergo(2, tmp_path, ports(3), seed)

    print(f"\nseed {seed}\n{verdict}")
    assert verdict.violations == []
    assert verdict.hits > 10_000
    assert verdict.writes > 500
    # Whoever reads while a flush is under way is served what was: if nothing was stale, nothing was tried.  How
    # stale it gets is up to which thread of a thawed process the scheduler lets run first.
    assert verdict.stale > 20
    assert "violations" in REPORT.read_text()


def test_a_frozen_node_costs_the_others_their_proof_and_no_more(stale_nodes):
    """While a node is frozen the proof of the others ages and names it, and their entries reload; then all is well."""
    a, b, c = stale_nodes("a", "b", "c", max_staleness=MAX_STALENESS)
    for node in (a, b):
        node("load", keys=ENTRIES)
        assert node("lost", keys=ENTRIES) == []
    loaded_at, before = time.monotonic(), [node("loads") for node in (a, b)]
    c.freeze()

    for node in (a, b):
        younger = wait_for(node, lambda status: status["running_out"])
        older = wait_for(node, lambda status: time.monotonic() > loaded_at + MAX_STALENESS)
        assert MAX_STALENESS / 2 <= younger["proof_age"] < older["proof_age"]
        assert older["proof_age"] > MAX_STALENESS
        assert f"c at {c.address} " in younger["running_out"]
        assert f"c at {c.address} " in older["running_out"]
    assert [node("lost", keys=ENTRIES) for node in (a, b)] == [list(range(ENTRIES))] * 2
    for node in (a, b):
        node("load", keys=ENTRIES)
    assert [node("loads") for node in (a, b)] == [count + ENTRIES for count in before]

    c.thaw()
    for node in (a, b):
        status = wait_for(node, lambda status: status["proof_age"] < 1.0)
        assert status["running_out"] == ""
        node("load", keys=ENTRIES)
        assert node("lost", keys=ENTRIES) == []


def test_a_frozen_node_slows_no_flush_down(stale_nodes):
    """A flush takes as long beside a frozen peer as beside one that listens."""
    a, _b, c = stale_nodes("a", "b", "c", max_staleness=MAX_STALENESS)
    a("flush", count=1000)
    well, frozen = [], []
    for _ in range(6):
        # Who has just gone on catches up first, and has the processor for itself.
        assert a("flush and wait") == "acknowledged"
        well += a("flush", count=500)
        assert a("flush and wait") == "acknowledged"
        c.freeze()
        frozen += a("flush", count=500)
        c.thaw()

    ratio = median(frozen) / median(well)
    words = f"median of flush(): {median(well) * 1e6:.1f} µs, beside a frozen peer {median(frozen) * 1e6:.1f} µs"
    print(f"\n{words}, ratio {ratio:.2f}")
    assert ratio < 5
    assert max(frozen) < 1


@pytest.mark.timeout(150)
def test_a_rolling_restart_costs_no_entry(stale_nodes):
    """Eight processes are closed and replaced one by one: no other loses an entry, and no log tells of distrust."""
    max_staleness = 4.0
    nodes = {node.name: node for node in stale_nodes(*"abcdefgh", max_staleness=max_staleness)}
    options = {"peers": [node.address for node in nodes.values()], "max_staleness": max_staleness}
    logs = []

    def fill(name):
        # What is loaded before a node has joined runs out by its own bound.
        wait_for(nodes[name], lambda status: status["state"] == "joined")
        nodes[name]("load", keys=ENTRIES)

    def lost(*but):
        return {node.name: node("lost", keys=ENTRIES) for node in nodes.values() if node.name not in but}

    def restart(name):
        nodes[name]("close")
        logs.extend(nodes[name]("log"))
        nodes[name].kill()
        nodes[name] = StaleNode(name, listen=nodes[name].address, **options)
        for node in nodes.values():
            node.wait_until_proven(*set(nodes) - {node.name})
        assert lost(name) == {other: [] for other in nodes if other != name}
        fill(name)

    for name in nodes:
        fill(name)
    began = time.monotonic()
    try:
        for name in "abcdefg":
            restart(name)
        # Proof by those who are new, and it alone, keeps the entries of the last one so long.
        while time.monotonic() < began + 1.25 * max_staleness:
            assert lost() == {name: [] for name in nodes}
        restart("h")
        took = time.monotonic() - began
        logs += [line for node in nodes.values() for line in node("log")]
    finally:
        for node in nodes.values():
            node.kill()

    print(f"\n8 nodes were restarted one by one within {took:.1f} s; no entry was lost")
    assert [line for level, line in logs if level != "INFO"] == []
