# The two commands a newcomer needs are `make demo` and `make test`; `make help` lists all.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
PY := .venv/bin/python
PORT ?= 8000
KIND ?= textbook
NODES ?= 3
PODS ?= 5
SERVICES ?= 2
PACKETS ?= 10000
# Tests wait as much as they compute, so four processes fill two cores; a file's tests stay together, in this order.
JOBS ?= 4
PARALLEL := -n $(JOBS) --dist loadfile --no-loadscope-reorder
BASE_PATH := $(PATH)
export PATH := $(BASE_PATH):/usr/sbin:/sbin
# Each command and test starts processes of our own; compiling all modules again takes a third of their start.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: pictures scenes proof-observed proof-kills proof-policies proof-pairs slow help setup setup-test demo test lint unit frontend-test live web browser coverage bench oracle fuzz-oracle freeze record-netlink fuzz chaos clean proof-lab proof-faults proof-problems proof-healthy proof-churn proof-browser-faults

help:  ## list what can be made
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup:  ## virtual environment, packages and the page's bundle (a second run is quick)
	@$(PYTHON) scripts/setup.py run

setup-test:  ## the same, with everything that the tests need
	@$(PYTHON) scripts/setup.py test

demo: setup  ## a live emulated cluster on http://127.0.0.1:8000 (PORT=, KIND=, NODES=, PODS=, SERVICES=)
	@exec $(PY) -m lab.demo --port $(PORT) --kind $(KIND) --nodes $(NODES) --pods $(PODS) --services $(SERVICES)

test: setup-test  ## everything: linters, types, import rules, unit, live-kernel, web and browser tests
	@$(MAKE) --no-print-directory --output-sync -j2 lint frontend-test
	$(PY) -m pytest $(PARALLEL) -m "not slow" $(ARGS)

slow: setup-test  ## tests of more kinds and faults than `make test` has time for
	$(PY) -m pytest $(PARALLEL) -m slow $(ARGS)

lint: setup-test  ## ruff, mypy, import rules, migrations
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) manage.py makemigrations --check --dry-run

frontend-test: setup-test  ## the page's types, linter and unit tests
	@$(PYTHON) scripts/setup.py npm run check
	@$(PYTHON) scripts/setup.py npm test

unit live web browser: setup-test  ## one part of the tests
	$(PY) -m pytest $(PARALLEL) tests/$(subst unit,core tests/agents tests/architecture,$@) $(ARGS)

# Nobody's capabilities, also where root runs it: what is measured here needs none.
PLAIN := $(if $(filter 0,$(shell id -u)),setpriv --bounding-set=-all --inh-caps=-all --no-new-privs)

coverage: setup-test  ## lines covered without root: core by tests/core (95 %), agents by tests/agents (85 %)
	@status=0; for part in core:netviz/core:95 agents:agents:85; do IFS=: read -r tests source least <<< "$$part"; \
	    export COVERAGE_FILE=var/coverage-$$tests; mkdir -p var; \
	    $(PLAIN) $(PY) -m coverage run --source=$$source -m pytest -q tests/$$tests && \
	    $(PY) -m coverage report --skip-covered --precision=1 --fail-under=$$least && \
	    echo "$$source: $$($(PY) -m coverage report --format=total --precision=1) % of lines, at least $$least" || status=1; \
	done; exit $$status

bench: setup-test  ## measure, with the machine's details (docs/benchmarks.md)
	$(PY) -m tests.bench $(ARGS)

oracle: setup-test  ## predictions against the kernel over random networks (PACKETS=)
	$(PY) -m tests.live.oracle --packets $(PACKETS) --lookups 100000 --report docs/accuracy.md

freeze: setup-test  ## run the kept cases live and freeze what kernel and prediction agree on (NAMES=)
	$(PY) -m tests.live.oracle --freeze $(NAMES)

record-netlink: setup-test  ## record anew, as root, what this kernel says of a node (tests/data/netlink)
	$(PY) -m tests.agents.record_netlink

fuzz-oracle: setup-test  ## networks that nobody has seen, of today's seeds, and what is wrong kept as a case (PACKETS=)
	$(PY) -m tests.live.oracle --packets $(PACKETS) --keep

fuzz: setup-test  ## mutated frames, states and requests (docs/reliability.md; ARGS="states --seed 2 --share 10")
	$(PY) -m tests.fuzz $(ARGS)

chaos: setup-test  ## faults under load on one server and on two, as root (ARGS="--one 100 --two 34 --seed 1")
	$(PY) -m tests.chaos --report docs/reliability.md $(ARGS)

lock:  ## pin the packages anew that requirements*.in ask for
	@$(PYTHON) scripts/setup.py lock

scenes: setup-test  ## draw anew the six scenes that a browser test compares pixel by pixel (tests/data/scenes)
	$(PY) -m tests.browser.scenes

pictures: setup-test  ## the documents' pictures, as root (docs/images), or more of them (ARGS='FOLDER --only SET --scenes SCENE')
	$(PY) -m tests.browser.pictures $(ARGS)

proof-observed: setup-test  ## real probes in every kind of network, beside their predictions (docs/proofs; ARGS='--flows N --faults')
	$(PY) -m tests.live.observed_proof $(ARGS)

proof-kills: setup-test  ## observers killed at random times leave nothing behind, as root (docs/proofs; ARGS='--kills N')
	$(PY) -m tests.live.kill_proof $(ARGS)

proof-pairs: setup-test  ## every pair of pods of small random networks for real, against the check of all pairs (docs/proofs)
	$(PY) -m tests.live.pairs $(ARGS)

proof-policies: setup-test  ## random NetworkPolicies enforced in the lab: intent, prediction and real packets, as root (docs/proofs)
	$(PY) -m tests.live.policies_proof $(ARGS)

proof-churn: setup-test  ## half an hour of churn at 50 changes a second without a false problem, as root (docs/proofs)
	$(PY) -m tests.live.churn_proof $(ARGS)

proof-browser-faults: setup-test  ## every fault of the lab as a browser shows it, and when, as root (docs/proofs)
	$(PY) -m tests.browser.fault_proof $(ARGS)

proof-lab proof-faults proof-problems proof-healthy: setup-test  ## every kind of network, every fault of the lab: real packets, predictions, what is found unasked (docs/proofs)
	$(PY) -m tests.live.proof $(@:proof-%=%) $(ARGS)

clean:  ## remove what set-up and runs made
	rm -rf .venv frontend/node_modules netviz/static/dist var .mypy_cache .ruff_cache .pytest_cache
