"""The README's example runs, and is as short as it says."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def example():
    return re.search(r"```python\n(from flushmesh.*?)```", README.read_text(), re.DOTALL).group(1)


def test_the_example_of_the_readme_runs():
    """Copied into a file and run, it loads, flushes, and ends without a word on standard error."""
    ended = subprocess.run([sys.executable, "-c", example()], capture_output=True, text=True, timeout=30, check=False)

    assert ended.stderr == ""
    assert ended.stdout.splitlines() == ["{'id': 42, 'name': 'Ada'}", "acknowledged"]


def test_the_example_is_short():
    """Twelve lines, blank ones aside."""
    assert len([line for line in example().splitlines() if line.strip()]) <= 12
