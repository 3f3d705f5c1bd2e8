"""Text: what tells one argument from another in a key, and what cannot."""

import array
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import io
import ipaddress
import pathlib
import re
import reprlib
import subprocess
import sys
import threading
import types
import uuid
import weakref
from typing import NamedTuple
from unittest import mock

import numpy
import pytest

from flushmesh.text import plain_text, text_of


class Tenant:
    """Has no text of its own."""

    def __init__(self, name="t"):
        self.name = name


class Named(Tenant):
    """Has one."""

    def __str__(self):
        return self.name


class Described(Tenant):
    """Has a repr alone."""

    def __repr__(self):
        return f"Described({self.name!r})"


class Kind(str, enum.Enum):  # noqa: UP042 - as one wrote it before there was StrEnum
    USER = "user"


class Level(enum.IntEnum):
    LOW = 1


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    secret: object = dataclasses.field(default=0, repr=False)
    seen: dict = dataclasses.field(default_factory=dict, compare=False)


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


class Pair(NamedTuple):
    a: object
    b: object


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (1, "1"),
        (-1, "-1"),
        (True, "True"),
        (1.5, "1.5"),
        (1 + 2j, "(1+2j)"),
        (None, "None"),
        (b"a", "b'a'"),
        (Kind.USER, "user"),
        (Level.LOW, "1"),
        (Colour.RED, "Colour.RED"),
        (Rights.READ | Rights.WRITE, "Rights.READ|WRITE"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime.date(2024, 1, 2), "2024-01-02"),
        (datetime.timedelta(seconds=1), "0:00:01"),
        (decimal.Decimal("1.10"), "1.10"),
        (pathlib.PurePosixPath("/a"), "/a"),
        (ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        (numpy.int64(5), "5"),
        (numpy.float64(0.5), "0.5"),
        (numpy.str_("a"), "a"),
        (Named("north"), "north"),
        (Described("north"), "Described('north')"),
        ((), "()"),
        ((1,), "(1,)"),
        ((1, "a"), "(1, 'a')"),
        ([1, ["a"]], "[1, ['a']]"),
        ({"b": 1, "a": (None,)}, "{'a': (None,), 'b': 1}"),
        (Pair(1, "x"), "(1, 'x')"),
        ([Named("a', 'b")], """[Named("a', 'b")]"""),
        (Point(1), "Point(x=1, secret=0)"),
        (ValueError("wrong"), "wrong"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_has_the_text_that_identifies_it(value, text):
    """Plain values, what contains them, and objects with a text of their own; always a plain str."""
    assert text_of(value) == text
    assert type(text_of(value)) is str


WITHOUT = [
    Tenant(),
    Named(f"<Tenant at {hex(id(Tenant))}>"),
    [Tenant()],
    (1, {"a": Tenant()}),
    Point(1, Tenant()),
    {1, 2},
    frozenset(),
    {"a": {1}},
    [1].__iter__(),
    (number for number in ()),
    map(str, ()),
    {}.keys(),
    len,
    Tenant.__init__,
    Tenant("x").__init__,
    lambda: None,
    functools.partial(len),
    re.compile("a" * 300),
    range(3),
    slice(1),
    bytearray(b"a"),
    memoryview(b"a"),
    array.array("d", [1.0]),
    numpy.zeros(3),
    numpy.zeros(2000),
    numpy.array(1),
    collections.deque([1]),
    types.SimpleNamespace(a=1),
    io.StringIO(),
    threading.Lock(),
    threading.current_thread(),
    weakref.ref(Tenant),
    Tenant,
    mock.Mock(),
    mock.MagicMock(),
    object(),
]


@pytest.mark.parametrize("value", WITHOUT, ids=lambda value: type(value).__name__)
def test_a_value_without_a_text_that_identifies_it_is_refused(value):
    """Addresses, sets, arrays, what may be cut, what runs: none is told apart by its text in every process."""
    with pytest.raises(TypeError, match="is of type .*, (which has no stable|a collection, whose|whose) text"):
        text_of(value)


class Long(Tenant):
    """Shows the beginning of what it is."""

    def __repr__(self):
        return f"Long({reprlib.repr(self.name)})"


class Request(Tenant):
    """Says what it is, and not whose."""

    def __repr__(self):
        return "<Request GET '/me'>"


class Masked(Tenant):
    """Shows nothing of a secret."""

    def __str__(self):
        return "**********"


class Counted(Tenant):
    """Shows its identity as a number."""

    def __str__(self):
        return f"tenant {id(self)}"


class Hexadecimal(Tenant):
    """Shows its identity as debuggers do."""

    def __repr__(self):
        return f"<Hexadecimal {id(self):X}>"


@pytest.mark.parametrize(
    "value", [Long("x" * 100), Request(), Masked(), Counted(), Hexadecimal()], ids=lambda value: type(value).__name__
)
def test_a_text_that_looks_like_none_is_refused(value):
    """A class may write its text itself, and still cut it or show where the object lies."""
    with pytest.raises(TypeError, match="whose text (is cut or masked|only describes it|holds an address)"):
        text_of(value)


def test_a_container_of_itself_is_refused():
    """Its text would have no end."""
    items = []
    items.append(items)

    with pytest.raises(TypeError, match="is of type list, whose text has no end"):
        text_of(items)


def test_fields_that_a_class_of_attrs_does_not_show_count():
    """What attrs makes is taken by its fields, like a dataclass."""

    class Row:
        __attrs_attrs__ = tuple(types.SimpleNamespace(name=name, eq=name != "c") for name in ("a", "hidden", "c"))

        def __init__(self, hidden):
            self.a, self.hidden = 1, hidden

        def __repr__(self):
            return "Row(a=1)"

    assert text_of(Row("x")).endswith("Row(a=1, hidden='x')")
    assert text_of(Row("x")) != text_of(Row("y"))


def test_a_text_of_its_own_may_hold_dots():
    """Only what is written for debugging is suspected of being cut."""
    assert text_of(Named("and so on ...")) == "and so on ..."


def test_equal_dicts_have_one_text():
    """The order in which keyword arguments were given does not count."""
    assert text_of({"a": 1, "b": 2}) == text_of({"b": 2, "a": 1})


def test_fields_that_a_dataclass_does_not_show_count():
    """Objects that differ in a field with repr=False differ in their text."""
    assert text_of(Point(1, "a")) != text_of(Point(1, "b"))


def test_parts_of_a_container_do_not_run_together():
    """Text inside a container is quoted."""
    texts = [["a, b"], ["a", "b"], ["a', 'b"], [Named("a"), "b"], ["Named('a')", "b"], [1], ["1"], [True], [(1,)]]

    assert len({text_of(value) for value in texts}) == len(texts)


def test_a_proxy_has_the_text_of_what_it_stands_for():
    """A proxy claims the class of its object, and is asked for its text like any other."""

    class Proxy:
        __class__ = property(lambda self: str)

        def __str__(self):
            return "user"

    assert text_of(Proxy()) == "user"


def test_bytes_have_a_text_under_strict_python():
    """With `python -bb`, where str(b"") raises, the key of bytes is made without it."""
    code = "from flushmesh.text import text_of; print(text_of(b'a'), text_of([b'a']))"
    done = subprocess.run([sys.executable, "-bb", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "b'a' [b'a']\n"


@pytest.mark.parametrize("value", [*WITHOUT, Named("n"), Kind.USER, Point(1), [1], decimal.Decimal(1)], ids=repr)
def test_only_plain_values_have_a_text_without_a_template(value):
    """Where types count, there is a text for exact types alone."""
    with pytest.raises(TypeError, match="which has no stable text"):
        plain_text(value)


def test_types_tell_plain_values_apart():
    """1, 1.0, True and "1" are four."""
    values = [1, 1.0, True, "1", b"1", None, "None", (1,), (1.0,), ("1",), (), {"a": 1}, {"a": True}]

    assert len({plain_text(value) for value in values}) == len(values)
