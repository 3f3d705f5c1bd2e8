"""
The source of truth: one table of settings, in SQLite or PostgreSQL.

Every call blocks for as long as the database takes, so an event loop calls it in a thread.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, create_engine, insert, select, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

NAME_MAX: Final = 60
VALUE_MAX: Final = 200

# How long SQLite waits for another instance that is writing, in seconds.
BUSY_MAX: Final = 5.0

BANNERS: Final = (
    "Free returns until the end of January",
    "Two for one on all notebooks",
    "New in: the winter collection",
    "Order before noon, sent today",
    "Members save another 10 %",
    "Gift wrapping is on us this week",
)
THRESHOLDS: Final = ("€ 20", "€ 25", "€ 35", "€ 40", "€ 50", "€ 60", "€ 75")

_metadata = MetaData()
_settings = Table(
    "settings",
    _metadata,
    Column("name", String(NAME_MAX), primary_key=True),
    Column("value", String(VALUE_MAX), nullable=False),
)


class DatabaseUnusable(Exception):  # noqa: N818 - a state, and words for a person to read
    """The database is gone, locked or not what it was; the words are for a person."""


class NameTaken(Exception):  # noqa: N818 - what happened
    """There is a setting of that name already."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is a setting “{name}” already; choose another name.")


class Database:
    """
    The settings in the database at *url*.

    Only `prepare` creates anything: a database that vanishes is reported, not silently made anew.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        with _in_words():
            self._engine = _make_engine(url, create=False)

    def prepare(self) -> None:
        """Create the table, and fill it with a few settings if it is empty."""
        with _in_words():
            engine = _make_engine(self._url, create=True)
            try:
                if engine.dialect.name == "sqlite":
                    with engine.connect() as connection:
                        # Readers then never wait for a writer; the file remembers it.
                        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                _metadata.create_all(engine)
                with engine.begin() as connection:
                    if connection.execute(select(_settings.c.name).limit(1)).first() is None:
                        _put(connection, suggest({}))
            finally:
                engine.dispose()

    def read(self) -> dict[str, str]:
        """Return every setting, by name."""
        with _in_words(), self._engine.connect() as connection:
            rows = connection.execute(select(_settings).order_by(_settings.c.name))
            return {row.name: row.value for row in rows}

    def save(self, values: Mapping[str, str]) -> None:
        """Write *values*, all or none, over whatever is there."""
        with _in_words():
            try:
                with self._engine.begin() as connection:
                    _put(connection, values)
            except IntegrityError:
                # Somebody else has inserted the same name since the update found none; now it finds one.
                with self._engine.begin() as connection:
                    _put(connection, values)

    def add(self, name: str, value: str) -> None:
        """Write one new setting; raise NameTaken if it is not new."""
        with _in_words():
            try:
                with self._engine.begin() as connection:
                    connection.execute(insert(_settings).values(name=name, value=value))
            except IntegrityError:
                raise NameTaken(name) from None

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()


def suggest(current: Mapping[str, str]) -> dict[str, str]:
    """Return new values for the shop's own settings, each other than in *current*."""
    begins = date.today() + timedelta(days=random.randint(3, 60))  # noqa: DTZ011 - a date for people here
    ends = begins + timedelta(days=random.randint(2, 14))
    return {
        "Banner": _other(BANNERS, current.get("Banner")),
        "Free shipping from": _other(THRESHOLDS, current.get("Free shipping from")),
        "Sale begins": f"{begins:%a} {begins.day} {begins:%b %Y}, {random.randint(6, 11):02}:00",
        "Sale ends": f"{ends:%a} {ends.day} {ends:%b %Y}, {random.randint(18, 23)}:59",
    }


def _other(choices: tuple[str, ...], current: str | None) -> str:
    return random.choice([choice for choice in choices if choice != current])


def _put(connection: Connection, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        changed = connection.execute(update(_settings).where(_settings.c.name == name).values(value=value))
        if changed.rowcount == 0:
            connection.execute(insert(_settings).values(name=name, value=value))


def _make_engine(url: str, *, create: bool) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        # The check before use costs a round trip and survives a database that was restarted.
        return create_engine(parsed, pool_pre_ping=True)
    if not parsed.database or parsed.database == ":memory:":
        raise ArgumentError("processes cannot share SQLite in memory; name a file, as in sqlite:///settings.db")
    file = f"file:{quote(str(Path(parsed.database).absolute()))}"
    # A connection that is kept would go on reading a file that has been deleted.
    return create_engine(
        parsed.set(database=file, query={"uri": "true", "mode": "rwc" if create else "rw"}),
        poolclass=NullPool,
        connect_args={"timeout": BUSY_MAX},
    )


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        reason = str(error.orig).strip().partition("\n")[0]
        raise DatabaseUnusable(f"The database cannot be used: {reason}.") from error
    except (SQLAlchemyError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise DatabaseUnusable(f"The database cannot be used: {reason}.") from error
