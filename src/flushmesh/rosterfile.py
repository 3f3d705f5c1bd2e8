"""
The roster file: a mesh's options as TOML, with FLUSHMESH_* variables over it.

Everything that can be wrong with it is one line that names the file and the place, and
says what would be right.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from flushmesh.errors import RosterError
from flushmesh.keys import check_name
from flushmesh.options import CacheOptions, MeshOptions

# What can be written in a file: an object that finds peers, a function or a class can not.
_KEYS: Final = tuple(field.name for field in fields(MeshOptions) if field.name != "discovery")
_CODE_ONLY: Final = ("getsizeof", "policy", "copy")
_CACHE_KEYS: Final = tuple(field.name for field in fields(CacheOptions) if field.name not in _CODE_ONLY)
_TRUTH: Final = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)


def _list(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _whole(text: str) -> object:
    return int(text) if text.isdecimal() else text


def _truth(text: str) -> object:
    # What is neither is refused with the words that the file would get.
    return _TRUTH.get(text.lower(), text)


def _truth_or_list(text: str) -> object:
    return _TRUTH.get(text.lower(), _list(text))


# How the text of a variable becomes what the file would hold.
_VARIABLES: Final[Mapping[str, tuple[str, Callable[[str], object]]]] = {
    # The first: the others are checked one by one, and addresses may need it.
    "FLUSHMESH_INSECURE": ("insecure", _truth),
    "FLUSHMESH_MESH": ("mesh", str),
    "FLUSHMESH_NAME": ("name", str),
    "FLUSHMESH_LISTEN": ("listen", str),
    "FLUSHMESH_PEERS": ("peers", _list),
    "FLUSHMESH_DNS": ("dns", _list),
    "FLUSHMESH_MAX_STALENESS": ("max_staleness", _number),
    "FLUSHMESH_MDNS": ("mdns", _truth_or_list),
    "FLUSHMESH_EXPECT": ("expect", _whole),
}


def truth(variable: str, environ: Mapping[str, str]) -> bool:
    """Return whether *variable* says yes in *environ*, no if it is not there; raise RosterError if it says neither."""
    value = _truth(environ.get(variable) or "no")
    if not isinstance(value, bool):
        raise RosterError(f"{variable}: 1 or 0, yes or no, true or false, not {value!r}")
    return value


def read_roster(path: str | os.PathLike[str], environ: Mapping[str, str], place: Path | None = None) -> MeshOptions:
    """
    Return the options that the file at *path* and the variables in *environ* hold; raise RosterError.

    *place* is where *path* leads, if the process may have changed its directory.
    """
    try:
        table: dict[str, object] = tomllib.loads((place or Path(path)).read_text(encoding="utf-8"))
    except OSError as error:
        raise RosterError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise RosterError(f"{path}: not UTF-8, as TOML must be") from None
    except tomllib.TOMLDecodeError as error:
        raise RosterError(f"{path}: not TOML: {error}") from None
    overrides = {variable: _VARIABLES[variable] for variable in _VARIABLES if variable in environ}
    # What a variable overrides does not count in the file, not even as a mistake or a gap.
    overridden = {key for key, _ in overrides.values()}
    merged = {key: value for key, value in table.items() if key not in overridden}
    if "mesh" in overridden:
        merged["mesh"] = environ["FLUSHMESH_MESH"] or "-"
    options = _options(merged, str(path))
    for variable, (key, value_of) in overrides.items():
        merged[key] = value_of(environ[variable])
        options = _options(merged, variable)
    return options


def _options(table: Mapping[str, object], blamed: str) -> MeshOptions:
    try:
        _check_keys(table, _KEYS, "")
        if "mesh" not in table:
            raise ValueError('mesh: missing; write mesh = "name", the same on every node')
        return MeshOptions(**{**table, "caches": _caches(table.get("caches", {}))})  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise RosterError(f"{blamed}: {error}") from None


def _caches(table: object) -> dict[str, dict[str, object]]:
    if not isinstance(table, dict):
        raise TypeError("caches: one table for each cache, as in [caches.users]")
    caches = {}
    for name, options in table.items():
        check_name(name, "cache")
        if not isinstance(options, dict):
            raise TypeError(f"caches.{name}: a table, as in [caches.{name}]")
        _check_keys(options, _CACHE_KEYS, f"caches.{name}: ")
        caches[name] = options
    return caches


def _check_keys(table: Mapping[str, object], known: tuple[str, ...], place: str) -> None:
    for key in table:
        if key not in known:
            close = get_close_matches(key, known, 1)
            hint = f'did you mean "{close[0]}"?' if close else f"known keys: {', '.join(known)}"
            raise ValueError(f'{place}unknown key "{key}"; {hint}')
