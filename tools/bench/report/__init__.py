"""The report over all benchmarks: docs/figures.md and the README's headline rows."""
