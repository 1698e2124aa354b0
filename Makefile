# `make train` and `make test` set up all they need in .venv: nothing has to be installed before but Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin

# Tests that take long are left out; `make test SLOW=1` runs them too, and 50 examples a property in place of 15.
SLOW :=
SOME := $(if $(SLOW),--hypothesis-profile=ci,-m "not slow")

.PHONY: train test clean

train: .venv/run
	$(BIN)/python -m zoo.network2

test: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto $(SOME)

# Installed anew when the requirements change. Editable, so that a change of the source needs no new installation.
.venv/run: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dot]"
	touch $@

.venv/dev: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

clean:
	rm -rf .venv build *.egg-info
