"""Data sets for examples, tests and benchmarks."""

from ._cytometry import load_cytometry
from ._flights import load_flights
from ._muons import make_muons
from ._posterior import load_posterior

__all__ = ["load_cytometry", "load_flights", "load_posterior", "make_muons"]
