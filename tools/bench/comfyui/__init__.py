"""Benchmarks of the nodes on a real ComfyUI."""
