"""Short scripts next to nodes that their roster does not all name, with real processes."""

import pytest

from tests.net.visitors import MAX_STALENESS, NODES, run


@pytest.mark.parametrize(("scripts", "at_once"), [(8, 1), (12, 6)])
def test_no_flush_of_a_script_goes_unnoticed(mesh_of, scripts, at_once):
    """A script that meets one node of four and ends has flushed on all of them, and its receipt says so."""
    nodes = mesh_of(*(f"n{number}" for number in range(NODES)), max_staleness=MAX_STALENESS)

    findings = run(nodes, scripts, at_once)

    assert findings.errors == []
    assert findings.lies == []
    assert findings.stale == []
    assert findings.complete == scripts
    assert findings.arrived == scripts * NODES
    assert [node("warnings") for node in nodes] == [[]] * NODES
