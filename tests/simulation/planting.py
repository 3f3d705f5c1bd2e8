"""
Planting bugs: the code under test with a few words changed, for as long as a run takes.

A mutant names a function and what to replace in its source.  Its new source is compiled in the
function's own module and put in its place, and the original comes back at the end.  The
product holds none of this.

As a plugin (`pytest -p tests.simulation.planting`, with a mutant's name in FLUSHMESH_MUTANT)
it plants one bug before any test is collected.
"""

from __future__ import annotations

import importlib
import inspect
import os
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

VARIABLE = "FLUSHMESH_MUTANT"

# Where the tests are of what a run of the simulator seldom shows.
RULES = "tests/simulation/test_rules.py"


class StaleMutantError(Exception):
    """The text that a mutant replaces is not there exactly once: the code has moved on."""


@dataclass(frozen=True)
class Change:
    """In *target*, "module:function" or "module:Class.method", replace *old* by *new*."""

    target: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """
    One planted bug.

    The simulator is to find it, or the test *seen_by* where a run of the simulator seldom or
    never shows it: then *because* says why.
    """

    name: str
    changes: tuple[Change, ...]
    seen_by: str = ""
    because: str = ""


def mutant(name: str, *changes: tuple[str, str, str], seen_by: str = "", because: str = "") -> Mutant:
    """Return a mutant; each of *changes* is a target, the old text and the new."""
    return Mutant(name, tuple(Change(*change) for change in changes), seen_by, because)


@contextmanager
def planted(chosen: Mutant) -> Iterator[None]:
    """Have the bug *chosen* in the code; raise StaleMutantError if its text is not there exactly once."""
    with ExitStack() as undo:
        for change in chosen.changes:
            _plant(change, undo)
        yield


def _plant(change: Change, undo: ExitStack) -> None:
    owner, name = _owner(change.target)
    original = vars(owner).get(name)
    if original is None:
        raise StaleMutantError(f"{change.target} is not there")
    function = original.fget if isinstance(original, property) else original
    # What an earlier change of the same mutant has made carries its source with it.
    source = getattr(function, "planted_source", None) or textwrap.dedent(inspect.getsource(function))
    if source.count(change.old) != 1:
        raise StaleMutantError(f"{change.target} holds {source.count(change.old)} times: {change.old!r}")
    made = _compiled(source.replace(change.old, change.new), function)
    setattr(owner, name, property(made) if isinstance(original, property) else made)
    undo.callback(setattr, owner, name, original)


def _owner(target: str) -> tuple[Any, str]:
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for step in classes:
        owner = getattr(owner, step)
    return owner, name


def _compiled(source: str, function: Callable[..., Any]) -> Callable[..., Any]:
    code = compile(
        source, f"<planted in {function.__qualname__}>", "exec", flags=annotations.compiler_flag, dont_inherit=True
    )
    made: dict[str, Any] = {}
    exec(code, function.__globals__, made)
    (result,) = made.values()
    result.planted_source = source
    return result


def pytest_configure(config) -> None:
    """Plant the bug that the environment names, for the whole test run."""
    if VARIABLE in os.environ:
        from tests.simulation.mutants import MUTANTS

        stack = ExitStack()
        stack.enter_context(planted(MUTANTS[os.environ[VARIABLE]]))
        config.add_cleanup(stack.close)
