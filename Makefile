# Everything that a fresh clone needs: Python 3.11, git and make.
PYTHON ?= python3.11
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test slow lint format lock clean
.DELETE_ON_ERROR:

demo: $(READY)  ## do the main job on real images; tables to the screen, pictures to demo/
	$(BIN)/comdefend demo --output demo/

# Where a worker may be replaced, pytest-xdist waits for ever for the rest of the dead one's file.
test: $(READY) lint  ## linter, type checker and all tests that are not marked slow
	$(BIN)/pytest --numprocesses auto --dist loadfile --max-worker-restart 0

slow: $(READY)  ## the tests that need minutes, or the data that COMDEFEND_DATA points to
	$(BIN)/pytest -m slow

lint: $(READY)
	$(BIN)/ruff format --check src tests tools
	$(BIN)/ruff check src tests tools
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix src tests tools
	$(BIN)/ruff format src tests tools

$(READY): requirements/uv.txt requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --python .venv --require-hashes --only-binary :all: -r requirements/dev.txt
	$(BIN)/uv pip install --python .venv --no-deps --no-build-isolation --editable .
	touch $@

lock: $(READY)  ## pin every dependency anew, by name, version and hash
	$(BIN)/uv pip compile requirements/uv.in -o requirements/uv.txt $(COMPILE)
	$(BIN)/uv pip compile pyproject.toml requirements/dev.in --extra dev -o requirements/dev.txt $(COMPILE)

COMPILE := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

clean:  ## remove what make made
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache
