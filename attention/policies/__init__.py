"""Attention policies: which blocks a call attends to, one file per policy and one row per policy in `table`.

Importing this package loads no torch, so that configurations and the command line can read the table.
"""
