"""One cache under threads and tasks at once, for a moment; `make stress` does it for minutes."""

import cachetools
import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.planting import planted
from tests.unit.stress import Stress

OPERATIONS = 60_000


def test_no_thread_or_task_is_given_what_a_flush_has_forgotten():
    """Whatever is read, loaded, flushed and written at once, nothing is served or kept from before a flush."""
    stress = Stress(OPERATIONS)

    stress.run(4)

    assert stress.violations == []
    assert stress.flushes > OPERATIONS / 20
    assert stress.cache.info().fills_refused > 20


@pytest.mark.parametrize(
    "options",
    [
        {"grace": 0.01},
        {"max_loads": 1},
        {"policy": cachetools.LFUCache, "jitter": 0.5},
        {"policy": cachetools.TTLCache, "maxsize": 3, "refresh_ahead": None},
    ],
    ids=lambda options: ", ".join(options),
)
def test_the_same_holds_whatever_the_options(options):
    """Grace, a gate, another policy or a tiny cache let nothing old through, and leave nothing open."""
    stress = Stress(OPERATIONS // 8, **options)

    stress.run(4)

    assert stress.violations == []


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
