"""Data sets for examples, tests and benchmarks."""

from ._flights import load_flights

__all__ = ["load_flights"]
