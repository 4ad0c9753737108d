"""Look-ups that share a statement: each gets its own answer, whatever happens to the others or to the connection."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from oms_core.api.app import create_app
from oms_core.api.serve import ServeRefusedError, application
from oms_core.store.postgres import Database


@pytest.fixture
def client(
    database: Database,
    publish_small: Callable[..., Any],
    serving: Callable[[FastAPI], httpx.Client],
) -> httpx.Client:
    """A client of the API over one small release."""
    publish_small(database)
    return serving(create_app(database))


def test_everybody_gets_their_own_answer(client: httpx.Client) -> None:
    wanted = {"order_a": 200, "77": 200, "RECYCLED": 409, "nowhere": 404, "5123": 200} | {
        f"no{n}": 404 for n in range(20)
    }
    led = {"order_a": "order_a", "77": "order_b", "5123": "order_a"}
    numbers = [number for number in wanted for _ in range(4)]
    with ThreadPoolExecutor(16) as many:
        answers = list(many.map(lambda number: client.get(f"/orders/{number}"), numbers))
    for number, answer in zip(numbers, answers, strict=True):
        assert answer.status_code == wanted[number]
        body = answer.json()
        assert body.get("order_id") == led.get(number)
        assert answer.status_code == 200 or number in body["detail"]


def test_a_lost_connection_is_made_anew(client: httpx.Client, database: Database) -> None:
    assert client.get("/orders/1042").status_code == 200
    with database.begin() as connection:
        ended = connection.execute(
            text(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE application_name = 'orderhub reader' AND datname = current_database()"
            )
        ).scalar_one()
    assert ended
    assert client.get("/orders/1042").status_code == 200


def test_columns_that_a_release_brings_are_shown_at_once(
    client: httpx.Client, database: Database, publish_small: Callable[..., Any]
) -> None:
    before = client.get("/orders/77").json()
    assert before["channel"] is None
    order = {
        "order_id": "order_b", "order_number": "77", "order_type": "pos", "customer_id": None, "channel": "till",
        "source_systems": "[]", "ordered_at": None, "currency": "CNY", "net_amount": None, "refunded_amount": None,
        "is_test": False, "quality_flags": None,
    }  # fmt: skip
    publish_small(database, fct_orders=[order])
    after = client.get("/orders/77").json()
    assert (after["channel"], after["release_id"]) == ("till", before["release_id"] + 1)


def test_a_limit_that_is_no_number_is_refused(database: Database) -> None:
    for said in ("lots", "0", "-3", "1.5"):
        with pytest.raises(ServeRefusedError, match="ORDERHUB_RATE_LIMIT"):
            application(database, host="127.0.0.1", values={"ORDERHUB_RATE_LIMIT": said})
