# Every target makes .venv first where it is missing or older than its list of dependencies.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help demo demo-full test test-slow lint speed peers clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,pretrained,fast,nwb]"
	touch $@

demo: $(INSTALLED)  ## score the models, print the table, write the figure to results/demo
	$(BIN)/brainscore-lite demo --output results/demo

demo-full: $(INSTALLED)  ## the same with every session, model and metric
	$(BIN)/brainscore-lite demo --full --output results/demo-full

test: $(INSTALLED)  ## run the tests, slow ones left out, on all cores
	$(BIN)/python -m pytest -n auto

test-slow: $(INSTALLED)  ## run the slow tests
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)  ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

speed: $(INSTALLED)  ## measure time and memory beside the peers
	set -e; for script in speed/*.py; do $(BIN)/python $$script; done

peers:  ## install the peers that need an environment of their own, for the parity and speed tables
	$(PYTHON) -m venv speed/.peers/brainscore
	speed/.peers/brainscore/bin/python -m pip install --quiet -r speed/peers/brainscore.txt
	speed/.peers/brainscore/bin/python -m pip install --quiet --no-deps brainscore_core==2.5.0 brainscore_vision==2.4.2
	$(PYTHON) -m venv speed/.peers/regression
	speed/.peers/regression/bin/python -m pip install --quiet -r speed/peers/regression.txt

clean:  ## remove results, caches and .venv
	rm -rf .venv results build dist .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
