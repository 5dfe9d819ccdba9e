# make demo   the main job: train, index, score and show MNIST; ends with the address of a report
# make test   the tests                 make check   what CI runs, and ruff, mypy and the docs
# make torture   kills, failing disks and all hostile files, without a network; about half an hour
# Each fills .venv by itself the first time; a second run starts at once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test torture check format clean

demo: $(VENV)/.demo
	$(BIN)/lookalike demo $(DEMO)

test: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist loadfile --durations=25 $(TESTS)

# Where the system allows it, in a network of its own that leads nowhere.
torture: ALONE = $(shell unshare --net true 2>/dev/null && echo "unshare --net sh -c 'ip link set lo up; exec \"\$$@\"' sh")
torture: $(VENV)/.test
	$(ALONE) $(BIN)/python -m pytest $(TESTS)
	$(ALONE) $(BIN)/python -m pytest tests/torture

check: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python docs/commands.py --check
	$(BIN)/python docs/tables.py --check
	$(MAKE) test

format: $(VENV)/.check
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo dist .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "lookalike needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.demo: pyproject.toml | $(VENV)/.venv
	$(BIN)/python -m pip install --quiet --editable '.[train,plots]'
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --group test
	@touch $@

$(VENV)/.check: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --group check
	@touch $@
