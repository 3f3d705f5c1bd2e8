"""
Options: everything a mesh can be told, checked once, before anything starts.

Messages begin with the name of the option, as it is spelled in the roster file too.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import inf
from typing import Any, Final, Literal

import cachetools

from flushmesh.address import expand, is_loopback
from flushmesh.discovery import Discovery, check_discovery
from flushmesh.duration import seconds
from flushmesh.keys import NAME_BYTES_MAX, check_name
from flushmesh.protocol.journal import JOURNAL_BYTES_MAX, JOURNAL_FLUSHES_MAX
from flushmesh.protocol.peers import PEERS_MAX

# This machine only, any free port: what a mesh without a word of configuration can safely do.
LISTEN_DEFAULT: Final = "127.0.0.1:0"

# Small enough not to be noticed, large enough to be useful; five minutes bound every mistake.
MAXSIZE_DEFAULT: Final = 10_000
TTL_DEFAULT: Final = 300.0

# Long enough that a pause or a cut of seconds costs nothing, short enough to be promised.
STALENESS_DEFAULT: Final = 30.0
LOST_AFTER_MIN: Final = 120.0

PING_INTERVAL_MIN: Final = 0.2
PING_INTERVAL_MAX: Final = 5.0
# A peer is never given up for fewer pings that were not answered.
PINGS_MISSED_MIN: Final = 3


@dataclass(frozen=True, slots=True)
class CacheOptions:
    """
    What a cache can be told.

    *maxsize* is in entries, or in whatever *getsizeof* counts of a value.  *ttl* is in
    seconds from the beginning of the load, and each entry's is shortened by up to *jitter* of
    it.  *max_staleness* is in seconds, at most the mesh's own, which "mesh" stands for; None
    turns the bound off.  *grace* is how many seconds after its end an old value may stand in
    when the loader fails.  *refresh_ahead* is the part of its ttl after which a hit has the
    entry loaded anew, *max_loads* how many loads run at once; None turns either off.
    *policy* is the cachetools class that decides what goes when there is no room.  *copy*,
    as in copy.deepcopy, makes what each read returns; without it reads share the value.
    """

    maxsize: int = MAXSIZE_DEFAULT
    ttl: float | timedelta = TTL_DEFAULT
    max_staleness: float | Literal["mesh"] | None = "mesh"
    jitter: float = 0.0
    grace: float | timedelta = 0.0
    refresh_ahead: float | None = None
    max_loads: int | None = None
    getsizeof: Callable[[Any], int] | None = None
    policy: type[cachetools.Cache[Any, Any]] = cachetools.LRUCache
    copy: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        _check_type("maxsize", self.maxsize, int)
        if self.maxsize < 1:
            raise ValueError(f"maxsize: a cache holds at least 1 entry, not {self.maxsize}")
        object.__setattr__(self, "ttl", seconds("ttl", self.ttl))
        object.__setattr__(self, "grace", seconds("grace", self.grace, least="0 or more"))
        if self.max_staleness != "mesh":
            _check_duration("max_staleness", self.max_staleness)
        _check_type("jitter", self.jitter, int, float)
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter: a part of the ttl, from 0 to less than 1, not {self.jitter:g}")
        _check_type("refresh_ahead", self.refresh_ahead, int, float, type(None))
        if self.refresh_ahead is not None and not 0 < self.refresh_ahead < 1:
            raise ValueError(f"refresh_ahead: a part of the ttl, between 0 and 1, not {self.refresh_ahead:g}")
        _check_type("max_loads", self.max_loads, int, type(None))
        if self.max_loads is not None and self.max_loads < 1:
            raise ValueError(f"max_loads: at least 1, not {self.max_loads}")
        if self.getsizeof is not None and not callable(self.getsizeof):
            raise TypeError(f"getsizeof: a function of a value, not {_kind(self.getsizeof)}")
        if self.copy is not None and not callable(self.copy):
            raise TypeError(f"copy: a function of a value, as in copy.deepcopy, not {_kind(self.copy)}")
        if not (isinstance(self.policy, type) and issubclass(self.policy, cachetools.Cache)):
            raise TypeError(f"policy: a class of cachetools, as in cachetools.LFUCache, not {_kind(self.policy)}")

    @property
    def lifetime(self) -> float:
        """`ttl` in seconds."""
        return seconds("ttl", self.ttl)

    @property
    def grace_seconds(self) -> float:
        """`grace` in seconds."""
        return seconds("grace", self.grace, least="0 or more")

    def size_of(self, value: object) -> int:
        """Return how much of *maxsize* *value* takes; raise TypeError or ValueError if getsizeof does not say."""
        if self.getsizeof is None:
            return 1
        size = self.getsizeof(value)
        if isinstance(size, bool) or not isinstance(size, int | float):
            raise TypeError(f"getsizeof: a number for each value, not {_kind(size)}")
        if not size >= 0:
            raise ValueError(f"getsizeof: 0 or more for each value, not {size}")
        return size


@dataclass(frozen=True, slots=True)
class MeshOptions:
    """
    What a mesh can be told.

    *peers* are addresses, *dns* names that stand for any number of them, *discovery* objects
    that find more; they add up.  *mdns* is True, False, or a list of interfaces by name or
    address; None means: only if none of the others is given.  *journal_flushes_max* and
    *journal_bytes_max* bound what a peer can catch up on after it was away; beyond them
    it forgets what it holds.  *peers_max* bounds the memory that peers can cost.

    *expect* is how many peers must have been followed before joining ends; until then
    nothing proves what was loaded, and entries live for `max_staleness` at most.

    *max_staleness* is how many seconds a hit may be older than the last proof that it was
    current; None turns the bound off.  *lost_after* is how many seconds without a word
    from a peer it takes to give it up, None if never; "auto" is two minutes, or twice
    *max_staleness* if that is more.  A silent peer that a roster or DNS still names is not
    given up by that, because it may be alive and cut off: entries are then served by their
    own age alone.  *give_up_silent* is how many seconds it takes to give up such a peer too;
    None, the default, means never, and any number puts hits before the bound.
    """

    mesh: str
    name: str = ""
    listen: str = LISTEN_DEFAULT
    peers: Sequence[str] = ()
    dns: Sequence[str] = ()
    mdns: bool | Sequence[str] | None = None
    discovery: Sequence[Discovery] = ()
    insecure: bool = False
    expect: int = 0
    max_staleness: float | None = STALENESS_DEFAULT
    lost_after: float | Literal["auto"] | None = "auto"
    give_up_silent: float | None = None
    journal_flushes_max: int = JOURNAL_FLUSHES_MAX
    journal_bytes_max: int = JOURNAL_BYTES_MAX
    peers_max: int = PEERS_MAX
    caches: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_name(self.mesh, "mesh")
        if self.name:
            check_name(self.name, "node")
        _check_type("listen", self.listen, str)
        _check_type("insecure", self.insecure, bool)
        self._check_limits()
        self._check_finding()
        self._check_reach()
        for name in self.caches:
            self.cache_options(name, CacheOptions())

    def _check_finding(self) -> None:
        _check_list("peers", self.peers, "a list of addresses")
        _check_list("dns", self.dns, "a list of names, each with a port, as in shop.internal:7946")
        _check_list("discovery", self.discovery, "a list of objects that find addresses")
        for index, discovery in enumerate(self.discovery):
            check_discovery(f"discovery[{index}]", discovery)
        if self.mdns is None or isinstance(self.mdns, bool):
            return
        _check_list("mdns", self.mdns, "true or false, or a list of interfaces")
        for index, interface in enumerate(self.mdns):
            _check_type(f"mdns[{index}]", interface, str)
        if not self.mdns or not all(self.mdns):
            raise ValueError(
                "mdns: interfaces by name or address, as in eth0 or 10.0.0.5; true for all, false for none"
            )

    def _check_limits(self) -> None:
        _check_type("expect", self.expect, int)
        if not 0 <= self.expect <= self.peers_max:
            raise ValueError(f"expect: from 0 to peers_max, {self.peers_max}, not {self.expect}")
        for limit in ("journal_flushes_max", "journal_bytes_max", "peers_max"):
            _check_type(limit, getattr(self, limit), int)
            if getattr(self, limit) < 1:
                raise ValueError(f"{limit}: at least 1, not {getattr(self, limit)}")
        _check_duration("max_staleness", self.max_staleness)
        self._check_lost_after()
        _check_duration("give_up_silent", self.give_up_silent)
        if self.silent_seconds < self.lost_seconds:
            raise ValueError(
                f"give_up_silent: at least lost_after, {self.lost_seconds:g} seconds, not {self.give_up_silent:g}"
            )

    def _check_lost_after(self) -> None:
        if self.lost_after == "auto":
            return
        _check_duration("lost_after", self.lost_after)
        if self.lost_seconds < self.staleness < inf:
            raise ValueError(f"lost_after: at least max_staleness, {self.staleness:g}, not {self.lost_after:g}")
        least = round(PINGS_MISSED_MIN * ping_interval(self.staleness), 3)
        if self.lost_seconds < least:
            raise ValueError(
                f"lost_after: at least {least:g} seconds, three times as long as between two signs of life, "
                f"not {self.lost_after:g}; healthy peers would be given up"
            )

    def _check_reach(self) -> None:
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
        return tuple(address for _, addresses in self._expanded("peers", self.peers) for address in addresses)

    @property
    def staleness(self) -> float:
        """`max_staleness` in seconds; infinite if it is off."""
        return inf if self.max_staleness is None else self.max_staleness

    @property
    def lost_seconds(self) -> float:
        """`lost_after` in seconds; infinite if no peer is ever given up."""
        if self.lost_after == "auto":
            return LOST_AFTER_MIN if self.staleness == inf else max(LOST_AFTER_MIN, 2 * self.staleness)
        return inf if self.lost_after is None else self.lost_after

    @property
    def silent_seconds(self) -> float:
        """`give_up_silent` in seconds; infinite if it is off."""
        return inf if self.give_up_silent is None else self.give_up_silent

    def cache_options(self, name: str, asked: CacheOptions) -> CacheOptions:
        """Return *asked* with what `caches` says of the cache *name* over it; raise if they do not fit."""
        told = self.caches.get(name, {})
        try:
            options = replace(asked, **told)
            self.staleness_of(options)
        except (TypeError, ValueError) as error:
            place = f"caches.{name}." if str(error).partition(":")[0] in told else ""
            raise type(error)(f"{place}{error}") from None
        return options

    def staleness_of(self, cache: CacheOptions) -> float:
        """Return the bound of one cache in seconds; raise ValueError if it is beyond the mesh's."""
        if cache.max_staleness == "mesh":
            return self.staleness
        staleness = inf if cache.max_staleness is None else cache.max_staleness
        if staleness > self.staleness:
            # A receipt is fenced when no peer can serve anything older, and peers know each
            # other's bound from the first message on.
            raise ValueError(f"max_staleness: at most the mesh's, {self.staleness:g}, not {staleness:g}")
        return staleness

    @property
    def uses_mdns(self) -> bool:
        """Whether peers are looked for by mDNS."""
        return bool(self.mdns) if self.mdns is not None else not (self.peers or self.dns or self.discovery)

    @property
    def mdns_interfaces(self) -> Sequence[str]:
        """The interfaces to look for peers on, by name or address; none stands for all."""
        return () if self.mdns is None or isinstance(self.mdns, bool) else self.mdns

    def node_name(self) -> str:
        """
        Return the name of this node, in this process.

        Without one of its own it is made of the host's name, as far as that can be printed and
        is short enough, and the process id.
        """
        if self.name:
            return self.name
        # A host's name is bytes to the kernel: what cannot be decoded arrives as lone surrogates.
        host = "".join(sign if sign.isprintable() else "?" for sign in socket.gethostname()) or "host"
        process = f"-{os.getpid()}"
        return host.encode()[: NAME_BYTES_MAX - len(process)].decode(errors="ignore") + process

    def _places(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return each option that holds addresses with what it stands for."""
        listen = [("listen", self.listen_addresses)]
        return [*listen, *self._expanded("peers", self.peers), *self._expanded("dns", self.dns)]

    def _expanded(self, option: str, texts: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
        for index, text in enumerate(texts):
            _check_type(f"{option}[{index}]", text, str)
        return [(f"{option}[{index}]", _expand(f"{option}[{index}]", text)) for index, text in enumerate(texts)]


def ping_interval(staleness: float) -> float:
    """
    Return how many seconds lie between two pings of a node with this `max_staleness`.

    A tenth of it keeps the proof young with two lost pings to spare; never so often that it
    costs, never so rarely that acknowledgements linger.
    """
    return min(max(staleness / 10, PING_INTERVAL_MIN), PING_INTERVAL_MAX)


def _check_duration(place: str, seconds: object) -> None:
    _check_type(place, seconds, int, float, type(None))
    if isinstance(seconds, int | float) and not seconds > 0:
        raise ValueError(f"{place}: seconds, more than 0, not {seconds}; inf for no end")


def _expand(place: str, text: str, *, any_port: bool = False) -> tuple[str, ...]:
    try:
        return expand(text, any_port=any_port)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _check_list(place: str, value: object, wanted: str) -> None:
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise TypeError(f"{place}: {wanted}, not {_kind(value)}")


_KINDS: Final = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


def _check_type(place: str, value: object, *kinds: type) -> None:
    """Raise TypeError unless *value* is of one of *kinds*; a bool is no number."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = [_KINDS[kind] for kind in kinds if kind in _KINDS][-1]
        raise TypeError(f"{place}: {wanted}, not {_kind(value)}")


def _kind(value: object) -> str:
    return f"{value!r}" if isinstance(value, str | int | float) else f"a {type(value).__name__}"
