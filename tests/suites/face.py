"""
A face of cachetools over ours: the mapping that its tests know, made of the mapping of a `Cache`.

Every operation is one operation of ours.  What is translated is the construction, and the
keys: theirs are any hashable objects, ours are text.
"""

import random
import time
from collections.abc import MutableMapping
from math import inf

import cachetools

from flushmesh import Fresh
from flushmesh.cache import Cache
from flushmesh.hooks import CacheHooks
from flushmesh.options import CacheOptions
from tests.unit.caches import Broadcasts


class Face(MutableMapping):
    """A cache of ours that is made and asked as one of cachetools is."""

    policy = cachetools.Cache

    def __init__(self, maxsize, getsizeof=None, *, ttl=inf, timer=time.monotonic):
        getsizeof = getsizeof or getattr(type(self), "getsizeof", None)
        options = CacheOptions(maxsize=maxsize, ttl=ttl, getsizeof=getsizeof, policy=self.policy)
        self.ours = Cache("face", Broadcasts(), options, CacheHooks("face"), timer, inf)
        self.getsizeof = options.size_of
        self.ttl = ttl
        self.timer = timer
        self._texts = {}
        self._keys = {}

    def _text(self, key):
        text = self._texts.setdefault(key, f"{type(key).__name__} {len(self._texts)}")
        self._keys[text] = key
        return text

    def __repr__(self):
        return f"{type(self).__name__}({self.ours!r})"

    def __getitem__(self, key):
        return self.ours[self._text(key)]

    def __setitem__(self, key, value):
        self.ours[self._text(key)] = self.fresh(key, value)

    def fresh(self, key, value):
        """Return what is kept in place of *value*."""
        return value

    def __delitem__(self, key):
        del self.ours[self._text(key)]

    def __contains__(self, key):
        return self._text(key) in self.ours

    def __iter__(self):
        return map(self._keys.__getitem__, self.ours)

    def __len__(self):
        return len(self.ours)

    def get(self, key, default=None):
        return self.ours.get(self._text(key), default)

    def pop(self, key, *default):
        return self.ours.pop(self._text(key), *default)

    def popitem(self):
        text, value = self.ours.popitem()
        return self._keys[text], value

    def setdefault(self, key, default=None):
        return self.ours.setdefault(self._text(key), default)

    def values(self):
        return self.ours.values()

    def clear(self):
        self.ours.clear()

    @property
    def maxsize(self):
        return self.ours.maxsize

    @property
    def currsize(self):
        return self.ours.currsize


class RRFace(Face):
    """With a choice, which goes into a policy that is derived from theirs."""

    def __init__(self, maxsize, choice=random.choice, getsizeof=None):
        def choose(texts):
            return self._texts[choice([self._keys[text] for text in texts])]

        def initialise(policy, maxsize, **arguments):
            cachetools.RRCache.__init__(policy, maxsize, choice=choose, **arguments)

        self.choice = choice
        self.policy = type("RRCache", (cachetools.RRCache,), {"__init__": initialise})
        super().__init__(maxsize, getsizeof)


class TTLFace(Face):
    """With a time to live."""

    def __init__(self, maxsize, ttl, timer=time.monotonic, getsizeof=None):
        super().__init__(maxsize, getsizeof, ttl=ttl, timer=timer)


class TLRUFace(Face):
    """With a time to live of each value, which the value brings with it here."""

    def __init__(self, maxsize, ttu, timer=time.monotonic, getsizeof=None):
        self.ttu = ttu
        super().__init__(maxsize, getsizeof, timer=timer)

    def fresh(self, key, value):
        now = self.timer()
        return Fresh(value, ttl=self.ttu(key, value, now) - now)


def faces():
    """Return a face for each class of cachetools, by the name of the class."""
    special = {"RRCache": RRFace, "TTLCache": TTLFace, "TLRUCache": TLRUFace}
    kinds = ("Cache", "FIFOCache", "LFUCache", "LRUCache", *special)
    return {kind: type(kind, (special.get(kind, Face),), {"policy": getattr(cachetools, kind)}) for kind in kinds}
