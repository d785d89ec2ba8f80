# `make demo`: an environment, the shipped example compiled and verified.  `make test`: an environment and the tests.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
EXTRAS ?= dev
# One stamp per set of extras, so that asking for more of them installs more.
TESTED = $(VENV)/tested-$(EXTRAS)

.PHONY: demo test check fuzz bench calibrate clean

demo: $(VENV)/installed
	$(BIN)/qcompile demo -o demo/digits_mlp

test: $(TESTED)
	$(BIN)/python -m pytest -n auto --dist worksteal

# Style, format and types.
check: $(TESTED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# For a night: CASES mutated inputs; what fails is kept in fuzz-failures/. Another SEED makes others.
CASES ?= 10000
SEED ?= 1
fuzz: $(TESTED)
	$(BIN)/python tests/fuzz.py --cases $(CASES) --seed $(SEED)

bench: $(TESTED)
	$(BIN)/python benchmarks/simulate.py
	$(BIN)/python benchmarks/compile.py

# The points of the cost model measured again with Yosys (minutes to hours), fitted, and their errors. The vendor's results for hls4ml, where they are.
calibrate: $(TESTED)
	$(BIN)/python hw/calibration/measure.py
	$(BIN)/python hw/calibration/fit.py
	$(BIN)/python hw/calibration/minifloat_mac.py
	$(BIN)/python hw/calibration/layers.py
	$(BIN)/python hw/calibration/projects.py
	test ! -d ../shared/ground_truth || $(BIN)/python hw/calibration/fit_hls4ml.py

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

# Most of torch is never imported: byte code is made of what is. QKeras asks for tensorflow, without which it runs on torch; HGQ2 has
# a package of the same name.
$(TESTED): $(VENV)/installed
	$(BIN)/python -m pip install -q --no-compile -c constraints.txt -e '.[$(EXTRAS)]'
	$(if $(findstring keras,$(EXTRAS)),$(BIN)/python -m pip install -q --no-compile --no-deps -c constraints.txt --target $(VENV)/qkeras qkeras-v3 parse pyparser six)
	touch $@

clean:
	rm -rf $(VENV) demo
