"""Released orders are sourced: what is known decides, what is unknown is said, and what is decided is kept and carried out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from oms_core.audit import log
from oms_core.fulfilment import look
from oms_core.fulfilment import policy as stock_policy
from oms_core.fulfilment.assignment import record, rules
from oms_core.fulfilment.assignment.assign import Request, Sourcing
from oms_core.fulfilment.assignment.past import past_day, varied
from oms_core.fulfilment.assignment.together import source_together
from oms_core.fulfilment.desk import Desk
from oms_core.fulfilment.errors import FulfilmentError
from oms_core.fulfilment.sourcing import facts, policy
from oms_core.fulfilment.sourcing.decide import source_order
from oms_core.fulfilment.sourcing.replay import replay
from oms_core.store.postgres import Database

Put = Callable[..., None]
NOW = datetime.now(UTC)
NAIVE = NOW.replace(tzinfo=None)
KNOWN = {
    "version": "1",
    "every_node": {
        "cold_chain_hours": 48,
        "base_hours": 10,
        "km_per_hour": 50,
        "handling_hours": 4,
        "parcel_cost": "4",
    },
    "goods": {"COS": {"hazard_class": "", "hs_code": "330499"}},
}
NODES = {
    "HAM": ("warehouse", "DE", 53.6, 10.0),
    "MUC": ("store", "DE", 48.1, 11.6),
    "FBA": ("third_party", "DE", 50.1, 8.7),
}


def sku(sku_id: str, **changed: Any) -> dict[str, Any]:
    """A released SKU."""
    return {"sku_id": sku_id, "sku_code": sku_id, "gtin14": None, "weight_kg": Decimal("0.4"), "needs_cold_chain": False,
            "category_code": "COS"} | changed  # fmt: skip


def ordered(order_id: str, **changed: Any) -> dict[str, Any]:
    """A released order to Berlin."""
    return {
        "order_id": order_id, "order_number": order_id, "order_type": "b2c", "channel": "web", "order_status": "open",
        "ordered_at": NAIVE - timedelta(hours=1), "promised_at": NAIVE + timedelta(days=4), "ship_to_country": "DE",
        "ship_to_city": "Berlin", "loyalty_tier": None, "customer_segment": None, "reporting_currency": "EUR", "fx_rate": None,
        "fulfilment_location_ids": None, "gross_weight_kg": None, "logistics_cost_amount": None, "transport_co2e_kg": None,
        "dispatched_at": None, "delivered_at": None, "promise_slip_hours": None, "needs_cold_chain": None,
        "is_cold_chain_intact": None, "shipment_count": None, "is_test": False, "customer_id": None,
    } | changed  # fmt: skip


def line(order_id: str, number: int, sku_id: str | None, qty: int) -> dict[str, Any]:
    """A released line."""
    return {
        "order_line_id": f"{order_id}-{number}", "order_id": order_id, "line_number": number, "sku_id": sku_id,
        "sku_code": sku_id or "???", "qty": Decimal(qty), "uom": "C62", "is_return": False,
    }  # fmt: skip


@pytest.fixture
def hub(database: Database, publish_small: Callable[..., Any], put: Put) -> Sourcing:
    """A company with a warehouse, a store and a third party's node; 5 of S1 in Hamburg, 2 of S1 and 3 of S2 in Munich."""
    publish_small(
        database,
        dim_locations=[
            {"location_id": name, "location_code": name, "gln": None, "location_type": kind, "country": country, "latitude": lat,
             "longitude": long, "timezone": None}
            for name, (kind, country, lat, long) in NODES.items()
        ],
        dim_skus=[sku("S1"), sku("S2", needs_cold_chain=True), sku("S3", weight_kg=None, category_code=None)],
        fct_orders=[
            ordered("O1"), ordered("O2", ship_to_city="Nowhere at all", promised_at=None), ordered("DONE", order_status="delivered"),
            ordered("TILL", order_type="pos", ship_to_country=None), ordered("LOST"), ordered("WHERE", ship_to_country=None),
            ordered("BIG"), ordered("SWISS", ship_to_country="CH", ship_to_city="Zürich"),
        ],
        fct_order_lines=[
            line("O1", 1, "S1", 1), line("O1", 2, "S1", 1), line("O1", 3, "S2", 1), line("O2", 1, "S1", 1),
            line("DONE", 1, "S1", 1), line("TILL", 1, "S1", 1), line("LOST", 1, None, 1), line("WHERE", 1, "S1", 1),
            line("BIG", 1, "S1", 50), line("SWISS", 1, "S1", 1),
        ],
        fct_inventory_positions=[
            {"position_id": "p1", "sku_id": "S2", "location_id": "MUC", "lot_number": None, "on_hand_qty": Decimal(3)}
        ],
    )  # fmt: skip
    put(database, "S1", "HAM", 5)
    put(database, "S1", "MUC", 2)
    put(database, "S1", "FBA", 100)
    put(database, "S2", "MUC", 3, lot="A", expires_on=NOW.date() + timedelta(days=30), needs_expiry=True)
    with database.begin() as connection:
        rules.activate(connection, "facts", json.dumps(KNOWN), by="ops", reason="to begin with")
    return Sourcing(database)


