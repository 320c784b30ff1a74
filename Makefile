# Each target installs what it needs; Python 3.10 or newer is the only requirement.
#   make run_node ARGS="--log-level debug"        make test ARGS=tests.net JOBS=1        make PYTHON=python3.12 test

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two terminals may begin in a fresh checkout: one installs, the other waits.
LOCKED := $(if $(shell command -v flock),flock Makefile)
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
CONFIG := conf/config.ini
TESTS := $(or $(ARGS),tests)
# As many tests at a time as there are cores, unless JOBS says otherwise.
RUN_TESTS := scripts/run_tests.py $(if $(JOBS),--jobs $(JOBS)) --directory $(VENV)/trial

.DELETE_ON_ERROR:
.PHONY: help build completion man docs lock run_node run_bootstrap test test_and_report tox lint lint_deployment types clean

help:
	@echo "make build            sdist and wheel in dist/, checked"
	@echo "make run_bootstrap    a bootstrap node on port 8001"
	@echo "make run_node         a node on port 8000, its API on 7400, its dashboard on 7480; it joins that bootstrap node"
	@echo "make test             all tests, as many at a time as there are cores (JOBS=N: N at a time)"
	@echo "make test_and_report  the same, with reports/tests.html and reports/coverage/index.html"
	@echo "make lint types       ruff, shellcheck; mypy"
	@echo "make lint_deployment  Dockerfile, compose files and manifests"
	@echo "make completion       docs/completion/: completion of dht14 for bash and zsh, from its parsers"
	@echo "make man              docs/dht14.1, the man page of dht14, from its parsers"
	@echo "make docs             reference of all modules, in apidocs/"
	@echo "make tox ARGS=...     environments of tox.ini (default: all of env_list)"
	@echo "make lock             update conf/requirements.txt: the packages of the image"
	@echo "make clean            remove all that the other targets made, except data/ (identities of nodes)"

run_bootstrap: $(VENV)/installed
	exec $(BIN)/twistd -n dht14-bootstrap --config $(CONFIG) --p2p-address 0.0.0.0:8001 $(ARGS)

run_node: $(VENV)/installed
	DHT14_BOOTSTRAP_LOCAL=127.0.0.1:8001 DHT14_NODE_ADMIN_ADDRESS=127.0.0.1:7480 exec $(BIN)/twistd -n dht14 --config $(CONFIG) $(ARGS)

test: $(VENV)/installed-test
	$(BIN)/python -b $(RUN_TESTS) $(TESTS)

test_and_report: $(VENV)/installed-test
	rm -rf reports
	mkdir -p reports
	$(BIN)/coverage run $(RUN_TESTS) --report reports/tests.html $(TESTS); \
	code=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/coverage html --quiet && $(BIN)/coverage report --skip-covered; \
	echo "reports/tests.html reports/coverage/index.html"; \
	exit $$code

lint: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/shellcheck .ci/run scripts/*.sh

lint_deployment: $(VENV)/installed-deployment
	$(BIN)/hadolint Dockerfile
	for file in conf/compose*.yaml; do $(BIN)/docker-compose --file $$file config --quiet || exit; done
	$(BIN)/kubernetes-validate --strict --quiet conf/kubernetes/[!k]*.yaml

types: $(VENV)/installed-dev
	$(BIN)/mypy

# Update the packages of the image to their newest versions.
lock: $(VENV)/installed-deployment
	CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --upgrade --generate-hashes --all-build-deps \
		--allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --output-file conf/requirements.txt setup.cfg

# The wheel installs them into share/bash-completion/completions and share/zsh/site-functions.
completion: $(VENV)/installed-test
	$(BIN)/python scripts/completion.py docs/completion

# To read it: man -l docs/dht14.1. The wheel installs it into share/man/man1.
man: $(VENV)/installed-test
	$(BIN)/python scripts/man_page.py docs

# Reference of all modules, in apidocs/. Words in backquotes that are not names of the code are no error.
docs: $(VENV)/installed-docs
	@$(BIN)/pydoctor --project-name=DHT-14 --docformat=restructuredtext --html-output=apidocs --quiet dht14 \
		>$(VENV)/docs.log 2>&1 || { grep -v "Cannot find link target" $(VENV)/docs.log; exit 1; }

# All environments of tox.ini, or some: make tox ARGS="-e docs,package"
tox: $(VENV)/installed-tox
	$(BIN)/tox $(ARGS)

build: $(VENV)/installed-package
	rm -rf build dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf $(VENV) .tox build dist reports apidocs *.egg-info _trial_temp* .coverage* .hypothesis .mypy_cache .ruff_cache
	find dht14 scripts tests twisted -name __pycache__ -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "DHT-14 needs Python 3.10 or newer; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(LOCKED) $(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "$(PYTHON) cannot make virtual environments; install its venv module" \
		"(Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }

# Installed again when the list of dependencies changes.
$(VENV)/installed: $(VENV)/bin/python setup.cfg pyproject.toml
	@$(LOCKED) sh -c 'for file in $^; do [ $@ -nt $$file ] || \
		{ echo "Installing into $(VENV); this takes a minute."; $(PIP) install --editable . && touch $@; exit; }; done'

$(VENV)/installed-%: $(VENV)/bin/python setup.cfg pyproject.toml conf/develop/%.txt conf/develop/test.txt
	$(PIP) install --editable . --requirement conf/develop/test.txt --requirement conf/develop/$*.txt
	@touch $(VENV)/installed $@
