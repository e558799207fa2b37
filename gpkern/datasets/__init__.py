"""Data sets for examples, tests and benchmarks."""

from ._cytometry import load_cytometry
from ._flights import load_flights

__all__ = ["load_cytometry", "load_flights"]
