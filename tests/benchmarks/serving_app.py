"""The apps that `bench_serving.py` measures, each started as `uvicorn --factory serving_app:<name>` with BENCH_HOME set."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from oms_core.api.app import create_app
from oms_core.api.limits import Limit
from oms_core.store.postgres import Database


def ours() -> FastAPI:
    """The whole API; the limit is counted, and too high to be met."""
    return create_app(Database.open(Path(os.environ["BENCH_HOME"])), limit=Limit(1e6, 1e6))


def thin() -> FastAPI:
    """One row by its primary key, three columns, nothing else: no roles, no release, no other id, no parts."""
    database = Database.open(Path(os.environ["BENCH_HOME"]))
    address = f"host={database.url.query['host']} user={database.url.username} dbname=orderhub"
    pool = AsyncConnectionPool[Any](
        address, min_size=8, max_size=8, open=False, kwargs={"autocommit": True, "row_factory": dict_row, "prepare_threshold": 0}
    )  # fmt: skip

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with pool:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/orders/{order_id}")
    async def order(order_id: str) -> Any:
        async with pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT order_id, order_number, order_status FROM release_history.fct_orders WHERE order_id = %s",
                [order_id],
            )
            return await cursor.fetchone()

    return app
