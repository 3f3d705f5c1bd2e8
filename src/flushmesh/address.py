"""
Addresses as people write them: host:port, host:first-last, [ipv6]:port.

A range stands for the worker processes of one machine, each of which takes one port.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final

# A dial costs a few packets every few seconds for as long as nobody answers there.
RANGE_MAX: Final = 256

_ADDRESS: Final = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]\s]+):(?P<first>\d{1,5})(?:-(?P<last>\d{1,5}))?")


def expand(text: str, *, any_port: bool = False) -> tuple[str, ...]:
    """
    Return every host:port that *text* stands for.

    Port 0, "any free one", is an address only to listen on (*any_port*).  Raises ValueError
    that says what is wrong and what would be right.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ValueError(_complaint(text))
    first = int(match["first"])
    last = int(match["last"] or first)
    lowest = 0 if any_port and not match["last"] else 1
    if not lowest <= first <= 65_535 or not lowest <= last <= 65_535:
        raise ValueError(f'"{text}": a port is a number from {lowest} to 65535')
    if last < first:
        raise ValueError(f'"{text}": the first port of a range is its lowest; write {match["host"]}:{last}-{first}')
    if last - first >= RANGE_MAX:
        raise ValueError(f'"{text}": a range has at most {RANGE_MAX} ports')
    return tuple(f"{match['host']}:{port}" for port in range(first, last + 1))


def split(address: str) -> tuple[str, int]:
    """Return the host, without brackets, and the port of one host:port."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def join(host: str, port: int) -> str:
    """Return the host:port of *host*, an IPv6 address without its brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@lru_cache(maxsize=4096)
def is_loopback(address: str) -> bool:
    """Tell whether *address* certainly never leaves this machine."""
    host, _ = split(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_wildcard(address: str) -> bool:
    """Tell whether *address* listens on every interface and so names no place to dial."""
    host, _ = split(address)
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _complaint(text: str) -> str:
    if text.count(":") > 1 and "[" not in text:
        return f'"{text}": write an IPv6 address in brackets, as in [::1]:7946'
    if ":" not in text.rpartition("]")[2]:
        return f'"{text}" has no port; write host:port or host:first-last'
    return f'"{text}" is no address; write host:port or host:first-last'
