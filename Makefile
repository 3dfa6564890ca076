# Every command of the repository. `make help` lists them.
#
#   PYTHON=3.13   another interpreter, in an environment of its own (.venv-3.13); or its path
#   ARGS='...'    further arguments for the program behind the target

PYTHON ?=
ARGS ?=

UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo .uv-venv/bin/uv)
VENV := .venv$(if $(PYTHON),-$(notdir $(PYTHON)))
PY := $(VENV)/bin/python
RUN_TESTS := $(PY) -m pytest
# One more than there are cores: a test often waits for its database or another process.
PARALLEL := -n $(shell expr $$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) + 1)

export UV_PROJECT_ENVIRONMENT := $(VENV)
SYNC := $(UV) sync --frozen --inexact --quiet $(if $(PYTHON),--python $(PYTHON))

# What Django's settings need to be read by a checker; nothing connects with them.
CHECKER_ENV := ENVIRONMENT=test METRICS_PORT=0 LOG_LEVEL=error \
	SECRET_KEY=checker-key-that-signs-nothing-at-all-0123456789 \
	JWT_KEYS=1:checker-jwt-key-that-signs-nothing-0123456789 \
	API_KEY_PEPPERS=1:checker-pepper-that-hashes-nothing-0123456789 \
	VAULT_MASTER_KEYS=1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= \
	DATABASE_URL=postgres://checker@127.0.0.1:1/none REDIS_URL=redis://127.0.0.1:1/0

.PHONY: help run sync test quick full faults-quick browser clients bench bench-peers lint \
	format-check types imports migrations docs docs-check catalogs lock lock-check

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(UV)  ## the whole platform on this machine (ARGS='--port 8001 --data-dir .ide-two')
	@$(SYNC) --no-default-groups
	@$(PY) manage.py up $(ARGS)

sync: $(UV)  ## the environment with the development tools
	@$(SYNC)

test: sync  ## the suite against real stores (ARGS='tests/accounts -k login')
	$(RUN_TESTS) $(PARALLEL) -m "not scale and not faults and not browser and not clients" $(ARGS)

quick: lint test  ## lint and test: the loop while writing

full: test  ## the suite, then every fault and every full scale
	$(RUN_TESTS) -m "(scale or faults) and not browser and not clients" $(ARGS)

faults-quick: sync  ## the seeded share of the fault tests
	$(RUN_TESTS) -m "faults and not scale" $(ARGS)

browser: sync  ## the pages in a real Chromium (on PATH, or Playwright's own)
	$(RUN_TESTS) -m browser $(ARGS)

clients: sync  ## real clients against the gateway: installs them (network), runs docs/howto/clients.md
	$(PY) -m tests.clients.installed
	$(RUN_TESTS) -m clients $(ARGS)

bench: sync  ## every benchmark against a floor of the same run; fails on a missed target
	$(PY) -m bench $(ARGS)

bench-peers: $(UV)  ## foreign floors for the benchmarks (network); without them their lines are left out
	@$(UV) venv --quiet --allow-existing .bench-peers/litellm && \
		$(UV) pip install --quiet --python .bench-peers/litellm/bin/python -r bench/peers/litellm.txt || \
		echo "LiteLLM cannot be installed here: the benchmarks leave its lines out"

lint: format-check types imports migrations  ## style, types, import contracts, migrations

format-check: sync  ## ruff
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: sync  ## mypy, strict
	$(CHECKER_ENV) $(PY) -m mypy .

imports: sync  ## who may import whom
	$(VENV)/bin/lint-imports

migrations: sync  ## models and migrations say the same
	$(CHECKER_ENV) $(PY) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run

docs: sync  ## write the generated references anew
	$(CHECKER_ENV) $(PY) manage.py reference

docs-check: sync  ## the generated references say what the code says
	$(CHECKER_ENV) $(PY) manage.py reference --check

catalogs: sync  ## compile the translations of the pages
	$(CHECKER_ENV) $(PY) manage.py catalogs

lock: $(UV)  ## resolve the dependencies anew within their bounds
	$(UV) lock --upgrade

lock-check: $(UV)  ## uv.lock belongs to pyproject.toml
	$(UV) lock --check

# A machine with Python alone gets uv from PyPI, in an environment of its own.
.uv-venv/bin/uv:
	python3 -m venv .uv-venv
	.uv-venv/bin/python -m pip install --quiet --disable-pip-version-check uv
