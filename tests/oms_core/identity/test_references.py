"""Which documents are one purchase: references in the forms people write them, parcels, parts, and agreement without one."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms_core.identity.references import OrphanReason, order_links, reference_chunks
from oms_core.identity.resolve import Known, Resolved, resolve

AT = datetime(2026, 7, 1, tzinfo=UTC)
QUICK = settings(max_examples=80, deadline=None, database=None)


def order(record_id: str, number: str | None, role: str = "order", **fields: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(
        (
            "channel",
            "customer_key",
            "currency",
            "net_amount",
            "ordered_at",
            "ship_to_street",
            "ship_to_postcode",
        )
    )
    return {
        "record_id": record_id, "source_system": record_id.split(":")[0], "source_key": record_id.split(":")[-1],
        "document_role": role, "order_number": number, "_first_seen_at": AT, **nothing, **fields,
    }  # fmt: skip


def paid(record_id: str, number: str, amount: str, **fields: Any) -> dict[str, Any]:
    return (
        order(record_id, number)
        | {"currency": "EUR", "net_amount": Decimal(amount), "ordered_at": AT}
        | fields
    )


def reference(record_id: str, value: str) -> dict[str, Any]:
    return {
        "order_record_id": record_id, "reference_type": "external", "reference_value": value, "target_system": None,
    }  # fmt: skip


def parcel(record_id: str, number: str) -> dict[str, Any]:
    return {"order_record_id": record_id, "tracking_number": number}


def customer(record_id: str, name: str) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("company_name", "email", "phone", "phone_e164", "tax_number", "street", "postcode", "country", "marketplace_buyer_id")
    )  # fmt: skip
    return {
        "record_id": record_id, "source_system": record_id.split(":")[0], "customer_type": None, "full_name": name,
        "_first_seen_at": AT, **nothing,
    }  # fmt: skip


def sku(record_id: str, code: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("title", "brand", "mpn", "gtin14", "size_qty", "size_uom", "pack_qty"))
    return {
        "record_id": record_id, "source_system": record_id.split(":")[0], "sku_code": code, "_first_seen_at": AT, **nothing,
    }  # fmt: skip


def line(record_id: str, sku_key: str | None, qty: int) -> dict[str, Any]:
    return {"order_record_id": record_id, "sku_key": sku_key, "qty": Decimal(qty), "is_return": False}


def run(orders: list[dict[str, Any]], **rows: list[dict[str, Any]]) -> Resolved:
    lines = rows.get("lines", [])

    def lines_of(records: Collection[str]) -> list[dict[str, Any]]:
        return [row for row in lines if row["order_record_id"] in records]

    return resolve(
        rows.get("customers", []), rows.get("skus", []), [], orders, rows.get("references", []), Known(),
        rows.get("shipments", []), lines_of, lots=rows.get("lots", ()),
    )["order"]  # fmt: skip


def together(found: Resolved, *records: str) -> bool:
    return len({found.assignment.members.get(record, record) for record in records}) == 1


AMAZON = "112-2078904-1000262"


@pytest.mark.parametrize(
    ("number", "written"),
    [
        ("#1001", "SHOPIFY #1001 / rush"), ("#1001", "Shopify order 1001"), ("#1001", "订单号：1001"), ("#1001", "＃１００１"),
        ("SO26-1009", "so26 1009"), ("SO26-1009", "SO261009"), ("SO26-1009", "S026-1OO9"), ("WH-CN/OUT/000421", "WH-CN/OUT/421"),
        (AMAZON, "Amazon 2078904-1000262"), (AMAZON, "112-2078904-10002"), (AMAZON, "112-207894-1000262"),
        (AMAZON, "112-2078940-1000262"), ("#1001", "1001-2"), ("#1001", "1001-B"), ("PO-77812", "Your order no. PO-77812"),
        ("410000565268290", "LZD410000565268290"), ("P700313919900000004", "小红书P700313919900000004"),
    ],
)  # fmt: skip
def test_a_number_in_the_forms_people_and_imports_turn_it_into(number: str, written: str) -> None:
    others = [order(f"shop:orders:{n}", f"X-{n}-{n}") for n in range(5)]
    orders = [order("shop:orders:a", number), order("erp:sales:b", "E-5"), *others]
    found = run(orders, references=[reference("erp:sales:b", written)])
    assert together(found, "shop:orders:a", "erp:sales:b")


@pytest.mark.parametrize("written", ["SO26-100", "SO26-10O", "126-1001", "SO26-1002", "SO", "1", "SO26-1O1O"])
def test_a_number_that_could_be_two_or_another_is_none(written: str) -> None:
    orders = [order(f"erp:sales:{n}", f"SO26-{n}") for n in (1001, 1003, 1008, 1009)]
    found = run(
        [*orders, order("wms:pickings:1", None, "fulfilment")],
        references=[reference("wms:pickings:1", written)],
    )
    detail = f"no order has the number {written!r}"
    assert found.orphans == {"wms:pickings:1": (OrphanReason.UNKNOWN_REFERENCE, detail)}


def test_a_sign_short_of_a_number_in_a_dense_sequence_is_nobodys() -> None:
    orders = [order(f"erp:sales:{n}", f"DL2607-{n:04d}") for n in range(100, 161)]
    # DL2607-016 begins with DL2607-0160 alone, but may be 0116, 0126, 0136 … with a sign left out.
    picking = order("wms:pickings:1", None, "fulfilment")
    found = run([*orders, picking], references=[reference("wms:pickings:1", "DL2607-016")])
    assert "wms:pickings:1" in found.orphans


def test_what_a_device_read_is_exact_or_nobodys() -> None:
    records = [order("odoo:pickings:1", "WH-CN/OUT/000821"), order("epcis:events:1", None, "shipment")]
    typed = reference("epcis:events:1", "WH-CN/OUT/000281")
    assert order_links(records, [typed]).hangers
    assert not order_links(records, [typed | {"reference_type": "scanned"}]).hangers
    exact = typed | {"reference_type": "scanned", "reference_value": "wh-cn/out/000821"}
    assert order_links(records, [exact]).hangers
    # The counter of a delivery that nobody shows is no order's number.
    other = order("shop:orders:a", "#1041")
    scanned = {**typed, "reference_type": "scanned", "reference_value": "WH-CN/OUT/001041"}
    assert not order_links([*records, other], [scanned]).hangers


def test_a_whole_number_in_another_form_comes_before_a_word_of_it() -> None:
    orders = [
        order("shop:orders:a", "#1199"),
        order("erp:sales:b", "SO26-1199"),
        order("wms:p:1", None, "fulfilment"),
    ]
    for written in ("SO26 1199", "Sale SO26 1199 urgent"):
        found = run(orders, references=[reference("wms:p:1", written)])
        assert not together(found, "wms:p:1", "shop:orders:a")
    assert together(run(orders, references=[reference("wms:p:1", "SO26 1199")]), "wms:p:1", "erp:sales:b")


def test_amounts_that_differ_outweigh_a_likeness_of_numbers() -> None:
    orders = [paid("shop:orders:a", AMAZON, "10.00"), paid("erp:sales:b", "E-5", "12.00")]
    assert not together(
        run(orders, references=[reference("erp:sales:b", "112-2078904-10002")]),
        "shop:orders:a",
        "erp:sales:b",
    )
    assert together(
        run(orders, references=[reference("erp:sales:b", AMAZON)]), "shop:orders:a", "erp:sales:b"
    )


def test_references_of_one_text_are_told_apart() -> None:
    assert [wholes for wholes, _ in reference_chunks("SO26-1406 / Shopify #1209")] == [
        ["SO26-1406"],
        ["SHOPIFY#1209", "SHOPIFY1209"],
    ]
    assert reference_chunks("WH-DE/OUT/000271")[0][0] == ["WH-DE/OUT/000271"]
    assert reference_chunks(None) == [] == reference_chunks(" / ")


def test_a_delivery_that_names_two_systems_orders_joins_them() -> None:
    orders = [
        order("shop:orders:a", "#1009"), order("erp:sales:b", "SO26-7"), order("wms:pickings:1", "WH/1", "fulfilment"),
        order("carrier:shipments:2", None, "shipment"),
    ]  # fmt: skip
    named = [reference("wms:pickings:1", "SO26-7"), reference("carrier:shipments:2", "WH/1 / #1009")]
    found = run(orders, references=named)
    assert together(found, *(row["record_id"] for row in orders))
    two = [*orders, order("shop:orders:c", "#1010")]
    parted = run(two, references=[*named, reference("carrier:shipments:2", "#1010")])
    assert not together(parted, "shop:orders:a", "shop:orders:c")
    assert not together(parted, "shop:orders:a", "erp:sales:b")


def test_a_parcels_number_joins_those_who_know_it() -> None:
    orders = [
        order("shop:orders:a", "#1009"), order("wms:pickings:1", "WH/1", "fulfilment"), order("carrier:shipments:2", None, "shipment"),
    ]  # fmt: skip
    known = [
        parcel("shop:orders:a", "SF 0012 3456"), parcel("wms:pickings:1", "sf00123456"), parcel("carrier:shipments:2", "SF00123456"),
    ]  # fmt: skip
    found = run(orders, shipments=known)
    assert together(found, *(row["record_id"] for row in orders)) and found.orphans == {}
    assert found.rules["wms:pickings:1"] == "tracking_number"
    again = [*orders, order("shop:orders:b", "#1010")]
    assert run(again, shipments=[*known, parcel("shop:orders:b", "SF00123456")]).orphans.keys() == {
        "wms:pickings:1", "carrier:shipments:2",
    }  # fmt: skip


def test_one_order_entered_as_two_sales_whose_amounts_add_up() -> None:
    orders = [
        paid("shop:orders:a", "#1001", "30.00"), paid("erp:sales:1", "S1", "10.00"), paid("erp:sales:2", "S2", "20.00"),
    ]  # fmt: skip
    for one, two in (("#1001", "#1001"), ("#1001-1", "#1001-2")):
        found = run(orders, references=[reference("erp:sales:1", one), reference("erp:sales:2", two)])
        assert together(found, *(row["record_id"] for row in orders))
    orders[2]["net_amount"] = Decimal("21.00")
    found = run(orders, references=[reference("erp:sales:1", "#1001"), reference("erp:sales:2", "#1001")])
    assert not together(found, "erp:sales:1", "erp:sales:2")
    assert found.refusals


@pytest.mark.parametrize(("second", "is_part"), [("S1-2", True), ("S2", False), ("S1", False)])
def test_sales_of_an_order_without_an_amount_are_parts_where_their_numbers_say_so(
    second: str, is_part: bool
) -> None:
    orders = [
        order("shop:orders:a", "#1001"),
        paid("erp:sales:1", "S1", "7.00"),
        paid("erp:sales:2", second, "5.00"),
    ]
    found = run(orders, references=[reference("erp:sales:1", "#1001"), reference("erp:sales:2", "#1001")])
    assert together(found, *(row["record_id"] for row in orders)) is is_part


def test_two_orders_entered_as_one_sale_stay_two_and_the_sale_is_linked_to_both() -> None:
    orders = [
        paid("shop:orders:a", "#1001", "10.00"), paid("shop:orders:b", "#1002", "20.00"), paid("erp:sales:1", "S1", "30.00"),
        order("wms:pickings:1", "WH/1", "fulfilment"),
    ]  # fmt: skip
    named = [reference("erp:sales:1", "#1001 + #1002"), reference("wms:pickings:1", "S1")]
    found = run(orders, references=named)
    assert not together(found, "shop:orders:a", "shop:orders:b")
    members = found.assignment.members
    both = tuple(sorted(members[record] for record in ("shop:orders:a", "shop:orders:b")))
    assert found.shares == {"erp:sales:1": (both, "reference:external (one of several)")}
    assert found.orphans == {
        "wms:pickings:1": (OrphanReason.STANDS_FOR_SEVERAL, "S1 stands for several orders")
    }
    assert "erp:sales:1" not in members


def test_an_invoice_is_linked_to_every_order_that_it_bills() -> None:
    orders = [
        paid("shop:orders:a", "#1001", "10.00"), paid("erp:sales:1", "4500001", "10.00"),
        paid("erp:sales:2", "4500002", "20.00"), paid("erp:sales:3", "4500003", "30.00"),
        order("erp:bills:1", "90000001", "invoice"), order("erp:bills:2", "90000002", "invoice"),
        order("erp:bills:3", "90000003", "invoice"),
    ]  # fmt: skip
    named = [
        reference("erp:sales:1", "#1001"), reference("erp:bills:1", "4500001"), reference("erp:bills:1", "4500002"),
        reference("erp:bills:2", "4500003"),
    ]  # fmt: skip
    found = run(orders, references=named)
    members = found.assignment.members
    assert together(found, "shop:orders:a", "erp:sales:1")
    both = tuple(sorted(members[record] for record in ("shop:orders:a", "erp:sales:2")))
    assert found.shares == {"erp:bills:1": (both, "reference:external (one of several)")}
    assert together(found, "erp:bills:2", "erp:sales:3")
    assert "erp:bills:1" not in members
    assert found.orphans.keys() == {"erp:bills:3"}


def test_two_orders_in_one_parcel_stay_two_and_what_carried_them_is_linked_to_both() -> None:
    orders = [
        paid("shop:orders:a", "#1001", "10.00"), paid("erp:sales:2", "S2", "20.00"),
        order("wms:pickings:1", "WH/1", "fulfilment"), order("tms:shipments:1", None, "shipment"),
        order("scan:events:1", None, "shipment"),
    ]  # fmt: skip
    named = [
        reference("wms:pickings:1", "S2,Shopify #1001"), reference("tms:shipments:1", "WH/1"),
        # A box that says whose goods it holds is one order's, though it went with the other.
        reference("scan:events:1", "WH/1"), reference("scan:events:1", "#1001"),
    ]  # fmt: skip
    found = run(orders, references=named)
    members = found.assignment.members
    both = tuple(sorted((members["shop:orders:a"], members["erp:sales:2"])))
    assert len(set(both)) == 2 and found.orphans == {}
    assert {record: ids for record, (ids, _) in found.shares.items()} == {
        "wms:pickings:1": both,
        "tms:shipments:1": both,
    }
    assert members["scan:events:1"] == members["shop:orders:a"]
    # Two numbers of one purchase are one order.
    orders[1]["net_amount"] = Decimal("10.00")
    found = run(orders, references=[*named, reference("erp:sales:2", "#1001")])
    assert found.shares == {} and together(found, *(row["record_id"] for row in orders))


@pytest.mark.parametrize(("booked", "is_one"), [("10.00", True), ("20.00", False), (None, False)])
def test_orders_listed_as_several_are_one_only_where_what_their_sales_cost_agrees(
    booked: str | None, is_one: bool
) -> None:
    # The shop tells no amount; the sale in the books that names its order may.
    orders = [
        order("shop:orders:a", "#1001", channel="shop"), paid("erp:sales:2", "S2", "10.00"),
        order("wms:pickings:1", "WH/1", "fulfilment"),
    ]  # fmt: skip
    named = [reference("wms:pickings:1", "Shopify #1001,S2")]
    if booked is not None:
        orders.append(paid("books:sales:1", "4500001", booked))
        named.append(reference("books:sales:1", "#1001"))
    found = run(orders, references=named)
    assert together(found, "shop:orders:a", "erp:sales:2") is is_one
    assert found.shares.keys() == (set() if is_one else {"wms:pickings:1"})


def test_a_parcel_is_shared_as_its_delivery_is_whatever_number_one_shop_has() -> None:
    orders = [
        paid("shop:orders:a", "#1001", "10.00"), paid("erp:sales:2", "S2", "20.00"),
        order("wms:pickings:1", "WH/1", "fulfilment"), order("tms:shipments:1", None, "shipment"),
    ]  # fmt: skip
    named = [reference("wms:pickings:1", "S2,Shopify #1001"), reference("tms:shipments:1", "WH/1")]
    known = [parcel("shop:orders:a", "SF10000001"), parcel("tms:shipments:1", "SF10000001")]
    found = run(orders, references=named, shipments=known)
    assert found.shares.keys() == {"wms:pickings:1", "tms:shipments:1"}


def test_a_listed_order_that_no_system_shows_is_the_sale_that_names_it() -> None:
    unseen = "2900025416440884642"
    orders = [
        paid("shop:orders:a", "#1001", "10.00"), paid("erp:sales:1", "S1", "10.00"), paid("erp:sales:2", "S2", "20.00"),
        order("wms:pickings:1", "WH/1", "fulfilment"), order("scan:events:1", None, "shipment"),
        order("scan:events:2", None, "shipment"),
    ]  # fmt: skip
    named = [
        reference("erp:sales:1", "#1001"), reference("erp:sales:2", unseen),
        reference("wms:pickings:1", f"{unseen},Shopify #1001"),
        reference("scan:events:1", unseen), reference("scan:events:1", "WH/1"),
        reference("scan:events:2", "#1001"), reference("scan:events:2", "WH/1"),
    ]  # fmt: skip
    found = run(orders, references=named)
    assert not together(found, "erp:sales:1", "erp:sales:2")
    assert together(found, "erp:sales:2", "scan:events:1")
    assert together(found, "shop:orders:a", "erp:sales:1", "scan:events:2")
    assert found.shares.keys() == {"wms:pickings:1"} and found.orphans == {}


def test_a_parcels_number_does_not_hide_what_a_delivery_names_that_no_system_shows() -> None:
    unseen = "6981242017910000039"
    records = [
        order("erp:sales:1", "S1"), order("wms:pickings:1", "WH/1", "fulfilment"), order("tms:shipments:1", None, "shipment"),
    ]  # fmt: skip
    named = [reference(row["record_id"], unseen) for row in records]
    known = [parcel("wms:pickings:1", "SF10000001"), parcel("tms:shipments:1", "SF10000001")]
    assert together(run(records, references=named, shipments=known), *(row["record_id"] for row in records))


BUYERS = [customer("shop:customers:1", "Anna Müller"), customer("erp:parties:1", "Mueller, Anna")]
SKUS = [sku("shop:variants:1", "LB01-30M"), sku("erp:products:1", "lb01 30m")]


def lost(**fields: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """An order and the sale that lost its reference, with what both bought."""
    orders = [
        paid("shop:orders:a", "#1001", "30.00", customer_key="shop:customers:1"),
        paid("erp:sales:b", "S1", "30.00", customer_key="erp:parties:1", ordered_at=AT + timedelta(hours=5))
        | fields,
    ]
    lines = [
        line("shop:orders:a", "shop:variants:1", 2), line("erp:sales:b", "erp:products:1", 2), line("erp:sales:b", None, 1),
    ]  # fmt: skip
    return orders, lines


def test_buyer_amount_goods_and_time_join_what_lost_its_reference() -> None:
    orders, lines = lost()
    found = run(orders, lines=lines, customers=BUYERS, skus=SKUS)
    assert together(found, "shop:orders:a", "erp:sales:b")
    assert found.rules["erp:sales:b"] == "same buyer, amount and goods"


@pytest.mark.parametrize(
    "fields",
    [
        {"net_amount": Decimal("30.01")}, {"currency": "USD"}, {"ordered_at": AT + timedelta(days=4)}, {"customer_key": None},
    ],
)  # fmt: skip
def test_what_disagrees_stays_apart(fields: dict[str, Any]) -> None:
    orders, lines = lost(**fields)
    assert not together(run(orders, lines=lines, customers=BUYERS, skus=SKUS), "shop:orders:a", "erp:sales:b")


def test_other_goods_or_a_second_candidate_stay_apart() -> None:
    orders, lines = lost()
    lines[1]["qty"] = Decimal(3)
    assert not together(run(orders, lines=lines, customers=BUYERS, skus=SKUS), "shop:orders:a", "erp:sales:b")
    orders, lines = lost()
    twice = [*orders, {**orders[0], "record_id": "shop:orders:c", "source_key": "c", "order_number": "#1002"}]
    more = [*lines, line("shop:orders:c", "shop:variants:1", 2)]
    found = run(twice, lines=more, customers=BUYERS, skus=SKUS)
    assert len(set(found.assignment.members.values())) == 3
    # A candidate that has its partner already is none.
    taken = [*twice, paid("erp:sales:d", "S2", "30.00", customer_key="erp:parties:1")]
    found = run(
        taken, lines=more, customers=BUYERS, skus=SKUS, references=[reference("erp:sales:d", "#1002")]
    )
    assert together(found, "shop:orders:a", "erp:sales:b") and together(found, "shop:orders:c", "erp:sales:d")
    assert len(set(found.assignment.members.values())) == 2


def test_a_delivery_without_a_reference_hangs_on_the_one_order_that_holds_its_goods() -> None:
    orders, lines = lost()
    picking = order("wms:pickings:1", "WH/1", "fulfilment", customer_key="wms:partners:1")
    people = [{**row, "email": "anna@example.com"} for row in (*BUYERS, customer("wms:partners:1", "A"))]
    goods = [*lines, line("wms:pickings:1", "erp:products:1", 1)]
    found = run([*orders, picking], lines=goods, customers=people, skus=SKUS)
    assert found.rules["wms:pickings:1"] == "same customer and goods"
    assert found.orphans == {}
    again = {
        **orders[0],
        "record_id": "shop:orders:c",
        "source_key": "c",
        "order_number": "#1002",
        "net_amount": Decimal(9),
    }
    found = run(
        [*orders, again, picking],
        lines=[*goods, line("shop:orders:c", "shop:variants:1", 5)],
        customers=people,
        skus=SKUS,
    )
    assert found.orphans == {"wms:pickings:1": (OrphanReason.NO_REFERENCE, "it refers to no order")}


@given(st.randoms(use_true_random=False))
@QUICK
def test_the_order_of_rows_changes_no_link(random: Any) -> None:
    orders = [
        order("shop:orders:a", "#1001"), order("shop:orders:b", "#1002"), order("erp:sales:1", "S1"), order("erp:sales:2", "S2"),
        order("wms:pickings:1", "WH/1", "fulfilment"), order("wms:pickings:2", "WH/2", "fulfilment"),
        order("wms:pickings:3", "WH/3", "fulfilment"), order("carrier:shipments:1", None, "shipment"),
    ]  # fmt: skip
    named = [
        reference("erp:sales:1", "Shop 1001"), reference("erp:sales:1", "#1001") | {"reference_type": "purchase_order"},
        reference("erp:sales:2", "#10O2"), reference("wms:pickings:1", "S1 / #1002"),
        reference("wms:pickings:3", "#77001"), reference("wms:pickings:3", "#88002"),
        reference("carrier:shipments:1", "WH/2 / #1001"),
    ]  # fmt: skip
    expected = order_links(orders, named)
    random.shuffle(orders)
    random.shuffle(named)
    assert order_links(orders, named) == expected


@pytest.mark.parametrize(("booked", "joined"), [(12, True), (3, False)])
def test_books_that_name_nobody_join_where_every_order_is_booked(booked: int, joined: bool) -> None:
    orders, lines = lost(customer_key=None)
    references = []
    for number in range(booked):
        shop, erp = f"shop:orders:n{number}", f"erp:sales:n{number}"
        price, at = f"{number + 100}.00", AT + timedelta(days=number)
        orders.append(paid(shop, f"#20{number:02d}", price, ordered_at=at))
        orders.append(paid(erp, f"S20{number:02d}", price, ordered_at=at))
        references.append(reference(erp, f"#20{number:02d}"))
    found = run(orders, references=references, lines=lines, customers=BUYERS, skus=SKUS)
    assert together(found, "shop:orders:a", "erp:sales:b") is joined


@pytest.mark.parametrize(
    ("quantity", "rival", "hours", "joined"),
    [(2, False, 5, True), (3, False, 5, False), (2, True, 5, False), (2, False, 30, False)],
)
def test_an_order_without_an_amount_is_the_one_booking_of_its_day_and_goods(
    quantity: int, rival: bool, hours: int, joined: bool
) -> None:
    orders = [
        order("shop:orders:a", "#1001", currency="EUR", ordered_at=AT, customer_key="shop:customers:1"),
        paid("erp:sales:b", "S1", "30.00", ordered_at=AT + timedelta(hours=hours)),
    ]
    lines = [line("shop:orders:a", "shop:variants:1", 2), line("erp:sales:b", "erp:products:1", quantity)]
    if rival:
        orders.append(paid("erp:sales:c", "S2", "31.00", ordered_at=AT))
        lines.append(line("erp:sales:c", "erp:products:1", 2))
    references = []
    for number in range(12):
        shop, erp, at = f"shop:orders:n{number}", f"erp:sales:n{number}", AT + timedelta(days=number)
        orders.append(order(shop, f"#20{number:02d}", currency="EUR", ordered_at=at))
        orders.append(paid(erp, f"S20{number:02d}", "9.00", ordered_at=at))
        references.append(reference(erp, f"#20{number:02d}"))
    found = run(orders, references=references, lines=lines, customers=BUYERS, skus=SKUS)
    assert together(found, "shop:orders:a", "erp:sales:b") is joined


def test_what_names_a_delivery_that_hangs_by_its_goods_hangs_with_it() -> None:
    orders, goods = lost()
    step = {"customer_key": "erp:parties:1"}
    orders += [
        order("wms:pickings:1", "WH/OUT/001", "fulfilment", **step), order("wms:pickings:2", "WH/PICK/001", "fulfilment", **step),
        order("tms:shipments:1", None, "shipment"), order("scan:events:1", None, "shipment"),
    ]  # fmt: skip
    references = [reference("tms:shipments:1", "WH/OUT/001"), reference("scan:events:1", "WH/PICK/001")]
    # Deliveries with their references show that the warehouse numbers the steps of one alike.
    for number in range(10, 22):
        orders.append(order(f"erp:sales:n{number}", f"S{number}"))
        for name in ("OUT", "PICK"):
            record = f"wms:pickings:{name}{number}"
            orders.append(order(record, f"WH/{name}/0{number}", "fulfilment", **step))
            references.append(reference(record, f"S{number}"))
    lines = [*goods, line("wms:pickings:1", "shop:variants:1", 2)]
    found = run(orders, references=references, lines=lines, customers=BUYERS, skus=SKUS)
    hung = ("wms:pickings:1", "wms:pickings:2", "tms:shipments:1", "scan:events:1")
    assert together(found, "shop:orders:a", *hung) and found.orphans == {}
    assert found.rules["tms:shipments:1"] == "reference:external"
    assert found.rules["wms:pickings:2"] == "step of one delivery"


LOT = "04012345678901/L7"


@pytest.mark.parametrize(
    ("went_to", "scanned", "outcome"),
    [
        ({LOT: ["1"]}, [LOT], "1"),
        ({LOT: ["1"], "other": ["1", "2"]}, [LOT, "other"], "1"),
        ({LOT: ["1", "2"]}, [LOT], "it names no order, and lot 04012345678901/L7 went to 2 orders"),
        ({LOT: ["1"], "other": ["2"]}, [LOT, "other"], "it names no order, and its lots went to 2 orders"),
        ({}, [LOT], "it names no order, and none got lot 04012345678901/L7"),
    ],
)
def test_a_scan_that_names_a_lot_alone_hangs_on_the_one_order_that_got_it(
    went_to: dict[str, list[str]], scanned: list[str], outcome: str
) -> None:
    orders = [order(f"shop:orders:{number}", f"SO-77{number}31") for number in "12"]
    orders += [order(f"epcis:events:{number}", None, "shipment") for number in "12"]
    scan = order("epcis:events:till", None, "fulfilment")
    lots = [
        {"order_record_id": f"epcis:events:{number}", "lot_id": lot}
        for lot, numbers in went_to.items()
        for number in numbers
    ]
    lots += [{"order_record_id": scan["record_id"], "lot_id": lot} for lot in scanned]
    references = [reference(f"epcis:events:{number}", f"SO-77{number}31") for number in "12"]
    found = run([*orders, scan], references=references, lots=lots)
    if outcome in "12":
        assert together(found, "epcis:events:till", f"shop:orders:{outcome}")
        assert found.rules["epcis:events:till"] == "lot"
    else:
        assert found.orphans["epcis:events:till"].detail == outcome


def test_a_scan_that_names_an_order_nobody_knows_is_not_hung_by_its_lot() -> None:
    orders = [order("shop:orders:1", "SO-77131"), order("epcis:events:1", None, "shipment")]
    scan = order("epcis:events:till", None, "fulfilment")
    lots = [{"order_record_id": record, "lot_id": LOT} for record in ("epcis:events:1", "epcis:events:till")]
    references = [reference("epcis:events:1", "SO-77131"), reference("epcis:events:till", "WX-90417")]
    found = run([*orders, scan], references=references, lots=lots)
    assert found.orphans["epcis:events:till"].reason == OrphanReason.UNKNOWN_REFERENCE