def request(key: str = "k", tenant: str = "acme") -> Request:
    """A request to carry a decision out."""
    return Request(tenant, key, b"x" * 32)


def code_of(error: pytest.ExceptionInfo[FulfilmentError]) -> str:
    """What programs read."""
    return error.value.code


def test_a_released_order_is_sourced_kept_and_replayed(hub: Sourcing, database: Database) -> None:
    made = hub.source("O1", by="shop")
    said = made.decision
    assert [(parcel["node_id"], parcel["takes"]) for parcel in said["parcels"]] == [
        ("MUC", {"S1": "2", "S2": "1"})
    ]
    verdicts = {item["node_id"]: (item["verdict"], item["decided_by"]) for item in said["counterfactuals"]}
    assert verdicts == {"HAM": ("forbidden", "cold_chain"), "FBA": ("forbidden", "node_closed")}
    assert (made.reservation_id, made.release_id, made.policy_version) == (None, 1, policy.default().version)
    assert made.is_same(made.replay())
    with database.begin() as connection:
        assert record.read(connection, made.decision_id) == made
        assert record.of_order(connection, "O1") == [made]


def test_unknown_stays_unknown_and_is_said(hub: Sourcing) -> None:
    made = hub.source("O2", by="shop")
    values = made.decision["parcels"][0]["values"]
    assert values["distance"]["input"] is None and values["shipping_cost"]["input"] is None
    assert {"distance", "capacity_left", "workload", "pick_cost", "promise"} <= set(made.decision["unknown"])
    assert "where Nowhere at all, DE lies" in made.unknown
    assert "until when the order was promised" in made.unknown
    assert any(words.startswith("of node HAM: time_zone") for words in made.unknown)
    assert made.is_same(made.replay())


def test_a_committed_decision_reserves_and_allocates_with_it(
    hub: Sourcing, database: Database, check_books: Callable[[Database], None]
) -> None:
    made = hub.source("O1", by="shop", request=request())
    assert made.reservation_id is not None
    with look.looking(database) as connection:
        answer = look.reservation_of(connection, made.reservation_id, "acme")
    assert (answer.state, answer.reservation.order_reference) == ("allocated", "O1")
    assert {(hold.sku_id, hold.location_id, hold.qty) for hold in answer.reservation.holds} == {
        ("S1", "MUC", Decimal(2)), ("S2", "MUC", Decimal(1)),
    }  # fmt: skip
    assert hub.source("O1", by="shop", request=request()) == made
    with pytest.raises(FulfilmentError) as error:
        hub.source("O1", by="shop", request=request("other"))
    assert code_of(error) == "already-sourced"
    with pytest.raises(FulfilmentError) as error:
        hub.source("O1", by="shop", request=Request("acme", "k", b"y" * 32))
    assert code_of(error) == "key-reused"
    with database.begin() as connection:
        kinds = [entry.said["kind"] for entry in log.read(connection)]
    assert kinds[-3:] == ["reservation.made", "reservation.allocated", "order.sourced"]
    check_books(database)


