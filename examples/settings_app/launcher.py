"""
The launcher: starts the instances, freezes and thaws them, and stops them.

Each instance is a process of its own.  The launcher holds one end of a socket to each;
whichever process dies, the other end sees it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from control import OK, READY

HOST: Final = "127.0.0.1"

# A mesh may take two seconds to say goodbye, the web server one; whoever takes longer is killed.
STOP_MAX: Final = 5.0


class PortUnusable(Exception):  # noqa: N818 - what is wrong with the port, in one line
    """A port that was asked for cannot be had."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An instance's process is no more."""

    number: int
    code: int


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance, as its parent sees it."""

    number: int
    process: subprocess.Popen[bytes]
    control: socket.socket

    @property
    def alive(self) -> bool:
        """Whether its process still is."""
        return self.process.poll() is None

    def freeze(self) -> None:
        """Stop the process; return once it has stopped."""
        self.process.send_signal(signal.SIGSTOP)
        # The kernel stops threads one by one.  Nothing is consumed here: Popen alone collects the exit.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Continue the process; when the signal is sent, it is no longer stopped."""
        self.process.send_signal(signal.SIGCONT)


def listen(first_port: int, count: int) -> list[socket.socket]:
    """Return *count* listening sockets, from *first_port* upwards; raise PortUnusable. Port 0 is any free one."""
    listeners: list[socket.socket] = []
    try:
        for port in range(first_port, first_port + count) if first_port else [0] * count:
            listener = socket.socket()
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((HOST, port))
                # Without this a second launcher could bind the same port until one of both listens.
                listener.listen(128)
            except OSError as error:
                reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
                raise PortUnusable(f"port {port} {reason}; choose others with --port") from None
    except PortUnusable:
        for listener in listeners:
            listener.close()
        raise
    return listeners


class Launcher:
    """Runs one instance for each of *listeners* until it is told to stop."""

    def __init__(self, listeners: list[socket.socket], database_url: str, roster: Path | None) -> None:
        self._listeners = listeners
        self._ports: list[int] = [listener.getsockname()[1] for listener in listeners]
        self._environment = {**os.environ, "DATABASE_URL": database_url}
        self._roster = roster
        self._instances: dict[int, Instance] = {}
        self._events: asyncio.Queue[signal.Signals | Ended | str] = asyncio.Queue()

    async def run(self) -> int:
        """Return the exit code: 0 when told to stop, 1 when an instance does not start or none is left."""
        loop = asyncio.get_running_loop()
        for told in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(told, self._events.put_nowait, told)
        attending: list[asyncio.Task[None]] = []
        try:
            for number, listener in enumerate(self._listeners, 1):
                self._instances[number] = instance = self._start(number, listener)
                attending.append(asyncio.create_task(self._attend(instance)))
            return await self._supervise()
        finally:
            await self._stop()
            for task in attending:
                task.cancel()
            await asyncio.gather(*attending, return_exceptions=True)

    def _start(self, number: int, listener: socket.socket) -> Instance:
        ours, theirs = socket.socketpair()
        with theirs, listener:
            command = [sys.executable, str(Path(__file__).with_name("instance.py")), "--number", str(number)]
            command += ["--listener", str(listener.fileno()), "--control", str(theirs.fileno())]
            command += ["--ports", *map(str, self._ports)]
            if self._roster is not None:
                command += ["--roster", str(self._roster)]
            # A process group of its own keeps Ctrl-C with the launcher.  A session of its own would too,
            # but a frozen process whose launcher is killed gets SIGHUP and SIGCONT only within the session.
            process = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[listener.fileno(), theirs.fileno()],
                process_group=0,
            )
        return Instance(number, process, ours)

    async def _supervise(self) -> int:
        ready = ended = 0
        while True:
            event = await self._events.get()
            if isinstance(event, signal.Signals):
                return 0
            if isinstance(event, Ended):
                ended += 1
                print(f"instance {event.number} has ended, {_code_in_words(event.code)}", file=sys.stderr)
                if ready < len(self._instances) or ended == len(self._instances):
                    return 1
            else:
                ready += 1
                if ready == len(self._instances):
                    self._print_addresses()

    def _print_addresses(self) -> None:
        for number, port in enumerate(self._ports, 1):
            print(f"instance {number}  http://{HOST}:{port}")
        print("Open any of them.  Ctrl-C stops them all.", flush=True)

    async def _attend(self, instance: Instance) -> None:
        """Do what *instance* asks for, until its process has ended."""
        reader, writer = await asyncio.open_connection(sock=instance.control)
        try:
            while line := await reader.readline():
                request = line.decode().split()
                if request == [READY]:
                    self._events.put_nowait(READY)
                else:
                    writer.write(f"{self._signal(request[0], int(request[1]))}\n".encode())
        except ConnectionError:
            pass  # An instance that is killed with an answer under way ends like any other.
        finally:
            writer.close()
        while instance.alive:  # noqa: ASYNC110 - Popen has no other way to wait without a thread
            await asyncio.sleep(0.02)
        self._events.put_nowait(Ended(instance.number, instance.process.returncode))

    def _signal(self, verb: str, number: int) -> str:
        instance = self._instances[number]
        if not instance.alive:
            return f"Instance {number} has ended, {_code_in_words(instance.process.returncode)}."
        if verb == "freeze":
            instance.freeze()
        else:
            instance.thaw()
        return OK

    async def _stop(self) -> None:
        instances = self._instances.values()
        for instance in instances:
            # A frozen process could not hear that it is to end.
            instance.process.send_signal(signal.SIGCONT)
            instance.process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_MAX):
                while any(instance.alive for instance in instances):  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.02)
        for instance in instances:
            instance.process.kill()
            instance.process.wait()


def _code_in_words(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
