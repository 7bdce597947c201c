PYTHON ?= python3
BIN := .venv/bin
LOWEST := .venv-lowest/bin

# One stamp per set of extras: nothing is installed again until pyproject.toml or constraints.txt changes.
RUN_STAMP := .venv/.installed
TEST_STAMP := .venv/.installed-test

.PHONY: coverage demo demo-baseline setup soak test test-fast test-lowest

setup: $(RUN_STAMP)

$(RUN_STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'installing 2.7 GiB of packages into .venv: minutes'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train]'
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { \
	  echo 'no X libraries here: installing opencv-python-headless over opencv-python, which cannot open windows'; \
	  $(BIN)/python -m pip install --quiet --constraint constraints.txt opencv-python-headless && \
	  $(BIN)/python -c 'import cv2'; }
	touch $@

$(TEST_STAMP): $(RUN_STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,test]'
	touch $@

demo: setup
	$(BIN)/vid3d train --config=configs/demo.py --workdir=runs/demo
	$(BIN)/vid3d evaluate --workdir=runs/demo
	$(BIN)/python experiments/demo.py runs/demo

demo-baseline: setup
	$(BIN)/vid3d train --config=configs/demo.py:baseline --workdir=runs/demo-baseline
	$(BIN)/vid3d evaluate --workdir=runs/demo-baseline

soak: setup
	$(BIN)/python experiments/soak.py

test: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy vid3d
	$(BIN)/python -m pytest

coverage: $(TEST_STAMP)
	$(BIN)/python -m pytest --cov

test-fast: $(TEST_STAMP)
	$(BIN)/python -m pytest -m 'not slow'

# The oldest versions that pyproject.toml allows.
test-lowest:
	test -x $(LOWEST)/python || $(PYTHON) -m venv .venv-lowest
	$(LOWEST)/python -m pip install --quiet uv
	$(LOWEST)/uv pip install --quiet --python $(LOWEST)/python --resolution lowest-direct --editable '.[train,test]'
	$(LOWEST)/python -m pytest -m 'not slow'
