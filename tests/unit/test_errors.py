"""What flushmesh raises, beyond the process that raised it."""

import copy
import pickle

import pytest

from flushmesh.errors import FlushmeshError, Isolated, MeshClosed, RecursiveLoad, RosterError, StartError

ERRORS = [
    FlushmeshError("x"),
    RosterError("mesh.toml:3: ttl"),
    StartError("cannot listen on 127.0.0.1:7946"),
    StartError(98, "Address already in use"),
    MeshClosed("shop"),
    Isolated(),
    RecursiveLoad("user:1"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_is_the_same_after_a_journey(error):
    """Pickled with every protocol, or copied, an error keeps its kind, its message, and its notes."""
    error.add_note("in the worker")
    travelled = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]

    for other in (*travelled, copy.copy(error), copy.deepcopy(error)):
        assert (type(other), str(other), other.args) == (type(error), str(error), error.args)
        assert other.__notes__ == error.__notes__


def test_every_error_is_tried():
    """A new error joins the list above."""

    def kinds(kind):
        return {kind}.union(*map(kinds, kind.__subclasses__()))

    assert {type(error) for error in ERRORS} == kinds(FlushmeshError)
