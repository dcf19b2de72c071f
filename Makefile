# `make` alone lists what there is. Everything generated lies below .samovar/ and .venv/.

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The user's Python settings are not the project's; without bytecode every command would start slowly.
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME VIRTUAL_ENV

# What is given on the command line reaches the programs as it was typed: make must not expand a `$` in it, and the
# shell gets it from the environment.
GIVEN := $(foreach name,TEXT FILE NAME SCOPE MODEL BACKEND VARIABLES,$(if $(findstring command,$(origin $(name))),$(name)))
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))
export $(GIVEN)
given = $(if $(filter $(1),$(GIVEN)),$(2) "$$$(1)")

RUNTIME ?= python3.13
ARCHITECTURE ?= x86_64
STACK ?= .samovar

PYTHON := .venv/bin/python
UV := .venv/bin/uv

.PHONY: help demo test up down status logs package deploy client bench bench-cold docs lint fmt lock clean environment

help: ## List the targets
	@echo "Samovar. One command to see it work: make demo"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: environment ## Start the local cloud and run a job; TEXT="…" or FILE=path chooses the text
	@$(PYTHON) -m local.demo --folder "$(STACK)" $(call given,TEXT,--text) $(call given,FILE,--file)

# The tests of one machine's Terraform folder, build folder and local cloud run one after the other, and nothing runs
# beside them: the local cloud's tests wait for leases and warm-ups, which a busy machine would make late.
ONE_BY_ONE := tests/artifact tests/infra tests/e2e

test: environment ## Run all tests, and show what they cover
	@status=0; \
	$(PYTHON) -m pytest $(ONE_BY_ONE:%=--ignore=%) -n auto --maxprocesses 4 --dist worksteal \
		--cov --cov-report= || status=$$?; \
	$(PYTHON) -m pytest $(ONE_BY_ONE) --cov --cov-append --cov-report=term || status=$$?; \
	exit $$status

up: environment ## Start the local cloud, or bring it up to date
	@$(PYTHON) -m local.cloud up --folder "$(STACK)"

down: environment ## Stop the local cloud and remove its state
	@$(PYTHON) -m local.cloud down --folder "$(STACK)"

status: environment ## Say where the local cloud is
	@$(PYTHON) -m local.cloud status --folder "$(STACK)"

logs: environment ## Follow the logs of the local cloud's functions
	@exec $(PYTHON) -m local.logs --folder "$(STACK)"

package: environment ## Build the artifacts for AWS; RUNTIME=, ARCHITECTURE= and MODEL=folder-or-wheel choose them
	@$(PYTHON) -m local.package --target aws --runtime "$(RUNTIME)" --architecture "$(ARCHITECTURE)" \
		$(call given,MODEL,--model)

deploy: package ## Apply to AWS; BACKEND=file says where the state is, VARIABLES=file.tfvars sets Terraform's variables
	@$(PYTHON) -m local.deploy --runtime "$(RUNTIME)" --architecture "$(ARCHITECTURE)" \
		$(call given,BACKEND,--backend) $(call given,VARIABLES,--variables)

client: environment ## Register a client where `deploy` applied, NAME="…" SCOPE="…"; LOCAL=1: at the local cloud
	@$(PYTHON) -m local.clients create --folder "$(STACK)" $(if $(LOCAL),--local) \
		$(call given,NAME,--name) $(call given,SCOPE,--scope)

bench: environment ## Measure; prints ratios taken in one run
	@$(PYTHON) -m bench

bench-cold: environment ## Measure what a warm-up is worth, with a small model and one of 220 MB
	@$(PYTHON) -m bench warming

docs: environment ## Build the documentation's site at .samovar/site
	@$(PYTHON) -m local.docs build

lint: environment ## Check style, types, imports, documentation, workflows and Terraform
	@.venv/bin/ruff check --extend-exclude .samovar
	@.venv/bin/ruff format --check --extend-exclude .samovar
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PYTHON) -m local.routes --check
	@$(PYTHON) -m local.docs check
	@.venv/bin/actionlint -shellcheck= -pyflakes=
	@.venv/bin/zizmor --offline --quiet --persona=pedantic .github
	@$(PYTHON) -m local.terraform fmt-check
	@$(PYTHON) -m local.terraform validate

fmt: environment ## Put sources into shape
	@.venv/bin/ruff check --fix --extend-exclude .samovar
	@.venv/bin/ruff format --extend-exclude .samovar
	@terraform fmt -recursive terraform

lock: environment ## Resolve the requirements again; add UPGRADE=1 for newer versions
	@cd requirements && for file in *.in; do \
		case "$$file" in client.in) python=3.10 ;; *) python=3.11 ;; esac; \
		UV_CUSTOM_COMPILE_COMMAND="make lock" ../$(UV) pip compile --quiet --universal --python-version "$$python" \
			--generate-hashes --no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade) \
			"$$file" --output-file "$${file%.in}.txt" || exit 1; \
	done

clean: ## Stop the local cloud and remove everything generated
	@if [ -x $(PYTHON) ]; then $(PYTHON) -m local.cloud down; fi
	@rm -rf .samovar .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A command of that name may be there and not work, so each candidate is tried.
environment:
	@for python in python3.13 python3.12 python3.11 python3; do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			exec $$python local/environment.py; \
		fi; \
	done; \
	echo "Samovar needs Python 3.11 or later; there is none on the PATH." \
		"Debian, Ubuntu: sudo apt-get install python3 python3-venv. macOS: brew install python." >&2; \
	exit 1
