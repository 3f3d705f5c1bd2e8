"""
The settings dashboard: several instances of one application, each with its own cache.

    python examples/settings_app
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from database import Database, DatabaseUnusable
from launcher import Launcher, PortUnusable, listen

from flushmesh import Mesh, RosterError

ROSTER: Final = Path(__file__).with_name("flushmesh.toml")

# The roster that lies here has so many ports, and a page so much room.
INSTANCES_MAX: Final = 16


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until Ctrl-C; return the exit code."""
    options = parse_arguments(arguments)
    roster: Path | None = None if options.mdns else (options.roster or ROSTER)
    with ExitStack() as stack:
        try:
            if roster is not None:
                # Nothing starts by this; it only finds out whether the instances will accept the file.
                Mesh.from_file(roster)
            listeners = [stack.enter_context(listener) for listener in listen(options.port, options.instances)]
            url = options.database_url
            if url is None:
                url = f"sqlite:///{stack.enter_context(TemporaryDirectory(prefix='settings-'))}/settings.db"
            Database(url).prepare()
        except RosterError as error:
            print(error, file=sys.stderr)
            return 2
        except (PortUnusable, DatabaseUnusable) as error:
            print(error, file=sys.stderr)
            return 1
        return asyncio.run(Launcher(listeners, url, roster).run())


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; leave with code 2 and the reason if they are wrong."""
    parser = argparse.ArgumentParser(
        prog="settings_app", description="Several instances of one application, each with its own cache, kept coherent."
    )
    parser.add_argument("--instances", type=int, default=3, metavar="N", help="how many, 1 to 16 (default 3)")
    parser.add_argument("--port", type=int, default=8001, metavar="P", help="of the first; 0: any free (default 8001)")
    parser.add_argument("--database-url", metavar="URL", help="of SQLite or PostgreSQL (default: a new SQLite file)")
    discovery = parser.add_mutually_exclusive_group()
    discovery.add_argument("--roster", type=Path, metavar="FILE", help="where peers are (default: flushmesh.toml here)")
    discovery.add_argument("--mdns", action="store_true", help="find peers by multicast on loopback instead")
    options = parser.parse_args(arguments)
    if not 1 <= options.instances <= INSTANCES_MAX:
        parser.error(f"--instances: a number from 1 to {INSTANCES_MAX}, not {options.instances}")
    if not 0 <= options.port <= 65_536 - options.instances:
        parser.error(f"--port: a number from 0 to {65_536 - options.instances}, not {options.port}")
    return options


if __name__ == "__main__":
    sys.exit(main())
