"""
An exception that a signal handler raises at any step of any operation breaks nothing.

`make interrupts` walks all steps; the usual run takes every thirteenth of them, others in each test.
"""

import os
from contextlib import suppress

import pytest

from tests.interrupts.steps import Walk, count
from tests.interrupts.world import OPERATIONS, World

STRIDE = int(os.environ.get("FLUSHMESH_STRIDE", "13"))


def raising(error):
    def act():
        raise error("interrupted")

    return act


def world_for(name):
    options, operation = OPERATIONS[name]
    world = World(options)
    return world, lambda: operation(world)


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
@pytest.mark.parametrize("name", OPERATIONS)
# What asyncio says of a loop and a coroutine that were interrupted is not the point here.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_exception_at_any_step_breaks_nothing(name, error):
    """Afterwards the cache is as before, as after, or has forgotten more, and every thread can use it."""
    world, operation = world_for(name)
    steps = count(operation)
    world.check()
    assert steps > 2

    missed = 0
    first = list(OPERATIONS).index(name) % STRIDE
    for number in range(1 + first, steps + 1, STRIDE):
        world, operation = world_for(name)
        walk = Walk(raising(error), number)
        # A coroutine that is interrupted again while it is closed says so by a RuntimeError.
        with suppress(error, RuntimeError):
            walk.run(operation)
        missed += not walk.reached
        try:
            world.check()
        except BaseException as failure:
            failure.add_note(f"{error.__name__} at step {number} of {steps} of {name}")
            raise
    # Where another thread takes part, no two runs are of quite the same length.
    assert missed <= steps // STRIDE // 4, f"{missed} of {steps // STRIDE} steps were not reached"
