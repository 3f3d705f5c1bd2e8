"""
Keys, and the templates that make them from a function's arguments.

A key is text.  A template such as "user:{user_id}" is checked against the function's
signature when the function is decorated, and what it fills in is escaped, so that
different arguments cannot meet in one key.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from string import Formatter
from typing import Final

# Keys are kept in every journal of the mesh and travel to every node.
KEY_BYTES_MAX: Final = 1_024
# Names of meshes, nodes and caches.
NAME_BYTES_MAX: Final = 128


def check_key(key: object, what: str = "key") -> str:
    """
    Return *key* if it can be a key or a tag.

    Raises TypeError if it is not a str, ValueError if it is empty, longer than
    KEY_BYTES_MAX bytes in UTF-8, or not encodable at all.
    """
    if not isinstance(key, str):
        raise TypeError(f'a {what} is a str, not {type(key).__name__}; build one, as in f"user:{{user_id}}"')
    return _check_text(key, what, KEY_BYTES_MAX)


def check_name(name: object, what: str) -> str:
    """Return *name* if it can name a mesh, a node or a cache; raise as `check_key` does."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a {what} is a str, not {type(name).__name__}")
    return _check_text(name, f"name of a {what}", NAME_BYTES_MAX)


def _check_text(text: str, what: str, limit: int) -> str:
    if not text:
        raise ValueError(f"a {what} cannot be empty")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"a {what} must be encodable as UTF-8, which {text!r} is not") from None
    if size > limit:
        raise ValueError(f"a {what} has at most {limit} bytes, this one has {size}; hash its long part")
    return text


class KeyTemplate:
    """
    A template that turns the arguments of one function into a key.

    Fields are parameter names, with attributes and items as in `str.format`.  In a value
    that more fields follow, the character that ends it is escaped with a percent sign, so
    that different texts never give one key; the last value stands as it is.
    """

    def __init__(self, template: str, function: Callable[..., object]) -> None:
        self._template = check_key(template, "key template")
        self._signature = inspect.signature(function)
        self._function = getattr(function, "__qualname__", repr(function))
        self._parts = [self._part(*part) for part in Formatter().parse(template)]
        following = [literal for literal, field in self._parts[1:] if field is not None]
        if "" in following:
            raise TypeError(f'key template "{template}": put text between two fields, or they could run together')
        self._ends = [literal[0] for literal in following]
        if "%" in self._ends:
            raise TypeError(f'key template "{template}": a percent sign cannot stand between two fields')

    def __call__(self, *args: object, **kwargs: object) -> str:
        """Return the key for a call with these arguments; raises TypeError as the call itself would."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        ends = iter(self._ends)
        key = ""
        for literal, field in self._parts:
            key += literal
            if field is not None:
                value, _ = Formatter().get_field(field, (), bound.arguments)
                key += _escaped(str(value), next(ends, None))
        return check_key(key)

    def _part(
        self, literal: str, field: str | None, spec: str | None, conversion: str | None
    ) -> tuple[str, str | None]:
        """Check one part of the template and return its literal text and its field."""
        if field is None:
            return literal, None
        if spec or conversion:
            raise TypeError(f'key template "{self._template}": "{field}" takes no format; give the parameter as it is')
        name = field.partition(".")[0].partition("[")[0]
        if name not in self._signature.parameters:
            parameters = ", ".join(self._signature.parameters) or "none"
            raise TypeError(
                f'key template "{self._template}": {self._function} has no parameter "{name}"; it has: {parameters}'
            )
        return literal, field


def _escaped(text: str, end: str | None) -> str:
    """Return *text* without the character *end*, reversibly: both it and the percent sign as their bytes."""
    if end is None:
        return text
    return text.replace("%", "%25").replace(end, "".join(f"%{byte:02X}" for byte in end.encode()))
