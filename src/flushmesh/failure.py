"""
Failure: what one load raised, for each caller that gets it.

Callers must not share one exception: each of them adds its frames, notes and context to it, and
one request would log the locals of another.
"""

from __future__ import annotations

import copy
from types import TracebackType


class Failure:
    """
    The error of a load.

    *handled* is what the caller that loaded was handling at the time: a context that is its own,
    and no part of the failure.
    """

    __slots__ = ("_handled", "_pristine", "_traceback", "error")

    def __init__(self, error: BaseException, handled: BaseException | None = None) -> None:
        self.error = error
        self._handled = handled
        # The first frame is ours, and refers to this.
        traceback = error.__traceback__
        self._traceback: TracebackType | None = traceback.tb_next if traceback is not None else None
        # Before the caller that loaded adds its notes.
        self._pristine = self._copied(error, {})

    def again(self) -> BaseException:
        """Return the error for one more caller: a copy, or the same with a fresh traceback if it cannot be copied."""
        return self._copied(self._pristine, {}).with_traceback(self._traceback)

    def _copied(self, error: BaseException, done: dict[int, BaseException]) -> BaseException:
        if id(error) in done:
            return done[id(error)]
        try:
            copied = copy.copy(error)
        except Exception:  # Its class takes other arguments than it passes on.
            copied = error
        if type(copied) is not type(error) or copied is error:
            done[id(error)] = error
            return error
        done[id(error)] = copied
        copied.args = error.args
        copied.__traceback__ = error.__traceback__
        if hasattr(error, "__notes__"):
            copied.__notes__ = list(error.__notes__)
        copied.__context__ = self._link(error.__context__, done)
        copied.__cause__ = self._link(error.__cause__, done)
        copied.__suppress_context__ = error.__suppress_context__
        return copied

    def _link(self, error: BaseException | None, done: dict[int, BaseException]) -> BaseException | None:
        return None if error is None or error is self._handled else self._copied(error, done)
