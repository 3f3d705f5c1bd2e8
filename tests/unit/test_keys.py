"""Keys and key templates."""

from importlib.machinery import ModuleSpec

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flushmesh.keys import check_key, check_name, key_maker


def load(tenant, user, *, verbose=False):
    """Stand for any function."""


def test_a_template_fills_in_arguments():
    """Positional, named and default arguments alike."""
    template = key_maker("{tenant}:user:{user}:{verbose}", load)

    assert template("t", 1) == template(user=1, tenant="t") == "t:user:1:False"


def test_attributes_and_items_can_be_named():
    """Fields reach into arguments as str.format does."""

    class User:
        id = 7

    assert key_maker("{tenant[name]}/{user.id}", load)({"name": "t"}, User()) == "t/7"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("user:{user_id}", r'load has no parameter "user_id"; it has: tenant, user, verbose'),
        ("user:{}", r'no parameter ""'),
        ("user:{0}", r'no parameter "0"'),
        ("user:{user!r}", "takes no format"),
        ("user:{user:>5}", "takes no format"),
        ("{tenant}{user}", "put text between two fields"),
        ("{tenant}%{user}", "a percent sign cannot stand between two fields"),
        ("{tenant}:{user}%-{verbose}", "a percent sign cannot stand between two fields"),
        ("{user.class}", '"class" is no attribute'),
    ],
)
def test_a_wrong_template_is_refused_when_decorating(template, words):
    """A template that cannot work says so at once, and what would."""
    with pytest.raises(TypeError, match=words):
        key_maker(template, load)


@given(st.lists(st.text(st.sampled_from("a:%-3A"), min_size=0, max_size=4), min_size=4, max_size=4))
def test_different_texts_never_give_one_key(texts):
    """Whatever the values contain, two calls share a key only if their arguments are the same."""
    template = key_maker("user:{tenant}:{user}", load)
    tenant, user, other_tenant, other_user = texts

    same = (tenant, user) == (other_tenant, other_user)
    assert (template(tenant, user) == template(other_tenant, other_user)) is same


# Separators of one byte and of several, alone and as the beginning of more, and in one another's bytes.
TEMPLATES = [
    "{tenant}:{user}:{verbose}",
    "{tenant}--{user}-{verbose}",
    "{tenant}│{user}é{verbose}",
    "{tenant}€{user}:{verbose}",
    "%{tenant}:%{user}2{verbose}",
    "{tenant}A{user}🔥{verbose}",
    "{tenant}{{{user}}}{verbose}",
    "{tenant}{{}}{user}:{{{verbose}",
    "{tenant}0{user}-{verbose}",
    "{tenant}\n{user}'{verbose}",
]


@pytest.mark.parametrize("template", TEMPLATES)
@given(data=st.data())
@settings(max_examples=60)
def test_different_texts_never_give_one_key_whatever_separates_them(template, data):
    """Separators beyond ASCII are escaped as reversibly as a colon."""
    key = key_maker(template, load)
    # Texts of what separators and their escapes are made of meet most easily.
    alphabet = ":-│é€🔥%0258ABCEF3{}\n'D7"
    text = st.one_of(
        st.text(st.sampled_from(alphabet), max_size=4),
        st.sampled_from(["%3A", "%2", "%02", "%2502", "%E2%94%82", "%E2", "%C3%A9", "%82", "%E2%82%AC", "%41", ""]),
    )
    one, other = [data.draw(st.tuples(text, text, text)) for _ in range(2)]

    keys = [key(tenant, user, verbose=verbose) for tenant, user, verbose in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)


@pytest.mark.parametrize(
    ("template", "one", "other"),
    [
        ("{tenant}│{user}", ("│", "x"), ("%02", "x")),
        ("{tenant}│{user}", ("│", "x"), ("%E2%94%82", "x")),
        ("{tenant}é{user}", ("aé", "b"), ("a", "éb")),
        ("{tenant}:{user}", (":", "x"), ("%3A", "x")),
        ("{tenant}:{user}", ("a:b", "c"), ("a", "b:c")),
        ("{tenant}{{{user}", ("x{y", "z"), ("x", "y{z")),
        ("{tenant}}}{user}", ("x}y", "z"), ("x", "y}z")),
        ("{tenant}{{}}:{user}", ("x{}:y", "z"), ("x", "y{}:z")),
        ("{tenant}-{user}", (-1, 1), ("", "1-1")),
        ("{tenant}1{user}", (11, 1), (1, 11)),
    ],
)
def test_texts_that_were_made_to_meet_do_not(template, one, other):
    """A value that looks like another value's escape is escaped itself."""
    key = key_maker(template, load)

    assert key(*one) != key(*other)


def test_an_ordinary_value_stands_as_it_is():
    """The key of a one-field template is what one would write by hand."""
    assert key_maker("user:{user}", load)("t", "a:b%c") == "user:a:b%c"


