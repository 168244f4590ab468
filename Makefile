# Every target sets up .venv by itself, from the hash-pinned lock, and only when the lock or pyproject changed.
#   make demo                      hear it: a private daemon speaks a paragraph, word by word
#   make test                      the whole test suite, with coverage
#   make lint                      formatting, lint, types, import contracts
#   make test PYTHON=python3.13    with another interpreter (make clean first)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint bench lock clean
SHELL := bash
BIN := .venv/bin
STAMP := .venv/.complete
SOURCES := $(wildcard daemon actors audio protocol sockets engine clients/python tests bench examples)

# The first interpreter that is new enough and can make environments; override with PYTHON=...
PYTHON ?= $(shell for python in python3.11 python3.13 python3.12 python3; do \
	"$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; break; }; done)

help:
	@sed -n 's/^#   //p' Makefile

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed (Debian: apt install python3-venv)"; exit 1; }
	test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	sed -n '/^uv==/,/^    # via/p' requirements.lock > .venv/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r .venv/uv.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

demo: $(STAMP)
	$(BIN)/tts-streamctl demo

test: $(STAMP)
	$(BIN)/pytest --cov --cov-report=term:skip-covered $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/pyright --threads 2
	$(BIN)/lint-imports

bench: $(STAMP)
	@shopt -s nullglob; scripts=(bench/*.py); test $${#scripts[@]} -gt 0 || { echo "no benchmark yet"; exit 0; }; \
	for script in "$${scripts[@]}"; do echo "== $$script"; $(BIN)/python "$$script" || exit 1; done

lock: $(STAMP)
	$(BIN)/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--all-extras --group dev --no-emit-index-url --no-emit-find-links \
		--custom-compile-command "make lock" -o requirements.lock
	@! grep -nE '[a-z]+://' requirements.lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* dist build demo.wav
	find . -name __pycache__ -prune -exec rm -rf {} +
