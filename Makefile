# `make train` and `make test` set up all they need in .venv: nothing has to be installed before but Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin

# Tests that take long are left out; `make test SLOW=1` runs them too, and 50 examples a property in place of 15.
# Each worker begins with a part of the files, so that what their tests share is made once, and takes over from others.
SLOW :=
SOME := $(if $(SLOW),--hypothesis-profile=ci,-m "not slow")

# A .venv that is broken, of a Python too old, or of another than `make PYTHON=...` names is made anew.
ASK := import sys; print("%d.%d" % sys.version_info[:2] if sys.version_info >= (3, 11) else "old")
ifneq ($(MAKECMDGOALS),clean)
THERE := $(filter-out old,$(shell $(BIN)/python -c 'import pip; $(ASK)' 2>/dev/null))
OURS := $(filter-out old,$(shell $(PYTHON) -c '$(ASK)' 2>/dev/null))
ifeq ($(and $(THERE),$(or $(filter file,$(origin PYTHON)),$(filter $(OURS),$(THERE)))),)
ifeq ($(OURS),)
$(error tinygrad_mnist needs Python 3.11 or newer, which $(PYTHON) is not; name one: make $(MAKECMDGOALS) PYTHON=python3.12)
endif
$(shell rm -rf .venv)
endif
endif

.PHONY: train test docs clean

train: .venv/run
	$(BIN)/python -m zoo.network2

test: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --dist worksteal $(SOME)

# The docstrings as pages, in build/docs/index.html; each module is named, as the package's `__all__` names none.
MODULES := $(filter-out %.py %.__pycache__,$(subst /,.,$(basename $(wildcard tinygrad_mnist/[a-z]*))))
docs: .venv/dev
	$(BIN)/python -W ignore -m pdoc --docformat google --output-directory build/docs tinygrad_mnist $(MODULES) zoo graphs

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
	rm -rf .venv build dist
