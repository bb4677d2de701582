# The commands of this project. Needs Python >= 3.11 and make; everything else goes into .venv.

# What an activated environment or a user's settings would change about ours. Indexes, proxies and
# certificates (PIP_INDEX_URL, PIP_CERT ...) stay: a machine may need them to reach any package.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME PYTHONOPTIMIZE PYTHONSAFEPATH PYTHONWARNINGS PYTHONSTARTUP
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_NO_DEPS PIP_DRY_RUN PIP_REQUIREMENT PIP_EDITABLE
unexport PIP_CONSTRAINT PIP_BUILD_CONSTRAINT PIP_REQUIRE_HASHES PIP_NO_BUILD_ISOLATION PIP_IGNORE_INSTALLED
unexport PIP_UPGRADE PIP_QUIET PIP_VERBOSE PIP_LOG PIP_REPORT PIP_SRC
export PIP_USER := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

VENV_PYTHON := .venv/bin/python
PIP := $(VENV_PYTHON) -m pip install --quiet

# Passed to pytest: make test ARGS="-k cookie"
ARGS ?=

.PHONY: help run test compiled conformance fuzz faults bench clean redis-server chromium proxies wrk

help: ## print this
	@echo 'make TARGET, where TARGET is one of:'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' Makefile

run: .venv/installed ## serve config/demo.yaml on http://127.0.0.1:8080/
	@exec $(VENV_PYTHON) run.py --config config/demo.yaml

test: .venv/installed-test .venv/installed-node redis-server chromium proxies ## lint, format, types and all tests (ARGS="..." goes to pytest)
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy
	@$(if $(strip $(ARGS)),$(PYTEST) $(ARGS),$(TEST_ALL))

PYTEST = WSHTTP_NODE_MODULES="$$(pwd -P)/.venv/node/node_modules" $(VENV_PYTHON) -m pytest

# Two runs at once, for two cores: what a browser does is mostly to wait. The second is printed when both are over.
BESIDE := tests/browser tests/conformance tests/engine tests/web

# The tests that are most likely to notice what compiling changes; without a C compiler they are not run.
COMPILED_TOO := tests/conformance tests/engine/websocket tests/sessions tests/test_promises.py

define TEST_ALL
{ $(PYTEST) $(BESIDE); beside=$$?; \
  if $(CAN_COMPILE); then $(MAKE) --no-print-directory compiled ARGS="$(COMPILED_TOO)" || beside=1; \
  else echo 'There is no C compiler, or there are no headers of Python: nothing was tested compiled.'; fi; \
  exit $$beside; } > .venv/beside.log 2>&1 & beside=$$!; \
$(PYTEST) $(addprefix --ignore=,$(BESIDE)); first=$$?; \
wait $$beside; second=$$?; cat .venv/beside.log; exit $$((first + second))
endef

CAN_COMPILE = command -v cc >/dev/null && $(VENV_PYTHON) -c \
    'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'

# The package is compiled when it has changed; all else is copied each time.
NOT_COMPILED := tests static config docs examples benchmarks

compiled: .venv/compiled/made .venv/installed-node redis-server chromium proxies ## compile the hot modules in .venv/compiled, and run the tests there (ARGS="...")
	@cd .venv/compiled && rm -rf $(NOT_COMPILED)
	@cp -R $(NOT_COMPILED) .venv/compiled/
	cd .venv/compiled && WSHTTP_NODE_MODULES="$(CURDIR)/.venv/node/node_modules" ../../$(VENV_PYTHON) -m pytest $(ARGS)

# A folder with setup.sh and run.sh of the Autobahn fuzzing client, and which of its cases (all of them take half an hour).
AUTOBAHN ?=
CASES ?=

