"""SAP S/4HANA: its numbers, days and amounts, both dialects of OData, and pulls over HTTP."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

import connectors.sources.sap_s4 as declared
from connectors.client import Client
from connectors.conformance import Conformance
from connectors.declare import Ask, Bounds, FatalError, NextLink, ProtocolError, RefusedError, Secrets
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing
from connectors.sandbox.truth import load_lines
from connectors.sources.sap_s4 import SOURCE, Partner, SalesOrder, fault

BASE = "http://sap.example"
ORDER = {
    "SalesOrder": "0004500012", "SalesOrderType": "OR", "SoldToParty": "0000200017", "PurchaseOrderByCustomer": "",
    "TransactionCurrency": "EUR", "TotalNetAmount": "120.50", "CreationDate": "2026-09-01", "CreationTime": "08:15:00",
    "LastChangeDateTime": "2026-09-02T10:00:00Z",
}  # fmt: skip


class TestSapS4(Conformance):
    source = SOURCE


def test_a_number_is_the_same_with_and_without_its_zeros() -> None:
    order = SalesOrder.model_validate(ORDER)
    assert (order.sales_order, order.sold_to_party, order.purchase_order) == ("4500012", "200017", None)
    assert SalesOrder.model_validate(ORDER | {"SalesOrder": "00AB12"}).sales_order == "00AB12"
    assert order.created_at == datetime(2026, 9, 1, 8, 15, tzinfo=UTC)


@pytest.mark.parametrize("amount", ["120.50", 120.5, 120.49999999999999])
def test_an_amount_is_a_text_or_a_number(amount: Any) -> None:
    assert SalesOrder.model_validate(ORDER | {"TotalNetAmount": amount}).net_amount == Decimal("120.50")


def test_the_older_dialect_tells_days_since_1970_and_none_before_the_first_change() -> None:
    row = {
        "BusinessPartner": "200017",
        "BusinessPartnerCategory": "2",
        "CreationDate": "/Date(1130112000000)/",
        "LastChangeDate": None,
    }
    partner = Partner.model_validate(row)
    assert partner.touched_on == partner.created_on == datetime(2005, 10, 24, tzinfo=UTC)
    changed = Partner.model_validate(row | {"LastChangeDate": "/Date(1148601600000+0000)/"})
    assert changed.touched_on.date() == date(2006, 5, 26)
    with pytest.raises(ValueError, match="TouchedOn"):
        Partner.model_validate(row | {"CreationDate": None})


def test_changes_are_asked_for_by_time_stamp_and_partners_by_day() -> None:
    bounds = Bounds(since=datetime(2026, 9, 1, 22, 30, tzinfo=UTC), until=datetime(2026, 10, 1, tzinfo=UTC))
    orders = SOURCE.stream("sales_orders").ask(bounds)
    assert orders.params == {
        "$orderby": "SalesOrder",
        "$expand": "_Item,_PricingElement",
        "$filter": "LastChangeDateTime ge 2026-09-01T22:30:00Z and LastChangeDateTime lt 2026-10-01T00:00:00Z",
    }
    assert orders.headers["Prefer"] == "odata.maxpagesize=500,odata.track-changes"
    partners = SOURCE.stream("partners").ask(bounds).params["$filter"]
    assert (
        partners
        == "LastChangeDate ge datetime'2026-09-01T00:00:00' or CreationDate ge datetime'2026-09-01T00:00:00'"
    )
    assert "$filter" not in SOURCE.stream("plants").ask(bounds).params


def test_the_next_page_is_where_the_answer_says() -> None:
    pages = NextLink(base="/sap/service/0001/")
    ask = Ask(params={"$orderby": "Plant"}, headers={"Prefer": "odata.maxpagesize=2"})
    following = pages.after(ask, {"value": [], "@odata.nextLink": "Plant?$skiptoken=2"}, 0, {})
    assert following == Ask(path="/sap/service/0001/Plant?$skiptoken=2", headers=ask.headers)
    whole = pages.after(ask, {"@odata.nextLink": "http://sap.example/x?$skiptoken=2"}, 0, {})
    assert whole is not None and whole.path == "http://sap.example/x?$skiptoken=2"
    assert pages.after(ask, {"value": []}, 0, {}) is None
    with pytest.raises(ProtocolError, match=r"@odata\.nextLink is 5"):
        pages.after(ask, {"@odata.nextLink": 5}, 0, {})


def test_errors_of_both_dialects_are_read() -> None:
    assert fault({"value": []}) is None
    newer = {
        "error": {"code": "SY/530", "message": "Not allowed", "details": [{"message": "Check the role"}]}
    }
    assert str(fault(newer)) == "sap_s4: Not allowed (SY/530); Check the role"
    older = fault(
        {"error": {"code": "005056A509B11EE1", "message": {"lang": "en", "value": "Invalid parametertype"}}}
    )
    assert isinstance(older, FatalError) and "Invalid parametertype" in str(older)


def test_a_token_is_fetched_once_and_again_when_it_is_refused() -> None:
    seen: list[str] = []
    valid = {"token": "one"}

    def serve(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/token"):
            assert request.headers["authorization"] == "Basic Y2xpZW50OnNlY3JldA=="
            assert request.content == b"grant_type=client_credentials"
            seen.append("token")
            return httpx.Response(200, json={"access_token": valid["token"], "expires_in": 3600})
        is_known = request.headers["authorization"] == f"Bearer {valid['token']}"
        seen.append("known" if is_known else "unknown")
        return httpx.Response(200 if is_known else 401)

    values = {"ORDERHUB_SAP_S4_CLIENT_ID": "client", "ORDERHUB_SAP_S4_CLIENT_SECRET": "secret"}
    flow = SOURCE.auth.open(Secrets("sap_s4", values), BASE)
    with httpx.Client(transport=httpx.MockTransport(serve), auth=flow) as client:
        assert client.get(f"{BASE}/x").status_code == 200
        assert client.get(f"{BASE}/x").status_code == 200
        valid["token"] = "two"
        assert client.get(f"{BASE}/x").status_code == 200
    assert seen == ["token", "known", "known", "unknown", "token", "known"]
    refused = httpx.MockTransport(lambda _: httpx.Response(401, json={"error": "invalid_client"}))
    with httpx.Client(transport=refused, auth=SOURCE.auth.open(Secrets("sap_s4", values), BASE)) as client:
        with pytest.raises(RefusedError, match="client id"):
            client.get(f"{BASE}/x")


def test_pages_bring_every_document_once(
    serve: Any, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(declared._HEADERS, "Prefer", "odata.maxpagesize=7")
    with serve("sap_s4", orders=150) as served, Client(SOURCE, served.env):
        results = pull_source(SOURCE, landing, served.env, streams=["sales_orders"])
        expected = sum(order.sap_number is not None for order in served.sandbox.world.orders.values())
    assert results[0].error is None
    assert results[0].pages == -(-expected // 7)


def test_every_order_and_invoice_lands_with_the_money_it_has(
    serve: Any, pull: Callable[..., dict[str, PullResult]], landed: Callable[[str], list[dict[str, Any]]]
) -> None:
    with serve("sap_s4", orders=500, level="none") as served:
        results = pull("sap_s4", served.env)
        orders = {o.sap_number: o for o in served.sandbox.world.orders.values() if o.sap_number}
    assert [result.quarantined for result in results.values()] == [0] * len(results)
    rows = {row["sales_order"]: row for row in landed("sales_orders")}
    assert {name: (row["net_amount"], row["currency"]) for name, row in rows.items()} == {
        name: (order.net_amount, order.currency) for name, order in orders.items()
    }
    goods: dict[str, Decimal] = defaultdict(Decimal)
    for row in landed("sales_order_items"):
        goods[row["sales_order"]] += row["net_amount"]
    assert goods == {name: order.gross_amount - order.discount_amount for name, order in orders.items()}
    billed = {row["billing_document"]: row for row in landed("billing_documents")}
    of_order: dict[str, set[str]] = defaultdict(set)
    for row in landed("billing_items"):
        of_order[row["billing_document"]].add(row["sales_order"])
    refunded: dict[str, Decimal] = defaultdict(Decimal)
    for name, row in billed.items():
        of_document = [orders[number] for number in of_order[name]]
        if row["category"] == "M":
            assert row["net_amount"] == sum(order.net_amount for order in of_document)
            assert row["tax_amount"] == sum(order.tax_amount for order in of_document)
        else:
            (order,) = of_document
            refunded[str(order.sap_number)] += row["net_amount"] + row["tax_amount"]
    assert refunded == {
        name: sum(taken.refund_amount for taken in order.returns)
        for name, order in orders.items()
        if order.returns
    }


def test_a_week_of_one_account_is_billed_at_once_item_by_item(
    serve: Any, pull: Callable[..., dict[str, PullResult]], landed: Callable[[str], list[dict[str, Any]]]
) -> None:
    with serve("sap_s4", orders=500, level="none") as served:
        pull("sap_s4", served.env, streams=["billing_documents"])
        truth = load_lines(httpx.get(f"{served.url}/_sandbox/truth").text.splitlines())
        world = served.sandbox.world
    meant: dict[str, set[str]] = defaultdict(set)
    for item in truth:
        if item.record_id.startswith("sap_s4:billing_documents:"):
            meant[item.record_id.rpartition(":")[2]].add(item.truth_id)
    billed: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in landed("billing_items"):
        billed[row["billing_document"]][row["sales_order"]] += row["net_amount"]
    several = {name: parts for name, parts in billed.items() if len(parts) > 1}
    net = {order.sap_number: (order.order_id, order.net_amount) for order in world.orders.values()}
    assert several
    assert meant == {name: {net[number][0] for number in parts} for name, parts in several.items()}
    for parts in several.values():
        assert parts == {number: net[number][1] for number in parts}


def test_rows_that_break_the_rules_are_quarantined(
    serve: Any, pull: Callable[..., dict[str, PullResult]]
) -> None:
    with serve("sap_s4", orders=900, level="heavy") as served:
        results = pull("sap_s4", served.env, streams=["sales_orders"])
    assert results["sales_orders"].quarantined > 0
    assert (
        results["sales_orders"].pulled == results["sales_orders"].landed + results["sales_orders"].quarantined
    )
