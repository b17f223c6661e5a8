# From a fresh clone `make demo` and `make test` need only Python (3.11 or newer) and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RUNNABLE := $(VENV)/.runnable
export ALEXNET_TEST_DATA ?= ../shared/data

.PHONY: demo test quick test-slow test-photos test-gpu test-net test-browser fuzz sanitize bench bench-check check wheel clean

demo: $(RUNNABLE)         ## trains, evaluates and shows, in minutes
	$(BIN)/alexnet demo

# A process a core, at most four; each with one thread, since what must not depend on threads is tested by their number.
WORKERS ?= auto
test: $(INSTALLED)        ## every test that needs nothing from outside
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal -m "not photos and not gpu and not net and not browser and not slow"
	@echo "left out: the demo's whole training (make test-slow), real photos (make test-photos), a GPU (make test-gpu),"
	@echo "object storage and several machines (make test-net), the page in Chromium (make test-browser)"

test-slow: $(INSTALLED)   ## the demo's whole training, held against a linear classifier; every layout in every case
	$(BIN)/python -m pytest -m slow

# No whole nets in float64, no trainings, no processes of their own.
QUICK := tests/files tests/cli tests/native/test_library.py tests/nets/test_costs.py tests/nets/test_network.py \
	tests/nets/test_response_norm.py tests/nets/test_variants.py tests/training/test_recipe.py tests/training/test_optimizer.py \
	tests/data/test_batches.py tests/data/test_dataset.py tests/test_house.py tests/test_randomness.py
quick: $(INSTALLED)       ## the tests of what is edited most, in a minute
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 -m "not photos and not gpu and not net and not browser" $(QUICK)

test-photos: $(INSTALLED) ## tests on the real photos of ALEXNET_TEST_DATA
	$(BIN)/python -m pytest -m "photos and not slow"

test-gpu: $(INSTALLED)    ## tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

test-net: $(INSTALLED)    ## tests that need moto's S3 server, network namespaces or root
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist worksteal -m "net and not slow"

test-browser: $(INSTALLED) ## tests of the page in Chromium (Debian: apt-get install chromium)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "browser and not slow"

fuzz: $(INSTALLED)        ## ten minutes of fuzzing the readers (Linux), from the seeds in tests/fuzz/corpus
	$(BIN)/python -m pip install --disable-pip-version-check -q atheris==3.0.0
	$(BIN)/python -m tests.fuzz.run --minutes 10 --corpus $(or $(FUZZ),/tmp/alexnet-fuzz)

# gcc's AddressSanitizer and UBSan within Python, on every path that the tests take. ThreadSanitizer cannot look into the
# libgomp that torch brings and takes its barriers for races: it has a program of its own, with clang's OpenMP, whose
# Archer tells it of them (Debian: clang libomp-dev). Any finding ends the command with an error.
SANITIZED := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
sanitize: export ALEXNET_NATIVE_FLAGS := $(SANITIZED)
sanitize: export ASAN_OPTIONS := detect_leaks=0:quarantine_size_mb=64
sanitize: export TSAN_OPTIONS := ignore_noninstrumented_modules=1
sanitize: export OMP_WAIT_POLICY := passive
sanitize: $(INSTALLED)    ## the C part under gcc's and clang's sanitizers (Linux): the tests of nets, data, native
	export LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)"; \
	$(BIN)/python -c "from alexnet import native; assert native.available(), native.status().words" && \
	$(BIN)/python -m pytest -m "not photos and not gpu and not net and not browser" tests/native tests/nets tests/data tests/training/test_optimizer.py
	mkdir -p build
	clang -O1 -g -fsanitize=thread -fopenmp -march=native -fno-math-errno tests/native/threads.c -lm -o build/threads
	build/threads

bench: $(INSTALLED)       ## how fast this machine is, beside the plain port
	$(BIN)/alexnet bench

bench-check: $(INSTALLED) ## fails where the ratios stored for this processor are not reached
	$(BIN)/python -m benchmarks.check

check: $(INSTALLED)       ## style, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

wheel: $(INSTALLED)       ## the wheel in dist/
	$(BIN)/python -m build --wheel

$(RUNNABLE): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e .
	touch $(RUNNABLE)

# The above takes 1.3 GB (0.8 GB of it torch for CPUs), the tools of the tests 2.3 GB more: docs/raw/install-sizes.txt
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev]"
	touch $(RUNNABLE) $(INSTALLED)

clean:
	rm -rf $(VENV) demo build dist src/*.egg-info .pytest_cache .ruff_cache .import_linter_cache
