# make demo: the whole of it on real text.   make test, make quality: the checks.   make lock: new requirements.txt.
.PHONY: demo test quality style lock clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A Python 3.9 as a user's machine has it: on the PATH, from pyenv, or from uv. paddle-serving-client fixes the version.
FIND_PYTHON := for python in python3.9 "$$(pyenv prefix 3.9 2>/dev/null)/bin/python" "$$(uv python find 3.9 2>/dev/null)" python3 python; do \
	"$$python" -c 'import sys, venv; sys.exit(sys.version_info[:2] != (3, 9))' >/dev/null 2>&1 && echo "$$python" && break; done

demo: $(READY)
	$(BIN)/python examples/demo.py

test: $(READY)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile tests

MANIFESTS := $(filter-out %/kustomization.yml %/service.yml,$(wildcard deploy/serving/kubernetes/*.yml deploy/serving/kubernetes/*/*.yml))
quality: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict -c deploy/.yamllint deploy
	$(BIN)/hadolint deploy/serving/Dockerfile
	$(BIN)/kubernetes-validate --strict --quiet $(MANIFESTS)

style: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# One resolution for each variant; overrides.txt says which of the packages' own limits are set aside, and why.
# Paddle's GPU package is built for CUDA 11.8; of onnxruntime-gpu, 1.18.1 is the last version in the registry that is too.
COMPILE := $(BIN)/uv pip compile -q --upgrade --python-version 3.9 --python-platform x86_64-manylinux_2_28 \
	--custom-compile-command "make lock" --override requirements/overrides.txt --no-emit-package openvino-telemetry
# What paddle-serving-app wants for pictures: nothing that a service imports uses it.
NO_PICTURES := $(addprefix --no-emit-package ,opencv-python pyclipper shapely sentencepiece)
lock: $(READY)
	$(COMPILE) requirements/requirements.in -o requirements.txt
	sed -E -e 's/^(paddlepaddle|paddle-serving-server)==/\1-gpu==/' -e 's/^(paddle-serving-server-gpu==.*)/\1.post1028/' \
		-e 's/^onnxruntime==.*/onnxruntime-gpu==1.18.1/' requirements/requirements.in | \
	$(COMPILE) - -o requirements-gpu.txt
	$(COMPILE) requirements/ray.in -c requirements.txt -o requirements/ray.txt
	for engine in paddle onnxruntime openvino; do \
		$(COMPILE) requirements/serving-$$engine.in -c requirements.txt $(NO_PICTURES) -o requirements/serving-$$engine.txt || exit 1; \
	done

$(READY): requirements.txt
	@python="$$($(FIND_PYTHON))"; \
	if [ -z "$$python" ]; then \
		echo "error: no Python 3.9 found: install one, e.g. with 'uv python install 3.9' or 'pyenv install 3.9'" >&2; exit 2; \
	fi; \
	echo "making $(VENV) with $$python"; "$$python" -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --use-pep517 --no-deps -r requirements.txt
	@touch $@

clean:
	rm -rf $(VENV) samples best_models reproduce speed serving_load serving_soak suspect_labels compress_state-* log profiler_log \
		.pytest_cache .ruff_cache .mypy_cache .hypothesis
