# Needs only Python >= 3.11 (and make).  `make help` lists what there is.

# The first Python that is new enough; choose another with `make PYTHON=python3.13 ...`.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Where torch comes from.  Empty: on Linux torch's CPU index if it answers, else what pip is set up with.
TORCH_INDEX ?=

VIDEO ?= examples/theatre.mp4
QUESTIONS ?= \
	"What was next to the boat?" \
	"When did the snowman appear?" \
	"How many tractors were there?" \
	"What did the board say next to the tent?" \
	"How did the burger move?"
# More arguments for pytest, such as `make test PYTEST="-k recall"`.
PYTEST ?=

BIN := .venv/bin
INPUTS := pyproject.toml constraints.txt .ci/environment.py

.DEFAULT_GOAL := help
.PHONY: help demo test format lint types unit fmt clean python-is-there

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: .venv/.demo ## install into .venv, stream the bundled clip, print answers
	@echo "onlooker: watching $(VIDEO), then asking about moments long past"
	@$(BIN)/onlooker ask $(VIDEO) $(QUESTIONS)

test: ## install into .venv, then check format, lint, types, and run the tests
	@$(MAKE) --no-print-directory format lint types unit
	@echo "onlooker: all checks passed"

format: .venv/.dev ## check the format (make fmt mends it)
	@echo "onlooker: format (ruff)"
	@$(BIN)/ruff format --quiet --check . || { echo "onlooker: not formatted; mend it with: make fmt" >&2; \
		$(BIN)/ruff format --check . >&2; exit 1; }

lint: .venv/.dev ## look for mistakes with ruff
	@echo "onlooker: lint (ruff)"
	@$(BIN)/ruff check --quiet .

types: .venv/.dev ## check types, strictly, with mypy
	@echo "onlooker: types (mypy --strict)"
	@$(BIN)/python .ci/typecheck.py

unit: .venv/.dev ## run the tests
	@echo "onlooker: tests (pytest)"
	@$(BIN)/python -m pytest -q $(PYTEST)

fmt: .venv/.dev ## mend format and what lint can mend
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format .

clean: ## remove .venv, caches and builds
	@echo "onlooker: removing .venv, caches and builds"
	@rm -rf .venv build dist onlooker.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The two set-ups.  The stamps are older than pyproject.toml or constraints.txt when those change: then pip runs again.
.venv/.demo: $(INPUTS) | python-is-there
	@$(PYTHON) .ci/environment.py cpu --torch-index "$(TORCH_INDEX)"
	@touch $@

.venv/.dev: $(INPUTS) | python-is-there
	@$(PYTHON) .ci/environment.py cpu,bench,dev --torch-index "$(TORCH_INDEX)"
	@touch .venv/.demo $@

python-is-there:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "onlooker: needs Python 3.11 or newer; $(or $(PYTHON),python3) is" \
		"$$($(or $(PYTHON),python3) --version 2>/dev/null || echo 'not there or does not run')." \
		"Install one, or name it: make demo PYTHON=/path/to/python3.12" >&2; exit 1; }
