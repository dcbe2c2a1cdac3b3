"""Benchmarks of block-sparse attention."""
