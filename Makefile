# `make install` builds .venv, as `make demo` and `make test` do if needed; `make test` adds what the service and its
# tests need. Crashes, full disks, signals, damage and models are sampled there; `make test-sweeps` tries all. `make
# test TESTS=tests/common` runs some, and `make coverage` counts the lines that they run. `NATURAL=folder make test-
# natural` needs natural models. `make docs` builds the site of docs/ in .build/site. `make bench` measures speed, and
# `make bench-gpu` that of a GPU. The demo: every phase, a detector, what it says of one problem (status 3 is verify,
# 4 is abstain), and the report once more: it ends with what was found.
PYTHON ?= python3
VENV := .venv/.installed
SERVE := .venv/.serve
LINT := .lint/.installed
DOCS := .docs/.installed
RUN := .venv/bin/python run.py
# Two processes of one thread each: more threads wait for each other.
PYTEST := OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
INSTALL := bin/python -m pip install --quiet --disable-pip-version-check
unexport PYTHONDONTWRITEBYTECODE  # each of the tests' hundreds of commands would compile the same modules

.PHONY: coverage demo docs install lint test test-sweeps test-natural bench bench-gpu
demo: $(VENV)
	$(RUN) pipeline --preset demo --jobs 2
	$(RUN) discover --preset demo --out data/detector
	printf 'Write a function to double the elements of a list.\n\nassert double([1, 2]) == [2, 4]\n\n# Solution:\n' | \
		$(RUN) detect --artifacts data/detector --stdin || case $$? in 3|4) ;; *) exit 1 ;; esac
	$(RUN) report --preset demo

install: $(VENV)

docs: $(DOCS)
	NO_MKDOCS_2_WARNING=1 .docs/bin/mkdocs build --strict

lint: $(VENV) $(SERVE) $(LINT)
	.lint/bin/ruff check
	.lint/bin/ruff format --check
	.lint/bin/pyright

test: lint
	$(PYTEST) $(TESTS)

test-sweeps: $(VENV) $(SERVE)
	SWEEPS=whole $(PYTEST) -m sweep

coverage: $(VENV) $(SERVE)
	$(PYTEST) -m "not sweep" --cov --cov-report=term:skip-covered --cov-report=html:.build/coverage_html $(TESTS)

test-natural: $(VENV) $(SERVE)
	.venv/bin/python -m pytest tests/natural -rs

bench: $(VENV) $(SERVE)
	.venv/bin/python -m benchmarks

bench-gpu: $(VENV)
	.venv/bin/python -m benchmarks gpu

$(VENV): requirements.txt constraints.txt
	$(PYTHON) -m venv .venv
	.venv/$(INSTALL) -r requirements.txt
	@touch $@

$(SERVE): requirements-serve.txt $(VENV)
	.venv/$(INSTALL) -r requirements-serve.txt
	@touch $@

$(LINT): requirements-lint.txt
	$(PYTHON) -m venv .lint
	.lint/$(INSTALL) -r requirements-lint.txt
	@touch $@

$(DOCS): requirements-docs.txt constraints.txt
	$(PYTHON) -m venv .docs
	.docs/$(INSTALL) -r requirements-docs.txt
	@touch $@
