# Everything starts from here: `make demo` and `make test` need only python3 and make.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# One thread per test worker: two workers on two cores.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

# Libraries are compiled when they are first imported, and kept: else every process would do it again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup setup-dev demo test mutants lint bench docs clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    adapt the shipped model to a new venue and show before/after"
	@echo "make test    run the tests"
	@echo "make mutants change the code in small ways and see whether a test notices"
	@echo "make lint    ruff, mypy --strict, import-linter"
	@echo "make bench   run the benchmarks against their peers"
	@echo "make docs    write the reference pages of the parts"
	@echo "make setup   install into .venv"

.venv/.made:
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.core: .venv/.made pyproject.toml constraints.txt
	$(PIP) -e . -c constraints.txt
	@touch $@

.venv/.dev: .venv/.core
	$(PIP) -e '.[dev]' -c constraints.txt
	@touch $@

setup: .venv/.core

setup-dev: .venv/.dev

demo: .venv/.core
	$(BIN)/vidapt demo $(ARGS)

test: .venv/.dev
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder $(ARGS)

mutants: .venv/.dev
	$(ONE_THREAD) PYTHONPATH=tests $(BIN)/python -m mutants $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.dev
	$(ONE_THREAD) $(BIN)/python benchmarks/decode.py $(CLIPS)
	$(ONE_THREAD) $(BIN)/python benchmarks/packing.py

docs: .venv/.core
	$(BIN)/python docs/build_parts.py

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
