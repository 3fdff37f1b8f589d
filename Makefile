# Everything a developer does here. `make` alone says what there is.
SHELL := /bin/sh
VENV ?= .venv
PY := $(VENV)/bin/python
ARGS ?=
BENCH ?= $(basename $(notdir $(shell grep -l "^if __name__" bench/*.py)))
.DEFAULT_GOAL := help
.PHONY: help demo test lint unit contract api e2e bench test-crash test-backends generate lock control-plane system-packages venv clean

help: ## Say what there is
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "ARGS=... is handed on, for example: make unit ARGS='-k placement'"

demo: venv ## Show the whole thing on this machine: three hosting services, a database and two web servers (ARGS=--once)
	@$(VENV)/bin/moorage demo $(ARGS)

test: venv $(if $(CI),system-packages) ## Run all checks and tests, with a summary at the end
	@$(PY) tools/check.py $(ARGS)

lint: venv ## Check format, rules, types, imports and generated files
	@$(PY) tools/check.py lint

unit contract api e2e: venv
	@$(PY) tools/check.py $@ $(ARGS)

bench: venv ## Measure speed and cost, all of bench/ or BENCH=name; bench/README.md has the recorded results
	@for script in $(BENCH:%=bench/%.py); do echo "$$script"; $(PY) $$script $(ARGS) || exit 1; done

test-crash: venv ## Kill the controller at every single call of a group's life (long)
	@MOORAGE_EVERY_CRASH=1 $(PY) -m pytest tests/e2e/test_crash.py --timeout=0 $(ARGS)

test-backends: venv ## Break every call of every backend in every way, on each service that this machine can run (long)
	@MOORAGE_EVERY_FAULT=1 $(PY) -m pytest tests/contract --timeout=1800 $(ARGS)

generate: venv ## Write the CRDs and the API reference anew from the models
	@$(PY) -m moorage.api.crd --write crds
	@$(PY) -m moorage.api.reference --write docs/reference/api.md

lock: ## Resolve the dependencies anew (needs uv); ARGS=--upgrade takes newer versions
	@sh tools/lock $(ARGS)

control-plane: venv ## Have the control plane that tests and demo use ready in the cache, built if need be
	@$(PY) -m moorage.controlplane prepare

system-packages: ## Install the Debian packages that some tests need (uses sudo unless you are root)
	@sh tools/system-packages

venv: ## Make the virtual environment, with the locked requirements; nothing where nothing changed
	@python3 tools/bootstrap.py $(VENV)

clean: ## Remove what was made in the work tree (the cache outside stays: ~/.cache/moorage)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
