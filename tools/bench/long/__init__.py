"""Benchmarks of long videos."""
