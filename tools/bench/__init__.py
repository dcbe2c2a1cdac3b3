"""Benchmarks of the engine: `python -m tools.bench --help` lists them.

Each writes one JSON report into `benchmarks/`; `python -m tools.bench report` turns all reports into docs/figures.md
and the README's headline rows. A benchmark is one module (or one folder, where it has several parts) and one row in
`__main__.BENCHMARKS`; its reader is one row in `report/sections.py`.
"""
