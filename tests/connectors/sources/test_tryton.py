"""Tryton: its session, its typed JSON and its errors inside an answer 200, then pulls over HTTP.

`tests/live` pulls the real software with the same declaration.
"""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

import connectors.sources.tryton as declared
from connectors.client import Client
from connectors.conformance import Conformance
from connectors.declare import (
    Bounds,
    BrokenAnswerError,
    KeysetPages,
    ProtocolError,
    RefusedError,
    Secrets,
    ThrottledError,
)
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing
from connectors.sources.tryton import SOURCE, Sale, SaleLine, Session, decode, fault

BASE = "http://erp.example/luna"


class TestTryton(Conformance):
    source = SOURCE
    page_size = 40
    page_limits = ("json.params.2",)


def test_typed_objects_become_values() -> None:
    content = (
        b'{"id":1,"result":[{"id":3,"total_amount":{"__class__":"Decimal","decimal":"123.05"},'
        b'"sale_date":{"__class__":"date","year":2026,"month":11,"day":23},"party.":null,'
        b'"write_date":{"__class__":"datetime","year":2026,"month":11,"day":23,"hour":1,"minute":19,"second":54,'
        b'"microsecond":426264}}]}'
    )
    [row] = decode(content)["result"]
    assert row["total_amount"] == Decimal("123.05")
    assert row["sale_date"] == date(2026, 11, 23)
    assert row["write_date"] == datetime(2026, 11, 23, 1, 19, 54, 426264, tzinfo=UTC)
    with pytest.raises(ValueError, match="month"):
        decode(b'{"__class__":"date","year":2026,"month":13,"day":1}')
    with pytest.raises(ValueError, match="'Point'"):
        decode(b'{"__class__":"Point"}')


def test_errors_inside_an_answer_are_found() -> None:
    assert fault({"id": 1, "result": []}) is None
    assert isinstance(fault({"error": ["LoginException", ["code", "Code", "char"]]}), RefusedError)
    assert isinstance(fault({"error": ["ConcurrencyException", "Records were modified"]}), ThrottledError)
    user_error = fault({"error": ["UserError", ["The number is not valid.", "", None]]})
    assert isinstance(user_error, ProtocolError)
    assert "The number is not valid." in str(user_error)
    assert "'nope'" in str(fault({"error": ["'nope'", ""]}))


def test_relations_are_asked_for_by_dotted_names_and_archived_records_only_where_there_are_any() -> None:
    sales = SOURCE.stream("sales").ask(Bounds(since=datetime(2026, 9, 1, tzinfo=UTC))).json_body
    domain, offset, limit, order, fields, context = sales["params"]
    assert sales["method"] == "model.sale.sale.search_read"
    assert domain[0] == ["id", ">", 0]
    assert domain[1][:2] == ["last_modified_at", ">="]
    assert domain[1][2]["__class__"] == "datetime"
    assert (offset, limit, order, context) == (0, declared.PAGE_SIZE, [["id", "ASC"]], {})
    assert {"currency.code", "carrier.party.name", "last_modified_at"} <= set(fields)
    parties = SOURCE.stream("parties").ask(Bounds()).json_body["params"][0]
    assert parties == [["id", ">", 0], ["active", "in", [True, False]]]


def test_a_draft_and_a_comment_line_are_records_too() -> None:
    stamps = {
        "create_date": datetime(2026, 9, 1, tzinfo=UTC),
        "last_modified_at": datetime(2026, 9, 2, tzinfo=UTC),
    }
    sale = Sale.model_validate(
        {
            "id": 9,
            "state": "draft",
            "number": None,
            "reference": "",
            "currency.": {"code": "EUR"},
            "company": 1,
            **stamps,
        }
    )
    assert (sale.number, sale.reference, sale.total_amount) == (None, None, None)
    line = SaleLine.model_validate(
        {"id": 1, "sale": 9, "type": "comment", "product.": None, "quantity": None, "unit.": None, **stamps}
    )
    assert (line.product_id, line.quantity, line.amount) == (None, None, None)


def test_the_password_is_sent_once_and_again_only_when_the_session_ends() -> None:
    seen: list[str] = []
    valid = {"token": "first"}

    def serve(request: httpx.Request) -> httpx.Response:
        method = json.loads(request.content)["method"]
        seen.append(method)
        if method == "common.db.login":
            return httpx.Response(200, json={"id": 0, "result": [7, valid["token"], None]})
        session = "Session " + _base64("orderhub:7:" + valid["token"])
        return httpx.Response(
            200 if request.headers["authorization"] == session else 401, json={"result": []}
        )

    with httpx.Client(transport=httpx.MockTransport(serve), auth=_flow("secret")) as client:
        call = {"id": 1, "method": "model.sale.sale.search_read", "params": []}
        assert client.post(f"{BASE}/rpc/", json=call).status_code == 200
        assert client.post(f"{BASE}/rpc/", json=call).status_code == 200
        valid["token"] = "second"
        assert client.post(f"{BASE}/rpc/", json=call).status_code == 200
    read = "model.sale.sale.search_read"
    assert seen == ["common.db.login", read, read, read, "common.db.login", read]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(401, text="<!doctype html>"), RefusedError),
        (httpx.Response(404, text="<!doctype html>"), RefusedError),
        (httpx.Response(200, json={"error": ["LoginException", ["code", "Code", "char"]]}), RefusedError),
        (httpx.Response(429), ThrottledError),
        (httpx.Response(503), BrokenAnswerError),
        (httpx.Response(200, text='{"id": 0, "res'), BrokenAnswerError),
    ],
    ids=["password", "database", "second factor", "too many", "busy", "half"],
)
def test_a_failed_login_is_told_from_a_failing_server(answer: httpx.Response, error: type[Exception]) -> None:
    with httpx.Client(transport=httpx.MockTransport(lambda _: answer), auth=_flow("wrong")) as client:
        with pytest.raises(error, match=r"login"):
            client.post(f"{BASE}/rpc/", json={})


