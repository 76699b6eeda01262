## make demo       reconstruct the small scan in data/ into demo/
## make test       lint, types and tests
## make docs       the site, with the examples run (some minutes), into docs/_build/html
## make benchmark  every method on phantoms (minutes), compared with benchmarks/reference.json
## make bench      every kernel of every physics beside the limit of this machine; PEERS=/path/to/python beside peers there,
##                 PAGE=1 into the table of docs/performance.md, in columns of this processor
## make bench-ct   tomography beside other packages: ratios of speed, errors, memory (some minutes)
## make bench-mri  MRI beside raw transforms; PEERS=/path/to/python beside sigpy and torchkbnufft, DATA=folder on real scans
## They make a virtual environment in .venv on the first call; PYTHON=/path/to/python3.12 chooses the interpreter.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test docs benchmark bench bench-ct bench-mri clean

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt
# A path, not an import hook, so that editors and type checkers see the package, too.
EDITABLE := $(PIP) --config-settings editable_mode=compat --editable

# One thread per library, as there are as many test processes as cores.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1

help:
	@sed -n 's/^## //p' Makefile

demo: $(VENV)/installed
	@mkdir -p demo
	$(BIN)/invprob reconstruct data/shepp_parallel.h5 --method tv \
	    --output demo/shepp.h5 --png demo/shepp.png --report demo/shepp.html --overwrite
	@echo
	@echo "The result is in  $(CURDIR)/demo/shepp.h5"
	@echo "a picture in      $(CURDIR)/demo/shepp.png"
	@echo "and a page in     $(CURDIR)/demo/shepp.html"

test: $(VENV)/installed-for-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2

docs: $(VENV)/installed-for-docs
	$(ONE_THREAD) $(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html
	@echo "The site begins with  $(CURDIR)/docs/_build/html/index.html"

benchmark: $(VENV)/installed
	$(BIN)/invprob benchmark --quick --output benchmark --compare benchmarks/reference.json

bench: $(VENV)/installed-for-tests
	$(BIN)/python benchmarks/kernels.py --json .bench/kernels.json $(if $(PEERS),--peers $(PEERS)) $(if $(PAGE),--page)

bench-ct: $(VENV)/installed-for-tests
	$(BIN)/python benchmarks/ct.py --cache .bench

bench-mri: $(VENV)/installed-for-tests
	$(BIN)/python benchmarks/mri.py $(if $(PEERS),--peers $(PEERS)) $(if $(DATA),--data $(DATA))
	$(BIN)/python benchmarks/mri_maps.py

clean:
	rm -rf $(VENV) demo benchmark .bench docs/_build docs/gallery docs/sg_execution_times.rst

$(BIN)/python:
	@for python in $(or $(PYTHON),python3 python3.11 python3.12 python3.13); do \
	    if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2> /dev/null; then \
	        echo "making $(VENV) with $$("$$python" --version)"; \
	        exec "$$python" -m venv $(VENV); \
	    fi; \
	done; \
	echo "no Python 3.11, 3.12 or 3.13 found: install one, or name it as in make demo PYTHON=/path/to/python3.12" >&2; \
	exit 1

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing invprob and what it needs; the first time this takes some minutes"
	$(EDITABLE) .
	@touch $@

$(VENV)/installed-for-tests: $(VENV)/installed
	@echo "installing what the tests need"
	$(EDITABLE) '.[test]'
	@touch $@

$(VENV)/installed-for-docs: $(VENV)/installed
	@echo "installing what the site needs"
	$(EDITABLE) '.[docs]'
	@touch $@
