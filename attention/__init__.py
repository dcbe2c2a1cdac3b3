"""What to attend to: tensors in, tensors out. Installed as `videogen.attention`.

So far: which attention kernels work on this machine (`kernels.probe`). Block-sparse search and kernels come here.
"""
