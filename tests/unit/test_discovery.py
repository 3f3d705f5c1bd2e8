"""Whatever an application brings along to find peers, checked."""

import logging

import pytest

from flushmesh import Discovery, Mesh
from flushmesh.discovery import by_source
from flushmesh.discovery.proposals import Proposals
from flushmesh.rosterfile import read_roster


class Found:
    source = "consul"
    settles_after = 0.0

    async def run(self, announcement, propose):
        propose([])


def without(name, value=None):
    found = Found()
    setattr(found, name, value)
    return found


@pytest.mark.parametrize(
    ("discovery", "error", "words"),
    [
        (Found, TypeError, "discovery[0]: an object, not the class Found; call it"),
        (object(), TypeError, "discovery[0]: a Discovery has a source, its name as a str; this object has none"),
        (without("settles_after"), TypeError, "discovery[0]: a Discovery has settles_after, a number of seconds"),
        (without("settles_after", -1), ValueError, "discovery[0]: settles_after: seconds, 0 or more, not -1"),
        (without("names", 1), TypeError, "discovery[0]: names of a Discovery is true or false, not 1"),
        (without("passing", "no"), TypeError, "discovery[0]: passing of a Discovery is true or false, not 'no'"),
        (without("run"), TypeError, "discovery[0]: a Discovery has async def run(announcement, propose)"),
        (without("run", print), TypeError, "discovery[0]: a Discovery has async def run(announcement, propose)"),
    ],
)
def test_what_is_no_discovery_is_refused_at_once(discovery, error, words):
    """The message says what is missing, before anything has started."""
    with pytest.raises(error) as caught:
        Mesh("m", discovery=[discovery])

    assert str(caught.value).startswith(words)


def test_what_a_discovery_says_of_its_proposals_reaches_the_node():
    """A roster and an application's own hold the proof, DNS may be behind, mDNS only hints."""
    from flushmesh.discovery.dns import Dns
    from flushmesh.discovery.mdns import Mdns
    from flushmesh.discovery.roster import Roster
    from flushmesh.net.driver import _source_of
    from flushmesh.protocol.trust import Source

    found = Found(), without("names", value=False), without("passing", value=True)
    kinds = [_source_of(each) for each in (Roster(tuple), Dns("n:1"), Mdns(()), *found)]

    assert kinds == [
        Source(),
        Source(passing=True),
        Source(settles_after=2.0, names=False),
        Source(),
        Source(names=False),
        Source(passing=True),
    ]


def test_one_discovery_is_a_list_too():
    """An object that is not in a list is told apart from a list of none."""
    with pytest.raises(TypeError, match=r"^discovery: a list of objects that find addresses, not a Found"):
        Mesh("m", discovery=Found())


def test_a_file_cannot_hold_a_discovery(tmp_path):
    """The roster file does not know the key."""
    (tmp_path / "x.toml").write_text('mesh = "m"\ndiscovery = []')
    with pytest.raises(ValueError, match='unknown key "discovery"'):
        read_roster(tmp_path / "x.toml", {})


def test_mdns_is_for_those_who_are_told_of_nothing_else():
    """Without peers, dns and discovery it is on, with any of them off, unless a word decides."""
    assert Mesh("m").options.uses_mdns
    for others in ({"peers": ["127.0.0.1:1"]}, {"dns": ["localhost:1"]}, {"discovery": [Found()]}):
        assert not Mesh("m", **others).options.uses_mdns
        assert Mesh("m", **others, mdns=["lo"]).options.uses_mdns
    assert not Mesh("m", mdns=False).options.uses_mdns


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"mdns": "eth0"}, TypeError, "mdns: true or false, or a list of interfaces, not 'eth0'"),
        ({"mdns": []}, ValueError, "mdns: interfaces by name or address, as in eth0 or 10.0.0.5; true for all"),
        ({"mdns": [5]}, TypeError, r"mdns\[0\]: a string, not 5"),
        (
            {"dns": "shop:1"},
            TypeError,
            "dns: a list of names, each with a port, as in shop.internal:7946, not 'shop:1'",
        ),
        ({"dns": ["shop"]}, ValueError, r'dns\[0\]: "shop" has no port'),
        ({"dns": ["shop:1"]}, ValueError, r'dns\[0\]: "shop:1" is beyond this machine'),
    ],
)
def test_a_mistake_is_named(options, error, words):
    """What is wrong and what would be right; a name other than localhost may stand for anything."""
    with pytest.raises(error, match=f"^{words}"):
        Mesh("m", **options)


def test_variables_give_names_and_interfaces(tmp_path):
    """FLUSHMESH_DNS and FLUSHMESH_MDNS are lists separated by commas; mdns may also be yes or no."""
    (tmp_path / "x.toml").write_text('mesh = "m"\nmdns = ["lo"]\ndns = ["localhost:1"]')

    def read(**environ):
        options = read_roster(tmp_path / "x.toml", environ)
        return list(options.dns), options.uses_mdns, list(options.mdns_interfaces)

    assert read() == (["localhost:1"], True, ["lo"])
    assert read(FLUSHMESH_DNS="localhost:2, localhost:3", FLUSHMESH_MDNS="eth0, 10.0.0.5") == (
        ["localhost:2", "localhost:3"], True, ["eth0", "10.0.0.5"],
    )  # fmt: skip
    assert read(FLUSHMESH_MDNS="off") == (["localhost:1"], False, [])


def test_two_of_one_name_are_told_apart():
    """Neither takes back what the other has proposed."""
    a, b, c = Found(), Found(), without("source", "consul (2)")

    assert by_source([a, b, c]) == {"consul": a, "consul (2)": b, "consul (2) (2)": c}


def test_what_is_no_address_is_left_out_and_logged_once(caplog):
    """The sound addresses count; the others are logged again only after they were away."""
    caplog.set_level(logging.WARNING, "flushmesh")
    proposals = Proposals("consul")
    mixed = ["10.0.0.5:1", "10.0.0.6", 5, "10.0.0.7:1-2", "[fd00::5]:1"]

    for _ in range(3):
        assert proposals.sound(mixed) == ["10.0.0.5:1", "[fd00::5]:1"]
    assert [record.getMessage() for record in caplog.records] == [
        'consul proposes what is left out: "10.0.0.6" has no port; write host:port or host:first-last',
        "consul proposes what is left out: 5; an address is a str, as in 10.0.0.5:7946",
        'consul proposes what is left out: "10.0.0.7:1-2"; one address at a time, as in 10.0.0.7:1',
    ]

    proposals.sound([])
    proposals.sound([5])
    assert len(caplog.records) == 4


@pytest.mark.parametrize("wrong", ["10.0.0.5:1", None, 5])
def test_what_is_no_collection_is_refused(wrong):
    """A single address in place of a list would be taken for its letters."""
    with pytest.raises(TypeError, match="^propose: a list of addresses, not"):
        Proposals("consul").sound(wrong)


def test_the_protocol_is_public():
    """A class is a Discovery to a type checker by its shape alone."""
    found: Discovery = Found()

    assert found.source == "consul"
