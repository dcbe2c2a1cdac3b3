"""Tiny random pipelines of the library's own classes, one table row per class, for tests without checkpoints."""
