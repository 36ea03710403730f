# `make run` and `make test` are all a fresh Debian or Ubuntu machine needs; it brings Python 3.11, git and make.

VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
PYTEST_ARGS ?=
# What needs no engine, and most of what does, runs on all processors, a module at a time; what builds images, fills memory
# or looks at all of the host runs alone.
FAST = $(BIN)/python -m pytest -m "not docker" -n auto
SHARED = $(BIN)/python -m pytest -m "docker and not alone" -n auto --dist loadfile
ALONE = $(BIN)/python -m pytest -m "docker and alone"

.DEFAULT_GOAL := help
.PHONY: help run test test-fast lint format bench images engine browser clean

help:
	@echo 'make run        start the gateway; ARGS="--listen=127.0.0.1:9000" are for it'
	@echo 'make test       lint and all tests, with a real Docker engine'
	@echo 'make test-fast  lint and the tests that need no engine'
	@echo 'make lint       ruff, mypy, imports, biome make format   let ruff format'
	@echo 'make images     the sandbox images       make bench    the measurements of docs/performance.md'
	@echo 'make clean      remove what make made (not the images)'

run: $(VENV)/.run images
	@exec $(BIN)/sandkasten-kernels serve $(ARGS)

test: lint images browser
	@failed=0; \
	$(FAST) $(PYTEST_ARGS) || failed=1; \
	$(SHARED) $(PYTEST_ARGS) || failed=1; \
	$(ALONE) $(PYTEST_ARGS) || failed=1; \
	exit $$failed

test-fast: lint
	$(FAST) $(PYTEST_ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@scripts/lint-pages

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	@scripts/lint-pages --write

bench: $(VENV)/.test images
	$(BIN)/python -m bench.start $(ARGS)
	$(BIN)/python -m bench.sessions $(ARGS)
	$(BIN)/python -m bench.restart $(ARGS)

# The engine is asked every time; an image that is up to date is left alone, which takes a moment.
images: engine
	@$(BIN)/sandkasten-kernels images build

engine: $(VENV)/.run
	@scripts/ensure-engine $(VENV)

browser: $(VENV)/.test
	@scripts/ensure-browser $(VENV)

$(VENV)/.run: setup.cfg pyproject.toml scripts/make-venv
	@scripts/make-venv $(VENV)
	@echo '==> installing the package (about 20 s)'
	@$(BIN)/python -m pip install --quiet --quiet --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo '==> installing what the tests need'
	@$(BIN)/python -m pip install --quiet --quiet --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) node_modules build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
