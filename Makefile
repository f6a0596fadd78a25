# Two commands do everything on a fresh machine: `make reproduce` and `make test`.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready
LAB    := $(VENV)/lab
BOOK   := .venv-book
NBGRADER := .venv-nbgrader
SITE   := book/_build/html
# One process more than there are cores, as many tests wait for processes that they have started.
WORKERS = $(shell $(BIN)/python -c 'from ctsl_lib.environment import cores; print(cores() + 1)')
DECKS  := $(BOOK)/bin/sphinx-build -q -E -W --keep-going -n -d book/_build/slides -b revealjs teaching/slides $(SITE)/slides

.PHONY: help reproduce test test-fast bench bench-long bench-scale audit campaign lint unit notebooks-test notebooks student solutions book book-test slurm-test slides slides-pdf assignments grading-test lab clean
help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(LAB): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[lab]'
	touch $@

reproduce: $(READY)  ## set up if needed; compare the methods, run the ablation and all notebooks, write the report
	$(BIN)/ctsl reproduce

test: lint unit notebooks-test book  ## set up if needed; ruff, mypy, unit and property tests, all notebooks, the book

test-fast: lint  ## for daily work: ruff, mypy, and the unit tests that take less than a few seconds each
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

bench: $(READY)  ## whole trainings against public code, side by side, into data/reference/bench_whole (some three minutes)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]' || echo "without torchdistill, which is not to be had"
	$(BIN)/python -m benchmarks --out data/reference/bench_whole

bench-long: $(READY)  ## the same for larger networks, and each part: losses, step, input, runs, memory, scaling
	$(BIN)/python -m benchmarks --long --out data/reference/bench

bench-scale: $(READY)  ## a store of 10^5 records, an engine's overhead, and what the paper's tables cost (docs/scale.md)
	$(BIN)/python -m benchmarks.big_store --out data/reference/bench_scale/store.json
	$(BIN)/python -m benchmarks.engines --out data/reference/bench_scale/engines.json
	$(BIN)/python -m benchmarks.scale

campaign: $(READY)  ## kills, damaged files, hostile archives and full disks at random; what the kit survives of them
	$(BIN)/python -m scripts.campaign

audit:  ## known vulnerabilities of the pinned packages; says so where the package index does not answer
	$(PYTHON) scripts/audit.py

lint: $(READY)  ## ruff, mypy, and that imports between rooms go one way
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

unit: $(READY)  ## unit and property tests and the examples in docstrings, one process a core and one more
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

notebooks-test: $(READY)  ## run all notebooks; a cell that fails, or prints other than marked, fails
	records=$$(mktemp -d) && trap 'rm -rf "$$records"' EXIT && cp -r data/records "$$records" && \
	CTSL_PROGRESS=0 CTSL_RECORDS="$$records/records" \
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --nbval-lax --nbval-current-env --nbval-cell-timeout=600 notebooks

notebooks: $(READY)  ## execute the notebooks in place, as they are committed
	$(BIN)/ctsl notebooks --out notebooks

student: $(READY)  ## notebooks to work in, without outputs, in student/; answers are not written over
	$(BIN)/python -m ctsl_course.exercises student --out student

solutions: $(READY)  ## notebooks in which every exercise is solved and explained, in results/solutions
	$(BIN)/python -m ctsl_course.exercises solutions --out results/solutions

$(BOOK)/ready: book/requirements.txt
	$(PYTHON) -m venv $(BOOK)
	$(BOOK)/bin/python -m pip install --quiet --requirement book/requirements.txt
	touch $@

book: $(BOOK)/ready $(READY)  ## build the course, the guides and the API reference as a static site, in book/_build/html
	$(BIN)/python -m ctsl_course.exercises pages --out book/_build/exercises
	rm -rf $(SITE)  # no page stays whose source is gone
	$(BOOK)/bin/python book/stage.py book/_build/source
	$(BOOK)/bin/sphinx-build -q -E -W --keep-going -n -c book -b html book/_build/source $(SITE)
	$(DECKS)

slides: $(BOOK)/ready  ## build the six decks of the course for teachers alone, in book/_build/html/slides
	$(DECKS)

slides-pdf: slides  ## print the decks as PDF beside them; says so where there is no Chromium
	$(BOOK)/bin/python teaching/slides/print.py $(SITE)/slides

$(NBGRADER)/ready: teaching/nbgrader/requirements.txt $(READY)
	$(PYTHON) -m venv $(NBGRADER)
	$(NBGRADER)/bin/python -m pip install --quiet --requirement teaching/nbgrader/requirements.txt
	$(BIN)/python -m ipykernel install --prefix $(NBGRADER) --name ctsl-kit --display-name "the kit" --env OMP_NUM_THREADS 1
	touch $@

assignments: $(NBGRADER)/ready  ## graded homework with numbers of this year: make assignments SEED='a long secret text'
	@test -n "$(SEED)" || { echo "give a seed: make assignments SEED='a long secret text'"; exit 1; }
	$(BIN)/python teaching/nbgrader/generate.py "$(SEED)" results/assignments
	$(NBGRADER)/bin/python teaching/nbgrader/course.py release results/assignments

grading-test: $(NBGRADER)/ready  ## hand in right, wrong, empty, cheating and endless answers, and compare the points
	$(BIN)/python -m pytest tests/test_grading.py

book-test: book  ## the built book in a browser: every page, two widths, light and dark (needs Chromium)
	$(BOOK)/bin/python -m pytest -c book/pytest.ini book

slurm-test: $(READY)  ## a grid on a real SLURM of one machine: set up by root, skipped with a reason elsewhere
	scripts/slurm.sh

lab: $(LAB)  ## open JupyterLab
	$(BIN)/jupyter lab notebooks

clean:  ## remove everything that the kit made here (records of the built-in data that are not committed, figures, results)
	rm -rf results figures/runs
	git clean -fdxq data/records/digits data/records/synthetic_market
