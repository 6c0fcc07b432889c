# "make help" lists the targets. The environment is created once; later runs start immediately.

VENV ?= .venv
TORCH ?= torch==2.13.0
# make up: number of web servers, each for one GPU (1: one server for all GPUs).
WEB_SERVERS ?= 1
# make test: number of processes that share the test files.
TESTERS ?= 4
# Each file runs in one process, in the order of their names, so that the long files of tests/stack do not come last.
TEST_OPTIONS := -n $(TESTERS) --dist loadfile --no-loadscope-reorder
# make chaos: number of jobs, and the seed of the random numbers.
N ?= 300
SEED ?= 1

BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
# Tools for tests, checks and benchmarks, which running Framemill does not need.
TOOLS_STAMP := $(VENV)/.tools-done

.DEFAULT_GOAL := help
.PHONY: help setup traces demo up logs doctor test test-quick lint bench chaos gpu-check clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## create the Python environment in .venv
	@echo "$(VENV) is ready"

traces: $(STAMP) ## install what traces need (OTEL_EXPORTER_OTLP_ENDPOINT)
	@$(BIN)/python -m stack.environment tracing

demo: $(STAMP) ## start everything, make an image and a video, stop everything
	@$(BIN)/python -m stack demo

up: $(STAMP) ## start everything; Ctrl-C stops it
	@$(BIN)/python -m stack up --services $(WEB_SERVERS)

logs: $(STAMP) ## follow the logs of what make up has started
	@$(BIN)/python -m stack logs

doctor: $(STAMP) ## check settings, models, Redis, store, disks, devices and ports, and say what to do
	@$(BIN)/python -m framemill doctor

# Each of the processes would compile the modules of all tests again.
test test-quick: export PYTHONDONTWRITEBYTECODE :=

test: $(TOOLS_STAMP) ## run all tests
	@$(BIN)/python -m pytest $(TEST_OPTIONS)

test-quick: $(TOOLS_STAMP) ## run the tests that start no processes but Redis: tests/unit, tests/store, tests/http
	@$(BIN)/python -m pytest $(TEST_OPTIONS) tests/unit tests/store tests/http

lint: $(TOOLS_STAMP) ## check style, types and imports
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(TOOLS_STAMP) ## run all benchmarks in a short form; bench/RESULTS.md explains the figures
	@$(BIN)/python -m bench

chaos: $(TOOLS_STAMP) ## kill processes at random while N jobs run (SEED=1); no job may be lost
	@$(BIN)/python -m bench.chaos --jobs $(N) --seed $(SEED)

gpu-check: $(TOOLS_STAMP) ## on a machine with a CUDA device: checks and measurements that need one
	@$(BIN)/python -m bench.gpu_check

clean: ## remove the environment and caches; jobs and outputs (var, outputs) are kept
	rm -rf $(VENV) .clients tests/clients/npm*/node_modules .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build *.egg-info src/*.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(STAMP): setup.cfg pyproject.toml constraints.txt
	@set -e; \
	python=; \
	for candidate in python3 python3.11 python3.12 python3.13; do \
	    if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "Framemill needs Python 3.11 or newer; python3 is $$(python3 --version 2>/dev/null || echo missing)." >&2; exit 1; \
	fi; \
	if [ ! -x $(BIN)/python ]; then echo "creating $(VENV) with $$python"; $$python -m venv $(VENV); fi; \
	$(BIN)/python -m stack.environment --torch '$(TORCH)' server,worker; \
	touch $(STAMP)

$(TOOLS_STAMP): $(STAMP)
	@$(BIN)/python -m stack.environment test
	@touch $(TOOLS_STAMP)
