# Two commands do everything on a fresh machine: `make reproduce` and `make test`.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready

.PHONY: help reproduce test lint unit notebooks-test lab clean
help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

test: lint unit  ## set up if needed; ruff, mypy, unit and property tests, all notebooks

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(READY)  ## unit and property tests
	$(BIN)/python -m pytest

clean:  ## remove everything that the kit made (records of the built-in data, figures, results)
	rm -rf results figures data/records/digits