def test_an_unfillable_order_is_kept_with_its_reasons_and_reserves_nothing(
    hub: Sourcing, database: Database
) -> None:
    made = hub.source("BIG", by="shop", request=request())
    assert (made.reservation_id, made.decision["is_filled"]) == (None, False)
    (short,) = made.decision["unfillable"]
    assert (short["sku_id"], short["qty"], short["sendable_qty"]) == ("S1", "50", "7")
    assert short["forbidden"] == {"node_closed": ["FBA"]}
    with database.begin() as connection:
        assert [entry.said["kind"] for entry in log.read(connection)][-1] == "order.unfilled"
    abroad = hub.source("SWISS", by="shop").decision
    assert {item["decided_by"] for item in abroad["counterfactuals"]} == {"customs", "node_closed"}


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("DONE", "order-state"),
        ("TILL", "nothing-to-ship"),
        ("LOST", "unknown-sku"),
        ("WHERE", "unknown-destination"),
    ],
)
def test_what_cannot_be_sourced_is_refused_with_a_code(
    hub: Sourcing, database: Database, number: str, code: str
) -> None:
    with pytest.raises(FulfilmentError) as error:
        hub.source(number, by="shop", request=request())
    assert code_of(error) == code
    with database.begin() as connection:
        assert record.of_order(connection, number) == []


def test_a_decision_is_looked_at_again_before_picking(
    hub: Sourcing, database: Database, check_books: Callable[[Database], None]
) -> None:
    made = hub.source("O2", by="shop", request=request())
    first = made.decision["parcels"][0]["node_id"]
    assert hub.review(made.decision_id, by="shop", tenant="acme", is_carried_out=True).keeps
    with database.begin() as connection:
        stock_policy.close_node(connection, first, "flood", by="ops")
    looked = hub.review(made.decision_id, by="shop", tenant="acme")
    assert (looked.keeps, looked.score, looked.fresh) == (False, None, None)
    fresh = hub.review(made.decision_id, by="shop", tenant="acme", is_carried_out=True).fresh
    assert fresh is not None and fresh.replaces == made.decision_id
    assert fresh.decision["parcels"][0]["node_id"] != first
    with database.begin() as connection:
        assert record.standing(connection, "O2") == fresh
        stock_policy.close_node(connection, first, None, by="ops")
    with pytest.raises(FulfilmentError) as error:
        hub.review(made.decision_id, by="shop", tenant="acme", is_carried_out=True)
    assert code_of(error) == "reservation-state"
    with pytest.raises(FulfilmentError) as error:
        hub.review(made.decision_id, by="shop", tenant="other")
    assert code_of(error) == "other-tenant"
    check_books(database)


def test_a_node_that_refuses_is_not_asked_again_and_counts_as_less_reliable(
    hub: Sourcing, database: Database
) -> None:
    made = hub.source("O2", by="shop", request=request())
    first = made.decision["parcels"][0]["node_id"]
    hub.refuse(made.decision_id, first, "broken", by="shop", tenant="acme")
    again = hub.source("O2", by="shop", request=request("k2"))
    assert again.decision["parcels"][0]["node_id"] != first
    why = {item["node_id"]: item["because"] for item in again.decision["counterfactuals"]}
    assert why[first] == "the node is closed: it refused this order: broken"
    node = next(node for node in again.day.nodes if node.node_id == first)
    assert (node.refused, node.offered) == (1, 1)
    assert again.is_same(again.replay())


