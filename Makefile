# What a contributor runs. Needs Python >= 3.10 (with venv), make and the network for the first install only.
PYTHON ?= python3

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
TEST_ENV := HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 TOKENIZERS_PARALLELISM=false
SUITE := $(TEST_ENV) $(PY) -m pytest -s benchmarks/suite --benchmark-columns=min,median,max,rounds

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check bench bench-full clean

help:
	@echo "make demo       export, quantize and run the model in models/, and print what it cost and what it gained"
	@echo "make test       the tests that need no GPU and are quick"
	@echo "make test-slow  the slow tests"
	@echo "make check      formatting, lint and types"
	@echo "make bench      the benchmark suite, quick: writes benchmarks/out/bench/report.html"
	@echo "make bench-full all of the suite: every model, and every other tool, for which it makes environments"
	@echo "make clean      remove caches and build outputs (.venv stays: remove it with rm -rf .venv)"
	@echo "Each installs into .venv first, once. PYTHON=/path/to/python3 picks the Python that it is made with."

demo: $(STAMP)
	$(PY) -m benchmarks.demo

test: $(STAMP)
	$(TEST_ENV) $(PY) -m pytest -m "not slow and not gpu"

test-slow: $(STAMP)
	$(TEST_ENV) $(PY) -m pytest -m "slow and not gpu"

check: $(STAMP)
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy

bench: $(STAMP)
	$(SUITE)

bench-full: $(STAMP)
	$(SUITE) --full

clean:
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache .benchmarks benchmarks/out build dist
	find engine exporters benchmarks models tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The stamp is written last, so that an interrupted install starts again. What it left is repaired first: a .venv
# without pip gets it, and a package copied in part (its .dist-info has no RECORD) is forgotten, so that pip
# installs it anew. A .venv that works is kept with what is in it: a torch 2.13.0 that is there already, as the
# CPU build from PyTorch's install page, stays.
$(STAMP): pyproject.toml constraints.txt
	@rm -f $@
	@$(PY) -m pip --version >/dev/null 2>&1 || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	    echo "ortolan needs Python 3.10 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1)." \
	      "Name another one: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) has no venv module (on Debian and Ubuntu: apt install python3-venv)." >&2; exit 1; }; \
	  $(PYTHON) -m venv $(VENV); }
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "$(VENV) was made with a Python older than 3.10. Remove it (rm -rf $(VENV)) and try again." >&2; exit 1; }
	@for d in $(VENV)/lib/python3*/site-packages/*.dist-info; do \
	  if [ -d "$$d" ] && [ ! -f "$$d/RECORD" ]; then rm -rf "$$d"; fi; done
	@echo "Installing ortolan[cpu,export,dev,bench] into $(VENV): minutes the first time."
	@$(PY) -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' || \
	  echo "torch is large: on Linux pip takes the CUDA build, several GB. For its CPU build, stop here, install" \
	    "torch 2.13.0 into $(VENV) as PyTorch's install page says, and run make again."
	@$(PY) -m pip install -q --disable-pip-version-check 'pip>=22.3'
	@$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[cpu,export,dev,bench]'
	@touch $@
