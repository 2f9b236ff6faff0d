# Postwire. Needs make and Python 3.11 or newer; every target sets up .venv by itself.
#
#   ARGS=...    is passed on:            make test ARGS="-k mock"
#   PYTHON=...  chooses the interpreter: make test PYTHON=/path/to/python3.12

PYTHON ?=
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
BROWSER := $(VENV)/.browser

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
# What is imported is compiled once, whatever a shell says: tests start hundreds of interpreters, and each would compile
# all of it anew, for three seconds.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help demo serve test test-long test-ha interop browser fuzz check generate console bench mutate lock sbom audit clean

help: ## Show this list
	@if [ -t 1 ] && [ -z "$${NO_COLOR:-}" ]; then on=$$(printf '\033[36m'); off=$$(printf '\033[0m'); fi; \
	awk -v on="$${on:-}" -v off="$${off:-}" -F ':.*## ' \
	    '/^[a-z-]+:.*## / { printf "  %smake %-10s%s %s\n", on, $$1, off, $$2 }' $(firstword $(MAKEFILE_LIST))

# PostgreSQL, which `nodes` wants, comes with the tools.
demo: $(if $(filter nodes,$(ARGS)),$(DEV),$(RUNTIME)) ## Show what Postwire does: a server, two mock providers, 22 messages
	@$(BIN)/postwire demo $(ARGS)

serve: $(RUNTIME) ## Run the server
	@$(BIN)/postwire serve $(ARGS)

# Each file in one of four processes, so that its tests share the servers it starts: two for each core, since half of
# them wait. With ARGS in this process, as -x, -s and --pdb need it.
PARALLEL := --numprocesses=4 --dist=loadfile --no-loadscope-reorder -o tmp_path_retention_policy=failed

test: $(DEV) ## Run the tests
	@$(BIN)/python -m pytest $(or $(ARGS),$(PARALLEL))

test-long: $(DEV) ## Run the tests and those that take long, with examples of chance
	@$(BIN)/python -m pytest -m "not interop and not ha and not browser" --hypothesis-profile=explore $(or $(ARGS),$(PARALLEL))

interop: $(DEV) ## Run clients in Go, Node, Java, Rust and grpcurl; skips what the machine lacks
	@$(BIN)/python -m pytest -m interop tests/interop $(ARGS)

# A folder for what fails and for pictures of every page: build/browser.
browser: $(BROWSER) ## Use the console in Chromium, as people do; skips where there is none
	@$(BIN)/python -m pytest -m browser tests/browser $(ARGS)

# PostgreSQL that fails over: Debian's packages, unpacked under build/ and not installed, and a proxy built by Go.
test-ha: $(DEV) ## Have the database fail over, and cut ways, under load
	@$(BIN)/python -m pytest -m ha tests/nodes/ha $(ARGS)

fuzz: $(DEV) ## Fuzz what reads bytes of strangers, a minute each (ARGS="--seconds 600 request")
	@$(BIN)/python -m tests.fuzz $(ARGS)

check: $(DEV) ## Check format, lint, types, imports and the contract
	@failed=0; \
	step() { \
	    name=$$1; shift; \
	    if output=$$("$$@" 2>&1); then echo "$$name: ok"; \
	    else failed=1; printf '%s: FAILED\n%s\n' "$$name" "$$output"; fi; \
	}; \
	step format $(BIN)/ruff format --check .; \
	step lint $(BIN)/ruff check .; \
	step types $(BIN)/mypy; \
	step imports $(BIN)/lint-imports --no-logo; \
	step contract $(BIN)/python -m tools.generate --check; \
	step console $(BIN)/python -m tools.console --check; \
	exit $$failed

generate: $(DEV) ## Renew the stubs and docs/contract.md from protos/; refuses a breaking change
	@$(BIN)/python -m tools.generate $(ARGS)

# Needs Node. What it writes is committed, so that nothing else does.
console: $(DEV) ## Check, test and build the console, from console/ into the server
	@$(BIN)/python -m tools.console $(ARGS)

bench: $(DEV) ## Measure against a bare gRPC server on this machine
	@$(BIN)/python -m tests.bench $(ARGS)

