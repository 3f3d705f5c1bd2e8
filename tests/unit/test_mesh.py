"""The mesh before it starts: nothing here opens a socket."""

import pytest

from flushmesh import Mesh, MeshState


class Hooks:
    def on_flushed(self, flushed):
        """Stand for a hook that is a method."""


def test_a_method_is_one_hook_however_often_it_is_named():
    """Each access makes another bound method, but it is the same hook; that of another object is not."""
    mesh, hooks = Mesh("m", mdns=False), Hooks()
    cache = mesh.cache("c", on_flushed=hooks.on_flushed)

    assert mesh.cache("c", on_flushed=hooks.on_flushed) is cache
    assert mesh.cache("c") is cache
    with pytest.raises(ValueError, match='cache "c" exists already, with another on_flushed'):
        mesh.cache("c", on_flushed=Hooks().on_flushed)
    assert mesh.status().state is MeshState.NEW
