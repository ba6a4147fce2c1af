# Two commands for a newcomer: `make quickstart` runs the main job, `make test` the fast tests.
# Both make (or reuse) the virtual environment in .venv; set PYTHON to use another interpreter.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: quickstart test test-all test-faults lint clean

quickstart: $(VENV)/.run
	$(BIN)/steper run small-world

test: $(VENV)/.dev
	@$(BIN)/python -m pytest -m "not slow" -n 2

test-all: $(VENV)/.dev
	@$(BIN)/python -m pytest -n 2

test-faults: $(VENV)/.dev
	@$(BIN)/python -m pytest -m slow -n 2 tests/test_fuzz.py tests/test_kills.py

lint: $(VENV)/.dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

$(VENV)/.run: pyproject.toml constraints.txt
	@$(PYTHON) scripts/check_python.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	@$(PYTHON) scripts/check_python.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.run

clean:
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist
