"""
Interfaces: where this machine can be reached, and which of that others are told.

Link-local addresses mean something else on every machine and are never announced; the
loopback interface is announced to itself alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface

import ifaddr

Place = IPv4Interface | IPv6Interface


class NoInterfaceError(OSError):
    """There is no interface on which others could find this node."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One network interface and its addresses."""

    name: str
    places: tuple[Place, ...]

    @property
    def is_loopback(self) -> bool:
        """Whether it leads nowhere but here."""
        return any(place.ip.is_loopback for place in self.places)

    def goes_by(self, wanted: str) -> bool:
        """Tell whether *wanted* is its name or one of its addresses."""
        return wanted == self.name or wanted in {str(place.ip) for place in self.places}


@dataclass(frozen=True, slots=True)
class Choice:
    """Where to multicast, and which addresses to announce there."""

    multicast: tuple[str, ...]
    announced: tuple[str, ...]


def interfaces() -> list[Interface]:
    """Return the interfaces of this machine that have an address."""
    found = []
    for adapter in ifaddr.get_adapters():
        texts = [(ip.ip if isinstance(ip.ip, str) else ip.ip[0], ip.network_prefix) for ip in adapter.ips]
        places = tuple(ip_interface(f"{host}/{prefix}") for host, prefix in texts)
        if places:
            found.append(Interface(adapter.nice_name, places))
    return found


def choose(present: Sequence[Interface], wanted: Sequence[str], listens: Sequence[str]) -> Choice:
    """
    Return where a node that listens on the hosts *listens* is announced, and as what.

    *wanted* names interfaces by name or address; none stands for all that are fit.  Raises
    NoInterfaceError, which says what is there.
    """
    missing = [name for name in wanted if not any(interface.goes_by(name) for interface in present)]
    if missing:
        there = ", ".join(interface.name for interface in present)
        raise NoInterfaceError(f"no interface is {' or '.join(missing)}; there are {there or 'none'}")
    chosen = [i for i in present if not wanted or any(i.goes_by(name) for name in wanted)]
    hosts = [ip_address(host) for host in listens]
    everywhere = [host for host in hosts if host.is_unspecified]
    if everywhere:
        # Loopback says nothing to other machines; it is all there is only where there is no network.
        chosen = [i for i in chosen if not i.is_loopback] or chosen
        versions = {4} if all(host.version == 4 for host in everywhere) else {4, 6}
        places = [place for i in chosen for place in i.places if _is_wanted(place, i, wanted)]
        announced = [place.ip for place in places if place.version in versions and not place.ip.is_link_local]
    else:
        local = all(host.is_loopback for host in hosts)
        chosen = [i for i in chosen if i.is_loopback is local]
        if not wanted and not local:
            bearing = [i for i in chosen if {place.ip for place in i.places} & set(hosts)]
            chosen = bearing or chosen
        announced = hosts
    multicast = [host for i in chosen for host in _multicast_hosts(i)]
    if not multicast or not announced:
        named = ", ".join(wanted) or "any interface"
        raise NoInterfaceError(f"a node that listens on {', '.join(listens)} cannot be reached through {named}")
    return Choice(tuple(multicast), tuple(map(str, announced)))


def sensible(found: Iterable[str], present: Sequence[Interface]) -> list[str]:
    """
    Return those of a node's announced addresses that may lead to it.

    An address that this machine has too, as the bridges of containers have, leads back here,
    unless all are such: then the node is on this machine, and one of them is enough.  Of the
    others, those of a network that this machine is on come before those that may be anywhere.
    """
    hosts = [ip_address(host) for host in dict.fromkeys(found)]
    usable = [host for host in hosts if not host.is_link_local and not host.is_unspecified]
    places = [place for interface in present for place in interface.places]
    own = {place.ip for place in places}
    far = [host for host in usable if host not in own and not host.is_loopback]
    near = [host for host in far if any(host in place.network for place in places)]
    return [str(host) for host in near or far or usable[:1]]


def _is_wanted(place: Place, interface: Interface, wanted: Collection[str]) -> bool:
    """Tell whether *place* is announced: all of an interface that is named, else what is named itself."""
    return not wanted or interface.name in wanted or str(place.ip) in wanted


def _multicast_hosts(interface: Interface) -> list[str]:
    """Return one address of each version; more would send everything twice."""
    if interface.is_loopback:
        # zeroconf cannot multicast on ::1.
        return [str(place.ip) for place in interface.places if place.version == 4][:1]
    by_version = {place.version: str(place.ip) for place in reversed(interface.places)}
    return [by_version[version] for version in sorted(by_version)]
