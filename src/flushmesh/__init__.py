"""
flushmesh keeps the local caches of a web application's many instances coherent.

Only keys travel between the instances, and there is no server between them.
"""

from flushmesh.cache import Cache
from flushmesh.cached import CachedFunction
from flushmesh.discovery import Announcement, Discovery
from flushmesh.errors import FlushmeshError, MeshClosed, RecursiveLoad, RosterError, StartError
from flushmesh.fresh import Fresh
from flushmesh.grace import Graced, graced
from flushmesh.hooks import Flushed
from flushmesh.mesh import Mesh
from flushmesh.receipt import Delivery, Outcome, Receipt
from flushmesh.status import CacheInfo, EntryInfo, MeshState, MeshStatus, PeerStatus
from flushmesh.writing import Writing

__all__ = [
    "Announcement",
    "Cache",
    "CacheInfo",
    "CachedFunction",
    "Delivery",
    "Discovery",
    "EntryInfo",
    "Flushed",
    "FlushmeshError",
    "Fresh",
    "Graced",
    "Mesh",
    "MeshClosed",
    "MeshState",
    "MeshStatus",
    "Outcome",
    "PeerStatus",
    "Receipt",
    "RecursiveLoad",
    "RosterError",
    "StartError",
    "Writing",
    "graced",
]
