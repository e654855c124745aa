# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help install demo demo-full test test-heavy check docs coverage mutation sbom audit release clean

help:
	@echo "make demo        create .venv, install, score ecg-cpc-mini, its random twin and trivial on mock PTB-XL, write a report"
	@echo "make demo-full   the same with an ECG-CPC of the published size (minutes)"
	@echo "make test        the test suite (minutes on 2 cores)"
	@echo "make test-heavy  what takes longer: kill series, scale, full-size models, pages in a browser"
	@echo "make check       ruff and mypy"
	@echo "make docs        the documentation site, build/site/index.html (warnings are errors)"
	@echo "make coverage    the test suite with line and branch coverage"
	@echo "make release     wheel, source archive, bill of materials and licences in dist/"
	@echo "make audit       known vulnerabilities of the pinned versions (asks the package index)"
	@echo "make mutation    changes the modules that decide a score and counts what no test notices (docs/testing.md)"

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

install: $(VENV)/.installed

demo: install
	$(BIN)/ecg-eval --model ecg-cpc-mini,random:ecg-cpc-mini,trivial --tasks demo --mode linear \
	  --data-root mock --protocol fast --limit 400 --output results/demo
	$(BIN)/ecg-eval report results/demo --data-root mock --output results/demo/report.html

# The same with the encoder at its published size: minutes.
demo-full: install
	$(BIN)/ecg-eval --model random:ecg-cpc --tasks demo --mode linear,frozen,finetune \
	  --data-root mock --limit 96 --epochs 2 --output results/demo-full
	$(BIN)/ecg-eval report results/demo-full --data-root mock --output results/demo-full/report.html

# Two test processes of one thread each: faster on two cores than one process of two. Each begins with its half, so that
# folders share what they make once, and takes from the other what is left in the end.
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not heavy"

# Servers that speak S3 and as Google's storage, for tests alone; by themselves, since moto's packages want an older
# python-dateutil than ours.
build/stores: constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --target $@ 'moto[server]==5.2.5' gcp-storage-emulator==2026.7.19
	touch $@

test-heavy: install build/stores
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m heavy

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	$(BIN)/python -m sphinx --builder html --conf-dir docs/site --fail-on-warning --keep-going --fresh-env --write-all --quiet . build/site

coverage: install
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not heavy"
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered

# One module: make mutation MUTANTS='eval_harness.training.trainer.*'
mutation: install
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children 2 $(if $(MUTANTS),'$(MUTANTS)')
	$(BIN)/python benchmarks/mutation_score.py

# The bill of materials (CycloneDX) and the licences of what `pip install ecg-hub[serve]` brings, from what is installed.
sbom: install
	$(BIN)/python benchmarks/supply_chain.py --sbom dist/ecg-hub.cdx.json --licences dist/licences.csv

release: sbom
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	git archive --format tar.gz --prefix ecg-hub/ --output dist/ecg-hub.tar.gz HEAD
	cd dist && sha256sum *.whl *.tar.gz *.json *.csv > SHA256SUMS.txt

# In an environment of its own: what looks for holes is no part of what is looked at. Strict, since it passes over what
# the index does not know, which behind a mirror is everything.
audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	@build/audit/bin/pip-audit --strict --progress-spinner off --requirement constraints.txt --no-deps --disable-pip \
	  2> build/audit/said.txt; code=$$?; grep -E '^(Found|No known) ' build/audit/said.txt && exit $$code; \
	  echo "audit: nothing is known, the index did not answer: $$(tail -n 1 build/audit/said.txt | cut -c 1-160)" \
	  "- ask where https://pypi.org/pypi/NAME/VERSION/json answers; all of it: build/audit/said.txt" >&2; exit 1

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache mutants
