"""The main job in a warehouse on Spark gives the facts that DuckDB gives, row by row."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from oms_core import pipeline
from oms_core.settings import Settings
from oms_core.warehouse import open_warehouse

pytestmark = [
    pytest.mark.slow,
    pytest.mark.spark,
    pytest.mark.filterwarnings("default"),  # Spark's own
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        find_spec("pyspark") is None
        or find_spec("dbt.adapters.spark") is None
        or shutil.which("java") is None,
        reason="Spark needs Java 17 and the extra: pip install -e '.[spark]'",
    ),
]

# When a row was seen belongs to the run, not to the facts.
_OF_THE_RUN = {"_extracted_at", "recorded_at", "valid_from", "valid_to"}


@pytest.fixture(scope="module")
def spark_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Spark Connect server of two cores, with a catalog of its own."""
    import pyspark

    folder = tmp_path_factory.mktemp("spark")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.extraJavaOptions": f"-Dderby.system.home={folder} -Duser.timezone=UTC",
        "spark.sql.catalogImplementation": "hive",
        "spark.sql.warehouse.dir": str(folder / "tables"),
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.codegen.wholeStage": "false",  # for tables this small, compiling takes longer than running
        "spark.ui.enabled": "false",
    }
    home = Path(pyspark.__file__).parent
    command = [str(home / "bin" / "spark-submit"), "--master", "local[2]", "--driver-memory", "3g"]
    for name, value in settings.items():
        command += ["--conf", f"{name}={value}"]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=folder, stdout=log, stderr=log, env={**os.environ, "SPARK_HOME": str(home)}
        )
    try:
        _wait_for(port, server, folder / "log")
        yield f"sc://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert server.poll() is None, log.read_text()[-2000:]
        time.sleep(0.1)
    raise AssertionError(f"the server does not listen:\n{log.read_text()[-2000:]}")


def _rows(warehouse: Any, table: str) -> list[tuple[str, ...]]:
    rows = warehouse.read(f"select * from marts.{table}").to_pylist()
    names = sorted(set(rows[0]) - _OF_THE_RUN) if rows else []
    return sorted(tuple(f"{name}={row[name]}" for name in names) for row in rows)


def test_spark_gives_the_same_facts_row_by_row(
    demo: Any, spark_url: str, make_home: Callable[[str], Path]
) -> None:
    home = make_home("spark")
    shutil.copytree(demo.settings.landing, home / "landing")
    settings = Settings(home, {}, spark_url)
    first = pipeline.unify(settings)
    assert first.is_new and first.conservation is not None and first.conservation.holds
    duck, spark = (open_warehouse(demo.settings.home, None), open_warehouse(home, spark_url))
    tables = duck.tables("marts")
    assert spark.tables("marts") == tables
    assert "fct_orders" in tables
    assert [table for table in tables if _rows(duck, table) != _rows(spark, table)] == []
    assert not pipeline.unify(settings).is_new
