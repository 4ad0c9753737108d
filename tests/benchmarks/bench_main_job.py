"""Seconds and memory of the main job, each against its aim: `make bench`.

Every step runs in a process of its own, so that peak memory is that step's: resident memory of the process and its children
at one instant, added; the embedded PostgreSQL, a server of its own, apart. Machines are noisy: processor time and the ratio to
the aim are what to watch, and nothing here fails for being slow.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

console = Console(width=110)

_RUN = """
import sys
from oms_core.cli import main as cli
sys.argv = ["orderhub", *sys.argv[1:]]
cli.app(standalone_mode=False)
"""


@dataclass(frozen=True)
class Measured:
    """One command: wall and processor seconds (its children's included), peak MB, and its JSON answer."""

    seconds: float
    processor_seconds: float
    peak_mb: float
    answer: Any


def orderhub(*arguments: str) -> Measured:
    """Run the command in a fresh process."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        process = psutil.Popen(
            [sys.executable, "-W", "ignore", "-c", _RUN, *arguments], stdout=said, stderr=complained
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, _resident(process))
            time.sleep(0.1)
        seconds = time.perf_counter() - started
        complained.seek(0)
        assert process.returncode == 0, complained.read().decode()[-3000:]
        said.seek(0)
        answer = json.loads(said.read())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(seconds, spent, peak / 1024**2, answer)


def _resident(process: psutil.Process) -> int:
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
    return total


def show(title: str, rows: list[tuple[str, float, float | None, str]]) -> None:
    """Print figures beside their aims."""
    table = Table("what", "measured", "aim", "ratio", title=title, title_justify="left")
    for what, measured, aim, unit in rows:
        ratio = f"{measured / aim:.2f}" if aim else ""
        table.add_row(what, f"{measured:,.1f} {unit}", f"{aim:,.0f} {unit}" if aim else "", ratio)
    console.print()
    console.print(table)


def test_online_retail_from_file_to_release(online_retail: Path, make_home: Callable[[str], Path]) -> None:
    home = ["--home", str(make_home("bench"))]
    first = orderhub("run", "--file", str(online_retail), "--json", *home)
    assert first.answer["unify"]["orders"] == 28_816
    steps = {
        "pull": sum(item["seconds"] for item in first.answer["pull"]),
        **first.answer["unify"]["seconds"],
    }
    again = orderhub("run", "--json", *home)
    assert not again.answer["unify"]["is_new"]
    show(
        "Online Retail II, 525,461 lines, from file to release",
        [
            ("all steps", first.seconds, 45.0, "s"),
            *((f"  {step}", value, None, "s") for step, value in steps.items()),
            ("  start, stop and between", first.seconds - sum(steps.values()), None, "s"),
            ("processor time", first.processor_seconds, None, "s"),
            ("peak memory", first.peak_mb, 1500.0, "MB"),
            ("second run, nothing new", again.seconds, 20.0, "s"),
        ],
    )


def test_demo_of_2000_orders(make_home: Callable[[str], Path]) -> None:
    done = orderhub("demo", "--orders", "2000", "--json", "--home", str(make_home("bench-demo")))
    assert done.answer["conservation"]["holds"]
    show(
        "make demo: 2,000 orders, every system",
        [
            ("all steps", done.seconds, 120.0, "s"),
            *((f"  {step}", value, None, "s") for step, value in done.answer["seconds"].items()),
            ("processor time", done.processor_seconds, None, "s"),
            ("peak memory", done.peak_mb, 1500.0, "MB"),
        ],
    )
