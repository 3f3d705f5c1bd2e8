"""
Programs: the other processes of a benchmark, and what each of them needs.

A program reads commands from its standard input, one a line, and answers each with a line of
JSON; it ends with its standard input.  This imports the standard library alone: what a node
is found to hold is to be the node's.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from flushmesh import Mesh

CONNECT_MAX: Final = 60.0


class Programs:
    """So many processes of one Python program, called with *arguments*; they end with *stack*."""

    def __init__(self, stack: ExitStack, path: Path, arguments: Sequence[str], count: int) -> None:
        self._programs = []
        for _ in range(count):
            # A group of its own: an interrupt from the keyboard is for the benchmark, which then ends them all.
            program = subprocess.Popen(
                [sys.executable, str(path), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                process_group=0,
            )
            stack.callback(program.communicate)
            stack.callback(program.kill)
            self._programs.append(program)

    def ask(self, *command: object) -> list[Any]:
        """Have each do *command*, at the same time; return what they answer."""
        self.tell(*command)
        return self.answers()

    def ask_one(self, which: int, *command: object) -> Any:
        """Have one of them do *command*; return what it answers."""
        _tell(self._programs[which], command)
        return _answer(self._programs[which])

    def tell(self, *command: object) -> None:
        """Have each begin with *command*; `answers` is to follow."""
        for program in self._programs:
            _tell(program, command)

    def answers(self) -> list[Any]:
        """Wait for what each answers next."""
        return [_answer(program) for program in self._programs]


def _tell(program: subprocess.Popen[str], command: Sequence[object]) -> None:
    assert program.stdin is not None
    print(*command, file=program.stdin, flush=True)


def _answer(program: subprocess.Popen[str]) -> Any:
    assert program.stdout is not None
    line = program.stdout.readline()
    if not line:
        raise SystemExit("one of the programs has ended")
    return json.loads(line)


def say(value: object) -> None:
    """Answer *value*, in a program."""
    print(json.dumps(value), flush=True)


def wait_for_peers(mesh: Mesh, count: int) -> None:
    """Wait until *mesh* follows *count* peers."""
    deadline = time.monotonic() + CONNECT_MAX
    while [peer.state for peer in mesh.status().peers].count("following") < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"not everyone is followed after {CONNECT_MAX:g} s: {mesh.status()}")
        time.sleep(0.02)


def own_memory() -> int:
    """Return the bytes that only this process holds."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def free_range(count: int) -> str:
    """Return a range of *count* ports on loopback that are free, below those that the system gives away."""
    firsts = range(21_000, 30_000, count)
    # Anywhere among them: two benchmarks that begin at the same time are not to find the same.
    for first in random.sample(firsts, len(firsts)):
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return f"127.0.0.1:{first}-{first + count - 1}"
    raise SystemExit("no free ports")
