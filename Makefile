# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
AIRFLOW_HOME ?= $(CURDIR)/.orderhub/airflow
AIRFLOW_ENV = AIRFLOW_HOME=$(AIRFLOW_HOME) AIRFLOW__CORE__DAGS_FOLDER=$(CURDIR)/dags AIRFLOW__CORE__LOAD_EXAMPLES=False \
	ORDERHUB_HOME=$(CURDIR)/.orderhub AIRFLOW__API__HOST=127.0.0.1 AIRFLOW__CORE__PARALLELISM=4 \
	AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS=True AIRFLOW__LOGGING__NAMESPACE_LEVELS=great_expectations=WARNING
DEMO ?= --orders 2000 --seed 7

.PHONY: help install demo test test-fast test-heavy test-spark check check-style check-types check-sql format bench airflow clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## Make the virtual environment and install everything

# uv installs in seconds; where it cannot be had, pip does the same from the same pins.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about 1 GB; a minute or two)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv \
	  && $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]' \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: install ## Run the main job on the sandbox company (DEMO="--orders 500 --seed 3")
	$(BIN)/orderhub demo $(DEMO)

test: install ## Run the whole test suite
	$(BIN)/python -m pytest -n 3 --no-loadscope-reorder --durations 15 -m "not spark and not heavy"

test-heavy: install ## Run a year of a real retailer's invoices from file to release (needs the data beside the checkout)
	$(BIN)/python -m pytest -m heavy

test-spark: install ## Compare facts and scores on Spark with those of DuckDB and PostgreSQL (needs Java 17; installs half a gigabyte)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[spark]' \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[spark]'
	$(BIN)/python -m pytest -m spark

test-fast: install ## Run what takes seconds
	$(BIN)/python -m pytest -m "not slow and not live and not spark and not heavy"

check: check-style check-types check-sql ## Lint, type-check, check imports and SQL (`make -j check` does so side by side)

check-style: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

check-types: install
	$(BIN)/mypy

check-sql: install
	ORDERHUB_WAREHOUSE_PATH=:memory: $(BIN)/sqlfluff lint --processes 2 --config dbt/.sqlfluff dbt/models dbt/data_tests

format: install ## Format Python
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Run the benchmarks and print them, beside the peers they are measured with
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[bench]' \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m pytest tests/benchmarks -s -p no:randomly --override-ini testpaths=tests/benchmarks -o python_files='bench_*.py'

# The DAGs read their sources from the environment or from Airflow connections named orderhub_<source>.
airflow: install ## Start a real Airflow with our DAGs; http://127.0.0.1:8080, this machine only, no log-in
	@mkdir -p $(AIRFLOW_HOME)
	$(AIRFLOW_ENV) $(BIN)/airflow db migrate
	PYTHONPATH=dags $(AIRFLOW_ENV) $(BIN)/python -m wiring > $(AIRFLOW_HOME)/pools.json
	$(AIRFLOW_ENV) $(BIN)/airflow pools import $(AIRFLOW_HOME)/pools.json
	PATH="$(CURDIR)/$(BIN):$$PATH" $(AIRFLOW_ENV) $(BIN)/airflow standalone

clean: ## Remove the virtual environment and the default state
	rm -rf $(VENV) .orderhub