def test_pages_by_id_bring_every_row_once(
    serve: Any, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declared, "PAGE_SIZE", 40)
    pages = KeysetPages(write="json.params.0.0.2", rows="result", size=40)
    lines = SOURCE.stream("sale_lines").model_copy(update={"pages": pages})
    with serve("tryton") as served, Client(SOURCE, served.env) as client:
        [result] = pull_source(SOURCE.model_copy(update={"streams": (lines,)}), landing, served.env)
        whole = client.send(lines, lines.ask(Bounds()).put("json.params.2", None)).body["result"]
    assert result.error is None
    assert result.pages > 3
    assert result.pulled == len(whole)


def test_an_unknown_field_is_an_error_not_an_empty_answer(serve: Any) -> None:
    stream = SOURCE.stream("sales")
    with serve("tryton") as served, Client(SOURCE, served.env) as client:
        with pytest.raises(ProtocolError, match="nope"):
            client.send(stream, stream.ask(Bounds()).put("json.params.4", ["nope"]))


def test_a_week_of_one_business_is_billed_at_once_line_by_line(
    serve: Any, pull: Callable[..., dict[str, PullResult]], landed: Callable[[str], list[dict[str, Any]]]
) -> None:
    with serve("tryton", orders=500, level="none") as served:
        pull("tryton", served.env, streams=["invoices", "invoice_lines", "sale_lines", "sales"])
        world, truth = served.sandbox.world, list(served.sandbox.truths())
    meant: dict[str, set[str]] = defaultdict(set)
    for item in truth:
        if item.record_id.startswith("tryton:invoices:"):
            meant[item.record_id.rpartition(":")[2]].add(item.truth_id)
    sale_of = {f"sale.line,{row['id']}": row["sale_id"] for row in landed("sale_lines")}
    billed: dict[int, dict[int, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in landed("invoice_lines"):
        if row["origin"] in sale_of and row["amount"] > 0:
            billed[row["invoice_id"]][sale_of[row["origin"]]] += row["amount"]
    several = {invoice: sales for invoice, sales in billed.items() if len(sales) > 1}
    numbers = {row["id"]: row["number"] for row in landed("sales")}
    true = {order.erp_number: order for order in world.orders.values() if order.erp_number}
    invoices = {row["id"]: row for row in landed("invoices")}
    assert several
    assert meant == {
        str(invoice): {true[numbers[sale]].order_id for sale in sales} for invoice, sales in several.items()
    }
    for invoice, sales in several.items():
        orders = [true[numbers[sale]] for sale in sales]
        assert list(sales.values()) == [order.net_amount for order in orders]
        assert invoices[invoice]["untaxed_amount"] == sum(order.net_amount for order in orders)
        assert invoices[invoice]["total_amount"] == sum(order.total_amount for order in orders)
        assert len({order.customer_id for order in orders}) == 1


def test_a_credit_note_takes_back_lines_of_an_invoice_and_names_no_sale_itself(
    serve: Any, pull: Callable[..., dict[str, PullResult]], landed: Callable[[str], list[dict[str, Any]]]
) -> None:
    with serve("tryton", orders=300, level="none") as served:
        pull("tryton", served.env, streams=["invoices", "invoice_lines"])
    lines = landed("invoice_lines")
    known = {f"account.invoice.line,{row['id']}" for row in lines}
    credits = {row["id"]: row for row in landed("invoices") if row["total_amount"] < 0}
    taken = [row for row in lines if row["invoice_id"] in credits]
    assert {row["origin"] for row in taken} <= known
    assert len(taken) == len(credits) > 5
    for row in taken:
        credit = credits[row["invoice_id"]]
        assert row["amount"] == credit["untaxed_amount"] == credit["total_amount"] - credit["tax_amount"]
        assert json.loads(credit["sale_ids"]) == []


def test_rows_that_break_the_rules_are_quarantined(
    serve: Any, pull: Callable[..., dict[str, PullResult]]
) -> None:
    with serve("tryton", orders=900, level="heavy") as served:
        results = pull("tryton", served.env, streams=["sales", "moves"])
    assert results["moves"].quarantined > 0
    assert results["sales"].quarantined > 0
    assert all(result.pulled == result.landed + result.quarantined for result in results.values())


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _flow(password: str) -> httpx.Auth:
    values = {"ORDERHUB_TRYTON_USERNAME": "orderhub", "ORDERHUB_TRYTON_PASSWORD": password}
    return Session().open(Secrets("tryton", values), BASE)
