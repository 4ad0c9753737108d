"""Closing a period on a small release: what is frozen, what is refused and how, and what a later release restates."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import httpx
import pyarrow as pa
import pytest
from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from oms_core.api import keys
from oms_core.api.app import create_app
from oms_core.audit import log
from oms_core.finance.close import AlreadyClosedError, CloseRefusedError, close, plan
from oms_core.finance.period import FinanceError, Period, UnknownPeriodError
from oms_core.finance.reconciliation import CAUSES, reconcile
from oms_core.finance.restatement import restatements
from oms_core.release.publish import Batch, publish
from oms_core.store.postgres import Database

SEPTEMBER = Period(2026, 9)


def _table(rows: list[dict[str, Any]], **types: pa.DataType) -> pa.Table:
    amount = pa.decimal128(18, 4)
    kinds = {name: types.get(name) or (amount if name.endswith("_amount") else None) for name in rows[0]}
    arrays = {}
    for name, kind in kinds.items():
        values = [row[name] for row in rows]
        if kind == amount:
            values = [
                None if value is None else Decimal(value).quantize(Decimal("0.0001")) for value in values
            ]
        arrays[name] = pa.array(values, kind or (pa.int64() if isinstance(values[0], int) else pa.string()))
    return pa.table(arrays)


def _posting(order: str, account: str, debit: str, credit: str, period: str = "2026-09") -> dict[str, Any]:
    side = "debit" if Decimal(debit) else "credit"
    return {
        "posting_id": f"sale:{order}:shop:{order}:{side}",
        "order_id": order,
        "posted_on": date.fromisoformat(f"{period}-05"),
        "period": period,
        "entry_type": "sale",
        "account": account,
        "debit_amount": debit,
        "credit_amount": credit,
        "currency": "EUR",
    }


def _sale(order: str, amount: str, period: str = "2026-09") -> list[dict[str, Any]]:
    return [_posting(order, "1100", amount, "0", period), _posting(order, "4000", "0", amount, period)]


def _books(
    ledger: list[dict[str, Any]],
    *,
    unexplained: str = "0",
    cause: str = "unexplained",
    unconverted: str = "0",
    has_rates: bool = True,
    payout: str = "95",
    batch: str = "b1",
) -> dict[str, pa.Table]:
    rate, on = pa.decimal128(18, 8), pa.date32()
    difference = {
        "difference_id": f"payment:A:shop:{cause}", "item_id": "payment:A:shop", "period": "2026-09", "leg": "payment",
        "document": "payment", "order_id": "A", "order_number": "#1", "source_system": "shop", "status": "different",
        "cause": cause, "missing_in": None, "rule_order": 9, "currency": "EUR", "left_amount": "100",
        "right_amount": str(100 - Decimal(unexplained)), "difference_amount": unexplained,
        "explained_amount": unexplained, "left_records": "[]", "right_records": "[]",
    }  # fmt: skip
    differences = _table([difference])
    total = {
        "total_id": "2026-09:payment:shop:EUR", "period": "2026-09", "leg": "payment", "source_system": "shop",
        "currency": "EUR", "item_count": 1, "matched_count": 0, "open_count": 0, "different_count": 1,
        "not_compared_count": 0, "left_amount": "100", "right_amount": str(100 - Decimal(unexplained)),
        "open_amount": "0", "not_compared_amount": "0", **{f"{name}_amount": "0" for name in CAUSES},
        "unexplained_absolute_amount": unexplained,
    } | {"unexplained_amount": unexplained}  # fmt: skip
    return {
        "fct_orders": _table(
            [
                {
                    "order_id": order, "order_number": f"#{order}", "currency": "EUR", "fx_rate": Decimal("2.00000000"),
                    "reporting_currency": "USD", "net_amount": "1", "_batch_id": batch,
                }
                for order in sorted({row["order_id"] for row in ledger} | {"A"})
            ],
            fx_rate=rate,
        ),
        "fin_order_ledger": _table(ledger, posted_on=on),
        "fin_reconciliation": differences if Decimal(unexplained) or cause != "unexplained" else differences.slice(0, 0),
        "fin_reconciliation_totals": _table([total]),
        "fin_settlements": _table(
            [
                {
                    "settlement_line_id": "l1", "settlement_id": "po_1", "settlement_net_amount": payout,
                    "currency": "EUR", "settled_on": date(2026, 9, 20), "order_id": "A",
                }
            ],
            settled_on=on,
        ),
        "fin_measures": _table(
            [
                {
                    "measure_id": "2026-09:pos:EUR", "period": "2026-09", "channel": "pos", "currency": "EUR",
                    "order_count": 1, "sold_count": 1, "returned_count": 0, "gross_amount": "100", "net_amount": "100",
                    "margin_amount": None, "unconverted_net_amount": unconverted,
                }
            ]
        ),
        "fin_refunds": _table(
            [
                {
                    "refund_id": f"shop:refunds:{currency}", "order_id": "A", "refund_period": "2026-09", "currency": currency,
                    "amount": amount, "is_converted": is_converted,
                }
                for currency, amount, is_converted in (("EUR", "5", True), ("JPY", "800", has_rates))
            ],
            amount=pa.decimal128(18, 4),
            is_converted=pa.bool_(),
        ),
    }  # fmt: skip


def _release(database: Database, marts: dict[str, pa.Table], batch: str = "b1") -> int:
    return publish(database, marts, batches=[Batch("shop", "orders", batch)], code_version="1.0.0").release_id


@pytest.mark.parametrize("spelled", ["2026-9", "2026-13", "September", "26-09", ""])
def test_a_period_is_year_and_month(spelled: str) -> None:
    with pytest.raises(UnknownPeriodError, match="write year and month"):
        Period.parse(spelled)


def test_a_period_ends_where_the_next_begins() -> None:
    assert str(Period.parse(" 2026-12 ")) == "2026-12"
    assert (Period(2026, 12).first, Period(2026, 12).end) == (date(2026, 12, 1), date(2027, 1, 1))


def test_a_close_freezes_what_was_booked_and_says_so_in_the_log(database: Database) -> None:
    release = _release(database, _books(_sale("A", "100") + _sale("B", "40", "2026-10")))
    found = plan(database, SEPTEMBER)
    assert found.reasons == []
    assert {(b.account, b.debit - b.credit, b.postings) for b in found.balances} == {
        ("1100", 100, 1),
        ("4000", -100, 1),
    }
    done = close(database, found, by="ann", reason="September is done")
    assert (done.release_id, done.period, done.closed_by) == (release, SEPTEMBER, "ann")
    with database.begin() as connection:
        said = log.read(connection, done.entry - 1, 1)[0].said
        frozen = connection.execute(
            text("SELECT account, debit_amount FROM orderhub.finance_close_balances ORDER BY 1")
        )
        assert frozen.all() == [("1100", Decimal(100)), ("4000", Decimal(0))]
    assert (said["kind"], said["subject"], said["actor"]) == ("period.closed", "period/2026-09", "ann")
    assert said["data"]["control_totals_sha256"] == found.digest
    with database.read() as connection:
        assert connection.execute(text("SELECT closed_by FROM finance_closes")).scalar() == "ann"


def test_a_frozen_figure_cannot_be_changed(database: Database) -> None:
    _release(database, _books(_sale("A", "100")))
    close(database, plan(database, SEPTEMBER), by="ann", reason="done")
    for statement in (
        "UPDATE orderhub.finance_close_balances SET debit_amount = 0",
        "DELETE FROM orderhub.finance_closes",
    ):
        with pytest.raises(DBAPIError, match="append-only"), database.begin() as connection:
            connection.execute(text(statement))


def test_a_period_is_closed_once(database: Database) -> None:
    _release(database, _books(_sale("A", "100")))
    first = plan(database, SEPTEMBER)
    close(database, first, by="ann", reason="done")
    with pytest.raises(AlreadyClosedError, match=r"2026-09 was closed by ann at .* with release 1"):
        plan(database, SEPTEMBER)
    with pytest.raises(AlreadyClosedError):  # somebody else had the plan, too
        close(database, first, by="ben", reason="done")


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"unexplained": "7"}, r"14\.00 USD are unexplained, more than the threshold of 0\.00"),
        ({"unconverted": "12.5"}, r"rates are missing: 12\.50 EUR of net sales are not converted"),
        ({"has_rates": False}, r"rates are missing: 800\.00 JPY of refunds are not converted"),
        ({"payout": "-3"}, r"1 settlements are negative, the provider took money: po_1 -3\.00 EUR"),
        ({"cause": "gremlins"}, r"causes that are not on the closed list: gremlins"),
    ],
)
def test_a_close_is_refused_in_a_plain_sentence_and_changes_nothing(
    database: Database, spoilt: dict[str, str], said: str
) -> None:
    _release(database, _books(_sale("A", "100"), **spoilt))
    found = plan(database, SEPTEMBER)
    assert any(re.search(said, reason) for reason in found.reasons), found.reasons
    with database.begin() as connection:
        before = log.size(connection)
    with pytest.raises(CloseRefusedError, match=said) as refused:
        close(database, found, by="ann", reason="done")
    if "unexplained" in spoilt:
        assert "payment of order #1 in shop: 7.00 EUR" in str(refused.value)
    with database.begin() as connection:
        assert log.size(connection) == before
        assert connection.execute(text("SELECT count(*) FROM orderhub.finance_closes")).scalar() == 0


def test_what_is_accepted_does_not_stop_a_close(database: Database) -> None:
    _release(database, _books(_sale("A", "100"), unexplained="7", payout="-3"))
    found = plan(database, SEPTEMBER, threshold=Decimal("14.00"), accept_negative_settlements=True)
    assert found.reasons == []
    assert close(
        database, found, by="ann", reason="known", threshold=Decimal("14.00")
    ).residual_amount == Decimal(14)


def test_an_unbalanced_ledger_is_not_closed(database: Database) -> None:
    _release(database, _books([*_sale("A", "100"), _posting("B", "1100", "5", "0")]))
    assert (
        "the ledger does not balance in EUR: debits 105.0000, credits 100.0000"
        in plan(database, SEPTEMBER).reasons
    )


def test_a_period_without_bookings_is_unknown(database: Database) -> None:
    _release(database, _books(_sale("A", "100")))
    for ask in (plan, reconcile):
        with pytest.raises(
            UnknownPeriodError, match="nothing was booked in 2031-01: the ledger holds 2026-09 to 2026-09"
        ):
            ask(database, Period(2031, 1))


def test_without_books_nothing_can_be_closed(database: Database) -> None:
    with pytest.raises(FinanceError, match="nothing was released yet"):
        plan(database, SEPTEMBER)
    publish(
        database,
        {"dim_dates": pa.table({"date_on": pa.array([datetime(2026, 9, 1, tzinfo=UTC).date()])})},
        batches=[],
        code_version="1.0.0",
    )
    with pytest.raises(FinanceError, match="release 1 holds no books"):
        plan(database, SEPTEMBER)


def test_who_and_why_are_asked_for(database: Database) -> None:
    _release(database, _books(_sale("A", "100")))
    with pytest.raises(FinanceError, match="give --by and --reason"):
        close(database, plan(database, SEPTEMBER), by=" ", reason="done")
    with pytest.raises(FinanceError, match="give 0 or more"):
        plan(database, SEPTEMBER, threshold=Decimal(-1))


def test_later_changes_are_restatements_with_their_cause(database: Database) -> None:
    _release(database, _books(_sale("A", "100") + _sale("B", "40")))
    close(database, plan(database, SEPTEMBER), by="ann", reason="done")
    assert restatements(database, SEPTEMBER).order_count == 0
    _release(
        database, _books(_sale("A", "100") + _sale("B", "45") + _sale("C", "9", "2026-10"), batch="b2"), "b2"
    )
    found = restatements(database, SEPTEMBER)
    assert [(a.account, a.as_booked, a.restated, a.change) for a in found.accounts] == [
        ("1100", 140, 145, 5),
        ("4000", -140, -145, -5),
    ]
    assert [(o.order_id, o.releases) for o in found.orders] == [("B", [2])]
    assert found.orders[0].changes == [("sale", "1100", "EUR", 40, 45), ("sale", "4000", "EUR", -40, -45)]
    assert any("batch b2" in cause for cause in found.orders[0].causes)
    assert restatements(database, SEPTEMBER, limit=0).order_count == 1
    assert [o.order_id for o in restatements(database, SEPTEMBER, after="A").orders] == ["B"]
    assert restatements(database, SEPTEMBER, after="B").orders == []


def test_only_a_closed_period_has_restatements(database: Database) -> None:
    _release(database, _books(_sale("A", "100")))
    with pytest.raises(FinanceError, match="2026-09 is not closed"):
        restatements(database, SEPTEMBER)


def test_frozen_figures_that_are_not_the_releases_are_a_fault(database: Database) -> None:
    _release(database, _books(_sale("A", "100")))
    close(database, plan(database, SEPTEMBER), by="ann", reason="done")
    with database.begin() as connection:  # somebody with full rights
        connection.execute(text("ALTER TABLE orderhub.finance_close_balances DISABLE TRIGGER append_only"))
        connection.execute(text("UPDATE orderhub.finance_close_balances SET debit_amount = debit_amount + 1"))
    with pytest.raises(FinanceError, match="are not those of release 1 any more"):
        restatements(database, SEPTEMBER)


def test_a_reconciliation_shows_totals_and_differences(database: Database) -> None:
    _release(database, _books(_sale("A", "100"), unexplained="7"))
    found = reconcile(database, SEPTEMBER)
    assert [(t.leg, t.left, t.right, t.is_explained) for t in found.totals] == [("payment", 100, 93, True)]
    assert [(d["cause"], d["explained_amount"]) for d in found.differences] == [("unexplained", 7)]
    assert reconcile(database, SEPTEMBER, cause="fee").differences == []
    with pytest.raises(FinanceError, match="'gremlins' is no cause: there are timing, fx"):
        reconcile(database, SEPTEMBER, cause="gremlins")


def test_finance_reads_and_closes_over_http_and_others_do_not(
    database: Database, serving: Callable[[FastAPI], httpx.Client]
) -> None:
    _release(database, _books(_sale("A", "100") + _sale("B", "40", "2026-10"), unexplained="7"))
    with database.begin() as connection:
        held = {
            role: {"X-API-Key": keys.make(connection, role, role=role, by="root")}
            for role in (keys.FINANCE, keys.AUDITOR, keys.STEWARD)
        }
    client = serving(create_app(database))

    def get(place: str, role: str = keys.FINANCE, **query: Any) -> Any:
        return client.get(f"/finance/{place}", params=query, headers=held[role])

    first = get("ledger", limit=3).json()
    rest = get("ledger", limit=3, after=first["next_after"]).json()
    assert (len(first["rows"]), len(rest["rows"]), rest["next_after"]) == (3, 1, None)
    assert {row["account"] for row in get("ledger", period="2026-10").json()["rows"]} == {"1100", "4000"}
    audited = get("ledger", role=keys.AUDITOR, order="#A")
    assert audited.status_code == 200, audited.text
    assert audited.json()["rows"][0]["order_id"] == "A"
    assert get("ledger", order="#A", account="1100").json()["rows"][0]["debit_amount"] == "100.0000"
    assert get("differences", cause="unexplained").json()["rows"][0]["explained_amount"] == "7.0000"
    assert len(get("settlements").json()["rows"]) == len(get("measures").json()["rows"]) == 1
    assert get("periods/2026-09/reconciliation").json()["totals"][0]["causes"]["unexplained"] == "7.0000"

    for place, query, status, said in (
        ("ledger", {"cause": "fee"}, 422, "ledger cannot be filtered by cause"),
        ("differences", {"cause": "gremlins"}, 422, "'gremlins' is no cause"),
        ("ledger", {"period": "2026-13"}, 404, "write year and month"),
        ("ledger", {"after": "!"}, 422, "no `next_after`"),
        ("ledger", {"as_of": "9"}, 404, "no release 9"),
        ("rebates", {}, 404, "fin_rebates was not part of it"),
        ("periods/2030-01/reconciliation", {}, 404, "nothing was booked in 2030-01"),
        ("periods/2026-09/restatements", {}, 409, "2026-09 is not closed"),
    ):
        answer = get(place, **query)
        assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert get("ledger", role=keys.STEWARD).status_code == 403
    assert client.get("/finance/ledger").status_code == 401

    def shut(role: str = keys.FINANCE, **asked: Any) -> Any:
        return client.post(
            "/finance/periods/2026-09/close", json={"reason": "done", **asked}, headers=held[role]
        )

    assert shut(role=keys.AUDITOR).status_code == 403
    assert "14.00 USD are unexplained" in shut(dry_run=True).json()["reasons"][0]
    refused = shut()
    assert refused.status_code == 409 and "payment of order #1 in shop: 7.00 EUR" in refused.json()["detail"]
    assert [period["closed_by"] for period in get("periods").json()] == [None, None]
    assert [period["period"] for period in get("periods", limit=1).json()] == ["2026-09"]
    assert [period["period"] for period in get("periods", after="2026-09").json()] == ["2026-10"]
    done = shut(threshold="14.00")
    assert done.json()["is_closed"] and done.json()["log_entry"]
    assert [period["closed_by"] for period in get("periods").json()] == ["finance", None]
    assert shut(threshold="14.00").status_code == 409
    assert get("periods/2026-09/restatements").json()["order_count"] == 0
