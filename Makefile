# Every command of the project. Each sets up .venv first, and a second run starts in seconds.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# Every package is pinned with its hashes, and all that it needs is, too: tests/test_requirements.py.
PIP := $(BIN)/pip install --disable-pip-version-check --quiet --progress-bar on --no-deps
READY := $(VENV)/.ready
REQUIREMENTS := $(wildcard requirements/*.txt)

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test coverage mutants lint faults soak fuzz e2e pictures containers \
	manifests servers accuracy bench remote interactive lock audit digests sbom wheel clean

help: ## list the commands
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## make .venv with everything in it

$(READY): $(REQUIREMENTS)
	@echo "Setting up $(VENV), a few minutes the first time: [1/4] virtual environment"
	@$(PYTHON) -m venv $(VENV)
	@echo "[2/4] web server and queue"
	@$(PIP) -r requirements/web.txt
	@echo "[3/4] torch and transformers, the large part"
	@$(PIP) -r requirements/cpu.txt 2>/dev/null || echo "      no torch for CPUs here: it comes with CUDA"
	@$(PIP) -r requirements/worker.txt
	@if grep -q '^Requires-Dist: nvidia' $(VENV)/lib/python*/site-packages/torch-*.dist-info/METADATA; \
		then $(PIP) -r requirements/cuda.txt; fi
	@echo "[4/4] tests and linters"
	@$(PIP) -r requirements/dev.txt
	@$(PIP) -r requirements/unpinned.txt
	@$(PIP) -r requirements/vocabulary.txt
	@touch $@

demo: $(READY) ## answer the sample tasks; writes annotated pictures to demo-output/
	@$(BIN)/python -m grounding demo

serve: $(READY) ## serve Label Studio on port 9090: MODEL=Qwen/Qwen2.5-VL-7B-Instruct make serve
	@$(BIN)/python -m grounding up

test: $(READY) ## unit, property and end-to-end tests without Label Studio
	@$(BIN)/python -m pytest

coverage: $(READY) ## the same tests, and which branches of grounding/ they miss
	@$(BIN)/python -m pytest --cov --cov-report=term-missing

mutants: $(READY) ## change the pure modules (ONLY=labels: this one) bit by bit: do the tests notice?
	@$(BIN)/python -m tools.mutants $(ONLY)

lint: $(READY) ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy grounding model.py _wsgi.py

faults: $(READY) ## every fault: killed workers, server and Redis, 1,000 tasks and 20 kills
	@$(BIN)/python -m pytest -m "not soak" tests/faults tests/compat tests/web/test_stalled.py

soak: $(READY) ## every fault at one in a hundred for 20 minutes: SOAK_MINUTES=5 make soak
	@$(BIN)/python -m pytest -m soak tests/faults

fuzz: $(READY) ## random requests, configs, answers, pictures and contexts: FUZZ_MINUTES=1 make fuzz
	@$(BIN)/python -m pytest -m fuzz tests/fuzz -s

e2e: $(READY) ## the real Label Studio: connect, import, retrieve, compare with the truth
	@$(BIN)/python -m pytest -m e2e tests/e2e -s

pictures: $(READY) ## take the pictures of docs/ anew, from the real Label Studio and the demo
	@DOCS_PICTURES=docs $(BIN)/python -m pytest -m e2e tests/e2e/examples/test_docs_pictures.py

containers: $(READY) ## what docker-compose.yml runs, without Docker (needs bubblewrap, redis-tools)
	@$(BIN)/python -m pytest -m containers tests/containers

manifests: $(READY) ## lint deploy/: Kubernetes, alerts, dashboard (needs kubectl and promtool)
	@$(BIN)/python -m pytest -m "deploy or not deploy" tests/deploy

servers: $(READY) ## real vLLM, `transformers serve` and llama.cpp on this CPU: the same answers, priorities, kills
	@$(BIN)/python -m pytest -m servers -p no:randomly tests/servers -s

accuracy: $(READY) ## the small checkpoints on fresh pictures, through /predict: shapes and reading
	@$(BIN)/python -m benchmarks.accuracy.shapes; shapes=$$?; $(BIN)/python -m benchmarks.accuracy.reading && exit $$shapes

bench: $(READY) ## the local engine against the cookbook's way, static batches, and vLLM after `make servers`
	@$(BIN)/python -m benchmarks.engine.speed
	@$(BIN)/python -m benchmarks.overhead.tasks
	@$(BIN)/python -m benchmarks.plot
	@$(BIN)/python -m benchmarks.engine.served

remote: $(READY) ## what a worker with GROUNDING_ENGINE=openai costs, and keeps in flight at a server
	@$(BIN)/python -m benchmarks.overhead.remote

interactive: $(READY) ## what an annotator's request costs beside the model, step by step
	@$(BIN)/python -m benchmarks.overhead.interactive

lock: $(READY) ## write the hashes of every pinned release into requirements/
	@PATH=$(BIN):$$PATH $(BIN)/python -m tools.lock

audit: .audit/.ready ## known holes in what is installed; says loudly where the advisories cannot be asked
	@$(BIN)/python -m tools.audit

digests: $(READY) ## bind each image that is pulled to its digest (MIRROR=host:port: as this mirror has it)
	@$(BIN)/python -m tools.digests $(MIRROR)

sbom: .audit/.ready ## dist/sbom-*.json: what each image installs, in CycloneDX's form
	@mkdir -p dist
	@sbom() { part=$$1; shift; cat $$@ | sed '/^-r /d' | .audit/bin/cyclonedx-py requirements - \
		--pyproject pyproject.toml --output-reproducible --of JSON -o dist/sbom-$$part.json; }; \
		sbom web requirements/web.txt && \
		sbom worker requirements/web.txt requirements/worker.txt requirements/cuda.txt && ls dist/sbom-*.json

.audit/.ready: requirements/audit.txt $(READY)
	@$(PYTHON) -m venv .audit
	@.audit/bin/pip install --disable-pip-version-check --quiet --no-deps -r requirements/audit.txt
	@touch $@

wheel: $(READY) ## build the wheel and the source distribution into dist/
	@$(BIN)/python -m build --no-isolation

clean: ## remove what the other commands made
	rm -rf $(VENV) .audit dist .e2e .servers .grounding demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.coverage .coverage.* mutants dist
