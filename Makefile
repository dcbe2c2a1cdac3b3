# Every target does its own setup: `make demo` and `make test` need Python 3.10 or later and nothing else.
# PYTHON=python3.11 chooses the interpreter; WORKERS=1 runs the tests in one process.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BENCH := $(BIN)/python -m tools.bench
STAMP := $(VENV)/.ready
WORKERS ?= 2
PROMPT ?= a red ball moves right on a black background
MINUTES ?= 30
OUT ?= out/gpu
WHEELS ?=
OLDEST_DIFFUSERS := 0.41.0
OLDEST := build/diffusers-$(OLDEST_DIFFUSERS)

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow test-oldest lint types bench evaluate readme docs gpu clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

venv: $(STAMP)  ## create .venv and install the tested versions

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

test: lint types  ## lint, types and all tests but the slow ones
	$(BIN)/python -m pytest -n $(WORKERS)

test-slow: $(STAMP) test-oldest  ## tests that take minutes
	$(BIN)/python -m pytest -m slow -n $(WORKERS)

test-oldest: $(OLDEST)  ## hosted pipelines on the oldest diffusers that is supported
	PYTHONPATH=$(OLDEST) $(BIN)/python -m pytest -m "slow or not slow" -n $(WORKERS) tests/contract/test_hosting.py \
		-k "every or form or bit_for_bit"

$(OLDEST): $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $@ diffusers==$(OLDEST_DIFFUSERS)
	@touch $@

lint: $(STAMP)
	$(BIN)/ruff check .

types: $(STAMP)  ## mypy over the package, the tools and the tests
	$(BIN)/python -m tools.typing_links
	$(BIN)/mypy build/typing/videogen tools tests

bench: $(STAMP)  ## run all benchmarks (hours; COMFYUI_PATH adds those of the nodes), then write the figures
	$(BENCH) render
	$(BENCH) attention kernels render
	for model in embedded embedded-unet; do for part in fidelity promise; do \
		$(BENCH) propagation $$part $$model || exit; done; done
	$(BENCH) propagation together embedded
	for model in embedded embedded-unet; do $(BENCH) presets $$model || exit; done
	$(BENCH) preview
	for model in embedded embedded-unet; do for part in policies story; do \
		$(BENCH) long $$part $$model || exit; done; done
	$(BENCH) long length embedded
	$(BENCH) kills --kills 100
	$(BENCH) stops
	$(BENCH) noise statistics speed --threads 2
	for part in control camera composed transfer; do $(BENCH) motion $$part embedded || exit; done
	if [ -n "$$COMFYUI_PATH" ]; then for part in overhead promise; do $(BENCH) comfyui $$part || exit; done; fi
	$(BENCH) report

evaluate: $(STAMP)  ## judge the embedded models on prompts they were not trained on
	$(BIN)/python -m tools.evaluate_embedded
	$(BENCH) report

readme: $(STAMP)  ## write docs/figures.md, the README's headline rows and the table of pipelines
	$(BENCH) report
	$(BIN)/python -m tools.models_page

# Only this target installs pdoc: neither the tests nor the demo need it.
$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".[docs]"
	@touch $@

docs: $(VENV)/.docs  ## write the API reference and the guides to build/docs
	$(BIN)/python docs/build.py

# Without .venv: a GPU machine has its own torch. tools/README.md lists the wheels to carry there.
gpu:  ## train and measure on a GPU machine: MINUTES=30 OUT=out/gpu WHEELS=folder
	$(PYTHON) -m tools.gpu --minutes $(MINUTES) --out $(OUT) $(if $(WHEELS),--wheels $(WHEELS))

clean:  ## remove everything that the other targets create
	rm -rf $(VENV) build dist out *.egg-info .mypy_cache .ruff_cache .pytest_cache
