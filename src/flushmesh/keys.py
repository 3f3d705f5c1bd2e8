"""
Keys: what can be one, and how they are made from a function's arguments.

A key is text, and so is a tag.  A subclass of str is taken by its characters: it may hash
or compare in a way of its own, which no peer shares, or hold on to the document it is from.

A template such as "user:{user_id}" is checked against the function's signature when the
function is decorated, and compiled: calling it costs about what writing the f-string by
hand would.  What it fills in is escaped, so that arguments of different text cannot meet
in one key.
"""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature
from pathlib import Path
from string import Formatter
from typing import Any, Final

from flushmesh.functions import called
from flushmesh.text import NoTextError, plain_text, text_of

# Keys are kept in every journal of the mesh and travel to every node.
KEY_BYTES_MAX: Final = 1_024
# Names of meshes, nodes and caches.
NAME_BYTES_MAX: Final = 128


def check_key(key: object, what: str = "key") -> str:
    """
    Return *key*, as a plain str, if it can be a key or a tag.

    Raises TypeError if it is not a str, ValueError if it is empty, longer than
    KEY_BYTES_MAX bytes in UTF-8, or not encodable at all.
    """
    if type(key) is str and key.isascii() and 0 < len(key) <= KEY_BYTES_MAX:
        return key  # Nearly all are, and this is a part of every miss.
    if not issubclass(type(key), str):
        raise TypeError(f'a {what} is a str, not {type(key).__name__}; build one, as in f"user:{{user_id}}"')
    return _check_text(str.__str__(key), what, KEY_BYTES_MAX)


def plain_key(key: str) -> str:
    """Return *key*, which is a str of some kind, as a plain one; anything else as it is, for a check to refuse."""
    return str.__str__(key) if issubclass(type(key), str) else key


def check_name(name: object, what: str) -> str:
    """Return *name*, as a plain str, if it can name a mesh, a node or a cache; raise as `check_key` does."""
    if not issubclass(type(name), str):
        raise TypeError(f"the name of a {what} is a str, not {type(name).__name__}")
    return _check_text(str.__str__(name), f"name of a {what}", NAME_BYTES_MAX)


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

# What the digits of a number may be: one of them after a field has to be escaped in it.
_OF_NUMBERS: Final = tuple("-0123456789")

# Modules whose name depends on how the process was started.
_MAINS: Final = ("__main__", "__mp_main__")


@dataclass(frozen=True, slots=True)
class Spelling:
    """
    The source of a key: the parameters of a function, how to pass them on, and how to make the key.

    `make` takes the `values`, which are expressions over the parameters.  The source holds names of
    parameters, checked attributes, and literals, and nothing else; `scope` is what it refers to.
    """

    parameters: str
    arguments: str
    values: Sequence[str]
    make: Callable[..., str]
    scope: Mapping[str, Any]

    def compile(self, head: str, *body: str, **scope: object) -> Callable[..., Any]:
        """Return the function *head* with these parameters and *body*, which may also refer to *scope*."""
        return _compiled(f"{head}({self.parameters}):", *body, **self.scope, **scope, _flushmesh_make=self.make)


def _compiled(head: str, *body: str, **scope: object) -> Callable[..., Any]:
    code = compile("\n ".join([head, *body]), "<flushmesh>", "exec")
    exec(code, scope)  # noqa: S102 - as dataclasses and namedtuple do, for their speed
    function: Callable[..., Any] = scope[head.partition("(")[0].split()[-1]]  # type: ignore[assignment]
    return function


def key_maker(key: Key | None, function: Callable[..., object], what: str = "key") -> Callable[..., str]:
    """
    Return what makes the key of a call of *function* from the call's arguments.

    *key* is a template, or a callable that takes the arguments itself; without one the key
    is made of the function's name and all arguments.  Raises TypeError if *key* does not
    fit the function.
    """
    if callable(key):
        return lambda *args, **kwargs: plain_key(key(*args, **kwargs))
    spelled = spelling(key, function, what)
    make = spelled.compile("def key", f"return _flushmesh_make({', '.join(spelled.values)})")
    make.__qualname__ = getattr(function, "__qualname__", "key")  # Named where arguments do not fit.
    return called(function).explaining(make)


