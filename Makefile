# Every verb of the project. `make` alone lists them.
#
# Nothing needs to be installed first but Python 3.11 or newer, git and make: each verb builds the
# environment that it needs and is quick when nothing changed.
#
#   PYTHON=/path/to/python3.12   the interpreter to build with; the first suitable one otherwise
#   JOBS=4                       how many tests run at once; one per core otherwise

.DEFAULT_GOAL := help
SHELL := /bin/sh
.SUFFIXES:
.DELETE_ON_ERROR:
# `check` goes from the quickest failure to the slowest, also under `make -j`.
.NOTPARALLEL:

PYTHON ?=
export PYTHON
JOBS ?= auto

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PROTOS_READY := .venv-protos/.ready
FLOOR_READY := .venv-floor/.ready
MEMBERS := $(wildcard clients/python/pyproject.toml server/pyproject.toml sandbox/pyproject.toml)
PROTOS := $(shell find protos -name '*.proto' 2>/dev/null)
IMAGE := .build/image.binpb
RELEASED := protos/released.binpb
# Folders that exist; a fresh idea may start before its tests do.
TYPED := $(wildcard server/src clients/python/src sandbox/src tests sandbox/tests tools benchmarks)
SPOKEN := $(TYPED) $(wildcard clients/python/hatch_build.py)

say = @printf '\n\033[1m%s\033[0m\n' '$(1)'

# ------------------------------------------------------------------------------ first run

.PHONY: help
help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(READY) ## install everything the project needs, into .venv

$(READY): constraints.txt $(MEMBERS) tools/setup.sh
	@echo 'setting up $(VENV) (the first time takes a minute)'
	@tools/setup.sh workspace $(VENV)
	@touch $@

$(PROTOS_READY): protos/requirements.txt constraints.txt tools/setup.sh
	@tools/setup.sh protos .venv-protos
	@touch $@

$(FLOOR_READY): clients/python/pyproject.toml constraints.txt tools/setup.sh
	@tools/setup.sh floor .venv-floor
	@touch $@

.PHONY: demo
demo: $(READY) ## see it work: start sandbox and gateway, ask a few questions, stop
	@$(BIN)/python -m tools.demo

.PHONY: run
run: $(READY) ## start sandbox and gateway and leave both up until Ctrl-C; AT=2026-10-01T15:00:00Z begins then
	@$(BIN)/python -m tools.run $(if $(AT),--at $(AT))

.PHONY: live-check
live-check: $(READY) ## compare Alpaca's live answers with what the parser requires (needs keys)
	@$(BIN)/python -m tools.live_check

# ---------------------------------------------------------------------------------- tests

.PHONY: test
test: $(READY) $(PROTOS_READY) ## run the promises
	@$(BIN)/pytest -n $(JOBS) -m 'not slow and not live'

# The tests of single faults come second: what ten minutes of everything at once break is told first.
.PHONY: faults
faults: $(READY) ## ten minutes of every call under every fault, then the tests of single faults
	@$(BIN)/python -m tests.storm --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))
	@$(BIN)/pytest -n $(JOBS) tests/faults tests/e2e --deselect tests/faults/test_storm.py::test_a_storm_finds_nothing_wrong

.PHONY: fuzz
fuzz: $(READY) ## a hundred thousand spoilt requests, bodies and frames each; SEED=1 tries the same again
	@$(BIN)/python -m tests.fuzz $(if $(SEED),--seed $(SEED))

.PHONY: soak
soak: $(READY) ## twenty minutes at half capacity: do memory and open files stay flat? MINUTES=3 for less
	@$(BIN)/python -m tests.storm --soak --minutes $(or $(MINUTES),20)

