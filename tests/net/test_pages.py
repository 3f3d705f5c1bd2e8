"""The pages of the documentation whose examples run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["cache.md"])
def test_the_examples_of_a_page_print_what_it_says(page):
    """Run in order in one program, they print what stands behind each print, and not a word on standard error."""
    program = "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL))
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", program, re.MULTILINE)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)

    assert ended.stderr == ""
    assert ended.stdout.splitlines() == promised
    assert len(promised) == program.count("print(")
