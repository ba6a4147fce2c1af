# Two commands for a newcomer: `make quickstart` runs the main job, `make test` the fast tests.
# Both make (or reuse) the virtual environment in .venv; set PYTHON to use another interpreter.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: quickstart test test-all test-faults test-machines lint clean

quickstart: $(VENV)/.run
	$(BIN)/steper run small-world

test: $(VENV)/.dev
	@$(BIN)/python -m pytest -m "not slow" -n 2

test-all: $(VENV)/.dev
	@$(BIN)/python -m pytest -n 2

test-faults: $(VENV)/.dev
	@$(BIN)/python -m pytest -m slow -n 2 tests/test_fuzz.py tests/test_kills.py tests/test_paid_calls.py

# Several processes, Ray, ZeRO-3 and Lucene: tests that need extras, which `make test` leaves out.
test-machines: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt wheel --editable '.[ray,lucene]'
	@DS_ACCELERATOR=cpu DS_BUILD_OPS=0 $(BIN)/python -m pip install --quiet --no-build-isolation \
		--constraint constraints.txt deepspeed
	@$(BIN)/python -m pip install --quiet --no-deps pyserini  # Lucene's jars
	@DS_ACCELERATOR=cpu $(BIN)/python -m pytest tests/training/test_launch.py tests/training/test_sharding.py \
		tests/training/test_equality.py tests/test_cluster.py tests/pipeline/test_on_ray.py tests/retrieve/test_lucene.py

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
