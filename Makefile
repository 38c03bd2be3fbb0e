# A fresh clone needs git, make and Python 3.11, 3.12 or 3.13: the newest that runs, or PYTHON=.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3; do \
	$$name -c $(CHECK) 2>/dev/null && echo $$name && break; done)
CHECK := 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'

# Without cached bytecode every process would compile torch again, for seconds.
unexport PYTHONDONTWRITEBYTECODE

BIN := .venv/bin
READY := .venv/.ready

# pytest-xdist hangs when it replaces a dead worker, hence no restarts.
PYTEST := $(BIN)/pytest --numprocesses logical --maxprocesses 8 --dist loadfile --max-worker-restart 0

# These compute nothing that depends on the processor.
PLAIN := tests/common tests/report tests/site/test_site.py tests/tools tests/test_docs.py tests/test_records.py

.PHONY: demo test test-avx2 test-default slow docs package lint format lock clean
.DELETE_ON_ERROR:

demo: $(READY)  ## attack and defend real images; tables on the screen, pictures in demo/
	$(BIN)/comdefend demo --output demo/

test: $(READY) lint  ## linter, type checker, and all tests that are not marked slow
	$(PYTEST)

test-avx2: export ATEN_CPU_CAPABILITY := avx2
test-avx2: export ONEDNN_MAX_CPU_ISA := AVX2
test-default: export ATEN_CPU_CAPABILITY := default
test-avx2 test-default: $(READY)  ## the tests that compute, as on an older processor
	$(PYTEST) $(PLAIN:%=--ignore=%)

slow: $(READY)  ## tests that take minutes, or need the data sets that COMDEFEND_DATA points to
	$(BIN)/pytest -m slow

docs: $(READY)  ## the documentation as a site in site/, anew; any warning is an error
	$(BIN)/sphinx-build -c tools/site -E -a -W --keep-going -q . site
	@echo "open site/index.html"

package: $(READY)  ## a wheel and a source distribution in dist/, checked, and tried without extras
	$(BIN)/python -m tools.package dist
	$(BIN)/pytest -m slow tests/installs/test_package.py

lint: $(READY)
	$(BIN)/ruff format --check src tests tools examples
	$(BIN)/ruff check src tests tools examples
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix src tests tools examples
	$(BIN)/ruff format src tests tools examples

$(READY): requirements/uv.txt requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 found; name one: make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --python .venv --require-hashes --only-binary :all: -r requirements/dev.txt
	$(BIN)/uv pip install --python .venv --no-deps --no-build-isolation --editable .
	touch $@

lock: $(READY)  ## pin every dependency by name, version and hash
	$(BIN)/uv pip compile requirements/uv.in -o requirements/uv.txt $(COMPILE)
	$(BIN)/uv pip compile pyproject.toml requirements/dev.in --extra dev -o requirements/dev.txt $(COMPILE)

COMPILE := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

clean:  ## remove everything that make has made
	rm -rf .venv demo dist site .pytest_cache .mypy_cache .ruff_cache
