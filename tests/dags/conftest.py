"""A real Airflow on a database of its own, and the sandbox company to pull from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("run_dags.py")
Command = Callable[..., str]


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Run a command with a migrated Airflow (SQLite) that reads our DAGs; answers its standard output."""
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith(("ORDERHUB_", "AIRFLOW_"))
    }
    environment = {
        **outside,
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "great_expectations=WARNING",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{outside['PATH']}",
    }

    def run(*command: str, **variables: str) -> str:
        done = subprocess.run(
            command, env={**environment, **variables}, cwd=ROOT, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{command} failed:\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
        return done.stdout

    run("airflow", "db", "migrate")
    return run


@pytest.fixture
def run_dags(airflow: Command) -> Callable[..., dict[str, Any]]:
    """Run DAGs with extra environment variables; answers what run_dags.py prints, and the whole log."""

    def execute(*requests: str, **variables: str) -> dict[str, Any]:
        output = airflow(sys.executable, str(RUNNER), *requests, **variables)
        return {**json.loads(output.strip().rsplit("\n", 1)[-1]), "log": output}

    return execute


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment that points our sources at a small sandbox company, dealers' inbox included."""
    inbox = tmp_path_factory.mktemp("inbox")
    company = ["--orders", "60", "--seed", "11", "--inbox", str(inbox)]
    command = [sys.executable, "-m", "connectors.sandbox", *company]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield {**json.loads(server.stdout.readline())["env"], "ORDERHUB_FILE_DROP_INBOX": str(inbox)}
        server.terminate()
