"""Pull the orders of `order_server.py` in one of three ways. Not a benchmark: `bench_extract.py` starts it.

`kit` validates, archives and lands as any source does; `dlt` is dlt's `rest_api` source with a pipeline into Parquet files;
`bare` is a loop over httpx, orjson and Arrow, which validates and keeps nothing. Prints seconds, orders and peak MB as JSON; what
a way imports is imported before the clock starts.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pyarrow
import pyarrow.acero
import sqlalchemy


def kit(url: str, folder: Path) -> Callable[[], int]:
    """With our connector kit."""
    from connectors.declare import (
        AliasPath,
        Amount,
        Child,
        ControlTotal,
        Country,
        Currency,
        Field,
        Gtin,
        Instant,
        Kind,
        Phone,
        Quantity,
        Record,
        Source,
        Stream,
        TokenPages,
    )
    from connectors.extract import pull_source
    from connectors.landing import Landing

    class Line(Record):
        line_id: str = Field(validation_alias="id")
        sku: str = Field(min_length=1)
        title: str
        qty: Quantity = Field(ge=0)
        unit_price: Amount
        barcode: Gtin | None = None

    class Order(Record):
        order_id: str = Field(validation_alias="id")
        name: str
        created_at: Instant
        updated_at: Instant
        status: str
        currency: Currency
        total: Amount
        tax: Amount
        customer_id: str = Field(validation_alias=AliasPath("customer", "id"))
        email: str | None = Field(None, validation_alias=AliasPath("customer", "email"))
        phone: Phone | None = Field(None, validation_alias=AliasPath("customer", "phone"))
        ship_name: str = Field(validation_alias=AliasPath("ship_to", "name"))
        ship_city: str = Field(validation_alias=AliasPath("ship_to", "city"))
        ship_country: Country = Field(validation_alias=AliasPath("ship_to", "country"))
        ship_postal_code: str = Field(validation_alias=AliasPath("ship_to", "postal_code"))
        note: str | None = None

    shop = Source(
        name="shop", title="A shop", kind=Kind.MARKETPLACE, owner="benchmarks",
        streams=(
            Stream(
                name="orders", record=Order, key=("order_id",), path="/orders", rows="orders", cursor="updated_at",
                pages=TokenPages(read="next", write="params.page"),
                children=(Child(name="order_lines", path="lines", record=Line, parent={"order_id": "order_id"}),),
                control_totals=(ControlTotal(amount="total", currency="currency"),),
            ),
        ),
    )  # fmt: skip

    def pull() -> int:
        landing = Landing(folder)
        (done,) = pull_source(shop, landing, {"ORDERHUB_SHOP_URL": url})
        landing.close()
        assert done.error is None and done.quarantined == 0, done
        return next(count.landed for count in landing.counts() if count.stream == "orders")

    return pull


def dlt(url: str, folder: Path) -> Callable[[], int]:
    """With dlt's `rest_api` source, into Parquet files."""
    os.environ |= {"RUNTIME__DLTHUB_TELEMETRY": "false", "DLT_DATA_DIR": str(folder / "dlt")}
    import dlt
    from dlt.sources.rest_api import rest_api_source

    source = rest_api_source(
        {
            "client": {
                "base_url": url,
                "paginator": {"type": "cursor", "cursor_path": "next", "cursor_param": "page"},
            },
            "resources": [
                {
                    "name": "orders",
                    "primary_key": "id",
                    "endpoint": {"path": "orders", "data_selector": "orders"},
                }
            ],
        }
    )
    pipeline = dlt.pipeline(
        "bench",
        pipelines_dir=str(folder / "pipelines"),
        destination=dlt.destinations.filesystem((folder / "landed").as_uri()),
    )

    def pull() -> int:
        pipeline.run(source, loader_file_format="parquet").raise_on_failed_jobs()
        return int(pipeline.last_trace.last_normalize_info.row_counts["orders"])

    return pull


def bare(url: str, folder: Path) -> Callable[[], int]:
    """With nothing between the answer and Arrow."""
    import httpx
    import orjson
    import pyarrow as pa

    def pull() -> int:
        count, page = 0, 0
        with httpx.Client(base_url=url, trust_env=False) as client:
            while page is not None:
                answer = orjson.loads(client.get("/orders", params={"page": page}).content)
                orders = answer["orders"]
                lines = [{"order_id": order["id"], **line} for order in orders for line in order["lines"]]
                count += pa.RecordBatch.from_pylist(orders).num_rows
                assert pa.RecordBatch.from_pylist(lines).num_rows == len(lines)
                page = answer["next"]
        return count

    return pull


WAYS: dict[str, Callable[[str, Path], Callable[[], int]]] = {"kit": kit, "dlt": dlt, "bare": bare}

if __name__ == "__main__":
    pull = WAYS[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
    # What is imported at first use: pandas by Arrow, its transport by httpx, a dialect by SQLAlchemy.
    pyarrow.array([0])
    httpx.Client().close()
    sqlalchemy.create_engine("sqlite://").dispose()
    started, spent = time.perf_counter(), time.process_time()
    found = pull()
    print(
        json.dumps(
            {
                "orders": found,
                "seconds": time.perf_counter() - started,
                "processor_seconds": time.process_time() - spent,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )
