# make            lists the targets
# Each target works on a fresh clone: .venv is created as needed.

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
BENCHMARKS := hit propagation writer throughput crowd classic visibility

.PHONY: help
help:
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1	/' | expand -t 16

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "flushmesh needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

.venv/demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

.venv/dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ .venv/demo

.venv/bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@ .venv/demo

.PHONY: demo
demo: .venv/demo  ## three instances of the settings dashboard, http://127.0.0.1:8001
	@exec $(BIN)/python examples/settings_app $(ARGS)

.PHONY: test
test: .venv/dev  ## every test
	$(BIN)/python -m pytest $(ARGS)

.PHONY: suites
suites: .venv/dev  ## the test suites of others against our code; needs PyPI
	$(BIN)/python -m pytest tests/suites $(ARGS)

LOWEST := import re, tomllib; found = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]; \
	print(*(re.sub(r">=([\d.]+).*", r"==\1", each) for each in found))

.PHONY: lowest
lowest: .venv/dev  ## unit and protocol tests against the lowest version of every dependency
	@rm -rf .lowest
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --target .lowest $$($(BIN)/python -c '$(LOWEST)')
	PYTHONPATH=.lowest $(BIN)/python -m pytest tests/unit tests/protocol $(ARGS)

.PHONY: interrupts
interrupts: .venv/dev  ## interrupt every operation of a cache at every step, and call into it there
	FLUSHMESH_STRIDE=1 FLUSHMESH_STORM=20 $(BIN)/python -m pytest tests/interrupts --timeout 0 $(ARGS)

.PHONY: sim
sim: .venv/dev  ## the simulator: SEED=81234 replays one, SEEDS=10000 runs many
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),300))

.PHONY: mutants
mutants: .venv/dev  ## plant every known bug, and find it
	$(BIN)/python -m tests.simulation.hunting $(ARGS)

.PHONY: stress
stress: .venv/dev  ## one cache under many threads: OPERATIONS=10000000 hits and flushes
	$(BIN)/python -m tests.unit.stress --operations $(or $(OPERATIONS),10000000) $(ARGS)

.PHONY: bench
bench: .venv/bench  ## the benchmarks beside their rivals, into benchmarks/results: ONLY=hit runs one
	@for each in $(or $(ONLY),$(BENCHMARKS)); do \
		echo "== $$each"; \
		$(BIN)/python benchmarks/$$each.py --json benchmarks/results/$$each.json $(ARGS) || exit; \
	done
	@$(BIN)/python benchmarks/charts.py
	@$(BIN)/python benchmarks/tables.py

.PHONY: lint
lint: .venv/dev  ## ruff: style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: .venv/dev  ## mypy, strict
	$(BIN)/mypy
	$(BIN)/mypy examples/settings_app benchmarks
	$(BIN)/mypy tests/examples

.PHONY: proto
proto: .venv/dev  ## regenerate src/flushmesh/wire from proto/
	$(BIN)/protoc -I proto --python_out=src --pyi_out=src proto/flushmesh/wire/mesh.proto

.PHONY: install
install: .venv/dev  ## .venv with everything the targets need
