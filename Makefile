# Everything a fresh clone needs: `make demo`, `make test`. Both set up .venv themselves, once.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
TESTS ?= tests/test_*.py
STAMP  := $(VENV)/.installed
# Empty, everything is installed at its newest: `make test CONSTRAINTS=`.
CONSTRAINTS ?= --constraint constraints.txt

# Programs are started by the hundred: their bytecode is kept.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test test-all lint check submissions schemas lock clean

help:
	@echo "make demo         speech to validated submission on the miniature model"
	@echo "make test         lint, types, all tests, every document under submissions/"
	@echo "make test-all     the same, killed at every moment, every program started anew: an hour and more"
	@echo "make lint         ruff and mypy alone"
	@echo "make schemas      write schemas/ anew from the documents' dataclasses"
	@echo "make lock         write constraints.txt anew from what is installed"
	@echo "make clean        remove the virtual environment and caches"

# One hash of what the environment is made from: unchanged, nothing is installed and no network is asked.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "iwsltpack needs Python 3.11 or newer; PYTHON=/path/to/python make …" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "no venv module: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 1; }
	@echo "Installing iwsltpack and what it needs into $(VENV)/: about 140 packages, 3 GB on disk (more where torch brings CUDA), some 5 minutes."
	@echo "The network is asked for packages alone; once, until pyproject.toml or constraints.txt change."
	$(BIN)/python -m pip install --disable-pip-version-check $(CONSTRAINTS) --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@echo "The demo works with a miniature model in iwsltpack-demo/: 40 MB, a few minutes; no network, no GPU. iwsltpack demo runs it again."
	$(BIN)/iwsltpack demo

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Two halves side by side, a core each: a file of tests is run by the half that comes to it first (tests/conftest.py).
# The second one's output comes when both are through.
PYTEST := $(BIN)/python -m pytest -q -p no:cacheprovider --durations=15 $(TESTS)

test: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@mkdir -p .pytest_cache; export IWSLTPACK_TAKEN=$$(mktemp -d); \
	{ $(BIN)/mypy && $(PYTEST); } > .pytest_cache/half 2>&1 & half=$$!; \
	$(PYTEST); first=$$?; \
	wait $$half; second=$$?; cat .pytest_cache/half; rm -r "$$IWSLTPACK_TAKEN"; exit $$((first + second))
	@$(MAKE) --no-print-directory submissions

test-all:
	IWSLTPACK_EXHAUSTIVE=1 $(MAKE) test

submissions: $(STAMP)
	$(BIN)/iwsltpack validate submissions

schemas: $(STAMP)
	$(BIN)/python -m tools.schemas

lock: $(STAMP)
	$(BIN)/python -m tools.lock > constraints.txt.new && mv constraints.txt.new constraints.txt

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist
