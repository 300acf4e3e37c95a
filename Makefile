# Everything a developer or a newcomer needs; nothing but Python >= 3.11, pip and make has to be there before.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(PYTHON) -m pip --python $(BIN)/python --disable-pip-version-check install --quiet

.DEFAULT_GOAL := help
.PHONY: help setup dev demo test check format bench lock clean chaos mutants

help: ## Show what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup: .venv/.main ## Build .venv with what Waybill needs to run

dev: .venv/.dev

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Waybill needs Python 3.11 or newer: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv --without-pip .venv

.venv/.main: requirements/main.txt requirements/build.txt pyproject.toml | .venv/bin/python
	$(PIP) --require-hashes -r requirements/main.txt -r requirements/build.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements/dev.txt .venv/.main
	$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

demo: setup ## Summarize the descriptions of the installed packages, offline, through the whole stack
	$(BIN)/waybill demo

test: dev ## Run all tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: dev ## Format, lint, types, layers, dependencies, lock files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/python -m tests.lock_consistency

format: dev ## Format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## Measure jobs per second, CPU per job, and how close to a provider's limits the whole stack runs
	$(BIN)/waybill bench throughput --jobs 10000 --json
	$(BIN)/waybill bench limits --seconds 30

chaos: dev ## Twenty seeds of chaos over real processes, a minute and a half and one line each
	$(BIN)/python -m tests.faults.chaos --seeds 1-20

mutants: dev ## Plant each seeded bug in a copy; each must turn its test red
	$(BIN)/python -m tests.mutants $(NAMES)

LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --python-version 3.11

lock: dev ## Write the lock files anew from pyproject.toml; nothing younger than a week
	$(LOCK) --exclude-newer "$$(date -u -d '-7 days' +%F)" pyproject.toml -o requirements/main.txt
	$(LOCK) --exclude-newer "$$(date -u -d '-7 days' +%F)" -c requirements/main.txt --group build -o requirements/build.txt
	$(LOCK) --exclude-newer "$$(date -u -d '-7 days' +%F)" -c requirements/main.txt --group dev -o requirements/dev.txt

clean: ## Remove what was built; data directories stay
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
