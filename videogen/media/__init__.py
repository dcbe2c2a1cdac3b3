"""Reading and writing video: the only package that decodes or encodes (PyAV, Pillow, and decord as an optional fast
path)."""
