# Every target sets up what it needs in .venv; nothing else has to be installed first.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
HOST ?= 127.0.0.1
PORT ?= 8000
RECIPE ?= training/recipes/grove-24k.yaml
DATA ?=
LOAD ?=
OUT ?= runs/$(basename $(notdir $(RECIPE)))

WEB := clients/js/node_modules/onnxruntime-web/dist

.PHONY: serve web test test-slow lint format bench bench-release load demo-test test-node test-package train docs \
	clients clients-python clients-js lock clean

serve: .venv/core
	$(BIN)/grove serve --host $(HOST) --port $(PORT)

# The codec for browsers: ONNX Runtime Web from npm, packed once so that it crosses the line small.
web: $(WEB)/ort-wasm-simd-threaded.wasm.gz

$(WEB)/ort-wasm-simd-threaded.wasm.gz: clients/js/package-lock.json
	npm ci --silent --prefix clients/js
	gzip -9 -k -n -f $(WEB)/ort-wasm-simd-threaded.wasm $(WEB)/ort.wasm.bundle.min.mjs

test: .venv/dev
	$(BIN)/pytest

test-slow: .venv/dev
	$(BIN)/pytest -m slow

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy clients/python/grove_client

format: .venv/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The neural peers need torch and transformers; commands such as opusenc are used where found.
bench: .venv/bench
	$(BIN)/grove bench

# At a release: the same, and a line of it appended to docs/benchmarks.jsonl.
bench-release: .venv/bench
	$(BIN)/grove bench --history docs/benchmarks.jsonl

# The demo page in a real Chromium, which has to be on the path.
demo-test: .venv/dev .venv/browser web
	$(BIN)/pytest -m browser tests/demo

# The JavaScript client in a real node, version 20 or later; the packed one as npm installs it.
test-node: .venv/dev web
	$(BIN)/pytest tests/clients/check_javascript_client.py tests/clients/check_local_codec.py \
	    tests/package/check_npm_package.py

# The clients as pip and npm take them, in build/clients.
PACKED ?= build/clients
clients: clients-python clients-js

clients-python: .venv/core
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation -w $(PACKED) ./clients/python

clients-js:
	mkdir -p $(PACKED)
	npm run build --silent --prefix clients/js
	npm pack --silent --pack-destination $(PACKED) ./clients/js

# Wheels and source archives, each in an empty environment; an index is asked for the rest.
test-package: .venv/dev
	$(BIN)/pytest tests/package/check_package.py tests/package/check_python_client.py

# Streams against a running server: make load LOAD='--streams 40 --seconds 300'
load: .venv/core
	$(BIN)/python -m grove.tools.load $(LOAD)

train: .venv/dev
	$(BIN)/grove train $(RECIPE) --data $(DATA) --out $(OUT)

# The documents as a site, in build/site; a link that leads nowhere fails it. Needs no network.
docs: .venv/docs
	$(BIN)/python docs/gather.py build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# Exact versions with hashes, after a change of pyproject.toml; asks the package index.
lock: .venv/core
	$(PIP) uv
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python locks/make.py

clean:
	rm -rf .venv build dist *.egg-info

.venv/python:
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	touch $@

# Nothing is installed that the lock does not name, nor with another hash.
.venv/core .venv/browser .venv/docs: .venv/%: locks/%.txt locks/build.txt pyproject.toml | .venv/python
	$(PIP) --require-hashes --no-deps -r locks/build.txt -r $<
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

.venv/bench .venv/dev: .venv/%: locks/%.txt .venv/core .venv/torch
	$(PIP) --require-hashes --no-deps -r $<
	touch $@

# The build for processors, where pip finds one. Any other wants libraries that no lock can name.
.venv/torch: locks/torch.txt locks/torch-cpu.txt .venv/core
	$(PIP) --require-hashes --no-deps -r locks/torch-cpu.txt \
	    || $(PIP) --require-hashes --no-deps -r locks/torch.txt
	$(PIP) -c constraints.txt torch
	touch $@
