# Everything runs in .venv, which the first target that needs it makes. Wanted: Python 3.11 or newer, make, PyPI.
PYTHON ?= python3
TORCH := 2.13.0
FLWR := 1.41.0
BIN := .venv/bin
MEMBERS := shared edge_client agg_server benchmarks

# .venv is made anew as soon as what is installed in it, or the place it lies in, changes.
INPUTS := constraints.txt pyproject.toml $(MEMBERS:%=%/pyproject.toml)
KEY := $(shell { echo '$(CURDIR) $(PYTHON)'; cat $(INPUTS); } | cksum | tr ' ' '-')
STAMP := .venv/installed-$(KEY)

# What an extra asks for, less direct references: the members are installed editable instead.
EXTRA = $(PYTHON) -c "import tomllib; e = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; print(*(r for r in e['$(1)'] if '@' not in r), sep='\n')"
EDITABLE := --no-build-isolation $(MEMBERS:%=-e ./%)

.DEFAULT_GOAL := help
.PHONY: help demo test simulate lint docs dist audit changelog version bench-secagg bench-training bench-fedit bench-server bench-soak mutate fuzz constraints clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## */\1	/p' Makefile | expand -t 14

demo: $(STAMP)  ## a federation of five on this machine; MODEL= (hub id or folder), DATA= and EVAL= (JSON lines)
	@$(BIN)/python -m benchmarks.demo $(if $(MODEL),--model '$(MODEL)') $(if $(DATA),--data '$(DATA)') $(if $(EVAL),--eval '$(EVAL)')

test: $(STAMP)  ## the whole test suite, two files at a time; ARGS= goes to pytest
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

simulate: $(STAMP)  ## random faults against client and server; SCHEDULES= of them (10000), from SEED= (1)
	@PYTHONPATH=tests/support:. $(BIN)/python -m simulation --schedules $(or $(SCHEDULES),10000) --seed $(or $(SEED),1)

lint: $(STAMP)  ## ruff, mypy --strict, import-linter
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench-secagg: $(STAMP) build/flower/flwr-$(FLWR)  ## secure aggregation timed beside its peers, 10 minutes; figures in build/secagg.json
	@$(BIN)/python -m benchmarks.secagg $(ARGS)

bench-training: $(STAMP)  ## the trainer beside Trainer + PEFT + bitsandbytes; DEVICE=cuda, MODEL= (folder); figures in build/training.json
	@$(BIN)/python -m benchmarks.training $(if $(DEVICE),--device '$(DEVICE)') $(if $(MODEL),--model '$(MODEL)') $(ARGS)

bench-fedit: $(STAMP)  ## federated tuning simulated: EXPERIMENT= (a TOML file or cpu-small, made for 45 minutes of 2 cores), MODEL=, DATA=; goes on after a kill
	@$(BIN)/fedit-bench run '$(or $(EXPERIMENT),cpu-small)' $(if $(MODEL),--model '$(MODEL)') $(if $(DATA),--data '$(DATA)') $(ARGS)

bench-server: $(STAMP)  ## one server under 1,000 devices in 16 cohorts, 3 rounds, 20 minutes; figures in build/load.json
	@$(BIN)/python -m benchmarks.load load $(ARGS)

bench-soak: $(STAMP)  ## one server through 50 rounds of 64 devices, 20 minutes: does its memory grow? build/soak.json
	@$(BIN)/python -m benchmarks.load soak $(ARGS)

mutate: $(STAMP)  ## take out every check of the protocol, one at a time: a test must notice; minutes
	@$(BIN)/python tests/attacks/mutate.py $(ARGS)

fuzz: $(STAMP)  ## every decoder of what others send under atheris, SECONDS= each (60); ARGS= some of them by name
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt atheris
	@PYTHONPATH=tests/support:. $(BIN)/python -m fuzzing --seconds $(or $(SECONDS),60) $(ARGS)

constraints:  ## renew constraints.txt: the newest versions that fit together, torch as set above
	rm -rf build/constraints && $(PYTHON) -m venv build/constraints
	{ $(call EXTRA,dev); $(call EXTRA,docs); $(call EXTRA,release); } > build/constraints/dev.txt
	build/constraints/bin/pip install hatchling editables
	build/constraints/bin/pip install torch==$(TORCH) $(EDITABLE) -r build/constraints/dev.txt atheris
	sed -n '/^#/p' constraints.txt > build/constraints/new.txt
	build/constraints/bin/pip freeze --all --exclude-editable | sed 's/+.*//' \
	  | grep -v -E '^(pip|triton|cuda-.*|nvidia-[^m].*)==' >> build/constraints/new.txt
	mv build/constraints/new.txt constraints.txt

docs: build/docs/installed-$(KEY)  ## the documentation's site, strictly, in build/site
	@NO_MKDOCS_2_WARNING=1 build/docs/bin/mkdocs build
	@echo "build/site/index.html; with its search: python3 -m http.server --directory build/site"

dist: build/release/installed-$(KEY)  ## wheels, sdists, locked requirements, SBOMs, checked, in dist/; PYTHONS= to install under, too
	@build/release/bin/python -m release dist $(PYTHONS)

audit: build/release/installed-$(KEY)  ## what is known against the versions locked in dist/; needs PyPI's vulnerability service
	@build/release/bin/python -m release audit

changelog: build/release/installed-$(KEY)  ## what changes/ comes to
	@build/release/bin/towncrier build --draft --version next

version: build/release/installed-$(KEY)  ## write VERSION= in all places where it stands
	@build/release/bin/python -m release version '$(VERSION)'

clean:  ## remove .venv and everything that was built
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(STAMP): $(INPUTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fedit needs Python 3.11 or newer; name one with make PYTHON=python3.12")'
	@echo "Setting up .venv from PyPI, once: 0.4 GB to download with a CPU build of torch, 3 GB with PyPI's CUDA build (Linux). Minutes."
	@rm -rf .venv && $(PYTHON) -m venv .venv && $(call EXTRA,dev) > .venv/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt hatchling editables
	@test -t 1 || quiet=--quiet; \
	  $(BIN)/pip install $$quiet --disable-pip-version-check -c constraints.txt $(EDITABLE) -r .venv/dev.txt
	@touch $@

# The site and a release have environments of their own: `make test` needs nothing of theirs.
build/docs/installed-$(KEY) build/release/installed-$(KEY):
	@echo "Setting up $(@D) from PyPI, once: 40 MB."
	@rm -rf $(@D) && $(PYTHON) -m venv $(@D) && $(call EXTRA,$(notdir $(@D))) > $(@D)/extra.txt
	@$(@D)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -r $(@D)/extra.txt
	@touch $@

# The peer that is measured has an environment of its own: its pins differ from ours.
build/flower/flwr-$(FLWR): constraints.txt
	@echo "Setting up build/flower with flwr $(FLWR) from PyPI, once: 100 MB."
	@rm -rf build/flower && $(PYTHON) -m venv build/flower
	@build/flower/bin/pip install --quiet --disable-pip-version-check flwr==$(FLWR) $$(grep -E '^(numpy|cryptography)==' constraints.txt)
	@touch $@