def listed(templates: Iterable[Key], what: str) -> tuple[Key, ...]:
    if isinstance(templates, str):
        raise TypeError(f'{what}s: a list, as in {what}s=["{templates}"], not one str')
    return tuple(templates)


def spelling(key: str | None, function: Callable[..., object], what: str = "key") -> Spelling:
    """Return the source of the key of a call of *function*; raise as `key_maker` does."""
    signature = called(function).signature
    parameters, arguments, scope = _parameters(signature)
    if key is None:
        values: Sequence[str] = list(signature.parameters)
        make = _of_everything(function, signature)
    else:
        values, make = _filling_in(check_key(key, f"{what} template"), function, signature)
    return Spelling(parameters, arguments, values, make, scope)


def _parameters(signature: Signature) -> tuple[str, str, dict[str, Any]]:
    """Return the parameters of *signature* as source, how to pass them on, and their defaults by name."""
    written: list[str] = []
    passed: list[str] = []
    defaults: dict[str, Any] = {}
    previous: Parameter | None = None
    for parameter in signature.parameters.values():
        kind, name = parameter.kind, parameter.name
        if previous is not None and previous.kind is Parameter.POSITIONAL_ONLY and kind is not previous.kind:
            written.append("/")
        starred = previous is not None and previous.kind in (Parameter.VAR_POSITIONAL, Parameter.KEYWORD_ONLY)
        if kind is Parameter.KEYWORD_ONLY and not starred:
            written.append("*")
        stars = "*" if kind is Parameter.VAR_POSITIONAL else "**" if kind is Parameter.VAR_KEYWORD else ""
        default = ""
        if parameter.default is not Parameter.empty:
            defaults[f"_flushmesh_default_{name}"] = parameter.default
            default = f"=_flushmesh_default_{name}"
        written.append(f"{stars}{name}{default}")
        passed.append(f"{name}={name}" if kind is Parameter.KEYWORD_ONLY else f"{stars}{name}")
        previous = parameter
    if previous is not None and previous.kind is Parameter.POSITIONAL_ONLY:
        written.append("/")
    return ", ".join(written), ", ".join(passed), defaults


# Without a template.


def _of_everything(function: Callable[..., object], signature: Signature) -> Callable[..., str]:
    if getattr(function, "__name__", "<lambda>") == "<lambda>":
        raise TypeError(f'{function!r} has no name to make a key of; say which key, as in key="user:{{user_id}}"')
    name = f"{_module_of(function)}.{function.__qualname__}"

    def plain(which: str, value: object) -> str:
        try:
            return f"{which}={plain_text(value)}"
        except NoTextError as error:
            raise TypeError(
                f'{name}: {which} {error}; say what tells calls apart, as in key="user:{{{which}.id}}"'
            ) from None

    def make(*values: object) -> str:
        return f"{name}({', '.join(map(plain, signature.parameters, values))})"

    for parameter in signature.parameters.values():
        if parameter.default is not Parameter.empty:
            plain(parameter.name, parameter.default)
    return make


def _module_of(function: Callable[..., object]) -> str:
    """
    Return the name of the module of *function*, the same in every process.

    A module that runs as a script is called what it is called where it is imported: the name
    given to `python -m`, or that of its file.
    """
    module = function.__module__
    if module not in _MAINS:
        return module
    place = getattr(function, "__globals__", None) or vars(sys.modules[module])
    spec, file = place.get("__spec__"), place.get("__file__")
    name = spec.name if spec is not None else Path(file).stem if file else "__main__"
    return "__main__" if name in _MAINS else name


# With one.


