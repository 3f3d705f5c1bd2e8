"""
Keys: what can be one, and how they are made from a function's arguments.

A key is text.  A template such as "user:{user_id}" is checked against the function's
signature when the function is decorated, and compiled: calling it costs about what
writing the f-string by hand would.  What it fills in is escaped, so that arguments of
different text cannot meet in one key.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from inspect import Parameter, Signature
from string import Formatter
from typing import Any, Final

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
    if isinstance(key, str) and key.isascii() and 0 < len(key) <= KEY_BYTES_MAX:
        return key  # Nearly all are, and this is a part of every miss.
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
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"a {what} must be encodable as UTF-8, which {text!r} is not") from None
    if size > limit:
        raise ValueError(f"a {what} has at most {limit} bytes, this one has {size}; hash its long part")
    return text


Key = str | Callable[..., str]

# A parameter, then attributes and items: user, user.id, row[name], rows[0].
_FIELD: Final = re.compile(r"(?P<name>[^.\[]*)(?P<path>(\.[^.\[]+|\[[^\]]+\])*)")
_STEP: Final = re.compile(r"\.(?P<attribute>[^.\[]+)|\[(?P<item>[^\]]+)\]")

_PLAIN: Final = (str, int, float, bool, bytes, type(None))


def key_maker(key: Key | None, function: Callable[..., object], what: str = "key") -> Callable[..., str]:
    """
    Return what makes the key of a call of *function* from the call's arguments.

    *key* is a template, or a callable that takes the arguments itself; without one the key
    is made of the function's name and all arguments.  Raises TypeError if *key* does not
    fit the function.
    """
    if key is None:
        return _key_of_everything(function)
    if callable(key):
        return key
    return _compile(_parse(check_key(key, f"{what} template"), function), inspect.signature(function))


def _key_of_everything(function: Callable[..., object]) -> Callable[..., str]:
    signature = inspect.signature(function)
    if getattr(function, "__name__", "<lambda>") == "<lambda>":
        raise TypeError(f'{function!r} has no name to make a key of; say which key, as in key="user:{{user_id}}"')
    name = f"{function.__module__}.{function.__qualname__}"

    def make(*args: object, **kwargs: object) -> str:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return (
            f"{name}({', '.join(f'{which}={_plain(value, which, name)}' for which, value in bound.arguments.items())})"
        )

    return make


def _plain(value: object, which: str, name: str) -> str:
    """Return *value* as text that differs for different values, if its type has such a text."""
    if type(value) in _PLAIN:
        return repr(value)
    if type(value) is tuple:
        return f"({''.join(f'{_plain(item, which, name)},' for item in value)})"
    if type(value) is dict:
        items = (f"{_plain(key, which, name)}: {_plain(item, which, name)}" for key, item in value.items())
        return f"{{{', '.join(sorted(items))}}}"
    raise TypeError(
        f"{name}: {which} is of type {type(value).__name__}, which has no stable text; "
        f'say what tells calls apart, as in key="user:{{{which}.id}}"'
    )


def _parse(template: str, function: Callable[..., object]) -> list[tuple[str, str | None, str]]:
    """Return the parts of *template*: literal text, an expression or None, the character that ends its value."""
    parts: list[tuple[str, str | None, str]] = []
    pieces = list(Formatter().parse(template))
    for index, (literal, field, spec, conversion) in enumerate(pieces):
        if field is None:
            parts.append((literal, None, ""))
            continue
        if spec or conversion:
            raise TypeError(f'key template "{template}": "{field}" takes no format; give the parameter as it is')
        follows = pieces[index + 1] if index + 1 < len(pieces) else None
        end = follows[0][:1] if follows is not None and follows[1] is not None else ""
        if follows is not None and follows[1] is not None and end in ("", "%"):
            wrong = "a percent sign cannot stand" if end else "put text"
            raise TypeError(f'key template "{template}": {wrong} between two fields, or they could run together')
        parts.append((literal, _expression(template, field, function), end))
    return parts


def _expression(template: str, field: str, function: Callable[..., object]) -> str:
    """Return the Python expression of *field*; raise TypeError if it does not begin with a parameter."""
    match = _FIELD.fullmatch(field)
    name = match["name"] if match else field
    parameters = inspect.signature(function).parameters
    if match is None or name not in parameters:
        known = ", ".join(parameters) or "none"
        where = getattr(function, "__qualname__", repr(function))
        raise TypeError(f'key template "{template}": {where} has no parameter "{name}"; it has: {known}')
    expression = name
    for step in _STEP.finditer(match["path"]):
        attribute, item = step["attribute"], step["item"]
        if attribute is not None:
            if not attribute.isidentifier():
                raise TypeError(f'key template "{template}": "{attribute}" is no attribute')
            expression += f".{attribute}"
        else:
            expression += f"[{int(item) if item.isdecimal() else item!r}]"
    return expression


def _compile(parts: list[tuple[str, str | None, str]], signature: Signature) -> Callable[..., str]:
    """
    Return a function with the parameters of *signature* that makes the key.

    Its source holds names of parameters, checked attributes, and literals, and nothing else.
    """
    pieces = []
    for literal, expression, end in parts:
        if literal:
            pieces.append(repr(literal))
        if expression is not None:
            text = f"_flushmesh_str({expression})"
            pieces.append(f"_flushmesh_escaped({text}, {end!r})" if end else text)
    scope: dict[str, Any] = {"_flushmesh_str": str, "_flushmesh_escaped": _escaped}
    source = f"def make({_parameters(signature, scope)}): return {' + '.join(pieces)}"
    exec(source, scope)  # noqa: S102 - as dataclasses and namedtuple do, for their speed
    made: Callable[..., str] = scope["make"]
    return made


def _parameters(signature: Signature, scope: dict[str, Any]) -> str:
    """Return *signature*'s parameters as source; their defaults go to *scope*."""
    written: list[str] = []
    previous: Parameter | None = None
    for parameter in signature.parameters.values():
        kind = parameter.kind
        if previous is not None and previous.kind is Parameter.POSITIONAL_ONLY and kind is not previous.kind:
            written.append("/")
        starred = previous is not None and previous.kind in (Parameter.VAR_POSITIONAL, Parameter.KEYWORD_ONLY)
        if kind is Parameter.KEYWORD_ONLY and not starred:
            written.append("*")
        stars = "*" if kind is Parameter.VAR_POSITIONAL else "**" if kind is Parameter.VAR_KEYWORD else ""
        default = ""
        if parameter.default is not Parameter.empty:
            scope[f"_flushmesh_default_{parameter.name}"] = parameter.default
            default = f"=_flushmesh_default_{parameter.name}"
        written.append(f"{stars}{parameter.name}{default}")
        previous = parameter
    if previous is not None and previous.kind is Parameter.POSITIONAL_ONLY:
        written.append("/")
    return ", ".join(written)


def _escaped(text: str, end: str) -> str:
    """Return *text* without the character *end*, reversibly: both it and the percent sign as their bytes."""
    return text.replace("%", "%25").replace(end, "".join(f"%{byte:02X}" for byte in end.encode()))
