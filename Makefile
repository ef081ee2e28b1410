# make demo    two minutes: cftool against an S3 server on this machine
# make test    everything that must hold before a merge
# make cover   the same tests with branch coverage; fails where a safety-relevant module is below 100 %
# make long    the harnesses at release size; writes tests/RESULTS.md
# make bench   cftool beside rclone and s5cmd; writes tests/bench/RESULTS.md
# make docs    write man/, completions/ and the generated parts of README.md again
#
# Each makes the virtual environment .venv where it is absent or older than pyproject.toml.
# PYTHON chooses the interpreter (3.11 or newer), ARGS is handed on: make test ARGS='-k s3', make bench ARGS='--rounds 1'.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# Everything that decides what is written, replaced or deleted.
SAFE := cftool/core/*,cftool/disk/*,cftool/wrap/*,cftool/transfer/*
# One more than cores: they wait for servers and children now and then. What they write goes when they end.
PYTEST = scratch=$$(bash tests/house/scratch.sh); trap 'rm -rf --one-file-system "$$scratch"' EXIT; \
  TMPDIR=$$scratch $(BIN)/python -m pytest -n $$(($$(nproc) + 1)) --dist worksteal -q --basetemp=$$scratch/tests
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: help demo test lint cover long bench docs clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \{0,1\}//; 1,/^$$/p' Makefile

demo: $(VENV)/.demo
	@$(BIN)/python -m tests.demo

test: lint
	@bash tests/house/debian.sh
	@$(PYTEST) $(ARGS)

lint: $(VENV)/.test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=providers $(BIN)/lint-imports --no-cache
	@$(BIN)/python -m tests.house.docs --check

cover: $(VENV)/.test
	@bash tests/house/debian.sh
	@$(PYTEST) --cov --cov-report= $(ARGS)
	@$(BIN)/coverage report --skip-covered --show-missing
	@$(BIN)/coverage report --format=total --fail-under=100 --include='$(SAFE)' >/dev/null || \
	  { echo 'a safety-relevant module is below 100 %: $(SAFE)' >&2; exit 1; }

long: $(VENV)/.test
	@$(BIN)/python -m tests.long $(ARGS)

bench: $(VENV)/.test
	@$(BIN)/python -m tests.bench $(ARGS)

docs: $(VENV)/.test
	@$(BIN)/python -m tests.house.docs --write

clean:
	rm -rf $(VENV) build dist .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*

# The stamps: an installation is as old as its stamp, and too old where pyproject.toml is newer.
$(VENV)/.demo: $(BIN)/python pyproject.toml
	@if [ ! -e $(VENV)/.test ] || [ pyproject.toml -nt $(VENV)/.test ]; then \
	  echo 'installing cftool and a local S3 server into $(VENV) ...' >&2; $(PIP) --editable '.[demo]'; fi
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml
	@echo 'installing cftool with all that its tests need into $(VENV) ...' >&2
	@$(PIP) --editable '.[test,lint]'
	@touch $@

$(BIN)/python:
	@PYTHON='$(PYTHON)' VENV='$(VENV)' bash tests/house/venv.sh
