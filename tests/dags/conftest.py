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
RunDags = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def airflow_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a migrated Airflow (SQLite) that reads our DAGs."""
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    run(["airflow", "db", "migrate"], environment)
    return environment


@pytest.fixture
def run_dags(airflow_environment: dict[str, str]) -> RunDags:
    """Run DAGs with extra environment variables; answers what run_dags.py prints, and the whole log."""

    def execute(*requests: str, **variables: str) -> dict[str, Any]:
        output = run([sys.executable, str(RUNNER), *requests], {**airflow_environment, **variables})
        answer: dict[str, Any] = json.loads(output.strip().rsplit("\n", 1)[-1])
        return {**answer, "log": output}

    return execute


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment that points our sources at a small sandbox company, dealers' inbox included."""
    inbox = tmp_path_factory.mktemp("inbox")
    command = [
        sys.executable,
        "-m",
        "connectors.sandbox",
        "--orders",
        "60",
        "--seed",
        "11",
        "--inbox",
        str(inbox),
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield {**json.loads(server.stdout.readline())["env"], "ORDERHUB_FILE_DROP_INBOX": str(inbox)}
        server.terminate()


def run(command: list[str], environment: dict[str, str]) -> str:
    """Run a command to its end; answers its standard output."""
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
    return done.stdout
