# Two commands matter: `make run` (a whole demo store) and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin

.PHONY: setup run test bench faults fuzz lock clean
.DEFAULT_GOAL := run

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

run: setup
	$(BIN)/soglia run --demo

test: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage report

bench: setup
	$(BIN)/python -m tests.bench

faults: setup
	$(BIN)/python -m pytest tests/faults -m "" --full-counts -s

fuzz: setup
	$(BIN)/python -m pytest tests/core tests/contracts --hypothesis-profile=fuzz

# Hashes for x86-64 and aarch64, no addresses. Needs `uv`.
lock:
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header --upgrade -o requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
