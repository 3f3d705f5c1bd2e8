"""The roster file and the options behind it: every mistake is one line that names the place."""

import re

import pytest

from flushmesh import Mesh, RosterError
from flushmesh.options import CacheOptions
from flushmesh.rosterfile import read_roster

GOOD = """
mesh = "shop"
listen = "127.0.0.1:7946-7953"
peers = ["127.0.0.1:7946-7953", "[::1]:7000", "localhost:1"]
mdns = false
[caches.users]
ttl = 300.0
maxsize = 500
"""


@pytest.fixture
def roster(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "flushmesh.toml").write_text(text)
        return "flushmesh.toml"

    return write


def test_a_good_file_is_read(roster):
    """Every key means what it says; ranges are expanded."""
    options = read_roster(roster(GOOD), {})

    assert (options.mesh, options.mdns, options.uses_mdns) == ("shop", False, False)
    assert options.listen_addresses == tuple(f"127.0.0.1:{port}" for port in range(7946, 7954))
    assert options.peer_addresses == (*options.listen_addresses, "[::1]:7000", "localhost:1")
    assert options.cache_options("users", CacheOptions()) == CacheOptions(maxsize=500, ttl=300.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mesh = ", "flushmesh.toml: not TOML: Invalid value (at end of document)"),
        ("", 'flushmesh.toml: mesh: missing; write mesh = "name", the same on every node'),
        ('mesh = "m"\npeer = []', 'flushmesh.toml: unknown key "peer"; did you mean "peers"?'),
        ("mesh = 5", "flushmesh.toml: the name of a mesh is a str, not int"),
        ('mesh = "m"\nmdns = "yes"', "flushmesh.toml: mdns: true or false, or a list of interfaces, not 'yes'"),
        ('mesh = "m"\nlisten = 7946', "flushmesh.toml: listen: a string, not 7946"),
        ('mesh = "m"\npeers = "127.0.0.1:1"', "flushmesh.toml: peers: a list of addresses, not '127.0.0.1:1'"),
        ('mesh = "m"\npeers = [1]', "flushmesh.toml: peers[0]: a string, not 1"),
        (
            'mesh = "m"\npeers = ["127.0.0.1:1", "10.0.0.6"]',
            'flushmesh.toml: peers[1]: "10.0.0.6" has no port; write host:port or host:first-last',
        ),
        (
            'mesh = "m"\npeers = ["127.0.0.1:9-5"]',
            'flushmesh.toml: peers[0]: "127.0.0.1:9-5": the first port of a range is its lowest; write 127.0.0.1:5-9',
        ),
        (
            'mesh = "m"\npeers = ["127.0.0.1:70000"]',
            'flushmesh.toml: peers[0]: "127.0.0.1:70000": a port is a number from 1 to 65535',
        ),
        (
            'mesh = "m"\npeers = ["127.0.0.1:1-999"]',
            'flushmesh.toml: peers[0]: "127.0.0.1:1-999": a range has at most 256 ports',
        ),
        (
            'mesh = "m"\npeers = ["::1:7946"]',
            'flushmesh.toml: peers[0]: "::1:7946": write an IPv6 address in brackets, as in [::1]:7946',
        ),
        (
            'mesh = "m"\nlisten = "0.0.0.0:7946"',
            'flushmesh.toml: listen: "0.0.0.0:7946" is beyond this machine, where nothing protects the mesh yet; '
            "say insecure if the network is trusted",
        ),
        ('mesh = "m"\n[caches.users]\nttl = 0', "flushmesh.toml: caches.users.ttl: seconds, more than 0, not 0"),
        ('mesh = "m"\n[caches.users]\nsize = 1', 'flushmesh.toml: caches.users: unknown key "size"; did you mean'),
        ('mesh = "m"\nexpect = -1', "flushmesh.toml: expect: from 0 to peers_max, 1024, not -1"),
        ('mesh = "m"\nexpect = "two"', "flushmesh.toml: expect: a whole number, not 'two'"),
        ('mesh = "m"\njournal_flushes_max = 0', "flushmesh.toml: journal_flushes_max: at least 1, not 0"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_place(roster, text, message):
    """What is wrong, where, and what would be right."""
    with pytest.raises(RosterError, match="^" + re.escape(message)) as caught:
        Mesh.from_file(roster(text))

    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_missing_file_is_named(roster):
    """A file that is not there is one line too."""
    with pytest.raises(RosterError, match=r"^nowhere\.toml: no such file or directory$"):
        Mesh.from_file("nowhere.toml")


def test_a_file_that_is_not_text_is_named(tmp_path):
    """Bytes that are not UTF-8 are told from bad TOML."""
    (tmp_path / "x.toml").write_bytes(b"\xff")
    with pytest.raises(RosterError, match="not UTF-8"):
        Mesh.from_file(tmp_path / "x.toml")


def test_variables_go_before_the_file(roster):
    """FLUSHMESH_* override what the file says."""
    environ = {
        "FLUSHMESH_MESH": "blog",
        "FLUSHMESH_NAME": "n1",
        "FLUSHMESH_LISTEN": "127.0.0.1:0",
        "FLUSHMESH_PEERS": "127.0.0.1:5, 127.0.0.1:6-7",
        "FLUSHMESH_MDNS": "true",
        "FLUSHMESH_EXPECT": "3",
    }
    options = read_roster(roster(GOOD), environ)

    assert (options.mesh, options.name, options.listen, options.mdns) == ("blog", "n1", "127.0.0.1:0", True)
    assert options.peer_addresses == ("127.0.0.1:5", "127.0.0.1:6", "127.0.0.1:7")
    assert options.expect == 3


def test_variables_alone_can_lead_beyond_this_machine(roster):
    """What one variable allows, the others may ask for, in whatever order they stand in the environment."""
    environ = {"FLUSHMESH_LISTEN": "0.0.0.0:7946", "FLUSHMESH_DNS": "shop.svc:7946", "FLUSHMESH_INSECURE": "yes"}

    assert read_roster(roster(GOOD), environ).listen_addresses == ("0.0.0.0:7946",)


def test_a_mistake_in_a_variable_names_the_variable(roster):
    """A variable that is wrong is not blamed on the file."""
    with pytest.raises(RosterError, match=r'^FLUSHMESH_PEERS: peers\[0\]: "10\.0\.0\.6" has no port'):
        read_roster(roster(GOOD), {"FLUSHMESH_PEERS": "10.0.0.6"})
    with pytest.raises(RosterError, match=r"^FLUSHMESH_MDNS: mdns: interfaces by name or address, as in eth0"):
        read_roster(roster(GOOD), {"FLUSHMESH_MDNS": " , "})
    with pytest.raises(RosterError, match=r"^FLUSHMESH_INSECURE: insecure: true or false, not 'maybe'"):
        read_roster(roster(GOOD), {"FLUSHMESH_INSECURE": "maybe"})


def test_a_variable_can_mend_the_file(roster):
    """Whatever the file lacks, a variable can give."""
    assert read_roster(roster("mdns = true"), {"FLUSHMESH_MESH": "m"}).mesh == "m"


def test_beyond_loopback_needs_a_word():
    """Neither listening nor dialling leaves this machine unless told to."""
    with pytest.raises(ValueError, match=r'peers\[0\]: "10\.0\.0\.6:1" is beyond this machine'):
        Mesh("m", peers=["10.0.0.6:1"])
    with pytest.raises(ValueError, match='listen: "app.internal:1" is beyond this machine'):
        Mesh("m", listen="app.internal:1")

    assert Mesh("m", listen="0.0.0.0:0", peers=["10.0.0.6:1"], insecure=True).options.insecure


def test_mdns_is_for_those_without_peers():
    """Without a word, a mesh with peers does not multicast and one without does."""
    assert Mesh("m").options.uses_mdns
    assert not Mesh("m", peers=["127.0.0.1:1"]).options.uses_mdns
    assert Mesh("m", peers=["127.0.0.1:1"], mdns=True).options.uses_mdns


def test_the_file_goes_before_the_code_for_caches(roster):
    """Who operates an application has the last word on its caches."""
    mesh = Mesh.from_file(roster(GOOD))

    assert mesh.cache("users", maxsize=1, ttl=1.0).options == CacheOptions(500, 300.0)
    assert mesh.cache("other", maxsize=1, ttl=1.0).options == CacheOptions(1, 1.0)


@pytest.mark.parametrize(
    ("options", "error"),
    [({"maxsize": 0}, ValueError), ({"ttl": 0}, ValueError), ({"ttl": "5"}, TypeError), ({"maxsize": 1.5}, TypeError)],
)
def test_wrong_cache_options_are_refused(options, error):
    """A cache that could hold nothing, or for no time, is a mistake."""
    with pytest.raises(error, match=next(iter(options))):
        Mesh("m").cache("c", **options)


def test_one_name_is_one_cache():
    """The same name gives the same cache; other options for it are refused."""
    mesh = Mesh("m")
    cache = mesh.cache("c", maxsize=5)

    assert mesh.cache("c", maxsize=5) is cache
    with pytest.raises(ValueError, match='cache "c" exists already'):
        mesh.cache("c", maxsize=6)
