"""
Text: what tells one argument from another in a key.

The text of a value has to be the same in every process, and another one for another value.
So a text is refused, with a TypeError in words, if it holds an address, depends on the
order of a set, only describes the value, or may have been cut.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from enum import Enum
from types import FunctionType
from typing import Any, Final

# Their `repr` differs for different values, types included: 1, 1.0, True and "1" are four.
PLAIN: Final = frozenset({str, int, float, bool, bytes, type(None)})

_ADDRESS: Final = re.compile(r"\bat 0x[0-9a-fA-F]+")


class NoTextError(TypeError):
    """A value, or one inside it, has no text that would identify it."""

    def __init__(self, value: object, why: str) -> None:
        super().__init__(f"is of type {type(value).__name__}, {why}")


def text_of(value: object) -> str:
    """
    Return the text of *value* in a template; raise NoTextError if it has none.

    A str is its characters, a number its digits, a tuple, list, dict or dataclass what is in
    it.  Everything else has the text that its class gives it.
    """
    # Not isinstance: a proxy claims to be of the class of what it stands for.
    if issubclass(type(value), str):
        return str.__str__(value)
    try:
        text = _builtin(value)
        return _own(value) if text is None else text
    except RecursionError:
        raise NoTextError(value, "whose text has no end") from None


def plain_text(value: object) -> str:
    """Return the text of *value*, its type included; raise NoTextError unless all of it is of plain types."""
    kind = type(value)
    if kind in PLAIN:
        return repr(value)
    if kind is tuple:
        return _sequence(value, plain_text)  # type: ignore[arg-type]
    if kind is dict:
        return _mapping(value, plain_text)  # type: ignore[arg-type]
    raise NoTextError(value, "which has no stable text")


def _builtin(value: object) -> str | None:
    """Return the text of *value* if it is a builtin of which every part has one, or derives from one."""
    kind = type(value)
    if value is None or kind is bool:
        return repr(value)
    for base in (int, float, complex, bytes):
        if issubclass(kind, base):
            return base.__repr__(value)
    if issubclass(kind, tuple):
        return _sequence(value, _inside)  # type: ignore[arg-type]
    if issubclass(kind, list):
        return f"[{', '.join(map(_inside, value))}]"  # type: ignore[call-overload]
    if issubclass(kind, dict):
        return _mapping(value, _inside)  # type: ignore[arg-type]
    return None


def _inside(value: object) -> str:
    """Return the text of *value* as a part of another, where it has to end: quoted, or with its type."""
    kind = type(value)
    if issubclass(kind, str):
        return str.__repr__(value)
    text = _builtin(value)
    return f"{kind.__qualname__}({_own(value)!r})" if text is None else text


def _sequence(items: tuple[object, ...], text: Callable[[object], str]) -> str:
    return f"({', '.join(map(text, items))}{',' if len(items) == 1 else ''})"


def _mapping(items: dict[object, object], text: Callable[[object], str]) -> str:
    # Equal dicts may be in different orders.
    return f"{{{', '.join(sorted(f'{text(key)}: {text(value)}' for key, value in items.items()))}}}"


def _own(value: object) -> str:
    """Return the text that the class of *value* gives it; raise NoTextError if it is not to be trusted."""
    kind: Any = type(value)
    described = kind.__str__ is object.__str__
    if described and (fields := _fields(kind)):
        # Its `repr` leaves out fields with repr=False, and shows those that make no difference.
        return f"{kind.__qualname__}({', '.join(f'{name}={_inside(getattr(value, name))}' for name in fields)})"
    if not issubclass(kind, Enum) and any("__len__" in vars(base) for base in kind.__mro__):
        raise NoTextError(value, "a collection, whose text may be cut, or in another order elsewhere")
    if described and not isinstance(kind.__repr__, FunctionType):
        # What C code shows of an object is for debugging: an address, a name, the first characters.
        raise NoTextError(value, "which has no stable text")
    text = str.__str__(str(value))
    if _ADDRESS.search(text) or f"{id(value):x}" in text.lower() or str(id(value)) in text:
        raise NoTextError(value, "whose text holds an address")
    if described and text.startswith("<"):
        # So begins, by convention, what describes an object and does not identify it: <Request GET '/'>.
        raise NoTextError(value, "whose text only describes it")
    if "***" in text or (described and ("..." in text or "\N{HORIZONTAL ELLIPSIS}" in text)):
        raise NoTextError(value, "whose text is cut or masked")
    return text


def _fields(kind: type) -> list[str]:
    """Return the names of the fields by which a dataclass, or a class of attrs, compares; none for any other class."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind) if field.compare]
    return [field.name for field in getattr(kind, "__attrs_attrs__", ()) if field.eq]
