"""Stripe: money that lands to the minor unit, payouts that add up, and the vendor's ways to page and to refuse."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from connectors.conformance import Conformance
from connectors.declare import ThrottledError
from connectors.sandbox.stripe import Twin, takes
from connectors.sources.stripe import SOURCE, Charge, fault


class TestStripe(Conformance):
    source = SOURCE


@pytest.fixture
def ask(serve: Any) -> Any:
    """Ask the twin of a small world: path, parameters -> response."""
    with serve("stripe", orders=600, level="none") as served:
        headers = {"Authorization": f"Bearer {served.env['ORDERHUB_STRIPE_KEY']}"}

        def get(path: str, **params: Any) -> httpx.Response:
            return httpx.get(f"{served.url}/stripe/v1/{path}", params=params, headers=headers)

        yield get


def charge(**changes: Any) -> dict[str, Any]:
    row = {"id": "ch_1", "status": "succeeded", "amount": 1999, "currency": "eur", "created": 1_780_000_000}
    return row | changes


@pytest.mark.parametrize(
    ("currency", "amount"),
    [
        ("eur", "19.99"),
        ("jpy", "1999"),
        ("kwd", "1.999"),
        ("isk", "19.99"),
        ("ugx", "19.99"),
        ("mga", "1999"),
    ],
)
def test_amounts_are_minor_units_as_stripe_counts_them(currency: str, amount: str) -> None:
    record = Charge.model_validate(charge(currency=currency))
    assert (record.amount, record.currency) == (Decimal(amount), currency.upper())


@pytest.mark.parametrize(
    "changes",
    [{"amount": "12.5"}, {"amount": 12.5}, {"amount": True}, {"currency": "rmb"}, {"created": "2026-10-01"}, {"id": ""}],
    ids=["text", "fraction", "boolean", "currency", "date", "id"],
)  # fmt: skip
def test_a_charge_that_breaks_the_rules_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Charge.model_validate(charge(**changes))


def test_every_card_payment_of_the_shops_lands_with_its_fee(serve: Any, pull: Any, landed: Any) -> None:
    with serve("stripe", orders=600, level="none") as served:
        results = pull("stripe", served.env)
        paid = {
            order.number: (
                order.total_amount,
                sum((taken.refund_amount for taken in order.returns), Decimal(0)),
                order.currency,
            )
            for order in served.sandbox.world.orders.values()
            if takes(order)
        }
    assert [result.error for result in results.values()] == [None] * len(results)
    charges = landed("charges")
    assert paid == {
        row["order_number"] or row["order_code"]: (row["amount"], row["amount_refunded"], row["currency"])
        for row in charges
    }
    assert {"JPY"} < {row["currency"] for row in charges}
    movements = {row["balance_transaction_id"]: row for row in landed("balance_transactions")}
    assert all(row["balance_transaction_id"] in movements for row in (*charges, *landed("refunds")))
    fees: dict[str, Decimal] = defaultdict(Decimal)
    for row in landed("fee_details"):
        fees[row["balance_transaction_id"]] += row["amount"]
    assert {key: row["fee"] for key, row in movements.items() if row["fee"]} == fees


def test_a_payout_is_the_sum_of_what_it_pays(serve: Any, pull: Any, landed: Any) -> None:
    with serve("stripe", orders=600) as served:
        pull("stripe", served.env)
    movements = {row["balance_transaction_id"]: row for row in landed("balance_transactions")}
    total: dict[str, Decimal] = defaultdict(Decimal)
    for row in landed("payout_transactions"):
        moved = movements[row["balance_transaction_id"]]
        if moved["transaction_type"] != "payout":
            total[row["payout_id"]] += moved["net"]
    payouts = {row["payout_id"]: row["amount"] for row in landed("payouts")}
    assert payouts
    assert payouts == total
    assert all(row["arrives_on"].weekday() < 5 for row in landed("payouts"))


def test_a_payout_drawn_by_hand_stops_nothing(
    serve: Any, pull: Any, landed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    paid_out = Twin._payout

    def by_hand_on_mondays(twin: Twin, day: date, *rest: Any) -> dict[str, Any]:
        return paid_out(twin, day, *rest) | {"automatic": day.weekday() != 0}

    monkeypatch.setattr(Twin, "_payout", by_hand_on_mondays)
    with serve("stripe", orders=600) as served:
        results = pull("stripe", served.env)
    assert [result.error for result in results.values()] == [None] * len(results)
    automatic = {row["payout_id"] for row in landed("payouts") if row["is_automatic"]}
    assert automatic < {row["payout_id"] for row in landed("payouts")}
    assert {row["payout_id"] for row in landed("payout_transactions")} == automatic


def test_a_page_goes_on_behind_an_object_and_says_whether_another_follows(ask: Any) -> None:
    whole = ask("charges", limit=100).json()
    first = ask("charges", limit=2).json()
    second = ask("charges", limit=100, starting_after=first["data"][-1]["id"]).json()
    assert first["has_more"] is True
    assert second["has_more"] is False
    assert first["data"] + second["data"] == whole["data"]
    created = [row["created"] for row in whole["data"]]
    assert created == sorted(created, reverse=True)


def test_created_bounds_are_kept(ask: Any) -> None:
    rows = ask("charges", limit=100).json()["data"]
    middle = rows[len(rows) // 2]["created"]
    later = ask("charges", limit=100, **{"created[gte]": middle}).json()["data"]
    earlier = ask("charges", limit=100, **{"created[lt]": middle}).json()["data"]
    assert later + earlier == rows


@pytest.mark.parametrize(
    ("path", "params", "param"),
    [
        ("charges", {"limit": 101}, "limit"),
        ("charges", {"starting_after": "ch_none"}, "starting_after"),
        ("charges", {"created[gte]": "yesterday"}, "created"),
        ("balance_transactions", {"payout": "po_none"}, "payout"),
    ],
)
def test_a_wrong_request_is_answered_with_the_parameter(ask: Any, path: str, params: Any, param: str) -> None:
    answer = ask(path, **params)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["param"] == param


def test_a_wrong_key_is_shown_masked(serve: Any) -> None:
    with serve("stripe", orders=20) as served:
        url = f"{served.url}/stripe/v1/charges"
        wrong = httpx.get(url, headers={"Authorization": "Bearer sk_test_0123456789"})
        none = httpx.get(url)
    assert (wrong.status_code, none.status_code) == (401, 401)
    assert "sk_test_" in wrong.json()["error"]["message"]
    assert "0123456789" not in wrong.text
    assert "did not provide an API key" in none.json()["error"]["message"]


def test_errors_in_an_answer_are_faults() -> None:
    assert isinstance(
        fault({"error": {"type": "invalid_request_error", "code": "rate_limit"}}), ThrottledError
    )
    assert "No such charge" in str(fault({"error": {"type": "x", "message": "No such charge"}}))
    assert fault({"object": "list", "data": []}) is None
