"""All sources of the sandbox company pulled side by side by `orderhub pull`: records a second, and where the time goes.

The sandbox's servers share one process, which is what most of a pull waits for. Each source's seconds are those of its own
thread, so that they add up to more than the clock's; pages go to disk in threads beside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from connectors import registry
from oms_core.demo import sandbox_company

ORDERS, SEED = 1_000, 7
STAGES = ("rate limit", "server", "decode", "validate", "archive", "write", "commit")


def test_records_a_second_of_all_sources_side_by_side() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home, readings = Path(folder) / "home", Path(folder) / "spent.json"
        with sandbox_company(ORDERS, SEED, home / "inbox") as (_, values):
            command = [
                sys.executable,
                "-W",
                "ignore",
                str(Path(__file__).parent / "pulling.py"),
                str(readings),
            ]
            command += ["pull", "--home", str(home), "--json"]
            settings = {**os.environ, **values, "ORDERHUB_FILE_DROP_INBOX": str(home / "inbox")}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=settings)
        assert done.returncode == 0, done.stderr[-3000:]
        pulled = json.loads(done.stdout)
        told = json.loads(readings.read_text())
    spent, seconds = told["spent"], told["seconds"]
    disk = sum(spent.pop("", {}).values())
    records: Counter[str] = Counter()
    lasted: dict[str, float] = defaultdict(float)
    for stream in pulled:
        records[stream["source"]] += stream["pulled"]
        lasted[stream["source"]] += stream["seconds"]
    assert set(records) == set(registry.sources())
    table = Table(
        "source", "records", "records/s", *STAGES, title=f"{ORDERS:,} orders in all sources, seconds"
    )
    for source, count in records.most_common():
        stages = [f"{spent.get(source, {}).get(stage, 0.0):.2f}" for stage in STAGES]
        table.add_row(source, f"{count:,}", f"{count / lasted[source]:,.0f}", *stages)
    totals = [f"{sum(found.get(stage, 0.0) for found in spent.values()):.2f}" for stage in STAGES]
    table.add_row("all", f"{records.total():,}", f"{records.total() / seconds:,.0f}", *totals)
    console = Console(width=120)
    console.print()
    console.print(table)
    console.print(f"{seconds:.1f} s in all; pages to disk, beside: {disk:.2f} s")
