# Every target makes what it needs: an environment in .venv, with uv where it is installed, else with venv and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: help run test test-formats check format docs transcripts coverage-study prediction-study bench clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
ifdef UV
	uv venv --quiet $(VENV)
else
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
endif

# One stamp a dependency group; each installs the package itself as well.
$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
ifdef UV
	VIRTUAL_ENV=$(VENV) uv pip install --quiet --editable . $(if $(filter-out core,$*),--group $*)
else
	$(BIN)/python -m pip install --quiet --editable . $(if $(filter-out core,$*),--group $*)
endif
	@touch $@

run: $(VENV)/.installed-core ## measure a GRU and draw gradscope-report.png
	$(BIN)/gradscope analyze --cell gru --steps 200 -o gradscope-report.png --force

test: $(VENV)/.installed-test ## run the tests; needs neither torch nor a GPU
	$(BIN)/python -m pytest -n auto -q -m "not formats" $(ARGS)

test-formats: $(VENV)/.installed-test $(VENV)/.installed-formats ## compare with PyTorch, Keras and Flax: files, gradients, steps
	$(BIN)/python -m pytest -q -m formats $(ARGS)

coverage-study: $(VENV)/.installed-core ## count how often error bars hold the truth; minutes; writes a page
	$(BIN)/python tests/benchmarks/coverage_study.py $(ARGS)

prediction-study: $(VENV)/.installed-core $(VENV)/.installed-bench ## who learns, and what was measured before; hours
	$(BIN)/python tests/benchmarks/prediction_study.py $(ARGS)

bench: $(VENV)/.installed-core $(VENV)/.installed-bench ## speed beside PyTorch and JAX; a quarter of an hour
	$(BIN)/python tests/benchmarks/bench.py $(ARGS)

check: $(VENV)/.installed-check ## lint, format, types, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-check ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-docs ## build the documentation into docs/_build/html
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

transcripts: $(VENV)/.installed-docs $(VENV)/.installed-formats ## run the commands on the pages, write their output
	$(BIN)/python docs/transcripts.py $(ARGS)

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) build dist docs/_build docs/gallery/generated docs/reference/generated
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