# mutmut knows no directory but src/: this one calls server/ that.
mutate: $(DEV) ## Change the core in small ways and see which the tests miss
	@mkdir -p build/mutation
	@ln -sfn ../../server build/mutation/src
	@ln -sfn ../../tests build/mutation/tests
	@ln -sfn ../../pyproject.toml build/mutation/pyproject.toml
	@cd build/mutation && ../../$(BIN)/mutmut run $(ARGS) && ../../$(BIN)/mutmut results

lock: $(DEV) ## Renew requirements/ from pyproject.toml (ARGS=--upgrade: newest versions)
	@$(LOCK) --extra server --extra web --extra postgres --group build --output-file requirements/runtime.txt $(ARGS)
	@$(LOCK) --extra server --extra aws --extra web --extra postgres --group dev --constraints requirements/runtime.txt \
	    --output-file requirements/dev.txt $(ARGS)
	@$(BIN)/uv pip compile --group browser --constraints requirements/dev.txt $(LOCKED) \
	    --output-file requirements/browser.txt $(ARGS)
	@$(BIN)/uv pip compile --group peer $(LOCKED) --output-file requirements/peer.txt $(ARGS)

sbom: $(DEV) ## Write down what a release runs with, as CycloneDX in build/
	@$(BIN)/python -m tools.sbom

audit: $(DEV) ## Ask an index for known faults in what is locked; says so where none can be asked
	@$(BIN)/python -m tools.audit

clean: ## Remove .venv, caches and build output
	@rm -rf console/node_modules console/build console/src/gen
	@rm -rf clients/node/node_modules clients/node/dist clients/node/src/gen clients/java/target clients/rust/target
	@rm -rf $(VENV) build dist htmlcov .coverage .coverage.* \
	    .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find server clients docs tests tools -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

LOCK = $(BIN)/uv pip compile pyproject.toml $(LOCKED)
LOCKED := --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock"

# --- The environment ---------------------------------------------------------------------------------------
# Two stamps, each written last: an install that did not finish is done again. `.made-for` says for which
# place and Python .venv was made; if that has changed (the checkout was moved or copied, Python was replaced,
# or PYTHON asks for another one), or if an install was broken off, .venv is made anew.
# --no-compile: modules are compiled when first imported, which saves a quarter of the install. --no-deps: a lock has all
# there is to install, and what each of them wants is looked up again for a sixth of the rest.

INSTALL := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input install --no-compile --no-deps

made_for = { pwd -P; "$(or $(PYTHON),$(BIN)/python)" -c \
    'import sys; print(sys.base_prefix, sys.version_info[:2])' 2>/dev/null; }
is_intact = [ "$$($(made_for))" = "$$(cat $(VENV)/.made-for 2>/dev/null)" ]

intact := $(shell $(is_intact) && echo yes)
ifeq ($(intact),)
.PHONY: $(RUNTIME) $(DEV)
endif

candidates = $(or $(if $(PYTHON),"$(PYTHON)"),python3 python3.14 python3.13 python3.12 python3.11 python)
usable = $(shell for python in $(candidates); do \
    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; \
    done)
found = $(shell for python in $(candidates); do \
    "$$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null; \
    done | sort -u | paste -sd, - | sed 's/,/, /g')
too_old = postwire needs Python 3.11 or newer; found $(or $(found),none); set PYTHON=/path/to/python3.11

$(RUNTIME): requirements/runtime.txt pyproject.toml
	$(call install,runtime)
	@touch $@

$(DEV): requirements/dev.txt pyproject.toml
	$(call install,dev)
	@touch $(RUNTIME) $@

$(BROWSER): requirements/browser.txt $(DEV)
	@$(INSTALL) --requirement requirements/browser.txt
	@touch $@

define install
$(if $(intact)$(usable),,$(error $(too_old)))
@echo "Setting up .venv (once) …" >&2
@$(is_intact) || "$(usable)" -m venv --clear $(VENV)
@rm -f $(VENV)/.made-for
@$(INSTALL) --requirement requirements/$(1).txt
@$(INSTALL) --no-build-isolation --editable .
@$(made_for) > $(VENV)/.made-for
endef
