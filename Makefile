# The very commands that CI runs. `make demo` and `make test` are all a newcomer needs.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q -q
# Processes of `make test`: most tests wait for a daemon more than they compute. 0: one after the other.
TEST_JOBS ?= 2
MANIFESTS := constraints.txt protos/pyproject.toml server/pyproject.toml client/pyproject.toml

.PHONY: demo setup setup-dev setup-export setup-triton protos fmt check test test-export \
	test-triton bench clean

demo: setup
	@$(BIN)/python deploy/demo/demo.py

setup: $(VENV)/.setup
setup-dev: $(VENV)/.setup-dev
setup-export: $(VENV)/.setup-export
setup-triton: $(VENV)/.setup-triton

$(VENV)/.setup: $(MANIFESTS) deploy/install.sh
	@echo "setting up $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@sh deploy/install.sh --editable $(BIN)/python
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup pyproject.toml
	@echo "adding the development tools to $(VENV)"
	@$(PIP) install -c constraints.txt --group dev
	@$(PIP) install -c constraints.txt --no-build-isolation -e "./server[models,evaluate,tensorrt]"
	@touch $@

$(VENV)/.setup-export: $(VENV)/.setup-dev
	@echo "adding the export extra (torch) to $(VENV)"
	@$(PIP) install -c constraints.txt -e "./server[export]"
	@touch $@

$(VENV)/.setup-triton: $(VENV)/.setup-dev
	@echo "adding NVIDIA's Triton to $(VENV)"
	@$(PIP) install -c constraints.txt --no-deps --group triton
	@touch $@

protos: setup-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python protos/generate.py

fmt: setup-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy server/speakerd_server client/speakerd_client tests
	$(BIN)/lint-imports --no-cache
	cd protos && ../$(BIN)/buf lint
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python protos/generate.py --check

test: setup-dev
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile -m "not export and not triton" $(ARGS)

test-export: setup-export
	$(BIN)/python -m pytest -m export $(ARGS)

test-triton: setup-triton
	$(BIN)/python -m pytest -m triton $(ARGS)

bench: setup-export
	for bench in tests/bench/bench_*.py tests/bench/calibrate.py tests/bench/handover.py tests/bench/kserve.py tests/bench/scales.py tests/bench/scales_live.py tests/bench/telephone.py; do $(BIN)/python $$bench || exit 1; done

clean:
	rm -rf $(VENV) build dist