.PHONY: coverage
coverage: ## run every test, slow ones too, and measure branch coverage
	@mkdir -p .build/coverage
	@PYTEST_ADDOPTS='--cov --cov-report=' $(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory long

.PHONY: long
long: $(READY) ## run the slow tests, and measure branch coverage with what `make test` has measured before
	$(call say,slow tests and coverage)
	@$(BIN)/pytest -n $(JOBS) -m 'slow and not live' --cov --cov-append --cov-report=term

.PHONY: floor
floor: $(FLOOR_READY) ## run the client's tests on the oldest versions it promises
	$(call say,the client on its oldest versions)
	@if [ -d tests/unit/client ]; then \
	    .venv-floor/bin/pytest -q -p no:cacheprovider tests/unit/client; \
	else echo 'tests/unit/client does not exist yet'; fi

.PHONY: bench
bench: $(READY) ## measure, and write benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks.run

# ---------------------------------------------------------------------------------- check

.PHONY: inspect
inspect: format-check lint versions protos-lint protos-drift docs-drift imports deps types ## everything that CI knows, but for the tests

# The tests come last but for the floor, which only repeats some of them elsewhere.
.PHONY: check
check: inspect coverage floor ## everything that CI knows, quickest failure first
	$(call say,all good)

.PHONY: format
format: $(READY) ## rewrite Python and protos in the common style
	@$(BIN)/ruff format $(SPOKEN)
	@$(BIN)/ruff check --fix-only --quiet $(SPOKEN)
	@$(BIN)/buf format -w protos

.PHONY: format-check
format-check: $(READY) ## is everything in the common style?
	$(call say,format)
	@$(BIN)/ruff format --check $(SPOKEN)
	@$(BIN)/buf format -d --exit-code protos

.PHONY: lint
lint: $(READY) ## ruff's rules
	$(call say,lint)
	@$(BIN)/ruff check $(SPOKEN)

.PHONY: versions
versions: $(READY) ## one version number in every file that names it
	$(call say,versions)
	@$(BIN)/python -m tools.release --check

.PHONY: types
types: $(READY) ## mypy, strict
	$(call say,types)
	@$(BIN)/mypy $(TYPED)

.PHONY: imports
imports: $(READY) ## who may import whom (.importlinter)
	$(call say,imports)
	@$(BIN)/lint-imports --no-cache

.PHONY: deps
deps: $(READY) ## every import is declared and every declaration imported
	$(call say,dependencies)
	@$(BIN)/deptry clients/python/src --config clients/python/pyproject.toml
	@$(BIN)/deptry server/src --config server/pyproject.toml
	@$(BIN)/deptry sandbox/src --config sandbox/pyproject.toml

# --------------------------------------------------------------------- contract and reference

.PHONY: protos
protos: $(READY) $(PROTOS_READY) ## regenerate the Python code of the contract
	@$(BIN)/python -m tools.protos

$(IMAGE): $(PROTOS) $(READY) $(PROTOS_READY) tools/protos.py
	@$(BIN)/python -m tools.protos --image $@

.PHONY: protos-lint
protos-lint: $(IMAGE) ## buf: names, comments, and nothing that breaks a released client
	$(call say,contract: lint and breaking changes)
	@$(BIN)/buf lint $(IMAGE) --path tickgate
	@if [ -f $(RELEASED) ]; then $(BIN)/buf breaking $(IMAGE) --against $(RELEASED) --path tickgate; \
	else echo 'nothing has been released yet ($(RELEASED))'; fi

.PHONY: protos-drift
protos-drift: $(READY) $(PROTOS_READY) ## is the generated code what the protos say?
	$(call say,contract: generated code)
	@$(BIN)/python -m tools.protos --check

.PHONY: docs
docs: $(IMAGE) ## rewrite docs/reference.md from the protos' comments
	@$(BIN)/python -m tools.reference $(IMAGE) docs/reference.md

.PHONY: docs-drift
docs-drift: $(IMAGE) ## is docs/reference.md what the protos say?
	$(call say,contract: reference)
	@$(BIN)/python -m tools.reference $(IMAGE) docs/reference.md --check

# -------------------------------------------------------------------------------- shipping

.PHONY: image
image: ## build the container images tickgate:VERSION and tickgate-sandbox:VERSION
	@docker info >/dev/null 2>&1 || { \
	    echo 'make image needs a running Docker engine, and none answers here. Everything else works without.' >&2; \
	    exit 1; }
	@version=$$(sed -n 's/^version = "\(.*\)"/\1/p' server/pyproject.toml); \
	    docker build --tag tickgate:$$version . && \
	    docker build --tag tickgate-sandbox:$$version --target sandbox .

.PHONY: release
release: $(READY) ## VERSION=1.2.3: set the number everywhere, check, freeze the contract, build dist/
	@$(BIN)/python -m tools.release $(VERSION)
	@$(MAKE) check
	@$(BIN)/python -m tools.release --freeze
	@rm -rf dist
	@for home in clients/python server sandbox; do \
	    $(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist $$home || exit 1; done
	@ls -1 dist

.PHONY: constraints
constraints: ## pin every third-party package anew, at the newest version that the floors allow
	@mkdir -p .build; [ -x $(BIN)/uv ] || tools/setup.sh workspace $(VENV)
	@$(BIN)/uv lock --quiet --upgrade
	@$(BIN)/uv export --quiet --frozen --format requirements-txt --no-emit-workspace --no-header \
	    --all-packages --all-groups --all-extras --output-file .build/constraints.txt >/dev/null
	@{ echo '# Every third-party package, exact and hashed, for the workspace. Written by `make constraints`.'; \
	   grep -v '^-' .build/constraints.txt; } >constraints.txt
	@rm -f uv.lock

# -------------------------------------------------------------------------------- tidying

.PHONY: clean
clean: ## remove what tools leave behind; the environments stay
	@rm -rf .build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	@find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

.PHONY: clean-venv
clean-venv: ## remove the environments; the next verb builds them again
	@rm -rf .venv .venv-protos .venv-floor
