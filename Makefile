# Every target does its own set-up: `make demo` and `make test` work on a fresh machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
PROMPT := a red ball moves right on a black background

.PHONY: demo test test-slow lint types bench evaluate gpu readme clean

demo: $(STAMP)
	$(BIN)/videogen render "$(PROMPT)" -o out/demo.mp4 --overwrite

test: lint types
	$(BIN)/python -m pytest

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/python tools/typing_links.py
	$(BIN)/mypy build/typing/videogen

bench: $(STAMP)
	$(BIN)/python tools/bench.py

evaluate: $(STAMP)
	$(BIN)/python tools/evaluate_embedded.py

readme: $(STAMP)
	$(BIN)/python tools/readme_table.py --write

# All that waits for a GPU, most valuable first; needs only torch and what tools/README.md says to carry.
gpu:
	$(PYTHON) tools/gpu.py

clean:
	rm -rf build dist out *.egg-info $(VENV)

# torch comes first and pinned, so that no range ever pulls another build of it.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@
