# Everything a person types: setup, repro, test, soak, lint, ui, bench, s3. `make repro` on a fresh clone needs Python 3.11+, git, make.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.synced
S3 := .venv/.s3
# with bytecode written, importing torch, Lightning and timm takes a third of the time
unexport PYTHONDONTWRITEBYTECODE
# one thread a process: two processes with two threads each on two cores are 20 to 40 times slower
export OMP_NUM_THREADS := 1
export OMP_WAIT_POLICY := PASSIVE
export MLFLOW_DISABLE_TELEMETRY := true
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup repro test soak lint ui bench s3 lock upgrade

help: ## this list
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(STAMP) ## the environment in .venv, from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("qlcnet needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 setup") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

repro: setup ## run the study of params.yaml (only what is not up to date)
	@qlcnet check
	dvc repro
	@echo
	@echo "report:   $(CURDIR)/results/report.html"
	@echo "tracking: make ui, then http://127.0.0.1:5000"

test: setup ## the tests
	pytest --numprocesses 2 --dist loadfile

soak: setup s3 ## longer tests
	pytest -m soak

lint: setup ## ruff, mypy, and no mark that a merge left
	@! git grep -nE '^(<{7}|>{7}) ' -- ':!*.md.html' || (echo 'marks of a merge are left' && false)
	ruff check .
	ruff format --check .
	mypy

PORT := 5000
ui: setup ## the MLflow UI on 127.0.0.1:5000; `make ui PORT=5001`: on another port
	qlcnet track ui --port $(PORT)

bench: setup ## every benchmark; each prints a table and, last, one JSON line
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; python $$script; done

s3: $(S3) ## DVC remotes on S3: requirements-s3.lock into .venv, beside what `make setup` put there

$(S3): $(STAMP) requirements-s3.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps --requirement requirements-s3.lock
	@touch $@

# names, versions and hashes, no addresses
COMPILE := uv pip compile --quiet --universal --no-header --generate-hashes --no-emit-index-url
LOCKED := --extra cluster --extra dev
# of an environment with everything: the packages that requirements.lock lacks, or has in another version
EVERYTHING := .venv/everything.lock
define lock_s3
	cat requirements-s3.lock requirements.lock > $(EVERYTHING)
	$(COMPILE) --all-extras pyproject.toml -o $(EVERYTHING)
	awk 'NR == FNR {locked[$$1]; next} /^[a-z]/ {skip = ($$1 in locked)} !skip' requirements.lock $(EVERYTHING) > requirements-s3.lock
endef

lock: setup ## requirements.lock for what pyproject.toml asks for now; versions that are in it stay (fits keep their names)
	$(COMPILE) $(LOCKED) pyproject.toml -o requirements.lock
	$(lock_s3)

upgrade: setup ## the newest versions into requirements.lock; with other torch, timm, Lightning, torchmetrics or numpy every fit is another
	$(COMPILE) $(LOCKED) --upgrade pyproject.toml -o requirements.lock
	: > requirements-s3.lock
	$(lock_s3)
