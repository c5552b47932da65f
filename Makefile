# Everything runs in .venv, which these commands make and keep up to date by themselves.
# `make help` lists them. Another Python: make test PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# Developers want to see a failed compilation; FASTGRAPH_REQUIRE_NATIVE=0 goes on without.
export FASTGRAPH_REQUIRE_NATIVE ?= 1
# No screen, one thread for each of the processes that share the processor, patience with the index.
export MPLBACKEND = Agg
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export PIP_RETRIES ?= 10
export PIP_DISABLE_PIP_VERSION_CHECK = 1
export PIP_NO_INPUT = 1
# What a shell may carry that would change what is run or measured.
unexport FASTGRAPH_ISA FASTGRAPH_ENGINE PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONOPTIMIZE
unexport PYTHONWARNINGS PYTHONSAFEPATH PYTHONDONTWRITEBYTECODE PYTEST_ADDOPTS PYTEST_PLUGINS VIRTUAL_ENV
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV

# Stamps are named after what they depend on: with another folder or Python the environment is made
# anew, with another pyproject.toml it is brought up to date, and a leftover .venv is noticed.
MADE := $(VENV)/made-$(shell { pwd; $(PYTHON) -VV; } 2>&1 | cksum | tr ' ' '-')
WANTED := $(shell cksum <pyproject.toml | tr ' ' '-')
# Two commands started at once must not fill the same .venv.
LOCK := $(shell command -v flock >/dev/null 2>&1 && echo flock .make.lock)
PREPARE = @$(LOCK) $(MAKE) --no-print-directory native $(VENV)/installed-$(1)-$(WANTED)

.PHONY: help demo test bench bench-peers lint sanitize wheel pictures clean native check-python
.NOTPARALLEL:
.DELETE_ON_ERROR:

help:
	@echo "make demo         fit the Boston house prices, print the table, draw into demo/"
	@echo "make test         run the tests"
	@echo "make bench        measure against every peer that is installed"
	@echo "make bench-peers  install the peers (without PyTorch), then measure"
	@echo "make lint         ruff, cython-lint, mypy"
	@echo "make sanitize     run the tests under address and undefined-behaviour sanitizers"
	@echo "make wheel        build the wheel and the source distribution into dist/"
	@echo "make pictures     draw the pictures of the documentation again"
	@echo "make clean        remove all that was made, .venv too"

demo:
	$(call PREPARE,test)
	$(RUN) -m fastgraph demo --out demo

test:
	$(call PREPARE,test)
	$(RUN) -m pytest -n 2 tests

bench:
	$(call PREPARE,test)
	$(RUN) -m benchmarks

bench-peers:
	$(call PREPARE,bench)
	$(RUN) -m benchmarks

lint:
	$(call PREPARE,dev)
	$(RUN) -m ruff check .
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cython-lint csrc
	$(RUN) -m mypy

# A build of its own, beside the usual one and searched first. The interpreter is not built with the
# sanitizers, so their runtime is loaded before it. Python's own allocator would hide the bounds of
# small blocks. Two frames of a leak are its allocator and who called it: with more, the interpreter
# is in all of them and tests/leaks.supp would excuse ours too.
sanitize: SANITIZED = build/sanitize/lib
sanitize:
	$(call PREPARE,test)
	FASTGRAPH_SANITIZE=1 $(RUN) setup.py -q build --build-base build/sanitize \
	    --build-lib $(SANITIZED) --build-temp build/sanitize/temp
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
	    PYTHONSAFEPATH=1 PYTHONPATH="$(CURDIR)/$(SANITIZED):$(CURDIR)" PYTHONMALLOC=malloc \
	    ASAN_OPTIONS=detect_leaks=1:malloc_context_size=2 \
	    LSAN_OPTIONS="suppressions='$(CURDIR)/tests/leaks.supp'" \
	    UBSAN_OPTIONS=print_stacktrace=1 \
	    $(RUN) -m pytest tests

wheel:
	$(call PREPARE,test)
	rm -rf dist
	$(RUN) -m pip install -q build
	$(RUN) -m build --outdir dist

pictures:
	$(call PREPARE,test)
	$(RUN) docs/pictures.py

clean:
	rm -rf $(VENV) .make.lock build dist demo *.egg-info
	rm -f fastgraph/*.so fastgraph/*.pyd
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Compiles only what changed since the last time, or all when the compiler or its flags did.
native: $(VENV)/requires-$(WANTED)
	@$(RUN) setup.py -q build_ext --inplace || { echo "$$NO_COMPILER" >&2; exit 1; }

export define NO_COMPILER
The native engine did not compile: see above. It needs a C compiler and the headers of Python
(Debian: apt-get install gcc python3-dev). The same command with FASTGRAPH_REQUIRE_NATIVE=0 goes on
with the NumPy engine.
endef

check-python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "$(PYTHON) is \
	Python %d.%d; fastgraph needs 3.11 or newer. Name one: make PYTHON=python3.12 ..." % v[:2])'

$(MADE): | check-python
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { echo "on Debian: apt-get install python3-venv" >&2; exit 1; }
	@touch $@

# Asks the index three times, then gives up.
define INSTALL
@for pause in 5 20 0; do \
    { $(1); } && { touch $@; exit 0; }; \
    [ $$pause = 0 ] || { echo "installing failed, trying again" >&2; sleep $$pause; }; \
done; echo "installing into $(VENV) failed: see above" >&2; exit 1
endef

# What the build requires is installed here too, so that building for an editable installation uses
# it and not a second copy, and finds its work done.
REQUIRES = import tomllib; \
    print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")

$(VENV)/requires-$(WANTED): $(MADE)
	$(call INSTALL,$(RUN) -c '$(REQUIRES)' | $(RUN) -m pip install -q -r /dev/stdin)

$(VENV)/installed-%-$(WANTED): $(VENV)/requires-$(WANTED) | native
	$(call INSTALL,$(RUN) -m pip install -q --no-build-isolation -e '.[$*]')
