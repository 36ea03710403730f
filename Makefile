# `make run` and `make test` are all a fresh Debian or Ubuntu machine needs; it brings Python 3.11, git and make.

VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
PYTEST_ARGS ?=
# Which tests run where is said by marks, see tests/README.md. A module stays on one processor, because its tests share
# a gateway; what is marked `alone` runs with nothing beside it.
PYTEST = $(BIN)/python -m pytest
FAST = $(PYTEST) -m "not docker and not slow and (not local or core)" -n auto --dist loadfile
MOST = $(PYTEST) -m "not slow and not (docker and alone)" -n auto --dist loadfile
MOST_ALONE = $(PYTEST) -m "docker and alone and not slow"
ALL = $(PYTEST) -m "not (docker and alone)" -n auto --dist loadfile
ALL_ALONE = $(PYTEST) -m "docker and alone"

.DEFAULT_GOAL := help
.PHONY: help run test test-all test-fast lint format bench images engine browser clean

help:
	@echo 'make run        start the gateway; ARGS="--listen=127.0.0.1:9000" are for it'
	@echo 'make test-fast  lint, and what needs no Docker: the core on a local engine         under a minute'
	@echo 'make test       that, and the rest but what is slow, with a real Docker engine     under 10 minutes'
	@echo 'make test-all   everything: image builds, faults, JupyterLab, published clients    under 45 minutes'
	@echo 'make lint       ruff, mypy, imports, biome make format   let ruff format'
	@echo 'make images     the sandbox images       make bench    the measurements of docs/performance.md'
	@echo 'make clean      remove what make made (not the images)'

run: $(VENV)/.run images
	@exec $(BIN)/sandkasten-kernels serve $(ARGS)

test: lint images browser
	@failed=0; \
	$(MOST) $(PYTEST_ARGS) || failed=1; \
	$(MOST_ALONE) $(PYTEST_ARGS) || failed=1; \
	exit $$failed

test-all: lint images browser
	@failed=0; \
	$(ALL) $(PYTEST_ARGS) || failed=1; \
	$(ALL_ALONE) $(PYTEST_ARGS) || failed=1; \
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
