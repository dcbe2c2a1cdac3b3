"""Attention kernels, one file each, behind one capability table. The only place that imports triton, flash-attn,
xformers."""
