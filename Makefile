# Every target does its own set-up: `make demo` and `make test` need Python 3.10 or later and nothing else.
# PYTHON=python3.11 chooses the interpreter; WORKERS=1 runs the tests in one process.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
WORKERS ?= 2
PROMPT ?= a red ball moves right on a black background
MINUTES ?= 30
OUT ?= out/gpu
WHEELS ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow lint types bench evaluate readme gpu clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

venv: $(STAMP)  ## create .venv and install everything with the tested versions

# torch comes first and pinned, so that no range ever pulls another build of it.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "videogen needs Python 3.10 or later; name one with PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch setuptools
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".[dev]"
	@touch $@

demo: $(STAMP)  ## render the embedded model's sample prompt to out/demo.mp4
	$(BIN)/videogen render "$(PROMPT)" -o out/demo.mp4 --overwrite
	@echo "the clip is $(CURDIR)/out/demo.mp4"

test: lint types  ## the whole suite: lint, types, tests
	$(BIN)/python -m pytest -n $(WORKERS)

test-slow: $(STAMP)  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)  ## mypy in strict mode over the installed layout
	$(BIN)/python tools/typing_links.py
	$(BIN)/mypy build/typing/videogen

bench: $(STAMP)  ## time the embedded models against diffusers' own pipelines
	$(BIN)/python tools/bench.py --out benchmarks/render.json
	$(BIN)/python tools/bench_attention.py kernels render --out benchmarks
	for model in embedded embedded-unet; do for part in fidelity promise; do \
		$(BIN)/python tools/bench_propagation.py $$part $$model || exit; done; done
	$(BIN)/python tools/bench_propagation.py together embedded
	for model in embedded embedded-unet; do for part in policies story; do \
		$(BIN)/python tools/bench_long.py $$part $$model || exit; done; done
	$(BIN)/python tools/bench_long.py length embedded
	$(BIN)/python tools/kill_resume.py --kills 100
	$(BIN)/python tools/bench_motion.py statistics speed --threads 2
	for part in control camera transfer; do $(BIN)/python tools/bench_motion_control.py $$part embedded || exit; done
	$(BIN)/python tools/readme_table.py

evaluate: $(STAMP)  ## judge the embedded models on prompts they never saw
	$(BIN)/python tools/evaluate_embedded.py
	$(BIN)/python tools/readme_table.py

readme: $(STAMP)  ## write docs/figures.md and the README's headlines anew from benchmarks/*.json
	$(BIN)/python tools/readme_table.py

# No .venv here: a GPU machine has its torch. tools/README.md says which wheels must be carried.
gpu:  ## all that waits for a GPU: MINUTES=30 OUT=out/gpu WHEELS=folder
	$(PYTHON) tools/gpu.py --minutes $(MINUTES) --out $(OUT) $(if $(WHEELS),--wheels $(WHEELS))

clean:  ## remove what the other targets made
	rm -rf $(VENV) build dist out *.egg-info .mypy_cache .ruff_cache .pytest_cache
