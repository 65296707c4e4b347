# Two verbs are enough: `make demo` and `make test`. Each builds what it needs the first time.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export OMP_NUM_THREADS ?= 1

.PHONY: help demo test check test-slow test-docs test-page page-pictures queue test-queue fuzz kills nights soak bench bench-scan docs lock audit install format clean

help: ## list the verbs
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml requirements.lock requirements-data.lock requirements-ioc.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python must be 3.11 or newer, got " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-data.lock
	@# The C IOC of the tests lives beside, out of sight: ophyd would else take its CA library instead of pyepics' own.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade --target $(VENV)/ioc -r requirements-ioc.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

install: $(READY) ## build .venv from the locked dependencies

demo: $(READY) ## the whole beamline, simulated: scan, live sum, image, report
	$(BIN)/xedm demo --no-browser

test: $(READY) ## unit tests and the whole-way test, seven minutes on two cores
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(READY) ## lint, format, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test-slow: $(READY) ## tests that take minutes
	$(BIN)/python -m pytest -m slow --timeout 1200

test-docs: $(READY) ## run the blocks of README and docs and compare their output; run the notebook
	$(BIN)/python -m pytest -m docs --timeout 600

$(VENV)/.page: $(READY) requirements-page.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-page.lock
	@touch $(VENV)/.page

test-page: $(VENV)/.page ## the live page in headless Chromium, minutes; screenshots in xedm-output/page
	$(BIN)/python -m pytest -m page --timeout 600 tests/page

page-pictures: $(VENV)/.page ## photograph the page during a simulated run, for README and docs
	$(BIN)/python docs/page/make_pictures.py

fuzz: $(READY) ## a million damaged messages on two cores, minutes
	$(BIN)/python tests/fuzz/run_fuzz.py --messages 1000000

kills: $(READY) ## a hundred kills with the spool and a hundred without, held against the truth, minutes
	$(BIN)/python tests/soak/run_kills.py

nights: $(READY) ## scans that are upset, interrupted, aborted and killed, held against the truth, an hour
	$(BIN)/python tests/soak/run_nights.py

soak: $(READY) ## series after series with faults of stream and place, an hour
	$(BIN)/python tests/soak/run_soak.py

$(VENV)/.bench: $(READY) requirements-bench.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.lock
	@touch $(VENV)/.bench

$(VENV)/.queue: $(READY) requirements-queue.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-queue.lock
	@touch $(VENV)/.queue

queue: $(VENV)/.queue ## install bluesky-queueserver, for xedm queue

test-queue: $(VENV)/.queue ## the plans on the real queueserver, a minute
	$(BIN)/python -m pytest -m queue --timeout 300

bench: $(VENV)/.bench ## our kernel, files and live path beside the alternatives, one run; docs/reference/performance.md
	$(BIN)/python tests/benchmarks/run_bench.py

bench-scan: $(READY) ## time lost a point by our scan, bluesky's grid_scan and arm-per-point, in real time
	$(BIN)/python tests/benchmarks/bench_scan.py

docs: $(READY) ## write the generated pages and figures and build the Python reference (HTML in docs/_build)
	rm -rf docs/reference/api/generated
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/screens/make_screens.py
	$(BIN)/python docs/phasing_figures.py
	$(BIN)/sphinx-build -q -W --keep-going -b html docs/reference/api docs/_build

format: $(READY) ## put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY) ## lock the dependencies anew, with hashes
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --group dev pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --group queue -c requirements.lock pyproject.toml -o requirements-queue.lock
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --group bench -c requirements.lock pyproject.toml -o requirements-bench.lock
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --group page -c requirements.lock pyproject.toml -o requirements-page.lock
	$(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --group ioc --no-emit-package numpy -c requirements.lock -o requirements-ioc.lock

audit: $(READY) ## known weaknesses of the locked dependencies, and whether each has its hashes
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/python tests/audit/run_audit.py --with "$(BIN)/uv tool run --quiet pip-audit"

clean: ## remove what the verbs made
	rm -rf $(VENV) xedm-output docs/_build docs/reference/api/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis
