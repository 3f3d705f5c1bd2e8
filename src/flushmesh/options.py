"""
Options: everything a mesh can be told, checked once, before anything starts.

Messages begin with the name of the option, as it is spelled in the roster file too.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from flushmesh.address import expand, is_loopback
from flushmesh.keys import check_name
from flushmesh.protocol.journal import JOURNAL_BYTES_MAX, JOURNAL_FLUSHES_MAX
from flushmesh.protocol.node import PEERS_MAX

# This machine only, any free port: what a mesh without a word of configuration can safely do.
LISTEN_DEFAULT: Final = "127.0.0.1:0"

# Small enough not to be noticed, large enough to be useful; five minutes bound every mistake.
MAXSIZE_DEFAULT: Final = 10_000
TTL_DEFAULT: Final = 300.0


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """
    What a cache can be told.

    *maxsize* is in entries, *ttl* in seconds from the beginning of the load.
    """

    maxsize: int = MAXSIZE_DEFAULT
    ttl: float = TTL_DEFAULT

    def __post_init__(self) -> None:
        _check_type("maxsize", self.maxsize, int)
        _check_type("ttl", self.ttl, int, float)
        if self.maxsize < 1:
            raise ValueError(f"maxsize: a cache holds at least 1 entry, not {self.maxsize}")
        if not self.ttl > 0:
            raise ValueError(f"ttl: seconds, more than 0, not {self.ttl}; math.inf for no end")


@dataclass(frozen=True, slots=True)
class MeshOptions:
    """
    What a mesh can be told.

    *mdns* None means: only if no *peers* are given.  *journal_flushes_max* and
    *journal_bytes_max* bound what a peer can catch up on after it was away; beyond them
    it forgets what it holds.  *peers_max* bounds the memory that peers can cost.
    """

    mesh: str
    name: str = ""
    listen: str = LISTEN_DEFAULT
    peers: Sequence[str] = ()
    mdns: bool | None = None
    insecure: bool = False
    journal_flushes_max: int = JOURNAL_FLUSHES_MAX
    journal_bytes_max: int = JOURNAL_BYTES_MAX
    peers_max: int = PEERS_MAX
    caches: Mapping[str, CacheOptions] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.mesh, "mesh")
        if self.name:
            check_name(self.name, "node")
        _check_type("listen", self.listen, str)
        _check_type("mdns", self.mdns, bool, type(None))
        _check_type("insecure", self.insecure, bool)
        for limit in ("journal_flushes_max", "journal_bytes_max", "peers_max"):
            _check_type(limit, getattr(self, limit), int)
            if getattr(self, limit) < 1:
                raise ValueError(f"{limit}: at least 1, not {getattr(self, limit)}")
        if isinstance(self.peers, str) or not isinstance(self.peers, Sequence):
            raise TypeError(f"peers: a list of addresses, not {_kind(self.peers)}")
        for place, addresses in self._places():
            for address in addresses:
                if not self.insecure and not is_loopback(address):
                    raise ValueError(
                        f'{place}: "{address}" is beyond this machine, where nothing protects the mesh yet; '
                        "say insecure if the network is trusted"
                    )

    @property
    def listen_addresses(self) -> tuple[str, ...]:
        """The addresses to listen on; the first free one is taken."""
        return _expand("listen", self.listen, any_port=True)

    @property
    def peer_addresses(self) -> tuple[str, ...]:
        """Every address the roster proposes."""
        return tuple(address for place, addresses in self._places()[1:] for address in addresses)

    @property
    def uses_mdns(self) -> bool:
        """Whether peers are looked for by mDNS."""
        return self.mdns if self.mdns is not None else not self.peers

    def node_name(self) -> str:
        """Return the name of this node, in this process."""
        return self.name or f"{socket.gethostname()}-{os.getpid()}"

    def _places(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return each option that holds addresses with what it stands for, listen first."""
        places = [("listen", self.listen_addresses)]
        for index, peer in enumerate(self.peers):
            _check_type(f"peers[{index}]", peer, str)
            places.append((f"peers[{index}]", _expand(f"peers[{index}]", peer)))
        return places


def _expand(place: str, text: str, *, any_port: bool = False) -> tuple[str, ...]:
    try:
        return expand(text, any_port=any_port)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


_KINDS: Final = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


def _check_type(place: str, value: object, *kinds: type) -> None:
    """Raise TypeError unless *value* is of one of *kinds*; a bool is no number."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = next(_KINDS[kind] for kind in reversed(kinds) if kind in _KINDS)
        raise TypeError(f"{place}: {wanted}, not {_kind(value)}")


def _kind(value: object) -> str:
    return f"{value!r}" if isinstance(value, str | int | float) else f"a {type(value).__name__}"
