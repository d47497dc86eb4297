# Two commands: `make demo` and `make test`. Each builds .venv from requirements.txt if needed.
PYTHON ?= python3
VENV := .venv/.installed
RUN := .venv/bin/python run.py

.PHONY: demo test
demo: $(VENV)
	$(RUN) pipeline --preset demo

test: $(VENV)
	.venv/bin/python -m pytest

$(VENV): requirements.txt constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@
