"""The recipes of docs/operating.md: its files, and its commands."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/operating.md"


def files():
    """Return the text of every file that the page shows, by its name."""
    blocks = re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return dict(blocks)


def commands():
    """Return every command that the page shows."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]
