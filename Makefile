PYTHON ?= python3
PROTOCOL ?=
# On every core, each file's tests on one of them; benchmarks are not for company.
EVERY_CORE := -n auto --dist loadfile -p no:benchmark
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: .venv demo flower-demo tls-demo test nightly bench lint schema readme clean

.venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo,report,dev]'
	@touch $@

demo: $(STAMP)
	@$(BIN)/fedprivacy run examples/hospitals/job.toml --attack $(if $(PROTOCOL),--protocol $(PROTOCOL))

# A SuperLink and five SuperNodes as processes on this machine, one of them killed in mid-round.
flower-demo: $(STAMP)
	@$(BIN)/python examples/flower/deploy.py

# A server and eight hospitals as processes on this machine, over mutual TLS, one of them killed in
# mid-round and a ninth turned away; with PROTOCOL=oneshot a committee besides, or bfv.
tls-demo: $(STAMP)
	@$(BIN)/python examples/tls-hospitals/deploy.py $(if $(PROTOCOL),--protocol $(PROTOCOL))

# Tests start many processes: those load what the first ones compiled.
test nightly: export PYTHONDONTWRITEBYTECODE :=

test: $(STAMP)
	@$(BIN)/python -m pytest $(EVERY_CORE)

nightly: $(STAMP)
	@bash .ci/extras
	@HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest $(EVERY_CORE) -m "nightly or not nightly"

bench: $(STAMP)
	@$(BIN)/python -m pytest benchmarks --benchmark-only --results benchmarks/results
	@$(BIN)/python benchmarks/table.py

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

# What is generated and kept; tests say when it is stale.
schema: $(STAMP)
	@$(BIN)/fedprivacy record schema >.record.schema.json
	@mv .record.schema.json protocols/round/record.schema.json

readme: $(STAMP)
	@$(BIN)/python docs/example-run/refresh.py

clean:
	@rm -rf .venv build dist .benchmarks .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
