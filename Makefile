# make demo      the main job: train, index, score and show MNIST; ends with the address of a report
# make test      all tests, on all cores, with a browser; minutes
# make quick     the unit tests: no network, browser, Keras or server; about a minute
# make check     ruff, mypy, the order of imports, whether the generated docs are current, which figures may be stale; no tests
# make torture   kills, failing disks and all hostile files, without a network; about half an hour
# make mutants   break the code in 1,000 places and see which unit tests notice; an hour; MUTANTS='--minutes 5' goes on later
# make cluster-test  three nodes of Ray and a store of objects, all on loopback; nodes and writers are killed; minutes
# make docs      write the generated docs again
# Each fills .venv by itself the first time; a second run starts at once.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test quick torture cluster-test mutants check docs format clean

demo: $(VENV)/.demo
	$(BIN)/lookalike demo $(DEMO)

# The page is tested in Chromium. Where we may install Debian's packages we do; else the last line says what was skipped.
test: $(VENV)/.test
	@command -v chromium >/dev/null || if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium chromium-driver >/dev/null; fi
	$(BIN)/python -m pytest -n auto --dist worksteal --durations=25 $(TESTS)

quick: $(VENV)/.test
	$(BIN)/python -m pytest -n auto --dist worksteal --durations=25 -q -m 'not slow' tests/unit

# Where the system allows it, in a network of its own that leads nowhere.
torture: ALONE = $(shell unshare --net true 2>/dev/null && echo "unshare --net sh -c 'ip link set lo up; exec \"\$$@\"' sh")
torture: $(VENV)/.test
	$(ALONE) $(BIN)/python -m pytest $(TESTS)
	TMPDIR=$${TMPDIR:-/tmp} $(ALONE) $(BIN)/python -m pytest tests/torture

cluster-test: $(VENV)/.cluster
	$(BIN)/python -m pytest tests/integration/test_cluster.py tests/nodes $(TESTS)

mutants: $(VENV)/.mutants
	$(BIN)/python benchmarks/mutants.py $(MUTANTS)

check: $(VENV)/.check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python docs/commands.py --check
	$(BIN)/python docs/api.py --check
	$(BIN)/python docs/tables.py --check
	$(BIN)/python benchmarks/changed.py

docs: $(VENV)/.check
	$(BIN)/python docs/commands.py
	$(BIN)/python docs/api.py
	$(BIN)/python docs/tables.py

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

$(VENV)/.cluster: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --group cluster
	@touch $@

$(VENV)/.mutants: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --group mutants
	@touch $@
