"""What every command shares: where it prints, how it fails, how it shows progress."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from oms_core.settings import Settings

if TYPE_CHECKING:
    from oms_core.store.postgres import Database

out = Console()
err = Console(stderr=True)

Home = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of all state; ORDERHUB_HOME, else .orderhub.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a machine.")]
P = ParamSpec("P")
R = TypeVar("R")


def fail(message: str, code: int = 1) -> NoReturn:
    err.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def plain_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors we know into one sentence and an exit code."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except KeyboardInterrupt:
            fail("stopped; nothing half done was kept", 130)
        except Exception as error:
            code = _exit_code(error)
            if code is None:
                raise
            fail(str(error), code)

    return run


def _exit_code(error: Exception) -> int | None:
    """2 for a wrong call, 1 for what we know can fail, None for what nobody foresaw."""
    from connectors.errors import ConnectorError
    from oms_core.audit.log import AuditError
    from oms_core.errors import CallError, PipelineError
    from oms_core.exceptions.errors import DecidedError, ExceptionError
    from oms_core.export.project import ExportError
    from oms_core.finance.period import FinanceError, UnknownPeriodError
    from oms_core.flows.errors import ConflictError, FlowError
    from oms_core.release.errors import ReleaseError
    from oms_core.store.errors import StoreError
    from oms_core.warehouse import WarehouseError

    if isinstance(error, CallError | UnknownPeriodError):
        return 2
    if isinstance(error, FlowError | ExceptionError):
        return 1 if isinstance(error, ConflictError | DecidedError) else 2
    known = (
        ConnectorError,
        PipelineError,
        WarehouseError,
        StoreError,
        ReleaseError,
        AuditError,
        ExportError,
        FinanceError,
    )
    return 1 if isinstance(error, known) else None


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n")


def instant(text: str | None, option: str) -> datetime | None:
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        fail(f"{option} {text!r} is not an ISO 8601 time, such as 2026-10-01T00:00:00Z", 2)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def release_or_instant(text: str | None) -> int | datetime | None:
    if text is not None and text.isdigit():
        return int(text)
    return instant(text, "--as-of")


class Live:
    """Progress lines on a terminal: one per stream while pulling, one sentence per step while unifying."""

    def __init__(self, quiet: bool) -> None:
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            TextColumn("{task.completed:>9,} rows"),
            TimeElapsedColumn(),
            console=err,
            disable=quiet or not err.is_terminal,
            transient=True,
        )
        self._quiet = quiet
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Live:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def rows(self, source: str, stream: str, count: int) -> None:
        name = f"pull {source} {stream}"
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=None)
        self._bar.update(self._tasks[name], completed=count)

    def say(self, message: str) -> None:
        if not self._quiet:
            self._bar.console.print(f"[dim]·[/] {escape(message)}", highlight=False)


@contextlib.contextmanager
def open_store(settings: Settings) -> Iterator[Database]:
    from oms_core.store.postgres import Database

    with Database.from_environment(settings.home, settings.values) as database:
        database.upgrade()
        yield database
