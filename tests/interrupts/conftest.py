"""What every test of a cache begins with."""

from tests.unit.conftest import cache, clock, mesh

__all__ = ["cache", "clock", "mesh"]
