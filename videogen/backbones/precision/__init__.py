"""Precision of weights: rows, formats, quantized layers and their storage."""
