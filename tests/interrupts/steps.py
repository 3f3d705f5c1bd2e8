"""
Steps: the places at which CPython delivers a signal or an asynchronous exception.

That is at the beginning of a function, at a jump backward, and after a call.  A trace function
is called before each instruction; between the call and the next instruction may lie the end of
a `with` block, and an exception there would miss an `__exit__` that no signal can miss.  Such
steps are left out.
"""

import dis
import sys
from collections.abc import Callable
from functools import cache
from types import CodeType, FrameType

# Below what an application calls: our own frames, and those of the libraries that they use.
BELOW = ("/src/flushmesh/", "/cachetools/", "/contextlib.py", "/concurrent/futures/", "/weakref.py")
CALLS = {"CALL", "CALL_KW", "CALL_FUNCTION_EX"}


@cache
def steps_of(code: CodeType) -> frozenset[int]:
    """Return the offsets of the instructions before which a signal may be delivered."""
    if not any(part in code.co_filename for part in BELOW):
        return frozenset()
    offsets, after_call = set(), None
    for instruction in dis.get_instructions(code):
        if after_call is not None and _handler(code, after_call) == _handler(code, instruction.offset):
            offsets.add(instruction.offset)
        after_call = instruction.offset if instruction.opname in CALLS else None
        starts = instruction.opname == "RESUME" and (instruction.arg or 0) < 2
        if starts or instruction.opname == "JUMP_BACKWARD":
            offsets.add(instruction.offset)
    return frozenset(offsets)


def _handler(code: CodeType, offset: int) -> int | None:
    found = None
    for entry in _handlers(code):
        if entry.start <= offset < entry.end:
            found = entry.target
    return found


@cache
def _handlers(code: CodeType) -> list:
    return dis._parse_exception_table(code)


class Walk:
    """Runs an operation and calls *act* at its step number *number*; counts all steps without one."""

    def __init__(self, act: Callable[[], object] | None = None, number: int = 0) -> None:
        self._act = act
        self._number = number
        self.taken = 0

    @property
    def reached(self) -> bool:
        """Whether the operation has as many steps."""
        return self.taken >= self._number

    def run(self, operation: Callable[[], object]) -> None:
        """Run *operation* in this thread."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            operation()
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, _argument: object) -> Callable | None:
        if not steps_of(frame.f_code):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, _argument: object) -> Callable:
        if event == "opcode" and frame.f_lasti in steps_of(frame.f_code):
            self.taken += 1
            if self.taken == self._number and self._act is not None:
                self._act()
        return self._step


def count(operation: Callable[[], object]) -> int:
    """Return how many steps *operation* takes when nothing interrupts it."""
    walk = Walk()
    walk.run(operation)
    return walk.taken
