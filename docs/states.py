"""
Writes docs/states.md from the tables in the code.

    python docs/states.py          # prints it
    python docs/states.py --write  # writes it
"""

import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from flushmesh.protocol.peer import TRANSITIONS
from flushmesh.protocol.trust import PHASES

TEXT = """\
# States

Generated from the tables in the code by `python docs/states.py --write`; a test proves that it is current.

## A peer, as seen by one node

{peer}
`following` is a stream on which the peer's journal arrives. A peer that is only heard of from others is `dialling`
from the beginning: it holds the proof as it stands until it vouches itself. `left` and `lost` are forgotten; before a
peer is `lost`, what it may have flushed is distrusted.

## A node

{node}
A node that is `joining` serves as any other does, on the loads it makes itself: its proof stands at its start until
every address that was proposed has answered or refused the connection.
"""


def diagram(table: Mapping[Enum, Mapping[Enum, Enum]]) -> str:
    """Return *table* as a Mermaid state diagram."""
    first = next(iter(table))
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.value}"]
    for state, moves in table.items():
        lines += [
            f"    {state.value} --> {then.value}: {by.name.lower().replace('_', ' ')}" for by, then in moves.items()
        ]
        if not moves:
            lines.append(f"    {state.value} --> [*]")
    return "\n".join([*lines, "```", ""])


def text() -> str:
    """Return the whole page."""
    return TEXT.format(peer=diagram(TRANSITIONS), node=diagram(PHASES))


if __name__ == "__main__":
    if "--write" in sys.argv:
        Path(__file__).with_suffix(".md").write_text(text())
    else:
        print(text(), end="")
