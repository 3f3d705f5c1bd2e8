"""What is copied and sent to other processes: decorated functions, caches, and what holds them."""

import copy
import pickle

import cloudpickle
import pytest

from flushmesh import Mesh
from tests.unit.caches import Broadcasts, cache_of

cache = cache_of(Broadcasts())


@cache.cached(key="user:{user_id}")
def load(user_id):
    """Load."""
    return user_id


@cache.flushes("user:{user_id}")
def write(user_id):
    """Write."""


class Service:
    """Holds what an application holds."""

    def __init__(self):
        self.cache = cache
        self.mesh = Mesh("m", mdns=False)
        self.load = load


def test_a_copy_of_a_service_has_the_same_cache():
    """deepcopy goes through whatever holds a cache, a mesh, or a decorated function."""
    service = Service()

    for other in (copy.copy(service), copy.deepcopy(service)):
        assert (other.cache, other.mesh, other.load) == (service.cache, service.mesh, service.load)
    for function in (load, write):
        assert copy.copy(function) is copy.deepcopy(function) is function


def test_a_decorated_function_of_a_module_is_pickled_by_its_name():
    """The other process imports it, with its own cache."""
    for function in (load, write):
        assert pickle.loads(pickle.dumps(function)) is function
        assert cloudpickle.loads(cloudpickle.dumps(function)) is function


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_belongs_to_a_process_says_that_it_cannot_be_pickled(protocol):
    """A cache, a mesh, and what would take one along."""
    for held in (cache, Mesh("m", mdns=False), Service()):
        with pytest.raises(TypeError, match="cannot be pickled: it is a part of this process; make one in each"):
            pickle.dumps(held, protocol)


def test_a_decorated_function_that_is_pickled_by_value_says_why_not():
    """A function of a script or inside another would take its cache along."""

    @cache.cached(key="{x}")
    def local(x):
        """Stand for a loader."""

    @cache.flushes("{x}")
    def local_write(x):
        """Stand for a writer."""

    for function in (local, local_write, cache.cached(local_write)):
        with pytest.raises(TypeError, match="cannot be pickled: it is a part of this process; .* imported there"):
            cloudpickle.dumps(function)
