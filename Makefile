# `make help` lists the targets. Needed: git, make and Python 3.11 or 3.12 (newer may work); all else goes into .venv.

# Before anything is touched: shells, first lines of scripts and lists of paths would take such a path for several.
$(if $(word 2,$(CURDIR)/.),$(error The path of this folder holds a space: '$(CURDIR)'. Move or rename it, then run make again))

PYTHON ?= python3
# Relative: no character of the folder's own path may mean something to a shell, least of all to what clears .venv.
VENV := .venv
LOCK := requirements/dev.txt
# Names what .venv was made from, by content; a moved folder is another one, since .venv holds its own path.
KEY := $(shell { cat $(LOCK) pyproject.toml; pwd; } | cksum | tr -d ' ')
# Not exported for make itself: there, python3 must remain the user's own.
ACTIVATE := PATH="$$PWD/$(VENV)/bin:$$PATH"
COMPILE := $(VENV)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --quiet
# Several tests at once, each on one core, and one more, since tests of whole processes wait for a fifth of their time;
# more than four would mostly wait for the few that take a minute.
PYTEST := pytest --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --maxprocesses 4 --dist worksteal
# By themselves: each of several at once would build the images and run the pipeline for itself. Skipped without an engine.
DOCKER_TESTS := pytest -m docker tests/test_docker.py

IMAGES := ucc
BUILD := docker build --build-arg PIP_INDEX_URL --build-arg PIP_EXTRA_INDEX_URL --build-arg UV_DEFAULT_INDEX \
	--build-arg UV_INDEX --build-arg REVISION="$$(git rev-parse HEAD)" \
	--build-arg VERSION="$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
	--build-arg LOCK="$$($(PYTHON) -c 'import hashlib; print(hashlib.sha256(open("requirements/train.txt", "rb").read()).hexdigest())')"

export NO_ALBUMENTATIONS_UPDATE := 1
export GX_ANALYTICS_ENABLED := false
export DVC_NO_ANALYTICS := 1

.DEFAULT_GOAL := help
.PHONY: help setup repro test test-all faults lint lock images docker-test serve bench-serve triton clean environment python

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 13

setup: ## make .venv from the lock, unless it is current (another interpreter: make clean setup PYTHON=python3.12)
	@[ "$$(cat $(VENV)/made-from 2>/dev/null)" = $(KEY) ] && $(VENV)/bin/python -c '' 2>/dev/null \
		|| $(MAKE) --no-print-directory environment

repro: setup ## run every stage that is not up to date, then say where the results lie
	@$(ACTIVATE) dvc repro
	@echo
	@echo "metrics    metrics/evaluation.json, metrics/per_class.csv, metrics/history.csv"
	@echo "pictures   reports/panels, reports/validation.html; curves: .venv/bin/dvc plots show"
	@echo "segmenter  models/segmenter.onnx (.venv/bin/ucc segment IMAGE_OR_FOLDER ... OUT)"

test: setup ## run the tests
	@$(ACTIVATE) $(PYTEST) -m 'not long and not docker'
	@$(ACTIVATE) $(DOCKER_TESTS)

test-all: setup ## run the tests that take minutes as well
	@$(ACTIVATE) $(PYTEST) -m 'not docker'
	@$(ACTIVATE) $(DOCKER_TESTS)

faults: setup ## kill `dvc repro` at 20 random moments, each time run it again and compare the results (half an hour)
	@$(ACTIVATE) python tests/faults.py

lint: setup ## check style and types
	@$(ACTIVATE) && ruff check && ruff format --check && mypy && mypy benchmarks

lock: setup ## resolve pyproject.toml anew into requirements/*.txt
	$(COMPILE) pyproject.toml --upgrade --extra train --extra serve --extra dev -o $(LOCK)
	$(COMPILE) pyproject.toml --extra train --extra s3 --constraint $(LOCK) -o requirements/train.txt
	$(COMPILE) pyproject.toml --extra serve --constraint $(LOCK) -o requirements/serve.txt

images: ## build the images ucc:train and ucc:serve (a package index of your own: PIP_INDEX_URL, UV_DEFAULT_INDEX)
	$(BUILD) --target train --tag $(IMAGES):train .
	$(BUILD) --target serve --tag $(IMAGES):serve .

docker-test: setup ## build both images, run the default pipeline in one, segment a picture through the other
	@$(ACTIVATE) UCC_DOCKER_TESTS=full pytest -m docker -rA --durations=0

serve: setup ## segment pictures over HTTP with models/segmenter.onnx, on port 8000 of this machine
	@$(ACTIVATE) python -m ucc serve models/segmenter.onnx

bench-serve: setup ## requests/s and latency of the service, float and INT8, against plain torch (make repro first)
	@$(ACTIVATE) python benchmarks/serve.py

triton: setup ## write models/triton, a model repository for Triton Inference Server, from models/segmenter.onnx
	@$(ACTIVATE) python -m ucc triton models/segmenter.onnx

clean: ## remove .venv and the tools' caches; results and DVC's cache stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis

environment: python
	@echo "Making .venv from $(LOCK): a download of about 3 GB the first time"
	@$(PYTHON) -m venv --clear $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' $(LOCK) > $(VENV)/uv.txt
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.txt
	@VIRTUAL_ENV="$$PWD/$(VENV)" $(VENV)/bin/uv pip sync --require-hashes --compile-bytecode $(LOCK)
	@VIRTUAL_ENV="$$PWD/$(VENV)" $(VENV)/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@echo $(KEY) > $(VENV)/made-from

python:
	@$(PYTHON) -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: '$(PYTHON)' is not Python 3.11 or newer with the modules venv and ensurepip. Install one" \
			"(Debian keeps them in python3-venv) or name another: PYTHON=python3.12 make ..." >&2; exit 1; }
