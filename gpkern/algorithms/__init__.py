"""Solvers: arrays and operators in, arrays out; no scikit-learn."""
