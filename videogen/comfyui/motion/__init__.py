"""Motions from ComfyUI's types, and pictures of them."""
