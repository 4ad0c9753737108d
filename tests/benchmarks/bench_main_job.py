"""Seconds and memory of the main job, each against its aim: `make bench`.

Every step runs in a process of its own, so that peak memory is that step's. Machines are noisy: the ratio to the aim is what
to watch, and nothing here fails for being slow.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

console = Console(width=110)

_RUN = """
import json, resource, sys
from oms_core.cli import main as cli
sys.argv = ["orderhub", *sys.argv[1:]]
try:
    cli.app(standalone_mode=False)
finally:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stderr.write("\\nPEAK " + json.dumps(round(peak)) + "\\n")
"""


def orderhub(*arguments: str) -> tuple[float, int, Any]:
    """Run the command in a fresh process: seconds, peak MB of that process, its JSON answer."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _RUN, *arguments], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    assert done.returncode == 0, done.stderr[-3000:]
    peak = int(json.loads(done.stderr.rsplit("PEAK ", 1)[1]))
    return seconds, peak, json.loads(done.stdout)


def show(title: str, rows: list[tuple[str, float, float | None, str]]) -> None:
    """Print figures beside their aims."""
    table = Table("what", "measured", "aim", "ratio", title=title, title_justify="left")
    for what, measured, aim, unit in rows:
        ratio = f"{measured / aim:.2f}" if aim else ""
        table.add_row(what, f"{measured:,.1f} {unit}", f"{aim:,.0f} {unit}" if aim else "", ratio)
    console.print()
    console.print(table)


def test_online_retail_from_file_to_release(
    online_retail: Path, tmp_path_factory: pytest.TempPathFactory, make_home: Any
) -> None:
    home = ["--home", str(make_home("bench"))]
    seconds, peak, answer = orderhub("run", "--file", str(online_retail), "--json", *home)
    assert answer["unify"]["orders"] == 28_816
    steps = {"pull": sum(item["seconds"] for item in answer["pull"]), **answer["unify"]["seconds"]}
    again, _, second = orderhub("run", "--json", *home)
    assert not second["unify"]["is_new"]
    show(
        "Online Retail II, 525,461 lines, from file to release",
        [
            ("all steps", seconds, 45.0, "s"),
            *((f"  {step}", value, None, "s") for step, value in steps.items()),
            ("peak memory", peak, 1500.0, "MB"),
            ("second run, nothing new", again, 20.0, "s"),
        ],
    )


def test_demo_of_2000_orders(make_home: Any) -> None:
    seconds, peak, answer = orderhub(
        "demo", "--orders", "2000", "--json", "--home", str(make_home("bench-demo"))
    )
    assert answer["conservation"]["holds"]
    show(
        "make demo: 2,000 orders, eight systems",
        [
            ("all steps", seconds, 120.0, "s"),
            *((f"  {step}", value, None, "s") for step, value in answer["seconds"].items()),
            ("peak memory", peak, 1500.0, "MB"),
        ],
    )
