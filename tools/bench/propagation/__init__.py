"""Benchmarks of propagation: step caching and prediction extrapolation."""
