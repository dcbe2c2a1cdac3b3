"""The techniques on ComfyUI's own models."""
