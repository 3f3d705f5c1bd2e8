"""Unique: what there is one of in a process, so that a copy would be something else."""

from __future__ import annotations

from typing import NoReturn, Self


class Unique:
    """
    An object that is its own copy, and belongs to this process.

    So an object that holds one can be copied, and a copy of it flushes and reads the same.
    """

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled: it is a part of this process; make one in each process, where a module is "
            "imported, and let what uses it, decorated functions too, be imported there"
        )