conformance: .venv/installed-test proxies ## Tornado's own tests, proxies in front, and AUTOBAHN=folder if given, on both engines
	$(VENV_PYTHON) -m pytest tests/conformance tests/engine/test_agreement.py tests/engine/test_agreement_frames.py $(ARGS)
	@if [ -n "$(AUTOBAHN)" ]; then \
	    PYTHONPATH=.:tests $(VENV_PYTHON) -m conformance.autobahn "$(AUTOBAHN)" $(CASES); \
	else \
	    echo 'The Autobahn test suite was not run: AUTOBAHN=folder names the one with its setup.sh and run.sh.'; \
	fi

# Seconds.
FUZZ ?= 60

fuzz: .venv/installed-fuzz ## feed both engines the same bytes for a while (FUZZ="..." seconds)
	PYTHONPATH=.:tests $(VENV_PYTHON) -m conformance.fuzz $(FUZZ)

# The size of the long runs in per cent; the full one takes half an hour.
FAULTS ?= 100

faults: .venv/installed-test redis-server ## kill servers and break disks, many times (FAULTS="..." is the size in per cent)
	WSHTTP_FAULTS=$(FAULTS) $(VENV_PYTHON) -m pytest -s tests/faults tests/sessions/test_state_machine.py tests/stores $(ARGS)

# The rows of the engine's table that are measured, and --rounds or --seconds; all of them take half an hour.
ENGINE ?=

bench: .venv/installed-test .venv/installed-peers redis-server proxies wrk ## print the figures of this machine (ENGINE="..." chooses rows of the engine's)
	@if $(CAN_COMPILE); then $(MAKE) --no-print-directory .venv/compiled/made; \
	else echo 'There is no C compiler, or there are no headers of Python: wshttp is measured as it is.'; fi
	$(VENV_PYTHON) -m benchmarks engine $(ENGINE)
	$(VENV_PYTHON) -m benchmarks

clean: ## remove what the other targets made, .venv too
	find wshttp -name '*.so' -delete
	rm -rf .venv *__mypyc*.so build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis test-output
	find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

# --- the environment ----------------------------------------------------------------------------

# An environment whose Python is gone (a system upgrade), or that was made for another folder (a copy
# or a move: its editable install points there), is made anew.
ifneq ($(shell $(VENV_PYTHON) -c '' 2>/dev/null && [ "$$(cat .venv/made)" = "$$(pwd -P)" ] && echo fits),fits)
.PHONY: .venv/made
endif

.venv/made:
	@for python in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	    found="$$python"; \
	    "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || continue; \
	    echo "making .venv with $$("$$python" --version) ($$(command -v "$$python"))"; \
	    "$$python" -m venv --clear .venv && pwd -P > $@ && exit 0; \
	    echo "$$python could not make .venv; see above"; exit 1; \
	done; \
	if [ -n "$$found" ]; then \
	    version=$$("$$found" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "$$found is there, but not the part that makes environments (venv with ensurepip)."; \
	    echo "On Debian and Ubuntu: sudo apt-get install python$$version-venv"; \
	else \
	    echo 'wshttp needs Python 3.11 or newer, and found none of python3.13, python3.12, python3.11, python3.'; \
	    echo 'On Debian 12, Ubuntu 24.04 and newer: sudo apt-get install python3 python3-venv'; \
	    echo 'Elsewhere: https://www.python.org/downloads/, or name one: make PYTHON=/path/to/python3.12 ...'; \
	fi; \
	exit 1

.venv/installed: .venv/made pyproject.toml
	@echo 'installing wshttp into .venv'
	@$(PIP) --editable .
	@touch $@

.venv/installed-test: .venv/installed
	@echo 'installing what the tests need into .venv'
	@$(PIP) --editable '.[test]'
	@touch $@

# The project once more, with the modules beside their sources that the hook in pyproject.toml compiles.
SOURCES := $(shell find wshttp -name '*.py')

