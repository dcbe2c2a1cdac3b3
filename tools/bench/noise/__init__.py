"""Benchmarks of warped noise."""
