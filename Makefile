# Two commands: `make run` (install, start, first graph) and `make test` (install, check, test everything).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= plumbago-data
TORTURE ?= full
FUZZ_S ?= 3600
WORKERS ?= $(shell echo $$(($$(nproc) + 1)))

.PHONY: run test torture fuzz bench clean

run: $(VENV)/installed
	@echo "Starting Plumbago on loopback; its data goes to ./$(DATA). The first start compiles for some seconds. Stop with Ctrl-C."
	@echo "  send a line:   $(BIN)/plumbago send 'my.first.metric 42'     (or: echo \"my.first.metric 42 \$$(date +%s)\" | nc -q0 127.0.0.1 2003)"
	@echo "  look at it:    $(BIN)/plumbago query 'my.first.metric' --from -10min"
	@echo "  this host:     $(BIN)/plumbago find 'hosts.*.*'  and  curl 'http://127.0.0.1:8080/render?target=hosts.*.load.*&from=-10min&format=json'"
	@$(BIN)/plumbago serve --data $(DATA) --collect-host

test: $(VENV)/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m tests.kernels & $(BIN)/mypy && wait $$!
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# 1,000 kills and 200 power cuts, some hours; `make torture TORTURE=short`, a fifth of it. Power cuts and full disks need root.
torture: $(VENV)/tested
	PLUMBAGO_TORTURE=$(TORTURE) $(BIN)/python -m pytest -rP --durations=0 tests/torture

# An hour of nearly right bytes for every reader, each index of the kernels checked.
fuzz: $(VENV)/tested
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(VENV)/checked $(BIN)/python -m tests.fuzz $(FUZZ_S)

bench: $(VENV)/tested
	$(BIN)/python -m benchmarks

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/tested: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
