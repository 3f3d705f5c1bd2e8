"""Durations: seconds as float inside; a timedelta where people write one."""

from __future__ import annotations

from datetime import timedelta


def seconds(place: str, duration: float | timedelta, *, least: str = "more than 0") -> float:
    """
    Return *duration* in seconds.

    *least* is "more than 0" or "0 or more".  Raises TypeError or ValueError that begins with
    *place*, the name of what the duration is for.
    """
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    elif isinstance(duration, bool) or not isinstance(duration, int | float):
        kind = type(duration).__name__
        raise TypeError(f"{place}: seconds as a number, or a timedelta, not {_written(duration, kind)}")
    if not (duration > 0 or (duration == 0 and least == "0 or more")):
        raise ValueError(f"{place}: seconds, {least}, not {duration:g}; math.inf for no end")
    return float(duration)


def _written(value: object, kind: str) -> str:
    return repr(value) if isinstance(value, str | bool) else f"a {kind}"
