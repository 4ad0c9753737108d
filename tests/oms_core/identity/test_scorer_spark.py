"""The same records and model have the same scores in DuckDB, in PostgreSQL and in Spark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import create_engine

from oms_core.identity.scoring import scorer
from oms_core.identity.scoring.model import shipped
from oms_core.identity.scoring.prepare import prepare
from oms_core.store.postgres import Database

pytestmark = [
    pytest.mark.slow,
    pytest.mark.spark,
    pytest.mark.filterwarnings("default"),  # Spark's own
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        find_spec("pyspark") is None or shutil.which("java") is None,
        reason="Spark needs Java 17 and the extra: pip install -e '.[spark]'",
    ),
]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    session = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.adaptive.enabled", "false")
        # Hundreds of small statements: compiling each takes longer than running it.
        .config("spark.sql.codegen.wholeStage", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


def customers() -> pa.Table:
    """People and firms in two scripts, each twice, the second time with a slip, a gap or another spelling."""
    names = [
        "Anna Schmidt",
        "王小明",
        "José García",
        "Mike O'Neill",
        "Lü Jing",
        "Catherine Weber",
        "Otto Braun",
    ]
    rows = []
    for at in range(42):
        person = f"{names[at % 7]}" if at % 3 else f"{names[at % 7].split()[0]} Trading GmbH"
        row = {
            "record_id": f"a:{at:03d}",
            "full_name": person,
            "email": f"box{at}@mail.example",
            "phone": f"+49 30 55{at:02d}{at * 7 % 100:02d}11",
            "street": f"{at + 3} Nanjing Road",
            "city": ["Berlin", "上海市", "Madrid"][at % 3],
            "postcode": f"{10_000 + at * 37}",
            "country": ["DE", "CN", "ES"][at % 3],
        }
        again = row | {"record_id": f"b:{at:03d}", "phone": row["phone"].replace(" ", "")}
        again |= {"full_name": person.upper(), "email": None} if at % 2 else {"postcode": None, "phone": None}
        rows += [row, again]
    return pa.Table.from_pylist(rows)


def test_three_engines_agree(spark: Any, make_home: Callable[[str], Path]) -> None:
    model = shipped("customer")
    records = prepare(customers(), kinds=model.kinds)
    here = scorer.score(records, model)
    assert here.pairs.num_rows >= 40
    with Database.open(make_home("spark")) as database:
        postgres = create_engine(database.url)
        found = {"PostgreSQL": postgres, "Spark": spark}
        pairs = {name: scorer.score(records, model, warehouse=where) for name, where in found.items()}
        postgres.dispose()
    same = [name for name in here.pairs.column_names if name not in ("probability", "match_weight")]
    for name, there in pairs.items():
        assert there.cut == here.cut, name
        assert there.pairs.select(same).equals(here.pairs.select(same)), name
        for column in ("probability", "match_weight"):
            difference = np.abs(there.pairs[column].to_numpy() - here.pairs[column].to_numpy())
            assert difference.max() < 1e-9, f"{name}: {column}"
