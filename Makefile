# Two commands start everything, from a fresh clone:  make demo   and   make test
# Each makes what it needs: a virtual environment in .venv (once), then the delegate (again when its sources change).

PYTHON ?= python3
VENV ?= .venv
BUILD ?= build
DEMO_DIR ?= demo_output

bin := $(abspath $(VENV))/bin
py := $(bin)/python
export PATH := $(bin):$(PATH)
# TensorFlow's start-up lines hide what the tests and the demo have to say.
export TF_CPP_MIN_LOG_LEVEL ?= 3
export TF_ENABLE_ONEDNN_OPTS ?= 0

native_sources := $(shell find delegate -name '*.cc' -o -name '*.h' -o -name '*.inc' -o -name '*.map' -o -name CMakeLists.txt)
pytest := $(py) -m pytest

.PHONY: help demo test test-python test-cpp test-sanitize test-arm bench-arm test-android android-models lint format wheel clean
.DEFAULT_GOAL := help

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(BUILD)/.library ## train, compress, export and time a small network on real digits (about 5 minutes)
	@echo "== demo: files go to $(DEMO_DIR)/"
	$(bin)/dgms demo --output $(DEMO_DIR)

test: lint test-cpp test-python ## all tests that this machine can run (ARM: make test-arm)

test-python: $(BUILD)/.library ## the Python tests
	@echo "== Python tests"
	$(pytest) -n auto --maxprocesses 4 --dist worksteal tests

test-cpp: $(BUILD)/.environment ## the C++ tests (GoogleTest), plain build
	@tests/cpp/run.sh $(BUILD)/cpp

test-sanitize: $(BUILD)/.environment ## the C++ tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@DGMS_SANITIZE=address,undefined tests/cpp/run.sh $(BUILD)/cpp-sanitize

test-arm: $(BUILD)/.library ## the C++ tests and exported models on emulated aarch64 (Debian; set-up needs root once)
	@for script in run_cpp run_python; do \
	  tests/aarch64/$$script.sh; status=$$?; \
	  if [ $$status = 77 ]; then echo "== aarch64 tests ($$script): SKIPPED, see the line above"; \
	  elif [ $$status != 0 ]; then exit $$status; fi; \
	done

bench-arm: $(BUILD)/.library ## executed instructions on emulated aarch64, and llvm-mca's view of the hot loops, ours and XNNPACK's
	@for script in bench.py count_kernels.sh hot_loops.py; do \
	  case $$script in *.py) $(py) tests/aarch64/$$script ;; *) tests/aarch64/$$script ;; esac; status=$$?; \
	  if [ $$status = 77 ]; then echo "== aarch64 benches ($$script): SKIPPED, see the line above"; \
	  elif [ $$status != 0 ]; then exit $$status; fi; \
	done

test-android: $(BUILD)/.library ## the Android demo on a desktop: real TFLite for Android, screens, resources, APK (Java 17, Maven)
	@android_demo/host/check.sh; status=$$?; \
	if [ $$status = 77 ]; then echo "== Android checks: SKIPPED, see the line above"; else exit $$status; fi

android-models: $(BUILD)/.library ## the models that the Android app brings along, with sample images (about two minutes)
	$(py) -m dgms_keras.recipes.android_models --output $(BUILD)/android/assets/models
	@ln -sfn assets/models $(BUILD)/android/models

lint: $(BUILD)/.environment ## ruff and clang-format, checking only
	@echo "== lint"
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	@find delegate tests/cpp -name '*.cc' -o -name '*.h' | xargs $(bin)/clang-format --dry-run --Werror

format: $(BUILD)/.environment ## ruff and clang-format, rewriting
	$(bin)/ruff check --fix .
	$(bin)/ruff format .
	find delegate tests/cpp -name '*.cc' -o -name '*.h' | xargs $(bin)/clang-format -i

wheel: $(BUILD)/.environment ## a wheel in dist/, the delegate inside
	$(py) -m pip wheel --no-deps -w dist .

# The environment: everything that tests and demo need, installed once; the delegate is built inplace below.
$(BUILD)/.environment: pyproject.toml
	@echo "== virtual environment in $(VENV) (a few minutes the first time: TensorFlow is large)"
	@test -x $(py) || $(PYTHON) -m venv $(VENV) || { \
	  echo "a virtual environment needs Python 3.10 or newer with its venv module (Debian: python3-venv)"; exit 1; }
	$(py) -m pip install --quiet --upgrade pip "setuptools>=77"
	DGMS_BUILD_LIBRARIES=0 $(py) -m pip install --quiet --editable ".[test,demo]"
	@mkdir -p $(BUILD) && touch $@

$(BUILD)/.library: $(BUILD)/.environment setup.py $(native_sources)
	@echo "== delegate (C++)"
	$(py) setup.py --quiet build_ext --inplace --build-temp $(BUILD)/inplace
	@touch $@

clean: ## removes everything that was made, the virtual environment too
	rm -rf $(BUILD) $(VENV) dist $(DEMO_DIR) *.egg-info dgms_keras/*.so
