"""dbt, as the pipeline sees it: builds parts of the project in one warehouse."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from oms_core.warehouse import Warehouse, WarehouseError

DBT_PROJECT = Path(__file__).resolve().parent.parent / "dbt"


@dataclass(frozen=True)
class BuildResult:
    """What dbt did: nodes run, and the sentences of what failed or warned."""

    node_count: int
    failures: list[str]
    warnings: list[str]


class Builder:
    """dbt for one warehouse, in a process of its own (`oms_core.dbt_process`). A context manager.

    Between builds the process leaves the warehouse alone, so that others may open it.

    Args:
        warehouse: where to build.
        home: dbt's own files go to `home/dbt`.
    """

    def __init__(self, warehouse: Warehouse, home: Path) -> None:
        self._warehouse = warehouse
        self._folder = home / "dbt"
        self._process: subprocess.Popen[str] | None = None
        self._is_parsed = self._is_dismissed = False
        self._starting = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Let dbt import and parse in the background. The first build does so, too; starting twice is harmless."""
        with self._starting:
            if self._process is not None and self._is_dismissed:
                self.close()
            if self._process is None:
                self._process = self._begin()

    def _begin(self) -> subprocess.Popen[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        environment = self._warehouse.dbt_environment()
        target = environment.pop("ORDERHUB_DBT_TARGET")
        environment |= {
            "ORDERHUB_DBT_TARGET_PATH": str(self._folder / "target"),
            "DBT_TARGET_PATH": str(self._folder / "target"),
            "DBT_LOG_PATH": str(self._folder / "logs"),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }
        options = [
            "--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--target", target,
            "--log-level", "none", "--log-level-file", "info", "--no-use-colors",
        ]  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "oms_core.dbt_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        # Not on its command line nor in its environment, where others could read the password.
        _write(process, {"environment": environment, "options": options})
        return process

    def build(self, select: Sequence[str], exclude: Sequence[str] = ()) -> BuildResult:
        """Run `dbt build` on part of the project, with its data tests.

        Args:
            select: dbt selectors, such as ["staging", "intermediate"].
            exclude: selectors of what to leave out.

        Raises:
            WarehouseError: a model could not be built; tests that fail are in the result.
        """
        # A test runs once everything it looks at is built.
        command = ["build", "--indirect-selection", "buildable", "--exclude-resource-type", "unit_test"]
        command += ["--select", *select]
        return self._run([*command, "--exclude", *exclude] if exclude else command)

    def run_unit_tests(self) -> BuildResult:
        """Run dbt's unit tests. They need the models built, since dbt reads column types from there, but no data."""
        return self._run(["test", "--select", "test_type:unit"])

    def dismiss(self) -> None:
        """Let the process end, and its memory with it, without waiting; another build would begin another process."""
        if self._process is not None:
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._is_dismissed = True

    def close(self) -> None:
        """End the process. Closing twice is harmless."""
        process, self._process = self._process, None
        self._is_parsed = self._is_dismissed = False
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it ended by itself
            process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _run(self, command: Sequence[str]) -> BuildResult:
        self.start()
        if not self._is_parsed:
            self._refuse(self._receive()["error"])
            self._is_parsed = True
        assert self._process is not None
        _write(self._process, {"command": list(command)})
        answer = self._receive()
        self._refuse(answer["error"])
        failures, warnings, broken = [], [], []
        for item in answer["results"]:
            sentence = f"{item['name']}: {item['message'] or item['status']}"
            if item["status"] in ("error", "fail"):
                failures.append(sentence)
                if item["type"] in ("model", "seed"):
                    broken.append(sentence)
            elif item["status"] == "warn":
                warnings.append(sentence)
        if broken:
            raise WarehouseError(f"dbt could not build {'; '.join(broken)}. Its log is {self._log}")
        return BuildResult(len(answer["results"]), failures, warnings)

    @property
    def _log(self) -> Path:
        return self._folder / "logs" / "dbt.log"

    def _refuse(self, error: str | None) -> None:
        if error is not None:
            raise WarehouseError(f"dbt stopped: {error}. Its log is {self._log}")

    def _receive(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> WarehouseError:
        assert self._process is not None
        code = self._process.wait()
        self.close()
        return WarehouseError(
            f"dbt's process ended before it was done (exit code {code}); what it said is above, its log is {self._log}. "
            "If the machine ran out of memory, lower ORDERHUB_DUCKDB_MEMORY"
        )


def _write(process: subprocess.Popen[str], message: dict[str, Any]) -> None:
    assert process.stdin is not None
    # A process that ended cannot be written to; the answer that does not come says so.
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()
