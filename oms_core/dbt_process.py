"""The process dbt runs in: `oms_core.builder` starts it and talks to it in lines of JSON.

dbt takes seconds to import and to parse the project. In a process of its own it does both while records are pulled and
judged, and one parsed project serves every build of a run.

Lines in:   {"environment", "options"} once, then {"command"} for each invocation; the end of the input ends
            the process.
Lines out:  {"error"} once parsed, then {"error", "results"} for each invocation; `error` is null or a sentence.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import sys
import threading
from queue import SimpleQueue
from typing import Any


def main() -> None:
    """Parse, then carry out one command after another."""
    # Ctrl-C reaches the whole terminal group; the process that started us decides when we end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What models and libraries print must not come between the answers.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        asked: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        is_idle = threading.Event()
        threading.Thread(target=_listen, args=(asked, is_idle), daemon=True).start()
        first = asked.get()
        if first is None:
            return
        os.environ.update(first["environment"])
        # Most of what dbt makes stays until the end; looking through it for garbage again and again takes a tenth of the time.
        gc.set_threshold(50_000, 20, 20)
        project, error = _parse(first["options"])
        answer: dict[str, Any] = {"error": error}
        while True:
            is_idle.set()
            _answer(answers, answer)
            # A build leaves its traces in the parsed project, so each has a copy, made while nobody waits.
            copy = project.deepcopy() if project is not None else None
            message = asked.get()
            if message is None:
                # Taking all of dbt apart takes a while, and its memory with it; what has asked to be told of the end is told.
                atexit._run_exitfuncs()
                os._exit(0)
            is_idle.clear()
            answer = _invoke(copy, [*message["command"], *_pointless(copy), *first["options"]])


def _listen(asked: SimpleQueue[dict[str, Any] | None], is_idle: threading.Event) -> None:
    for line in sys.stdin:
        asked.put(json.loads(line))
    if not is_idle.is_set():
        # Nobody waits for the answer any more: what is half built, its database rolls back.
        os._exit(1)
    asked.put(None)


def _answer(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _parse(options: list[str]) -> tuple[Any, str | None]:
    from dbt.cli.main import dbtRunner

    outcome = dbtRunner().invoke(["parse", *options])
    _close_log()
    return outcome.result, _sentence(outcome.exception)


def _pointless(project: Any) -> list[str]:
    """Options that leave out the tests of unions that no source feeds: without rows they can only pass."""
    unions = {
        node.unique_id
        for node in project.nodes.values()
        if "macro.orderhub.union_sources" in node.depends_on.macros and not node.depends_on.nodes
    }
    tests = [node.name for node in project.nodes.values() if getattr(node, "attached_node", None) in unions]
    return ["--exclude", *sorted(tests)] if tests else []


def _invoke(project: Any, arguments: list[str]) -> dict[str, Any]:
    from dbt.cli.main import dbtRunner

    # Given a parsed project, dbt does not parse again.
    outcome: Any = dbtRunner(manifest=project).invoke(arguments)
    _close_log()
    _leave_warehouse()
    results = [
        {
            "status": str(item.status),
            "message": (item.message or "").strip(),
            "name": item.node.name,
            "type": str(item.node.resource_type),
        }
        for item in (outcome.result or ())
    ]
    return {"error": _sentence(outcome.exception), "results": results}


def _sentence(exception: BaseException | None) -> str | None:
    return None if exception is None else f"{type(exception).__name__}: {exception}"


def _close_log() -> None:
    """dbt leaves its log file open after an invocation."""
    from dbt_common.events.event_manager_client import get_event_manager

    manager: Any = get_event_manager()
    for logger in manager.loggers:
        for handler in list(getattr(logger._python_logger, "handlers", ())):
            handler.close()
            logger._python_logger.removeHandler(handler)


def _leave_warehouse() -> None:
    """Close DuckDB's file, which one process at a time may have open; dbt-duckdb would keep it."""
    connections = sys.modules.get("dbt.adapters.duckdb.connections")
    if connections is None:
        return
    environment = connections.DuckDBConnectionManager._ENV
    connections.DuckDBConnectionManager.close_all_connections()
    if environment is not None:
        environment.close()


if __name__ == "__main__":
    main()
