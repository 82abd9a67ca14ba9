# make demo | test | lint | notebooks | smodels | bench    each makes .venv if it is missing; only Python 3.11+ is needed
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready

.PHONY: demo test lint notebooks smodels bench clean

$(READY): setup.cfg setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "dnnlikelihood needs Python 3.11 or newer, found $$($(PYTHON) --version); set PYTHON=..."; exit 2; }
	@echo "creating $(VENV) and installing (about 2 GB, once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all,test,lint]'
	@touch $(READY)

demo: $(READY)
	@$(BIN)/dnnlik learn toy-lhc --preset quick --output runs/demo --overwrite

test: $(READY)
	@$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

notebooks: $(READY)
	@$(BIN)/python -m pytest -m notebook tests/test_notebooks.py

smodels: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[smodels]'
	@$(BIN)/python -m pytest tests/integrations/test_smodels.py

bench: $(READY)
	@$(BIN)/python benchmarks/toy_lhc.py

clean:
	rm -rf $(VENV) build *.egg-info
