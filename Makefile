# The whole interface. Every target makes .venv itself; PYTHON chooses the interpreter it is made with.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start hundreds of processes: without compiled files each compiles the service again.
unexport PYTHONDONTWRITEBYTECODE
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

.DEFAULT_GOAL := help
.PHONY: help serve test test-slow fuzz fuzz-short soak check loadtest report bench bench-gateway transfer simulation overload k8s-check observability-check
.PHONY: image-tree docs lock clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

serve: .venv/installed ## export the demo models that are missing, then serve on :8000 (HTTP) and :8500 (gRPC)
	@compgen -G 'model_repository/efficientnet_lite0/[0-9]*' >/dev/null || $(BIN)/python -m export --model efficientnet_lite0 --weights imagenet --quantize int8
	@compgen -G 'model_repository/lenet5/[0-9]*' >/dev/null || $(BIN)/python -m export --model lenet5
	@exec $(BIN)/python -m service

# Demo models that tests export once, for both runs of pytest.
DEMO := TEST_MODELS=$${TEST_MODELS:-$(CURDIR)/build/test-models}

test: .venv/installed ## the test suite: in three processes, for most tests wait for a service of theirs, then those that hold rates
	@rm -rf build/test-models
	@$(DEMO) $(BIN)/python -m pytest -m 'not slow and not alone' -n 3 --dist loadfile
	@$(DEMO) $(BIN)/python -m pytest -m 'not slow and alone' $$(grep -rl --include='*.py' mark.alone tests)

image-tree: .venv/installed ## the files of the gateway's image, in build/image-tree, and what takes how much of it
	@$(BIN)/python containers/tree.py gateway build/image-tree

test-slow: .venv/installed ## exports, quantization and load of large networks, for real: most of an hour more
	@$(BIN)/python -m pytest -m slow

fuzz: .venv/installed ## 140,000 mutated images, JSON bodies and protobufs through a live service, at most 5 minutes
	@$(BIN)/python -m tests.fuzz

fuzz-short: .venv/installed ## some 3,000 of them, under a minute
	@$(BIN)/python -m tests.fuzz --share 0.02 --seconds 40

soak: .venv/installed ## ten minutes of swaps, reloads, bad clients and killed workers; writes docs/reliability.md
	@$(BIN)/python -m tests.soak --write

check: .venv/installed ## ruff, mypy --strict, import contracts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --no-cache

k8s-check: .venv/installed ## every overlay in k8s/: rendered, against Kubernetes' schemas, our rules and the real flags
	@$(BIN)/python -m tools.k8s_check

observability-check: .venv/installed ## alerts by promtool's unit tests, every dashboard query against a live Prometheus
	@test -d model_repository/lenet5/1 || $(BIN)/python -m export --model lenet5
	@$(BIN)/python -m tools.dashboards

simulation: .venv/installed ## the batcher against latency profiles in virtual time; writes docs/batching.md
	@$(BIN)/python -m benchmarks.batching

overload: .venv/installed ## more than the service can do, of three networks; writes docs/overload.md
	@$(BIN)/python -m benchmarks.overload

transfer: .venv/installed ## few images, learned from scratch and from given weights; writes docs/transfer.md
	@$(BIN)/python -m benchmarks.transfer

bench: .venv/installed ## in-process LiteRT and TensorFlow beside this service over HTTP; writes docs/benchmarks.md
	@$(BIN)/python -m benchmarks

bench-gateway: .venv/installed ## what the gateway adds to a call to its upstream; writes docs/gateway.md
	@$(BIN)/python -m benchmarks.gateway

loadtest: .venv/installed ## every served model under load; writes build/loadtest/report.html (python -m loadtest --help has more)
	@$(BIN)/python -m loadtest

report: .venv/installed ## twenty architectures under load, some twenty minutes; writes docs/reports/
	@$(BIN)/python -m benchmarks.architectures

docs: .venv/docs-installed ## these pages as a website, in build/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

lock: .venv/installed ## constraints.txt from what .venv holds now
	@$(BIN)/pip freeze --exclude-editable | sort -f > constraints.txt

clean: ## .venv and caches, not the models
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info client/*.egg-info

.venv/installed: pyproject.toml client/pyproject.toml constraints.txt
	@echo "Installing $$(wc -l < constraints.txt) packages into .venv (about a minute) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --progress-bar off --constraint constraints.txt --editable '.[export,openvino,openvino-int8,pretrained,clip,loadtest,tracing,remote,completion,dev]' --editable './client[images,grpc]' \
	  | awk '/^(Collecting|Installing)/ { printf "  %s %.60s\n", $$1, $$2 " " $$3; fflush() }'
	@touch $@

.venv/docs-installed: .venv/installed
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@
