"""dbt, as the pipeline sees it: builds parts of the project in one warehouse."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Collection, Sequence
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
        self._sources: frozenset[str] | None = None
        self._starting = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, sources: Collection[str] | None = None) -> None:
        """Let dbt import and parse in the background. The first build does so, too; starting twice is harmless.

        Args:
            sources: the source systems that have rows. Staging of others is neither parsed nor built, and unit tests are
                left out. The whole project by default.
        """
        with self._starting:
            wanted = None if sources is None else frozenset(sources)
            is_short = self._sources is not None and (wanted is None or not wanted <= self._sources)
            if self._process is not None and (self._is_dismissed or is_short):
                self.close()
            if self._process is None:
                self._sources = wanted
                self._process = self._begin()

    def _begin(self) -> subprocess.Popen[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        staging = DBT_PROJECT / "models" / "staging"
        known = {place.name for place in staging.glob("*/")} if staging.is_dir() else set()
        silent = set() if self._sources is None else known - self._sources
        environment = self._warehouse.dbt_environment()
        target = environment.pop("ORDERHUB_DBT_TARGET")
        environment |= {
            "ORDERHUB_DBT_TARGET_PATH": str(self._folder / "target"),
            "DBT_TARGET_PATH": str(self._folder / "target"),
            "DBT_LOG_PATH": str(self._folder / "logs"),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        }
        options = [
            "--project-dir", str(self._project_without(silent) if silent else DBT_PROJECT),
            "--profiles-dir", str(DBT_PROJECT), "--target", target,
            "--log-level", "none", "--log-level-file", "info", "--no-use-colors",
        ]  # fmt: skip
        if silent:
            options += ["--vars", json.dumps({"silent_sources": sorted(silent)})]
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

    def _project_without(self, silent: Collection[str]) -> Path:
        """The project as links in a folder of ours, beside a list of what dbt is to overlook in it."""
        parts = sorted(path for path in DBT_PROJECT.iterdir() if path.name not in ("target", "logs"))
        ignored = [*(f"models/staging/{name}/" for name in sorted(silent)), "models/**/*__unit_tests.yml"]
        mark = hashlib.sha256(repr((parts, ignored)).encode()).hexdigest()[:16]
        folder = self._folder / f"project-{mark}"
        folder.mkdir(exist_ok=True)
        for part in parts:
            with contextlib.suppress(FileExistsError):  # of an earlier run
                (folder / part.name).symlink_to(part)
        (folder / ".dbtignore").write_text("\n".join(ignored) + "\n")
        return folder

    def build(self, select: Sequence[str]) -> BuildResult:
        """Run `dbt build` on part of the project, with its data tests.

        Args:
            select: dbt selectors, such as ["staging", "intermediate"].

        Raises:
            WarehouseError: a model could not be built; tests that fail are in the result.
        """
        # A test runs once everything it looks at is built.
        command = ["build", "--indirect-selection", "buildable", "--exclude-resource-type", "unit_test"]
        return self._run([*command, "--select", *select])

    def run_unit_tests(self) -> BuildResult:
        """Run dbt's unit tests. They need the models built, since dbt reads column types from there, but no data."""
        self.start()
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
        if self._process is None or self._is_dismissed:
            self.start(self._sources)
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
