"""Quantization of a checkpoint: formats per layer, chosen and measured on the model's own clips."""
