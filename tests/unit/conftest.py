"""What every test of a cache begins with."""

import pytest

from tests.unit.caches import Broadcasts, cache_of
from tests.unit.clock import Clock


@pytest.fixture
def mesh():
    """What was broadcast."""
    return Broadcasts()


@pytest.fixture
def clock():
    """A clock that is set by hand."""
    return Clock()


@pytest.fixture
def cache(mesh, clock):
    """A cache as most are."""
    return cache_of(mesh, clock)
