"""Benchmark of memory plans: what was planned against what a render takes."""
