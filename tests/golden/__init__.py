"""A table of renders whose frames, manifests and journals may not change: `python -m tests.golden write|check`."""