.venv/compiled/made: .venv/installed-test pyproject.toml $(SOURCES)
	@echo 'compiling into .venv/compiled, which takes a minute or two'
	@rm -rf .venv/compiled && mkdir .venv/compiled && \
	tar -cf - --exclude=./.venv --exclude=./.git --exclude=__pycache__ . | tar -xf - -C .venv/compiled
	@cd .venv/compiled && { HATCH_BUILD_HOOKS_ENABLE=1 ../bin/python -m build --wheel --no-isolation > ../compiled.log 2>&1 || \
	    { tail -n 20 ../compiled.log; echo 'It needs a C compiler and the headers of Python; on Debian: build-essential python3-dev'; exit 1; }; }
	@touch $@

# What chooses the bytes for the fuzzer; there are builds for Linux only, and not for every Python.
.venv/installed-fuzz: .venv/installed-test
	@$(PIP) 'atheris>=3,<4' 2>/dev/null || echo 'There is no atheris for this Python: hypothesis is used in its place.'
	@touch $@

# The compiler that checks the types of the browser client, and the rules that check the pages for accessibility. Exact
# versions, since others find other things; no scripts of packages are run. Without npm, their tests are skipped.
NODE_PACKAGES := typescript@5.9.3 axe-core@4.14.1

.venv/installed-node: .venv/made Makefile
	@if command -v npm >/dev/null 2>&1; then \
	    echo 'installing $(NODE_PACKAGES) into .venv/node'; \
	    mkdir -p .venv/node && npm install --prefix .venv/node --no-save --ignore-scripts --no-audit --no-fund \
	        --loglevel=error $(NODE_PACKAGES) >/dev/null && touch $@ || \
	    echo 'That did not work: the tests of types and accessibility are skipped.'; \
	else \
	    echo 'There is no npm: the tests of types and accessibility are skipped. On Debian: sudo apt-get install npm'; \
	fi

# What the engine is measured beside, in an environment of its own.
.venv/installed-peers: .venv/installed-test benchmarks/engine/environment.py
	@$(VENV_PYTHON) -m benchmarks.engine.environment && touch $@ || \
	echo 'That did not work: the tests of the benchmark beside peers are skipped.'

# --- what the tests need of the system ------------------------------------------------------------

# The servers that the tests start are their own; a service that the package starts is neither used nor harmed.
redis-server:
	@command -v redis-server >/dev/null 2>&1 || command -v valkey-server >/dev/null 2>&1 || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    echo 'installing redis-server, which the tests start'; \
	    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y redis-server; } >/dev/null; \
	else \
	    echo 'The tests of the Redis store start a redis-server of their own, and there is none.'; \
	    echo 'On Debian and Ubuntu: sudo apt-get install redis-server'; \
	    echo 'Elsewhere: Redis 7.0 or newer, or Valkey, with redis-server or valkey-server on the PATH.'; \
	    exit 1; \
	fi

chromium:
	@command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 || [ -n "$$WSHTTP_CHROMIUM" ] || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    echo 'installing chromium, in which the tests open the pages'; \
	    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y chromium; } >/dev/null; \
	else \
	    echo 'There is no chromium: the tests in a browser are skipped.'; \
	    echo 'On Debian: sudo apt-get install chromium. Elsewhere name one: make test WSHTTP_CHROMIUM=/path/to/chrome'; \
	fi

proxies:
	@missing=; for proxy in haproxy nginx; do \
	    PATH="$$PATH:/usr/sbin" command -v $$proxy >/dev/null 2>&1 || missing="$$missing $$proxy"; \
	done; \
	if [ -z "$$missing" ]; then \
	    :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    echo "installing$$missing, behind which the tests put the server"; \
	    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y $$missing; } >/dev/null; \
	else \
	    echo "There is no$$missing: the tests behind a proxy are skipped. On Debian: sudo apt-get install$$missing"; \
	fi

wrk:
	@command -v wrk >/dev/null 2>&1 || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    echo 'installing wrk, which loads the servers of the benchmark'; \
	    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y wrk; } >/dev/null; \
	else \
	    echo 'There is no wrk: HTTP is not measured beside peers. On Debian: sudo apt-get install wrk'; \
	fi
