# Two commands do everything on a fresh machine with Python 3.11+: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3 python; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: help demo test check chaos network bench install docs screenshots clean

help: ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: install ## crawl two sample sites and look at the result (EXIT=1: end when done)
	@$(RUN) python -m examples.demo $(if $(EXIT),--exit) $(DEMO)

test: install ## all tests
	@$(RUN) python -m runtime.chromium || true
	@$(RUN) python -m pytest -n 2 --dist loadgroup --tb=native $(TEST)

check: install ## formatting, types, walls between rooms, docs
	@$(RUN) ruff check . && $(RUN) ruff format --check . && $(RUN) mypy && $(RUN) lint-imports --config pyproject.toml \
	  && $(RUN) check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml \
	  && $(RUN) python -m pytest -q -p no:cacheprovider tests/docs

chaos: install ## kill every part at random moments and compare with an undisturbed run
	@$(RUN) python -m examples.chaos $(CHAOS)

network: install ## crawl 26 sites of all kinds, hostile ones too, by two workers that are killed again and again
	@$(RUN) python -m examples.network.trial $(NETWORK)

bench: install ## measure, side by side (ONLY=name for one)
	@$(RUN) python -m benchmarks $(if $(ONLY),--only $(ONLY))

docs: install ## the generated parts of docs/
	@$(RUN) python -m docs.generate

screenshots: install ## the pictures in docs/
	@$(RUN) python -m docs.screenshots

install: $(VENV)/.installed ## the environment, from the hashed lock file

$(VENV)/.installed: requirements.lock requirements.bootstrap.lock
	@[ -n "$(PYTHON)" ] || { echo "versions needs Python 3.11 or newer; none was found on the PATH" >&2; exit 1; }
	@free=$$(df -Pk . | awk 'NR==2 {print int($$4/1024)}'); [ "$$free" -ge 3000 ] || { \
	  echo "versions needs 3 GB of free disk here; there are $$free MB" >&2; exit 1; }
	@echo "Installing into $(VENV) …"
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing (Debian: apt install python3-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.bootstrap.lock \
	  && $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@echo "$(CURDIR)" > $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/versions.pth
	@printf '#!%s\nfrom runtime.cli import command\ncommand()\n' "$(CURDIR)/$(BIN)/python" > $(BIN)/versions && chmod +x $(BIN)/versions
	@touch $@

clean: ## remove the environment and the demo's data
	@rm -rf $(VENV) .data
