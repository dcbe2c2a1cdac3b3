"""Nodes, a file per group. They import ComfyUI, so only `entry` imports them."""
