# What a newcomer guesses: setup, demo, test, lint, bench. Each does all its own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH := $(VENV)/.installed-bench

# What `make bench` measures: how large a state, how often, and with BARS=yes only what has a bar to pass. The page of the docs is made
# from the usual size alone.
SIZE ?= 2.44GB
RUNS ?= 3

# Workers of pytest-xdist; a file of tests stays on one of them, and so does everything on one further engine (tests/conftest.py).
WORKERS ?= 3
PYTEST = $(BIN)/pytest --numprocesses=$(WORKERS) --dist=loadgroup --no-loadscope-reorder

.PHONY: setup demo test test-engines unit contract integration hostile fuzz lint types audit imports proto proto-check docs docs-check check wheel image soak bench lock clean
.PHONY: coverage test-python mutants

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fps-bundle needs Python 3.11 or newer: make PYTHON=python3.11 …" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { echo "python3 cannot make a venv; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "installing the locked dependencies into $(VENV) …"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q bundler  # the tests start the program a thousand times, also where Python may not write bytecode
	@touch $@

demo: $(STAMP)
	@$(BIN)/python tools/demo.py

test: $(STAMP)
	@$(PYTEST)

test-engines: $(STAMP)
	@rm -rf .bench/engines && mkdir -p .bench/engines
	@FPS_BUNDLE_ENGINES=all FPS_BUNDLE_ENGINE_REPORT=.bench/engines $(PYTEST) tests/integration -m operation
	@$(BIN)/python tools/enginesdoc.py .bench/engines

unit contract integration hostile: $(STAMP)
	@$(PYTEST) tests/$@

# TESTS=tests/unit for a part. It takes longer than the tests alone, so `make test` does not measure.
coverage: $(STAMP)
	@rm -rf .bench/coverage && mkdir -p .bench/coverage
	@$(BIN)/coverage run -m pytest --numprocesses=$(WORKERS) --dist=loadgroup --no-loadscope-reorder $(TESTS)
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report

# MUTANTS="MODULE=TESTS …" for other modules, SAMPLE=1000 for every change; the result is in docs/dev/mutants.md.
SAMPLE ?= 12
MUTANTS ?= bundler/trust/policy.py=tests/unit/trust/test_policy.py bundler/format/strict_json.py=tests/unit/format/test_strict_json.py
mutants: $(STAMP)
	@$(BIN)/python tools/mutants.py --sample $(SAMPLE) $(MUTANTS)

# The unit tests on another Python: make test-python PYTHON=python3.13
test-python:
	@$(MAKE) --no-print-directory VENV=.venv-$(notdir $(PYTHON)) unit

lint: $(STAMP)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: $(STAMP)
	@$(BIN)/mypy

imports: $(STAMP)
	@$(BIN)/lint-imports --no-logo

proto: $(STAMP)
	@$(BIN)/python tools/proto.py

docs: $(STAMP)
	@$(BIN)/python tools/clidocs.py

docs-check: $(STAMP)
	@$(BIN)/python tools/clidocs.py --check

proto-check: $(STAMP)
	@$(BIN)/python tools/proto.py --check

audit: $(STAMP)
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive bundler

fuzz: $(STAMP)
	@$(BIN)/python tests/fuzz/fuzz.py

check: lint types imports audit proto-check docs-check

wheel: $(STAMP)
	@$(BIN)/python tools/wheelcheck.py

# The container image of fps-bundle, built without a network; the Dockerfile is for those who have one.
image: $(STAMP)
	@$(BIN)/python tools/programimage.py

soak: $(STAMP)
	@FPS_BUNDLE_FUZZ_SECONDS=$${FPS_BUNDLE_FUZZ_SECONDS:-3600} $(BIN)/python tests/fuzz/fuzz.py
	@FPS_BUNDLE_HYPOTHESIS=soak $(BIN)/pytest tests/unit tests/hostile/test_parsers.py
	@FPS_BUNDLE_TIMES=strict $(BIN)/pytest tests/integration/test_pause.py tests/integration/test_ssh.py tests/integration/test_ingest.py tests/integration/test_kills_commands.py
	@FPS_BUNDLE_STATES=200 FPS_BUNDLE_DEEP_STATES=20 FPS_BUNDLE_RACES=25 $(BIN)/pytest tests/integration/test_states.py tests/integration/test_races.py -s
	@FPS_BUNDLE_REQUESTS=10000 $(BIN)/pytest tests/integration/test_ingest.py -k many_requests -s
	@FPS_BUNDLE_FAULTS=full $(BIN)/pytest tests/contract/test_faults_registry.py tests/contract/test_links.py tests/contract/test_damage.py
	@FPS_BUNDLE_KILLS=200 $(BIN)/pytest tests/contract/test_kills_stores.py tests/integration/test_kills_commands.py
	@FPS_BUNDLE_RACES=50 $(BIN)/pytest tests/contract/test_races_stores.py tests/integration/test_races_commands.py

$(BENCH): $(STAMP) requirements-bench.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-bench.lock
	@touch $@

bench: $(BENCH)
	@$(BIN)/python benchmarks/run.py --size $(SIZE) --runs $(RUNS) $(if $(BARS),--bars) --output .bench/result.json
	@$(BIN)/python benchmarks/report.py .bench/result.json --into $(if $(filter 2.44GB,$(SIZE)),docs,.bench)

lock: $(STAMP)
	@$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --extra dev --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file requirements.lock pyproject.toml
	@$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --extra bench --constraint requirements.lock --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file requirements-bench.lock pyproject.toml

clean:
	@rm -rf $(VENV) .venv-* .engines .bench dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
