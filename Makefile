# What one does with imagefleet. Each target makes the environment that it needs (in .venv, without root) and says so.

.DEFAULT_GOAL := help
.PHONY: help demo up test test-faults fuzz test-export lint types bench audit lock environment environment-dev

PYTHON_HERE := .venv/bin/python
IMAGEFLEET := .venv/bin/imagefleet
# A DIR that happens to be in the environment is not meant.
ifeq ($(origin DIR),command line)
export DEMO_DIR := $(DIR)
endif

help:
	@echo 'make demo             index and search sample pictures; DIR=~/Pictures for your own'
	@echo 'make up               start everything on this machine; Ctrl-C stops it'
	@echo 'make test             all tests; ARGS="-k ledger" for some'
	@echo 'make test-faults      every fault of docs/reliability.md (40 minutes); ARGS="-k redis" for some'
	@echo 'make fuzz             10,000 damaged files through a real worker; IMAGEFLEET_FUZZ_SEED=7 for one run again'
	@echo 'make test-export      exports of Keras and PyTorch models, in an environment of its own (6 GB, 10 minutes)'
	@echo 'make lint types       style, import rules, types'
	@echo 'make bench            figures: images per second, seconds per search'
	@echo 'make audit            known vulnerabilities of the pinned packages, if the machine is online'
	@echo 'make lock             newest versions into requirements/'

environment:
	@sh requirements/environment.sh local

environment-dev:
	@sh requirements/environment.sh dev

# The shell does not open `~` in DIR=~/Pictures everywhere, so it is done here.
demo: environment
	@case "$$DEMO_DIR" in \
	'') exec $(IMAGEFLEET) demo ;; \
	'~'|'~/'*) exec $(IMAGEFLEET) demo --dir "$$HOME$${DEMO_DIR#'~'}" ;; \
	*) exec $(IMAGEFLEET) demo --dir "$$DEMO_DIR" ;; \
	esac

up: environment
	@exec $(IMAGEFLEET) up $(ARGS)

test: environment-dev
	@$(PYTHON_HERE) -m pytest -m 'not slow' $(ARGS)

test-faults: environment-dev
	@IMAGEFLEET_FAULT_SEED=$${IMAGEFLEET_FAULT_SEED:-random} $(PYTHON_HERE) -m pytest tests/faults $(ARGS)

# A seed of its own each time, which is said first.
fuzz: environment-dev
	@IMAGEFLEET_FUZZ_FILES=$${IMAGEFLEET_FUZZ_FILES:-10000} IMAGEFLEET_FUZZ_SEED=$${IMAGEFLEET_FUZZ_SEED:-random} \
	$(PYTHON_HERE) -m pytest -s tests/integration/test_fuzzed_files.py $(ARGS)

# PyTorch takes gigabytes, so these tests have an environment of their own.
test-export:
	@sh requirements/environment.sh export
	@.venv-export/bin/python -m pytest -m slow $(ARGS) tests/export

lint: environment-dev
	@$(PYTHON_HERE) -m ruff check .
	@$(PYTHON_HERE) -m ruff format --check .
	@.venv/bin/lint-imports --no-logo

types: environment-dev
	@$(PYTHON_HERE) -m mypy

bench: environment
	@$(PYTHON_HERE) -m benchmarks $(ARGS)

audit:
	@sh requirements/audit.sh $(ARGS)

lock:
	@sh requirements/lock.sh
