"""The roster file of a mesh that runs: what counts at once, what later, and what not at all."""

import logging

import pytest

from flushmesh.errors import RosterError
from flushmesh.rosterwatch import RosterWatch

FIRST = 'mesh = "m"\npeers = ["127.0.0.1:1"]\n'
SECOND = 'mesh = "m"\npeers = ["127.0.0.1:2-3"]\n'


@pytest.fixture
def roster(tmp_path, monkeypatch, caplog):
    """A file with one peer, watched, in the current directory."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, "flushmesh")

    class Roster:
        path = tmp_path / "flushmesh.toml"

        def watch(self, **environ):
            return RosterWatch("flushmesh.toml", environ)

        def write(self, text):
            self.path.write_text(text)

        @property
        def lines(self):
            return [(record.levelname, record.getMessage()) for record in caplog.records]

    roster = Roster()
    roster.write(FIRST)
    return roster


def looks(watch, times=4):
    """Return what *watch* says after so many looks."""
    return [watch.look() for _ in range(times)][-1]


def in_place(roster, text):
    roster.write(text)


def renamed(roster, text):
    new = roster.path.with_suffix(".new")
    new.write_text(text)
    new.rename(roster.path)


def as_configmap(roster, text):
    """Do as Kubernetes does: the file is a link into a directory that is a link, which is swapped."""
    mount = roster.path.parent
    (mount / "..2").mkdir()
    (mount / "..2" / "flushmesh.toml").write_text(text)
    (mount / "..data_tmp").symlink_to("..2")
    (mount / "..data_tmp").rename(mount / "..data")


@pytest.mark.parametrize("change", [in_place, renamed, as_configmap])
def test_new_peers_count_at_once(roster, change):
    """However the file is changed, its peers are those of the roster within two looks, and a line says so."""
    if change is as_configmap:
        mount = roster.path.parent
        (mount / "..1").mkdir()
        roster.path.rename(mount / "..1" / "flushmesh.toml")
        (mount / "..data").symlink_to("..1")
        roster.path.symlink_to("..data/flushmesh.toml")
    watch = roster.watch()
    assert looks(watch) == ("127.0.0.1:1",)
    change(roster, SECOND)

    assert looks(watch) == ("127.0.0.1:2", "127.0.0.1:3")
    assert roster.lines == [
        ("INFO", "flushmesh.toml: read again: new peers 127.0.0.1:2-3; no longer peers 127.0.0.1:1")
    ]


def test_a_file_that_is_being_written_is_not_read(roster):
    """Half a file that another look finds changed again was never the roster."""
    watch = roster.watch()
    roster.write('mesh = "m"\npeers = ["127.0')
    watch.look()
    roster.write(SECOND)

    assert looks(watch) == ("127.0.0.1:2", "127.0.0.1:3")
    assert [level for level, _ in roster.lines] == ["INFO"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mesh = ", "flushmesh.toml: not TOML: Invalid value (at end of document)"),
        (FIRST + "peer = []", 'flushmesh.toml: unknown key "peer"; did you mean "peers"?'),
        (FIRST + "mdns = 5", "flushmesh.toml: mdns: true or false, or a list of interfaces, not 5"),
        ('mesh = "m"\npeers = ["10.0.0.6:1"]', 'flushmesh.toml: peers[0]: "10.0.0.6:1" is beyond this machine'),
        (None, "flushmesh.toml: no such file or directory"),
    ],
)
def test_a_broken_edit_changes_nothing(roster, text, words):
    """The roster stays, exactly one line names the file and the mistake, and mending it is taken up."""
    watch = roster.watch()
    if text is None:
        roster.path.unlink()
    else:
        roster.write(text)

    assert looks(watch) == ("127.0.0.1:1",)
    ((level, line),) = roster.lines
    assert level == "WARNING"
    assert line.startswith(words)
    assert line.endswith("; the roster stays as it was")

    roster.write(FIRST)
    looks(watch)
    assert roster.lines[1:] == [("INFO", "flushmesh.toml: read again: the peers are the same")]


def test_a_missing_or_broken_file_is_refused_at_the_beginning(roster):
    """Only a mesh that runs goes on with what it had."""
    roster.write("mesh = ")
    with pytest.raises(RosterError, match="not TOML"):
        roster.watch()


def test_what_counts_from_the_next_start_on_is_said_once(roster):
    """Keys other than the peers change nothing in a mesh that runs; one line names them."""
    watch = roster.watch()
    changed = SECOND + 'listen = "127.0.0.1:9"\ndns = ["localhost:5"]\nmax_staleness = 5\n[caches.users]\nttl = 3\n'
    roster.write(changed)
    assert looks(watch) == ("127.0.0.1:2", "127.0.0.1:3")
    roster.write("# a comment\n" + changed)
    looks(watch)

    assert [line for level, line in roster.lines if level == "WARNING"] == [
        "flushmesh.toml: takes effect when the process starts anew: listen, dns, max_staleness, caches.users"
    ]
    assert watch.options.listen == "127.0.0.1:0"


def test_a_variable_makes_the_file_say_nothing_about_peers(roster):
    """With FLUSHMESH_PEERS the peers stay what they are, whatever is written."""
    watch = roster.watch(FLUSHMESH_PEERS="127.0.0.1:8")
    roster.write(SECOND)

    assert looks(watch) == ("127.0.0.1:8",)
    assert roster.lines == []


def test_the_file_is_found_from_another_directory(roster, monkeypatch):
    """A relative path is meant as it was when the mesh was made."""
    watch = roster.watch()
    monkeypatch.chdir("/")
    roster.write(SECOND)

    assert looks(watch) == ("127.0.0.1:2", "127.0.0.1:3")
