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


def pod():
    """Return the command of the page's pod, and its environment."""
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (command,) = re.findall(r"command: \[(.*)\]", block)
    return command.replace(",", "").replace('"', ""), dict(re.findall(r'{name: (\w+), value: "(.*)"}', block))


def kill_signal():
    """Return the name of the signal by which the page's service is stopped."""
    (name,) = re.findall(r"^KillSignal=(\w+)$", PAGE.read_text(), re.MULTILINE)
    return name