def test_stock_that_others_take_in_between_is_never_promised_twice(
    hub: Sourcing, database: Database, asking: Callable[..., Any], check_books: Callable[[Database], None]
) -> None:
    Desk(database).ask(asking(("S1", 5, "HAM")))
    Desk(database).ask(asking(("S1", 2, "MUC")))
    made = hub.source("O2", by="shop", request=request())
    assert not made.decision["is_filled"]
    check_books(database)


def test_rules_are_versioned_and_their_activation_is_logged(hub: Sourcing, database: Database) -> None:
    green = json.loads(policy.default().model_dump_json()) | {"version": "green", "most_parcels": 1}
    with database.begin() as connection:
        rules.activate(connection, "policy", json.dumps(green), by="ops", reason="carbon")
        assert (
            rules.activate(connection, "policy", json.dumps(green), by="ops", reason="again").reason
            == "carbon"
        )
        assert rules.in_force(connection)[0].version == "green"
        assert [entry.said["kind"] for entry in log.read(connection)][-1] == "sourcing.policy_activated"
        with pytest.raises(FulfilmentError) as error:
            rules.activate(
                connection, "policy", json.dumps(green | {"most_parcels": 2}), by="ops", reason="other"
            )
        assert code_of(error) == "version-reused"
        for kind, document, code in (
            ("policy", "{}", "bad-policy"),
            ("policy", json.dumps(green | {"parameters": {}}), "unknown-parameter"),
            ("facts", '{"version": "2", "every_node": {"parcel_cost": -1}}', "bad-facts"),
            ("facts", '{"version": "2", "version": "3"}', "bad-facts"),
            ("facts", '{"version": "2", "kinds": {"store": {"time_zone": "Mars/Base"}}}', "bad-facts"),
            ("facts", '{"version": "2", "nodes": {"HAM": {"hours": [[7, 0, 10]]}}}', "bad-facts"),
            ("facts", '{"version": "2", "nodes": {"HAM": {"collections": [[0, -5]]}}}', "bad-facts"),
        ):
            with pytest.raises(FulfilmentError) as error:
                rules.activate(connection, kind, document, by="ops", reason="bad")  # type: ignore[arg-type]
            assert code_of(error) == code
    assert hub.source("O2", by="shop").policy_version == "green"


def test_hours_that_people_state_forbid_a_node_where_its_time_zone_is_known(
    hub: Sourcing, database: Database
) -> None:
    far = (NOW.weekday() + 5) % 7  # further away than the policy lets an order wait
    shut = {"hours": [[far, 600, 660]], "collections": [[far, 660]]}
    for version, zone, chosen in (("2", "Europe/Berlin", "MUC"), ("3", None, "HAM")):
        nodes = {"HAM": {**shut, **({"time_zone": zone} if zone else {})}}
        with database.begin() as connection:
            rules.activate(
                connection,
                "facts",
                json.dumps({**KNOWN, "version": version, "nodes": nodes}),
                by="ops",
                reason="hours",
            )
        kept = hub.source("O2", by="shop")
        assert [parcel["node_id"] for parcel in kept.decision["parcels"]] == [chosen]
        said = "the time zone of node HAM: the hours and collections that the facts say of it do not count"
        assert (said in kept.unknown) is (zone is None)
        if zone:
            (ham,) = [item for item in kept.decision["counterfactuals"] if item["node_id"] == "HAM"]
            assert ham["verdict"] == "forbidden" and "open" in ham["because"]


