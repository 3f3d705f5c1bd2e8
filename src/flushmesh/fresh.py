"""Fresh: a value from the source of truth, with what is known of it there."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final, Generic, TypeVar

from flushmesh.duration import seconds
from flushmesh.keys import check_key
from flushmesh.values import KEPT, refuse_one_shot

V = TypeVar("V")

# What the wire carries.
VERSION_MAX: Final = 2**64 - 1
# Every tag of an entry is looked at when it is stored and when it goes.
TAGS_MAX: Final = 64


class Fresh(Generic[V]):
    """
    What a loader may return instead of the bare value.

    *ttl* (seconds or timedelta) goes before that of the call and of the cache.  *tags* add to
    those of the call.  *version* grows with every write of the key, as a row's revision does:
    a value older than a flush demands is not kept.  Raises TypeError or ValueError that says
    what is wrong with them, and TypeError for a value that can be read or awaited only once: a
    generator, a cursor, a file, a coroutine.
    """

    __slots__ = ("tags", "ttl", "value", "version")

    def __init__(
        self,
        value: V,
        *,
        ttl: float | timedelta | None = None,
        tags: Iterable[str] = (),
        version: int | None = None,
    ) -> None:
        if type(value) not in KEPT:
            refuse_one_shot(value)
        self.value = value
        self.ttl = None if ttl is None else seconds("ttl", ttl)
        self.tags = check_tags(tags) if tags else ()
        self.version = None if version is None else check_version(version)

    def __repr__(self) -> str:
        return f"Fresh({self.value!r}, ttl={self.ttl}, tags={self.tags}, version={self.version})"


def check_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Return *tags*, each once; raise as `check_key` does, and TypeError for a lone str."""
    if isinstance(tags, str):
        raise TypeError(f'tags: a list of tags, as in tags=["{tags}"], not one str')
    checked = tuple(dict.fromkeys(check_key(tag, "tag") for tag in tags))
    if len(checked) > TAGS_MAX:
        raise ValueError(f"tags: an entry carries at most {TAGS_MAX}, this one has {len(checked)}")
    return checked


def check_version(version: object) -> int:
    """Return *version* if it can be one: a whole number from 0 to VERSION_MAX."""
    if isinstance(version, bool) or not isinstance(version, int):
        raise TypeError(f"version: a whole number that grows with every write, not {version!r}")
    if not 0 <= version <= VERSION_MAX:
        raise ValueError(f"version: from 0 to {VERSION_MAX}, not {version}")
    return version
