"""A publisher killed at any instant leaves the release before whole, and the next publication works."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import URL, text

from oms_core.release.publish import publish
from oms_core.release.read import fetch_rows, list_releases
from oms_core.store.postgres import Database

ROOT = Path(__file__).parents[3]

# Publishes release 2 and says each step; the batches of the last table wait for a line on standard input.
PUBLISHER = """
import sys
import pyarrow as pa
from sqlalchemy import make_url
from oms_core.release.publish import publish
from oms_core.store.postgres import Database

def say(step):
    print(step, flush=True)
    sys.stdin.readline()

def batches():
    for number in range(4):
        say(f"batch {number}")
        keys = [f"{number}-{row}" for row in range(5000)]
        yield pa.record_batch({"sku_id": keys, "title": ["changed"] * 5000})

orders = pa.table({"order_id": ["a", "c"], "order_number": ["2", "2"], "channel": ["new column", None]})
schema = pa.schema([("sku_id", pa.string()), ("title", pa.string())])
skus = pa.RecordBatchReader.from_batches(schema, batches())
with Database(make_url(sys.argv[1])) as database:
    publish(database, {"fct_orders": orders, "dim_skus": skus}, batches=[], code_version="2", progress=say)
    say("committed")
"""
STEPS = ["batch 2", "dim_skus: 20,000 rows", "release 2 sealed", "committed"]


@pytest.mark.parametrize("kill_at", STEPS)
def test_a_killed_publisher_leaves_a_whole_release(
    database: Database, database_url: URL, kill_at: str
) -> None:
    first = {
        "fct_orders": pa.table({"order_id": ["a", "b"], "order_number": ["1", "1"]}),
        "dim_skus": pa.table({"sku_id": ["s"], "title": ["first"]}),
    }
    publish(database, first, batches=[], code_version="1")
    before = {name: fetch_rows(database, name) for name in first}

    process = subprocess.Popen(
        [sys.executable, "-c", PUBLISHER, database_url.render_as_string(hide_password=False)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            # A reader who comes in the midst of it sees the release before, and does not wait.
            if line.strip() != "committed":
                assert {name: fetch_rows(database, name) for name in first} == before
            if line.startswith(kill_at):
                break
            process.stdin.write("\n")
            process.stdin.flush()
        else:
            pytest.fail(f"the publisher never came to {kill_at!r}")
        process.send_signal(signal.SIGKILL)

    if kill_at == "committed":
        assert [release.release_id for release in list_releases(database)] == [2, 1]
        assert len(fetch_rows(database, "dim_skus")) == 20_000
        assert {n: [r["row_hash"] for r in fetch_rows(database, n, as_of=1)] for n in first} == {
            n: [r["row_hash"] for r in rows] for n, rows in before.items()
        }
        return
    assert [release.release_id for release in list_releases(database)] == [1]
    assert {name: fetch_rows(database, name) for name in first} == before
    with database.begin() as connection:
        left = connection.execute(
            text(
                "SELECT count(*) FROM release_history.dim_skus WHERE release_from > 1 OR release_to IS NOT NULL"
            )
        ).scalar()
    assert left == 0
    # The dead publisher's lock goes with its connection; the same work then succeeds.
    second = {**first, "dim_skus": pa.table({"sku_id": ["s"], "title": ["second"]})}
    assert publish(database, second, batches=[], code_version="2").release_id == 2
    assert [row["title"] for row in fetch_rows(database, "dim_skus")] == ["second"]