def test_a_key_that_grows_too_long_is_refused():
    """The bound on keys is checked where keys are used, which is every way in."""
    with pytest.raises(ValueError, match="at most 1024 bytes"):
        check_key(key_maker("user:{user}", load)("t", "x" * 2000))


def test_every_kind_of_parameter_can_be_used():
    """A key is called exactly as the function is, with its defaults."""

    def function(a, /, b, c=3, *rest, d, e=5, **more):
        """Stand for a function with everything."""

    key = key_maker("{a}:{b}:{c}:{rest}:{d}:{e}:{more}", function)

    assert key(1, 2, d=4) == "1:2:3:():4:5:{}"
    assert key(1, 2, 30, 40, d=4, e=50, f=60) == "1:2:30:(40,):4:50:{'f': 60}"
    for wrong in (lambda: key(1, 2), lambda: key(a=1, b=2, d=4), lambda: key()):
        with pytest.raises(TypeError):
            wrong()


def test_a_default_that_changes_is_the_functions_own():
    """Defaults are the very objects of the function, whose text counts at the call."""

    class Region:
        name = "north"

        def __str__(self):
            return self.name

    region = Region()

    def function(a=region):
        """Stand for a function with an odd default."""

    key = key_maker("k:{a}", function)
    region.name = "south"

    assert key() == "k:south"


def test_a_default_that_cannot_be_a_part_of_a_key_is_refused_when_decorating():
    """What is known before any call is said before any call, with and without a template."""

    marker = object()

    def function(a=marker):
        """Stand for a function whose default has no text."""

    for key in (None, "k:{a}"):
        with pytest.raises(TypeError, match="a is of type object, which has no stable text"):
            key_maker(key, function)
    assert key_maker("k:{b}", lambda b, a=marker: b)(1) == "k:1"


def test_a_callable_makes_the_key_itself():
    """Whatever a template cannot say, a function can."""
    assert key_maker(lambda tenant, user: f"{user}@{tenant}", load)("t", "u") == "u@t"


def test_without_a_key_everything_counts():
    """Module, name and every argument, defaults included, tell calls apart, and so do types."""
    key = key_maker(None, load)

    assert key("t", 1) == key(user=1, tenant="t", verbose=False)
    keys = [key("t", user) for user in (1, "1", True, 1.0, None, "None", b"1", (1,), ("1",), (1, (2,)))]
    assert len(set(keys)) == len(keys)
    assert key("t", 1).startswith(f"{__name__}.load(")


def test_without_a_key_an_argument_without_stable_text_is_refused():
    """An object's text may hold its address, or nothing that tells it apart; `self` is such an object."""

    class Users:
        def load(self, user):
            """Stand for a method."""

    with pytest.raises(TypeError, match=r'self is of type Users, which has no stable text; .*key="user:{self.id}"'):
        key_maker(None, Users.load)(Users(), 1)


@pytest.mark.parametrize("name", ["", "x" * 129, 5])
def test_names_are_bounded(name):
    """A name is a str of 1 to 128 bytes."""
    with pytest.raises((ValueError, TypeError)):
        check_name(name, "cache")


class Folded(str):
    """Hashes and compares in a way of its own."""

    __slots__ = ("document",)

    def __hash__(self):
        return hash(self.lower())

    def __eq__(self, other):
        return self.lower() == other.lower()

    def __str__(self):
        return self

    def __radd__(self, other):
        return Folded("added")

    def __format__(self, spec):
        return "formatted"


def test_a_key_is_a_plain_str():
    """A subclass of str is its characters, whatever it makes of itself."""
    keys = [
        check_key(Folded("User:1")),
        check_key(Folded("é")),
        check_name(Folded("User:1"), "cache"),
        key_maker("{user}", load)("t", Folded("User:1")),
        key_maker("{tenant}:{user}", load)(Folded("a:b"), Folded("User:1")),
    ]

    assert [type(key) for key in keys] == [str] * len(keys)
    assert [*map(str.__str__, keys)] == ["User:1", "é", "User:1", "User:1", "a%3Ab:User:1"]


def test_a_template_without_fields_is_the_key_itself():
    """Braces and percent signs that are meant stand once."""
    assert key_maker("{{100%s}}", load)("t", 1) == "{100%s}"


@pytest.mark.parametrize("name", ["__main__", "__mp_main__"])
@pytest.mark.parametrize(
    ("place", "module"),
    [
        ({"__file__": "/srv/app/shop.py", "__spec__": None}, "shop"),
        ({"__file__": "/srv/app/shop.py", "__spec__": ModuleSpec("app.shop", None)}, "app.shop"),
        ({"__file__": "/srv/app.pyz/__main__.py", "__spec__": ModuleSpec("__main__", None)}, "__main__"),
        ({}, "__main__"),
    ],
)
def test_a_script_has_the_name_of_its_module(name, place, module):
    """What runs as a script gives the keys that it gives where it is imported, also in a spawned process."""
    scope = {"__name__": name, **place}
    exec("def load_user(user_id): ...", scope)

    assert key_maker(None, scope["load_user"])(1) == f"{module}.load_user(user_id=1)"