def _filling_in(
    template: str, function: Callable[..., object], signature: Signature
) -> tuple[Sequence[str], Callable[..., str]]:
    """Return what *template* is filled in with, as expressions, and what fills it in with their values."""
    pattern = ""
    values: list[str] = []
    texts: list[str] = []
    for literal, field, end in _fields(template):
        pattern += literal.replace("%", "%%")
        if field is None:
            continue
        values.append(_expression(template, field, function, signature))
        if field in signature.parameters and signature.parameters[field].default is not Parameter.empty:
            _field_text(signature.parameters[field].default, end, field, template)
        pattern += "%s"
        texts.append(_text(f"value_{len(texts)}", end, field, template))
    names = ", ".join(f"value_{number}" for number in range(len(texts)))
    # The compiler makes of it what it makes of an f-string, whose expressions may not hold every literal.
    source = f"return {pattern!r} % ({', '.join(texts)}{',' if texts else ''})"
    return values, _compiled(f"def make({names}):", source, text=_field_text)


def _fields(template: str) -> list[tuple[str, str | None, str]]:
    """
    Return the parts of *template*: literal text, the field after it or None, the character that ends the field.

    Braces that are written twice are text like any other.
    """
    parts: list[tuple[str, str | None, str]] = []
    literal = ""
    for text, field, spec, conversion in Formatter().parse(template):
        literal += text
        if field is None:
            continue
        if spec or conversion:
            raise TypeError(f'key template "{template}": "{field}" takes no format; give the parameter as it is')
        parts.append((literal, field, ""))
        literal = ""
    parts.append((literal, None, ""))
    # What follows a field ends it, unless the field is the last.
    for index, (before, field, _) in enumerate(parts[:-2]):
        end = parts[index + 1][0][:1]
        if end in ("", "%"):
            wrong = "a percent sign cannot stand" if end else "put text"
            raise TypeError(f'key template "{template}": {wrong} between two fields, or they could run together')
        parts[index] = before, field, end
    return parts


def _expression(template: str, field: str, function: Callable[..., object], signature: Signature) -> str:
    """Return the Python expression of *field*; raise TypeError if it does not begin with a parameter."""
    match = _FIELD.fullmatch(field)
    name = match["name"] if match else field
    parameters = signature.parameters
    if match is None or name not in parameters:
        known = ", ".join(parameters) or "none"
        where = getattr(function, "__qualname__", repr(function))
        raise TypeError(f'key template "{template}": {where} has no parameter "{name}"; it has: {known}')
    expression = name
    for step in _STEP.finditer(match["path"]):
        attribute, item = step["attribute"], step["item"]
        if attribute is not None:
            if not attribute.isidentifier() or keyword.iskeyword(attribute):
                raise TypeError(f'key template "{template}": "{attribute}" is no attribute')
            expression += f".{attribute}"
        else:
            expression += f"[{int(item) if item.isdecimal() else item!r}]"
    return expression


def _text(value: str, end: str, field: str, template: str) -> str:
    """Return the expression of the text of *value*, which passes at once what needs neither care nor escapes."""
    checks = [f"type({value}) is str" + (f" and '%' not in {value} and {end!r} not in {value}" if end else "")]
    if end not in _OF_NUMBERS:
        checks.append(f"type({value}) is int")
    return f"{value} if {' or '.join(checks)} else text({value}, {end!r}, {field!r}, {template!r})"


def _field_text(value: object, end: str, field: str, template: str) -> str:
    """Return the text of *value*, escaped for what follows it; raise TypeError if it has none that identifies it."""
    try:
        text = text_of(value)
    except NoTextError as error:
        raise TypeError(
            f'key template "{template}": {field} {error}; '
            f"name what tells it apart, as in {{{field}.id}}, or give a key that is a callable"
        ) from None
    return _escaped(text, end) if end else text


def _escaped(text: str, end: str) -> str:
    """Return *text* without the character *end*, reversibly: both it and the percent sign as their bytes."""
    return text.replace("%", "%25").replace(end, "".join(f"%{byte:02X}" for byte in end.encode()))
