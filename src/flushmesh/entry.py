"""Entry: one item of a store."""

from __future__ import annotations

from typing import Final, Generic, TypeVar, final

from flushmesh.status import EntryInfo

V = TypeVar("V")


@final
class Miss:
    """The one value that no loader returns."""

    def __repr__(self) -> str:
        return "MISS"


MISS: Final = Miss()


class Entry(Generic[V]):
    """
    One item of a store.

    `loaded_at` is when its load *began*: nothing older than that is in it.  `expires` ends
    its ttl; from `due` on, which is never later, a load should run ahead of that.  `bound` is
    how many seconds it may be served after it was last proven current.  `credited` is how
    many of its `hits` eviction has seen.
    """

    __slots__ = ("bound", "credited", "due", "expires", "hits", "loaded_at", "tags", "value", "version")

    def __init__(
        self,
        value: V,
        loaded_at: float,
        expires: float,
        bound: float,
        due: float | None = None,
        tags: tuple[str, ...] = (),
        version: int | None = None,
    ) -> None:
        self.value = value
        self.loaded_at = loaded_at
        self.expires = expires
        self.due = expires if due is None else due
        self.bound = bound
        self.tags = tags
        self.version = version
        self.hits = 0
        self.credited = 0

    def serves(self, trusted_at: float, now: float) -> bool:
        """Tell whether this may be served at *now*, given that nothing was missing at *trusted_at*."""
        return now < self.expires and now < max(self.loaded_at, trusted_at) + self.bound

    def is_of(self, version: int | None) -> bool:
        """Return whether this is of *version* or a newer one; False without a version."""
        return version is not None and self.version is not None and self.version >= version

    def run_out(self, at: float) -> None:
        """Serve this no longer than until *at*."""
        self.expires = min(self.expires, at)
        self.due = min(self.due, at)

    def describe(self, key: str, trusted_at: float, now: float) -> EntryInfo:
        """Return what an application may want to see of this."""
        unserved = ""
        if now >= self.expires:
            unserved = "expired or flushed"
        elif not self.serves(trusted_at, now):
            unserved = f"not proven current for {now - max(self.loaded_at, trusted_at):.3f} s"
        return EntryInfo(
            key, now - self.loaded_at, max(0.0, self.expires - now), self.tags, self.version, self.hits, unserved
        )
