"""
Writes docs/states.md from the tables in the code.

    python docs/states.py          # prints it
    python docs/states.py --write  # writes it
"""

import sys
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from flushmesh.protocol.link import LINK_STATES
from flushmesh.protocol.peer import TRANSITIONS
from flushmesh.protocol.trust import PHASES

TEXT = """\
# States

Generated from the tables in the code by `python docs/states.py --write`; a test proves that it is current.

## A peer, as seen by one node

{peer}
`following` is a stream that carries both journals. A peer that is known by hearsay alone is `dialling` from the
beginning: it holds the proof where it stands until it vouches itself. `left` is final. A node that is `lost` is a
member again as soon as it introduces itself. Before a peer is `lost`, what it may have flushed is distrusted.

## A stream

{link}
Two nodes keep one stream between them. The caller goes from `dialled` to `open`, the side that is called from
`accepted` to `open`. Where both have called at the same time, the stream of the node with the lower id stays.

## A node

{node}
A node that is `joining` serves as any other does, on the loads it makes itself: its proof stands at its start until
every address that was proposed has answered or refused the connection. A node that finds its peers by multicast alone
joins again after the process was stopped for a while.
"""


def diagram(table: Mapping[Enum, Mapping[Enum, Enum]]) -> str:
    """Return *table* as a Mermaid state diagram."""
    first = next(iter(table))
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {_node(first)}"]
    for state, moves in table.items():
        lines += [
            f"    {_node(state)} --> {_node(then)}: {by.name.lower().replace('_', ' ')}" for by, then in moves.items()
        ]
        if not moves:
            lines.append(f"    {_node(state)} --> [*]")
    return "\n".join([*lines, "```", ""])


def _node(state: Enum) -> str:
    return str(state.value).replace(" ", "_")


def text() -> str:
    """Return the whole page."""
    return TEXT.format(peer=diagram(TRANSITIONS), link=diagram(LINK_STATES), node=diagram(PHASES))


if __name__ == "__main__":
    if "--write" in sys.argv:
        Path(__file__).with_suffix(".md").write_text(text())
    else:
        print(text(), end="")
