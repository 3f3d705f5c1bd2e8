"""Children of the test's own process, made by fork."""

import json
import os
import select
import signal
import sys
import time
import traceback
from contextlib import suppress

from tests.net.meshes import DEADLINE


class Child:
    """
    A forked child that calls *function* and ends.

    *result* is what the function returned; an error in it is the test's error.
    """

    def __init__(self, function):
        self._read, write = os.pipe()
        began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                answer = {"result": function()}
            except BaseException:
                answer = {"error": traceback.format_exc()}
            os.write(write, json.dumps(answer).encode())
            os._exit(0)
        self.fork_took = time.monotonic() - began
        os.close(write)

    def result(self):
        try:
            ready, _, _ = select.select([self._read], [], [], 2 * DEADLINE)
            assert ready, "the child hangs"
            answer = json.loads(os.read(self._read, 100_000) or '{"error": "the child has died"}')
        finally:
            self.end()
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def end(self):
        os.close(self._read)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def in_child(function):
    """Return what *function* returns in a forked child."""
    sys.stdout.flush()
    return Child(function).result()
