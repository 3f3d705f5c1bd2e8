"""The types: what a strict checker makes of an application."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((Path(__file__).parent / "typed").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.timeout(180)
def test_a_strict_checker_accepts_what_is_right_and_refuses_what_is_wrong(example):
    """Every line has the type that it asserts, and exactly the lines that say so are refused."""
    wanted = set()
    for number, line in enumerate(example.read_text().splitlines(), 1):
        marked = re.search(r"  # wrong: (.+)$", line)
        wanted |= {(number, code) for code in (marked[1].split(", ") if marked else ())}
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", str(example)],
        cwd=ROOT,
        env=os.environ | {"MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    pattern = re.compile(rf"{re.escape(example.name)}:(\d+): error: (.*)  \[([a-z-]+)\]$", re.MULTILINE)
    found = {(int(number), code): text for number, text, code in pattern.findall(checked.stdout)}

    assert wanted
    assert set(found) == wanted, checked.stdout + checked.stderr
