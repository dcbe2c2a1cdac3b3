"""ComfyUI node pack: the engine's techniques on ComfyUI's own models, and the engine as nodes.

`entry` is what ComfyUI loads. Nothing here is imported by the rest of the package, and ComfyUI is imported only when
it runs.
"""
