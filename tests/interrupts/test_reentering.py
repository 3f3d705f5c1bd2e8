"""
What a signal handler or a finalizer does with the cache, at any step of any operation, breaks nothing.

It runs on the thread that it interrupts, in the middle of whatever that thread does.
"""

import os

import pytest

from tests.interrupts.steps import Walk, count
from tests.interrupts.world import KEYS, OPERATIONS, World
from tests.unit.caches import InThread

STRIDE = int(os.environ.get("FLUSHMESH_STRIDE", "13"))


INNER = {
    "flush": lambda cache: cache.flush("k"),
    "flush_tag": lambda cache: cache.flush_tag("t"),
    "flush_all": lambda cache: cache.flush_all(),
    "get": lambda cache: (cache.get("a"), cache.get("none")),
    "load": lambda cache: cache.get_or_load("inner", lambda: "inner loaded"),
    "write": lambda cache: cache.__setitem__("b", "b set"),
    "mapping": lambda cache: (cache.pop("a", None), cache.setdefault("b", "b set"), len(cache), list(cache)),
    "end": lambda cache: (cache.distrust(0.0), cache.disable(by=1), cache.disable(by=-1)),
    "info": lambda cache: (cache.info(), cache.entries(), cache.currsize),
}
CASES = [(name, inner) for name in OPERATIONS for inner in INNER]


@pytest.mark.parametrize(("name", "inner"), CASES, ids=["-".join(case) for case in CASES])
def test_a_call_in_the_middle_of_another_breaks_nothing(name, inner):
    """Neither waits for the other, and both have been done once the outer one has returned."""
    options, operation = OPERATIONS[name]
    world = World(options)
    steps = count(lambda: operation(world))
    stride = STRIDE * 5 if STRIDE > 1 else 1

    for number in range(1 + CASES.index((name, inner)) % stride, steps + 1, stride):
        world = World(options)
        floor = []

        def act(world=world, floor=floor):
            floor.append(world.reads)
            INNER[inner](world.cache)

        walk = Walk(act, number)
        try:
            InThread(walk.run, lambda world=world: operation(world)).result(5.0)
            check(world, inner, floor[0])
            world.check()
        except BaseException as failure:
            failure.add_note(f"{inner} at step {number} of {steps} of {name}")
            raise


def check(world, inner, floor):
    """Check G1: what was loaded before the inner flush is not served after it."""
    covered = {"flush": ("k",), "flush_tag": ("c",), "flush_all": KEYS}.get(inner, ())
    for key in covered:
        served = world.cache.get(key)
        if served is not None and "before" in served:
            raise AssertionError(f"{key} gives {served}")
        assert served is None or world.read_at.get(served, floor + 1) > floor, f"{key} gives {served}"
