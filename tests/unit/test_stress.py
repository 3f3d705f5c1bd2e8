"""One cache under threads and tasks at once, for a moment; `make stress` does it for minutes."""

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.planting import planted
from tests.unit.stress import Stress

OPERATIONS = 150_000


def test_no_thread_or_task_is_given_what_a_flush_has_forgotten():
    """Whatever is read, loaded, flushed and written at once, nothing is served or kept from before a flush."""
    stress = Stress(OPERATIONS)

    stress.run(4)

    assert stress.violations == []
    assert stress.flushes > OPERATIONS / 20
    assert min(stress.cache.info().fills_refused, stress.cache.info().evictions, stress.cache.info().expiries) > 0


@pytest.mark.parametrize(
    "name",
    [
        "a flush does not revoke the running load",
        "a late caller joins a revoked load",
        "a flush of a tag does not let go of what carries it",
        "a flushed tag is not remembered for the loads that run",
        "a write keeps its value although a flush came meanwhile",
    ],
)
def test_a_planted_bug_is_seen_under_stress(name):
    """What threads do to each other shows: with a bug in the store, a value from before a flush comes to light."""
    stress = Stress(OPERATIONS)

    with planted(MUTANTS[name]):
        stress.run(4)

    assert stress.violations
