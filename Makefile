# Every target sets up what it needs in .venv; a second call reuses it.
PYTHON ?= python3
JOBS ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
BIN := .venv/bin
# One thread a process: the tests run in as many processes as there are cores. None of them starts again: a test that
# ends its process would be tried in each. Files are started in the order of tests/conftest.py, the longest first.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

.PHONY: help demo test quick check format bench gpu docs clean

help:
	@echo 'make demo    train the quickstart table on real digits and print a leaderboard'
	@echo 'make test    the whole test suite'
	@echo 'make quick   the part of it that trains next to nothing'
	@echo 'make check   lint, format and types'
	@echo 'make format  reformat the code'
	@echo 'make bench   speed, as ratios from one run'
	@echo 'make gpu     test, time and train on one GPU in 25 minutes, and write a page'
	@echo 'make docs    the documentation, in docs/_build/html'

.venv/installed: requirements.txt setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo 'error: openmix needs Python 3.10 or newer; name one with make PYTHON=...' >&2; exit 2; }
	@echo 'set-up of .venv: 6 GB, most of it torch; a minute or two, longer on a slow network; nothing is printed meanwhile'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

.venv/checkers: .venv/installed
	@echo 'set-up of the checkers, less than a minute'
	$(BIN)/python -m pip install --quiet --editable '.[check]'
	@touch $@

.venv/sphinx: .venv/installed
	@echo 'set-up of what builds the pages, less than a minute'
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

demo: .venv/installed
	$(BIN)/python tools/benchmark.py run quickstart --jobs $(JOBS)
	$(BIN)/python tools/benchmark.py report quickstart --pictures

test: .venv/installed
	$(PYTEST)

quick: .venv/installed
	$(PYTEST) -m 'not slow'

check: .venv/checkers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/checkers
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/installed
	$(BIN)/python benchmarks/run.py

# MINUTES=10 takes less; the next call goes on.
MINUTES ?= 25
gpu: .venv/installed
	$(BIN)/python benchmarks/gpu.py --minutes $(MINUTES)

docs: .venv/sphinx
	$(BIN)/sphinx-build -W -q docs docs/_build/html
	@echo docs/_build/html/index.html

clean:
	rm -rf .venv build dist *.egg-info docs/_build
