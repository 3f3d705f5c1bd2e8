"""
Proposals: what one discovery has proposed, checked.

Discoveries are written by anybody, and repeat what strangers say.  What is no address is
left out, and logged once for as long as it is proposed; the rest counts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from flushmesh.address import expand

log = logging.getLogger("flushmesh")


class Proposals:
    """The checked addresses of the discovery *source*."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._wrong: set[str] = set()

    def sound(self, addresses: Iterable[object]) -> list[str]:
        """Return the addresses among *addresses*; raise TypeError if that is no collection of them."""
        if isinstance(addresses, str | bytes) or not isinstance(addresses, Iterable):
            raise TypeError(f"propose: a list of addresses, not {addresses!r}")
        sound: list[str] = []
        wrong: dict[str, str] = {}
        for address in addresses:
            problem = _problem(address)
            if problem:
                wrong[repr(address)] = problem
            else:
                sound.append(str(address))
        for address_text, problem in wrong.items():
            if address_text not in self._wrong:
                log.warning("%s proposes what is left out: %s", self.source, problem)
        self._wrong = set(wrong)
        return sound


def _problem(address: object) -> str:
    """Return why *address* cannot be dialled, or nothing if it can."""
    if not isinstance(address, str):
        return f"{address!r}; an address is a str, as in 10.0.0.5:7946"
    try:
        single = expand(address)
    except ValueError as error:
        return str(error)
    return "" if single == (address,) else f'"{address}"; one address at a time, as in {single[0]}'
