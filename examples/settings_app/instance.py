"""
One instance: one process, started by the launcher and by nobody else.

It inherits two sockets: the one to serve on, which listens already, and its line to the
launcher.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path

import uvicorn
from app import App
from control import Control
from database import Database
from view import Bell

from flushmesh import Mesh


class Server(uvicorn.Server):
    """A server that says when it answers, and ends the event streams before it waits for them."""

    def __init__(self, config: uvicorn.Config, control: Control, bell: Bell) -> None:
        super().__init__(config)
        self._control = control
        self._bell = bell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell the launcher."""
        await super().startup(sockets)
        self._control.tell_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then everything else."""
        self._bell.close()
        await super().shutdown(sockets)


def main() -> None:
    """Serve until told to stop, or until the launcher is gone."""
    arguments = parse_arguments()
    # uvicorn repeats the signal once it has shut down in order; that is then the end, and no failure.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    name = f"instance {arguments.number}"
    # The library warns when copies begin to run out; on the terminal it is to be seen whose.
    logging.basicConfig(format=f"{name}: %(message)s")
    if arguments.roster is None:
        # As short as in the roster file beside this.
        mesh = Mesh("settings", mdns=True, name=name, max_staleness=5.0)
    else:
        mesh = Mesh.from_file(arguments.roster, name=name)
    try:
        # The lifespan would do; here a port that cannot be had is one line and no traceback.
        mesh.start()
    except OSError as error:
        sys.exit(f"{name}: {error}")
    asyncio.run(serve(arguments, mesh))


def parse_arguments() -> argparse.Namespace:
    """Return what the launcher passes."""
    parser = argparse.ArgumentParser(description="One instance; python examples/settings_app starts them all.")
    parser.add_argument("--number", type=int, required=True)
    parser.add_argument("--ports", type=int, nargs="+", required=True)
    parser.add_argument("--listener", type=int, required=True, metavar="DESCRIPTOR")
    parser.add_argument("--control", type=int, required=True, metavar="DESCRIPTOR")
    parser.add_argument("--roster", type=Path)
    return parser.parse_args()


async def serve(arguments: argparse.Namespace, mesh: Mesh) -> None:
    """Serve the application on the inherited socket."""
    control = await Control.open(arguments.control)
    # The address may hold a password, which a command line would show to everybody.
    database = Database(os.environ["DATABASE_URL"])
    app = App(arguments.number, arguments.ports, mesh, database, control)
    config = uvicorn.Config(
        app.asgi(), log_level="warning", access_log=False, timeout_graceful_shutdown=1, lifespan="on", ws="none"
    )
    server = Server(config, control, app.view.bell)

    async def stop_with_launcher() -> None:
        await control.listen()
        server.should_exit = True

    listening = asyncio.create_task(stop_with_launcher())
    try:
        await server.serve(sockets=[socket.socket(fileno=arguments.listener)])
    finally:
        listening.cancel()
        control.close()


if __name__ == "__main__":
    main()