def test_a_past_day_is_replayed_under_other_weights_and_stock(hub: Sourcing, database: Database) -> None:
    hub.source("O1", by="shop", request=request())
    hub.source("O2", by="shop", request=request("k2"))
    past = past_day(database, NOW.date())
    assert (past.told_by, [order.order_id for order in past.day.orders]) == ("decisions", ["O1", "O2"])
    was = replay(past.day.orders, policy.default(), past.day.network())
    assert (was.orders, was.filled, was.unknown["shipping_cost"]) == (2, 2, 2)
    bare = varied(past.day, Decimal(0))
    assert replay(bare.orders, policy.default(), bare.network()).filled == 0
    closed = varied(past.day, without=["MUC"])
    assert replay(closed.orders, policy.default(), closed.network()).filled == 1
    placed = past_day(database, (NOW - timedelta(hours=1)).date(), of_orders=True)
    assert placed.told_by == "orders" and "LOST" in placed.left_out
    with pytest.raises(FulfilmentError) as error:
        past_day(database, date(2001, 1, 1))
    assert code_of(error) == "no-orders"


def test_facts_hold_by_node_by_kind_and_for_all() -> None:
    known = facts.load(
        json.dumps(
            {
                "version": "1", "every_node": {"parcel_cost": "4", "handling_hours": 2}, "kinds": {"store": {"handling_hours": 9}},
                "nodes": {"MUC": {"parcel_cost": "1"}},
            }
        )
    )  # fmt: skip
    found = known.of_node("store", known.nodes["MUC"])
    assert (found.parcel_cost, found.handling_hours) == (Decimal(1), 9)
    assert known.of_node(None, None).handling_hours == 2
    assert facts.load(known.model_dump_json(exclude_unset=True)).sha256 == known.sha256
    assert facts.load(facts.example()).goods["COS-FACE"].hs_code == "330499"


def test_a_batch_of_open_orders_is_dry_until_it_is_carried_out_and_each_is_looked_at_again(
    hub: Sourcing, database: Database, asking: Callable[..., Any], check_books: Callable[[Database], None]
) -> None:
    said: list[str] = []
    dry = source_together(database, None, by="ops", seconds=2, say=said.append)
    filled = {item.order.order_id for item in dry.batch.decisions if item.is_filled}
    assert filled == {"O1", "O2"}
    assert set(dry.left_out) == {"LOST"}
    assert (dry.kept, dry.refused) == ({}, {})
    assert said[0].startswith("5 open orders, 0 of them")
    with database.begin() as connection:
        assert record.of_order(connection, "O1") == []

    def say(line: str) -> None:
        if line.startswith("score"):  # somebody buys what the batch has given to O1
            Desk(database).ask(asking(("S1", 1, "MUC")))

    done = source_together(database, None, by="ops", tenant="acme", seconds=2, say=say)
    assert {key for key, stored in done.kept.items() if stored.reservation_id is not None} == filled
    assert done.changed == ("O1",)
    assert {parcel["node_id"] for parcel in done.kept["O1"].decision["parcels"]} == {"HAM", "MUC"}
    assert all(stored.is_same(stored.replay()) for stored in done.kept.values())
    check_books(database)
    again = source_together(database, None, by="ops", tenant="acme", seconds=2)
    assert filled.isdisjoint(item.order.order_id for item in again.batch.decisions)
    with pytest.raises(FulfilmentError) as error:
        source_together(database, date(2020, 1, 1), by="ops")
    assert code_of(error) == "no-orders"


def test_a_plan_of_a_batch_is_carried_out_though_the_order_alone_would_be_sent_otherwise(
    hub: Sourcing,
) -> None:
    (alone,) = hub.source("O2", by="shop").decision["parcels"]
    (inputs,), _ = hub.inputs(["O2"])
    planned = source_order(
        inputs.day.orders[0], varied(inputs.day, without=[alone["node_id"]]).network(), policy.default()
    )
    made = hub.source("O2", by="ops", request=request(), planned=planned)
    (parcel,) = made.decision["parcels"]
    assert parcel["node_id"] == planned.parcels[0].node_id != alone["node_id"]
    reasons = {item["node_id"]: item["because"] for item in made.decision["counterfactuals"]}
    assert "kept for other orders of the batch" in reasons[alone["node_id"]]
    assert made.is_same(made.replay())
