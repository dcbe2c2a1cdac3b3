"""Reading and writing video: the only package that decodes or encodes (PyAV; imageio with Pillow; decord, optional)."""
