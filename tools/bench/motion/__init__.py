"""Benchmarks of motion control."""
