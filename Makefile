# `make demo` and `make test` do all the set-up there is: they need Python 3.11+, pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
QUIET := --disable-pip-version-check --progress-bar off -q -c constraints.txt
# uv unpacks torch in a third of pip's time; where it cannot be had, or knows no way to the registry, pip does it
INSTALL = @install() { echo "installing $$1 ..."; \
	$(BIN)/python -m pip install $(QUIET) uv && $(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt -e "$$1" || \
	$(BIN)/python -m pip install $(QUIET) -e "$$1"; }; install
SOURCES := pyproject.toml constraints.txt

.PHONY: demo test lint slow clean

demo: $(VENV)/.installed
	$(BIN)/hires demo --output-dir outputs

# a worker a core and one more, since some wait for browsers and servers; each computes on one thread
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $$(( $$($(BIN)/python -c "import os; print(min(os.cpu_count(), 4))") + 1 )) --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

$(VENV)/.installed: $(SOURCES)
	$(PYTHON) -c "import sys; v = sys.version_info[:2]; sys.exit(f'hires needs Python 3.11 or newer, this is {v[0]}.{v[1]}: make demo PYTHON=python3.11' if v < (3, 11) else 0)"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(INSTALL) ".[dev]"
	touch $@

clean:
	rm -rf $(VENV)
