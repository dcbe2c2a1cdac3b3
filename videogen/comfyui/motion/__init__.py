"""Motions from ComfyUI's types, and previews of them."""
