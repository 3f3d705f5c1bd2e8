"""
flushmesh keeps the local caches of a web application's many instances coherent.

Only keys travel between the instances, and there is no server between them.
"""

from flushmesh.cache import Cache, CacheInfo, Writing
from flushmesh.discovery import Announcement, Discovery
from flushmesh.errors import FlushmeshError, MeshClosed, RecursiveLoad, RosterError, StartError
from flushmesh.hooks import Flushed
from flushmesh.mesh import Mesh
from flushmesh.receipt import Delivery, Outcome, Receipt
from flushmesh.status import MeshState, MeshStatus, PeerStatus

__all__ = [
    "Announcement",
    "Cache",
    "CacheInfo",
    "Delivery",
    "Discovery",
    "Flushed",
    "FlushmeshError",
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
]
