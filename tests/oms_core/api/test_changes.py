"""Every route that may change something: what it leaves in the audit log, and that asking again does no harm."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from importlib import resources
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import text

from oms_core.api import hooks, keys, models
from oms_core.api.app import create_app
from oms_core.audit import log
from oms_core.exceptions.detect import RESOLUTIONS
from oms_core.flows import book, definition, versions
from oms_core.fulfilment.sourcing import policy
from oms_core.fulfilment.sweep import sweep
from oms_core.identity import state
from oms_core.identity.resolve import ScoredPair, Scores, resolve
from oms_core.identity.scoring.model import Model
from oms_core.identity.scoring.threshold import Thresholds
from oms_core.identity.stewardship import activation, evidence
from oms_core.store.postgres import Database
from oms_core.store.tables import API_ROLES

NOW = datetime.now(UTC)
CHANGING = {"POST", "PUT", "PATCH", "DELETE"}
LOG = frozenset({"audit_entries", "audit_nodes"})
ANN, ANNA = "shop:customers:1", "crm:contacts:2"


@dataclass(frozen=True)
class Change:
    """What a route does.

    Attributes:
        audits: kinds of entries that it leaves.
        again: what the same request meets when it comes once more: "same", it succeeds and changes nothing, or the kind of the
            conflict, 409. Either way every table is as it was, but for those of `keeps`.
        because: by what a repetition is known.
        keeps: tables that a repetition adds to.
    """

    audits: tuple[str, ...]
    again: str
    because: str
    keeps: frozenset[str] = frozenset()


@dataclass(frozen=True)
class NoChange:
    """Why a route leaves nothing in the log.

    Attributes:
        keeps: tables it adds to all the same.
    """

    because: str
    keeps: frozenset[str] = frozenset()


# In the order in which one company asks them.
ROUTES: dict[str, Change | NoChange] = {
    "POST /inventory/movements": Change(("stock.receipt",), "same", "the movement's own id in its system"),
    "PUT /inventory/policies": Change(("stock.policy_set",), "same", "SKU and node: it is so already"),
    "PUT /inventory/allotments": Change(("stock.allotment_set",), "same", "SKU, node and channel: it is so already"),
    "POST /reservations": Change(("reservation.made",), "same", "Idempotency-Key"),
    "POST /reservations/{reservation_id}/extension": Change(
        ("reservation.extended",), "revision-past", "the expiry that was seen"
    ),
    "POST /reservations/{reservation_id}/allocation": Change(
        ("reservation.allocated",), "same", "it is an allocation already"
    ),
    "DELETE /reservations/{reservation_id}": Change(("reservation.released",), "same", "it is released already"),
    "POST /orders/{number:path}/sourcing": Change(
        ("reservation.made", "reservation.allocated", "order.sourced"), "same", "Idempotency-Key"
    ),
    "PUT /inventory/closures": Change(("node.closed",), "same", "the node: it is so already"),
    "POST /sourcing/decisions/{decision_id}/review": Change(
        ("reservation.released", "reservation.made", "reservation.allocated", "order.sourced"),
        "reservation-state", "the decision, which was replaced",
    ),
    "POST /sourcing/decisions/{decision_id}/refusal": Change(
        ("reservation.released", "sourcing.refused"), "same", "decision and node: it is refused already"
    ),
    "PUT /sourcing/rules/{kind}": Change(("sourcing.policy_activated",), "same", "the version in force"),
    "POST /sourcing/what-if": NoChange("a past day is replayed in memory"),
    "POST /orders/lookup": NoChange("it looks up; it is a POST since numbers are many"),
    "POST /orders/{number:path}/events": Change(("flow.event",), "same", "Idempotency-Key"),
    "POST /orders/{number:path}/approvals": Change(("flow.event",), "same", "Idempotency-Key"),
    "POST /flows": Change(("flow.activated",), "same", "the version in force"),
    "POST /exceptions/{exception_id}/decision": Change(
        ("exception.decided",), "already-decided", "the exception, which is open once"
    ),
    "POST /identity/decisions": Change(("decision.made",), "conflict", "the version of the pair that was seen"),
    "POST /identity/decisions/{decision_id}/withdrawal": Change(
        ("decision.withdrawn",), "conflict", "the decision, which stands once"
    ),
    "POST /identity/models/reports": Change(
        ("model.reported",), "same", "none: another look is kept, and whether there is one is all that counts",
        LOG | {"identity_model_reports"},
    ),
    "POST /identity/models/activations": Change(("model.activated",), "same", "the model in force"),
    "POST /finance/periods/{period}/close": Change(("period.closed",), "books-refused", "the period, closed once"),
    "POST /hooks/{source}": NoChange(
        "the vendor's message is kept in the landing, once by its own id (test_hooks); what it leads to is released"
    ),
}  # fmt: skip


@pytest.fixture
def company(
    database: Database,
    release_company: Callable[..., None],
    serving: Callable[[FastAPI], httpx.Client],
    small_model: Model,
) -> Iterator[dict[str, httpx.Client]]:
    """Clients by role over a company in which every route has something to do."""
    posting = {"order_id": "O1", "period": "2026-09", "entry_type": "sale", "currency": "EUR"}
    release_company(
        stock={"HAM": 9, "MUC": 9},
        order_type="b2b",
        currency="EUR",
        tables={
            "fin_order_ledger": [
                {**posting, "posting_id": side, "account": account, "debit_amount": Decimal(debit), "credit_amount": Decimal(1 - debit)}
                for side, account, debit in (("d", "1100", 1), ("c", "4000", 0))
            ],
            "fin_reconciliation": [
                {"difference_id": "d1", "item_id": "i1", "period": "2026-09", "leg": "payment", "document": "payment",
                 "order_id": "O1", "order_number": "1042", "source_system": "shop", "status": "different", "cause": "timing",
                 "currency": "EUR", "left_amount": Decimal(1), "right_amount": Decimal(2), "difference_amount": Decimal(1),
                 "explained_amount": Decimal(1)}
            ],
            "fin_reconciliation_totals": [
                {"total_id": "t1", "period": "2026-09", "leg": "payment", "source_system": "shop", "currency": "EUR",
                 "item_count": "1", "left_amount": Decimal(1), "right_amount": Decimal(2),
                 "unexplained_absolute_amount": Decimal(0)}
            ],
            "fin_settlements": [
                {"settlement_line_id": "l1", "settlement_id": "po_1", "settlement_net_amount": Decimal(1), "currency": "EUR",
                 "settled_on": date(2026, 9, 20), "order_id": "O1"}
            ],
            "fin_refunds": [
                {"refund_id": "f1", "order_id": "O1", "refund_period": "2026-09", "currency": "EUR", "amount": Decimal(1),
                 "is_converted": True}
            ],
            "fin_measures": [
                {"measure_id": "m1", "period": "2026-09", "channel": "web", "currency": "EUR", "order_count": 1, "sold_count": 1,
                 "returned_count": 0, "gross_amount": Decimal(1), "net_amount": Decimal(1), "margin_amount": None,
                 "unconverted_net_amount": Decimal(0)}
            ],
        },
    )  # fmt: skip
    with database.begin() as connection:
        suggestion = {"resolution": next(iter(RESOLUTIONS["no_stock"])), "because": "x", "details": {}}
        connection.execute(
            text(
                "INSERT INTO orderhub.exceptions (exception_id, kind, order_id, about, fingerprint, evidence, suggestion, state, "
                "revision, opened_at, seen_at) VALUES ('EXC-1', 'no_stock', 'O1', '', 'f', '{}', CAST(:said AS jsonb), 'open', "
                "1, now(), now())"
            ),
            {"said": json.dumps(suggestion)},
        )
        flow = definition.load(_b2b())
        versions.activate(connection, flow, by="root", reason="test")
        book.begin(connection, flow, {"O1": {"order_type": "b2b"}})
        _two_people(connection)
        activation.keep_report(connection, "customer", small_model, {}, by="root")
        made = {
            role: keys.make(connection, role, role=role, by="root", tenant="acme" if role == keys.OMS_SERVICE else None)
            for role in API_ROLES
        }  # fmt: skip
    base = serving(create_app(database, differ=lambda _connection, _model: {})).base_url
    with contextlib.ExitStack() as stack:
        clients = {
            role: stack.enter_context(httpx.Client(base_url=base, headers={"X-API-Key": key}, timeout=60))
            for role, key in made.items()
        }
        for client in clients.values():  # the first use of a key is logged
            assert client.get("/orders/O1").status_code == 200
        yield clients


def _b2b() -> str:
    return resources.files("oms_core.flows").joinpath("shipped", "b2b.yaml").read_text("utf-8")


def _two_people(connection: Any) -> None:
    blank = dict.fromkeys(
        ("customer_type", "company_name", "email", "phone", "phone_e164", "tax_number", "street", "city", "region", "postcode",
         "country", "marketplace_buyer_id", "parent_key")
    )  # fmt: skip
    people = [
        {**blank, "record_id": name, "source_system": name.split(":")[0], "source_key": name, "full_name": name,
         "_first_seen_at": NOW - timedelta(days=1)}
        for name in (ANN, ANNA)
    ]  # fmt: skip
    known = state.recall(connection)
    scores = {"customer": Scores([ScoredPair(ANNA, ANN, 0.7)], Thresholds(0.9, 0.5))}
    outcome = resolve(people, [], [], [], [], known, scores=scores)["customer"]
    state.remember(connection, {"customer": outcome}, known, NOW)
    evidence.keep_records(connection, "customer", people)


def _requests(
    company: dict[str, httpx.Client], model: Model
) -> Iterator[tuple[str, Callable[[], httpx.Response]]]:
    """One request of each route, those that depend on an earlier answer after it."""
    shop, steward = company[keys.OMS_SERVICE], company[keys.STEWARD]
    there = {"sku": "LIP", "location": "HAM"}
    key = {"Idempotency-Key": "k"}

    def post(client: httpx.Client, path: str, body: Any = None) -> Callable[[], httpx.Response]:
        return lambda: client.post(path, json=body, headers=key)

    def put(client: httpx.Client, path: str, body: Any) -> Callable[[], httpx.Response]:
        return lambda: client.put(path, json=body)

    movement = {
        **there, "source_system": "wms", "movement_id": "m1", "kind": "receipt", "qty": 5, "recorded_at": NOW.isoformat(),
    }  # fmt: skip
    yield "POST /inventory/movements", post(shop, "/inventory/movements", {"movements": [movement]})
    yield "PUT /inventory/policies", put(shop, "/inventory/policies", {**there, "safety_qty": 1})
    cap = {**there, "channel": "web", "kind": "cap", "qty": 8}
    yield "PUT /inventory/allotments", put(shop, "/inventory/allotments", cap)
    asked = {"channel": "web", "lines": [{"sku": "LIP", "qty": 1}]}
    yield "POST /reservations", post(shop, "/reservations", asked)
    made = shop.post("/reservations", json=asked, headers=key).json()
    held = f"/reservations/{made['reservation_id']}"
    longer = {"ttl_seconds": 3600, "expires_at": made["expires_at"]}
    yield "POST /reservations/{reservation_id}/extension", post(shop, f"{held}/extension", longer)
    yield "POST /reservations/{reservation_id}/allocation", post(shop, f"{held}/allocation")
    yield "DELETE /reservations/{reservation_id}", lambda: shop.delete(held)
    yield "POST /orders/{number:path}/sourcing", post(shop, "/orders/O1/sourcing", {"commit": True})
    (first,) = shop.get("/sourcing/decisions", params={"order_id": "O1"}).json()
    node = first["parcels"][0]["node_id"]
    yield "PUT /inventory/closures", put(shop, "/inventory/closures", {"location": node, "reason": "flood"})
    place = f"/sourcing/decisions/{first['decision_id']}"
    yield "POST /sourcing/decisions/{decision_id}/review", post(shop, f"{place}/review", {"commit": True})
    fresh = shop.get("/sourcing/decisions", params={"order_id": "O1"}).json()[0]
    refusal = {"location": fresh["parcels"][0]["node_id"], "reason": "broken"}
    place = f"/sourcing/decisions/{fresh['decision_id']}"
    yield "POST /sourcing/decisions/{decision_id}/refusal", post(shop, f"{place}/refusal", refusal)
    green = policy.default().model_dump(mode="json", exclude_unset=True) | {"version": "green"}
    yield (
        "PUT /sourcing/rules/{kind}",
        put(shop, "/sourcing/rules/policy", {"document": green, "reason": "carbon"}),
    )
    yield "POST /sourcing/what-if", post(shop, "/sourcing/what-if", {"on": NOW.date().isoformat()})
    yield "POST /orders/lookup", post(shop, "/orders/lookup", {"numbers": ["1042"]})
    event = {
        "event": "created",
        "occurred_at": (NOW - timedelta(hours=1)).isoformat(),
        "source_system": "shop",
    }
    yield "POST /orders/{number:path}/events", post(shop, "/orders/O1/events", event)
    approval = {"decision": "approved", "reason": "checked"}
    yield (
        "POST /orders/{number:path}/approvals",
        post(company[keys.FINANCE], "/orders/O1/approvals", approval),
    )
    document = json.loads(definition.load(_b2b()).document) | {"version": "2"}
    yield "POST /flows", post(company[keys.DATA_ENGINEER], "/flows", {"document": document, "reason": "test"})
    seen = {"decision": "accept", "reason": "seen"}
    yield "POST /exceptions/{exception_id}/decision", post(steward, "/exceptions/EXC-1/decision", seen)
    judged = {"left": ANN, "right": ANNA, "judgement": "same", "reason": "called them", "seen": 0}
    yield "POST /identity/decisions", post(steward, "/identity/decisions", judged)
    yield "POST /identity/decisions/{decision_id}/withdrawal", post(
        steward, "/identity/decisions/1/withdrawal", {"reason": "mistaken"}
    )  # fmt: skip
    named = {"entity": "customer", "version": model.version}
    yield "POST /identity/models/reports", post(steward, "/identity/models/reports", named)
    use = {**named, "sha256": model.sha256, "reason": "better"}
    yield "POST /identity/models/activations", post(steward, "/identity/models/activations", use)
    shut = post(company[keys.FINANCE], "/finance/periods/2026-09/close", {"reason": "done"})
    yield "POST /finance/periods/{period}/close", shut


def _tables(database: Database) -> dict[str, str | None]:
    """A digest of each table of the operational store."""
    with database.begin() as connection:
        names: Sequence[str] = (
            connection.execute(
                text(
                    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'orderhub' AND table_type = 'BASE TABLE'"
                )
            )
            .scalars()
            .all()
        )
        parts = [
            f"SELECT '{name}', md5(string_agg(t::text, '|' ORDER BY t::text)) FROM orderhub.{name} AS t"
            for name in names
        ]
        return {row[0]: row[1] for row in connection.execute(text(" UNION ALL ".join(parts)))}


def _audited(database: Database, start: int) -> list[str]:
    with database.begin() as connection:
        return [entry.said["kind"] for entry in log.read(connection)][start:]


def _changed(before: dict[str, str | None], after: dict[str, str | None]) -> set[str]:
    return {name for name in after if after[name] != before[name]}


def test_every_changing_route_has_a_law(database: Database) -> None:
    app = create_app(database, hear=lambda _source, _said: hooks.Heard("stored"))
    found = {
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, APIRoute)
        and not route.path.startswith("/hooks/{source}/")  # the same, further in
        for method in route.methods & CHANGING
    }
    assert found == set(ROUTES)


def test_each_change_is_logged_once_however_often_it_is_asked(
    company: dict[str, httpx.Client], database: Database, small_model: Model
) -> None:
    asked = []
    for name, send in _requests(company, small_model):
        asked.append(name)
        law = ROUTES[name]
        start, before = len(_audited(database, 0)), _tables(database)
        answer = send()
        assert answer.is_success, (name, answer.text)
        after = _tables(database)
        if isinstance(law, NoChange):
            assert _changed(before, after) == law.keeps, name
            continue
        assert tuple(_audited(database, start)) == law.audits, name
        again = send()
        if law.again == "same":
            assert again.status_code == answer.status_code, (name, again.text)
        else:
            assert (again.status_code, again.json()["type"]) == (409, f"urn:orderhub:problem:{law.again}"), (
                name
            )
        assert _changed(after, _tables(database)) <= law.keeps, name
    assert set(ROUTES) - set(asked) == {"POST /hooks/{source}"}


def test_bad_input_has_a_code_and_changes_nothing(
    company: dict[str, httpx.Client], database: Database
) -> None:
    shop, engineer = company[keys.OMS_SERVICE], company[keys.DATA_ENGINEER]

    def reserve(
        key: str, qty: Any = 1, sku: str = "LIP", node: str = "HAM", ttl: int = 900
    ) -> httpx.Response:
        line = {"sku": sku, "qty": qty, "locations": [node]}
        body = {"channel": "web", "lines": [line], "ttl_seconds": ttl}
        return shop.post("/reservations", json=body, headers={"Idempotency-Key": key})

    def move(qty: Any = 1, sku: str = "LIP", at: datetime = NOW, **given: Any) -> httpx.Response:
        said = {
            "source_system": "wms", "movement_id": "bad", "kind": "receipt", "sku": sku, "location": "HAM", "qty": qty,
            "recorded_at": at.isoformat(), **given,
        }  # fmt: skip
        return shop.post("/inventory/movements", json={"movements": [said]})

    held, over, shut = (
        f"/reservations/{reserve(key, node=node).json()['reservation_id']}"
        for key, node in (("held", "HAM"), ("over", "HAM"), ("shut", "MUC"))
    )
    assert shop.put("/inventory/closures", json={"location": "MUC", "reason": "flood"}).status_code == 204
    with database.begin() as connection:
        rival = keys.make(connection, "rival", role=keys.OMS_SERVICE, tenant="globex", by="root")
        for table in ("reservations", "reservation_holds"):
            connection.execute(
                text(
                    f"UPDATE orderhub.{table} SET expires_at = clock_timestamp() - interval '1 second' WHERE reservation_id = :id"
                ),
                {"id": over.rpartition("/")[2]},
            )
    sweep(database, by="root")
    theirs = {"X-API-Key": rival}
    assert shop.get("/orders/O1", headers=theirs).status_code == 200
    document = policy.default().model_dump(mode="json", exclude_unset=True) | {"version": "heavy"}
    heavy = document | {"parameters": document["parameters"] | {"carbon": {"weight": 0.9, "scale": 2}}}
    flow = json.loads(definition.load(_b2b()).document) | {"version": "2"}
    ways = [
        {"from": [start], "on": "refunded", "to": end}
        for start, end in (("new", "pit"), ("pit", "hole"), ("hole", "pit"))
    ]
    trap = {
        **flow,
        "states": {**flow["states"], "hole": {"title": "Hole"}, "pit": {"title": "Pit"}},
        "transitions": [*flow["transitions"], *ways],
    }
    later = NOW + timedelta(hours=1)
    event = {"event": "created", "occurred_at": later.isoformat(), "source_system": "shop"}
    kept = {"sku": "LIP", "location": "HAM", "safety_qty": 1}
    asked: list[tuple[str, Callable[[], httpx.Response], int, str]] = [
        ("unknown SKU, reserved", lambda: reserve("bad", sku="NO-SUCH"), 404, "unknown-sku"),
        ("unknown SKU, moved", lambda: move(sku="NO-SUCH"), 404, "unknown-sku"),
        ("unknown SKU, kept back", lambda: shop.put("/inventory/policies", json={**kept, "sku": "NO-SUCH"}), 404, "unknown-sku"),
        ("zero, reserved", lambda: reserve("bad", 0), 422, "bad-quantity"),
        ("zero, moved", lambda: move(0), 422, "bad-quantity"),
        ("a fraction, reserved", lambda: reserve("bad", "0.5"), 422, "fractional-quantity"),
        ("a fraction, moved", lambda: move("0.5"), 422, "fractional-quantity"),
        ("a fraction, kept back", lambda: shop.put("/inventory/policies", json={**kept, "safety_qty": "0.5"}), 422, "fractional-quantity"),
        ("reserved twice, otherwise", lambda: reserve("held", 2), 409, "key-reused"),
        ("expired, extended", lambda: shop.post(f"{over}/extension", json={"ttl_seconds": 60}), 409, "reservation-expired"),
        ("expired, allocated", lambda: shop.post(f"{over}/allocation"), 409, "reservation-expired"),
        ("of no time", lambda: reserve("bad", ttl=0), 422, "bad-ttl"),
        ("of another tenant, read", lambda: shop.get(held, headers=theirs), 403, "other-tenant"),
        ("of another tenant, released", lambda: shop.delete(held, headers=theirs), 403, "other-tenant"),
        ("of another tenant, allocated", lambda: shop.post(f"{held}/allocation", headers=theirs), 403, "other-tenant"),
        ("of another tenant, extended",
         lambda: shop.post(f"{held}/extension", json={"ttl_seconds": 60}, headers=theirs), 403, "other-tenant"),
        ("node closed, reserved", lambda: reserve("bad", node="MUC"), 409, "node-closed"),
        ("node closed, allocated", lambda: shop.post(f"{shut}/allocation"), 409, "node-closed"),
        ("weights, tried", lambda: shop.post("/orders/O1/sourcing", json={"policy": heavy}), 422, "bad-weights"),
        ("weights, put in force",
         lambda: shop.put("/sourcing/rules/policy", json={"document": heavy, "reason": "x"}), 422, "bad-weights"),
        ("weights, replayed",
         lambda: shop.post("/sourcing/what-if", json={"on": NOW.date().isoformat(), "policies": [heavy]}), 422, "bad-weights"),
        ("a trap", lambda: engineer.post("/flows", json={"document": trap, "reason": "x"}), 422, "trap-state"),
        ("an event from the future",
         lambda: shop.post("/orders/O1/events", json=event, headers={"Idempotency-Key": "bad"}), 422, "event-from-the-future"),
        ("a movement from the future", lambda: move(at=later), 422, "from-the-future"),
    ]  # fmt: skip
    before = _tables(database)
    for name, send, status, code in asked:
        answer = send()
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), (
            name,
            answer.text,
        )
        said = models.Problem.model_validate(answer.json())
        assert said.type == f"urn:orderhub:problem:{code}" and said.detail, name
        assert _changed(before, _tables(database)) == set(), name


def test_a_dry_run_is_kept_and_promises_nothing(company: dict[str, httpx.Client], database: Database) -> None:
    before = _tables(database)
    assert company[keys.OMS_SERVICE].post("/orders/O1/sourcing", json={}).status_code == 201
    assert _changed(before, _tables(database)) == {"sourcing_decisions"}
