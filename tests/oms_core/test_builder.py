"""dbt in a process of its own: it says what is wrong, ends with its parent, and leaves the warehouse to others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from oms_core import builder as room
from oms_core.builder import Builder
from oms_core.warehouse import DuckDBWarehouse, WarehouseError

pytestmark = pytest.mark.slow

_PROJECT = """
name: tiny
profile: tiny
version: "1.0"
"""
_PROFILE = """
tiny:
  target: duckdb
  outputs:
    duckdb: {type: duckdb, path: "{{ env_var('ORDERHUB_WAREHOUSE_PATH') }}"}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dbt project of a few models, one of which can be spoilt."""
    folder = tmp_path / "project"
    (folder / "models").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text(_PROJECT)
    (folder / "profiles.yml").write_text(_PROFILE)
    (folder / "models" / "one.sql").write_text("select 1 as n")
    (folder / "models" / "inner.sql").write_text(
        "{{ config(materialized='ephemeral') }} select n + 1 as n from {{ ref('one') }}"
    )
    (folder / "models" / "two.sql").write_text("select n from {{ ref('inner') }}")
    (folder / "models" / "slow.sql").write_text(
        "select count(*) as n from range(4000000000) as a(x) where x % 7 = 3"
    )
    monkeypatch.setattr(room, "DBT_PROJECT", folder)
    return folder


@pytest.fixture
def builder(project: Path, tmp_path: Path) -> Iterator[Builder]:
    with Builder(DuckDBWarehouse(tmp_path / "warehouse.duckdb"), tmp_path) as made:
        yield made


def test_the_warehouse_is_free_between_builds_and_one_parse_serves_them_all(
    builder: Builder, project: Path, tmp_path: Path
) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "warehouse.duckdb")
    builder.start()
    builder.start()
    assert builder.build(["one"]).node_count == 1
    assert warehouse.read("select n from one").to_pylist() == [{"n": 1}]
    (project / "models" / "two.sql").write_text("not looked at any more")
    assert builder.build(["two"]).node_count == 1
    assert warehouse.read("select n from two").to_pylist() == [{"n": 2}]
    assert builder.build(["one", "two"]).node_count == 2, "also what was built before"
    builder.dismiss()
    with pytest.raises(WarehouseError, match="two"):
        builder.build(["two"])


def test_what_cannot_be_parsed_or_built_is_one_sentence_that_names_the_log(
    builder: Builder, project: Path
) -> None:
    (project / "models" / "one.sql").write_text("select nonsense")
    with pytest.raises(WarehouseError, match=r"(?s)could not build one: .*nonsense.*dbt\.log"):
        builder.build(["one"])
    builder.close()
    (project / "models" / "one.sql").write_text("select {{ ref('nowhere') }}")
    with pytest.raises(WarehouseError, match=r"(?s)dbt stopped: .*nowhere.*dbt\.log"):
        builder.build(["one"])


def test_a_process_that_dies_is_an_error_and_not_a_wait_for_ever(builder: Builder) -> None:
    builder.start()
    assert builder._process is not None
    builder._process.kill()
    with pytest.raises(WarehouseError, match="ended before it was done"):
        builder.build(["one"])
    assert builder.build(["one"]).node_count == 1


_ORPHAN = """
import sys
from pathlib import Path
from oms_core import builder as room
from oms_core.warehouse import DuckDBWarehouse
folder = Path(sys.argv[1])
room.DBT_PROJECT = folder / "project"
builder = room.Builder(DuckDBWarehouse(folder / "warehouse.duckdb"), folder)
builder.build(["one"])
print(builder._process.pid, flush=True)
builder.build(["slow"])
"""


def test_a_build_ends_with_the_process_that_asked_for_it(project: Path, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _ORPHAN, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(0.5)  # it is at work on the slow model
        os.kill(parent.pid, signal.SIGKILL)
    child.wait(timeout=10)
    assert DuckDBWarehouse(tmp_path / "warehouse.duckdb").read("select n from one").num_rows == 1
