"""Tests of the quantization of checkpoints."""
