"""Hooks into ComfyUI's sampling: state of a run, attention overrides, token layouts, noise levels."""
