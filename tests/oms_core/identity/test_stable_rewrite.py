"""Whether a record became somebody or something else: marriages, moves and corrections on one side, recycled keys on the other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms_core.identity.rewrite import COLUMNS, identifying, rewritten

ANNA = {
    "customer_type": "person", "full_name": "Anna Schmidt", "email": "anna@example.com", "phone": "030 901820",
    "country": "DE", "street": "Hauptstr. 5", "postcode": "10115",
}  # fmt: skip
BERND = {
    "customer_type": "person", "full_name": "Bernd Kaiser", "email": "bernd@example.net", "phone": "040 428280",
    "country": "DE", "street": "Elbchaussee 1", "postcode": "22765",
}  # fmt: skip
FIRM = {
    "customer_type": "company", "company_name": "Nordlicht Kosmetik GmbH", "email": "info@nordlicht.example",
    "tax_number": "DE136695976", "country": "DE", "street": "Am Kai 2", "postcode": "20457",
}  # fmt: skip
SERUM = {"gtin14": "04006381333931", "title": "Vitamin C Serum 30 ml", "mpn": "VC-30", "brand": "Nordlicht"}
STORE = {
    "gln": "4012345000009",
    "location_name": "Store Berlin Mitte",
    "street": "Friedrichstr. 100",
    "postcode": "10117",
}


def said(entity: str, before: dict[str, Any], after: dict[str, Any]) -> str | None:
    empty = dict.fromkeys(COLUMNS[entity])
    return rewritten(entity, identifying(entity, empty | before), identifying(entity, empty | after))


@pytest.mark.parametrize(
    ("entity", "before", "change"),
    [
        pytest.param("customer", ANNA, {"full_name": "Anna Kaiser"}, id="marries"),
        pytest.param(
            "customer", ANNA, {"full_name": "Anna Kaiser", "email": "anna.kaiser@example.com"},
            id="marries and changes the mailbox",
        ),
        pytest.param(
            "customer", ANNA, {"street": "Elbchaussee 1", "postcode": "22765", "phone": "040 428280"}, id="moves"
        ),
        pytest.param(
            "customer", ANNA,
            {"street": "Elbchaussee 1", "postcode": "22765", "phone": "040 428280", "email": "a.s@example.net"},
            id="moves and keeps nothing but the name",
        ),
        pytest.param("customer", ANNA, {"full_name": "Schmidt, Anna", "email": "as@example.net"}, id="name turned round"),
        pytest.param("customer", ANNA, {"full_name": "Ana Schmitd", "email": "as@example.net"}, id="name mistyped"),
        pytest.param("customer", ANNA, {"full_name": "A. Schmidt", "email": "as@example.net"}, id="an initial"),
        pytest.param("customer", ANNA, {"full_name": None, "email": None}, id="values emptied"),
        pytest.param(
            "customer", {"full_name": "王小明", "email": "w@example.cn"},
            {"full_name": "Wang Xiaoming", "email": "ming@example.cn"}, id="name in another script",
        ),
        pytest.param(
            "customer", FIRM, {"company_name": "Polar Beauty AG", "email": "hello@polar.example"}, id="a company renamed"
        ),
        pytest.param(
            "customer", FIRM | {"tax_number": None, "phone": "040 428280"},
            {"company_name": "Polar Beauty AG", "email": "hello@polar.example"}, id="renamed, at the same place",
        ),
        pytest.param("sku", SERUM, {"title": "Vitamin C Srum 30ml"}, id="a typing error in a title"),
        pytest.param("sku", SERUM, {"title": "维生素C精华 30 ml", "mpn": None}, id="a title translated"),
        pytest.param("sku", SERUM, {"gtin14": "04006381333948"}, id="a new barcode"),
        pytest.param("sku", SERUM, {"title": "Vitamin C Serum 300 ml"}, id="a size corrected under one barcode"),
        pytest.param("location", STORE, {"street": "Alexanderplatz 1", "postcode": "10178"}, id="a store that moved"),
        pytest.param("location", STORE, {"location_name": "Flagship Berlin"}, id="a store renamed"),
        pytest.param("order", {"order_number": "1001", "customer_key": "c:1"}, {"customer_key": "c:2"}, id="an order's buyer"),
    ],
)  # fmt: skip
def test_who_marries_moves_or_is_corrected_is_not_rewritten(
    entity: str, before: dict[str, Any], change: dict[str, Any]
) -> None:
    assert said(entity, before, before | change) is None


@pytest.mark.parametrize(
    ("entity", "before", "after", "reason"),
    [
        pytest.param("customer", ANNA, BERND, "e-mail, name, phone and street differ", id="a recycled account"),
        pytest.param(
            "customer", ANNA, ANNA | {"full_name": "Bernd Kaiser", "email": "bernd@example.net"},
            "e-mail and name differ", id="a successor on the same desk",
        ),
        pytest.param(
            "customer", FIRM, FIRM | {"tax_number": "DE811128135", "company_name": "Polar Beauty AG"},
            "tax number and name differ", id="another company",
        ),
        pytest.param(
            "customer", {"full_name": "王小明", "phone": "+86 139 1111 2345", "email": "w@example.cn"},
            {"full_name": "王丽", "phone": "+86 138 2222 6789", "email": "li@example.cn"},
            "e-mail and phone differ", id="another of the same family name",
        ),
        pytest.param(
            "sku", SERUM, {"gtin14": "04006381444446", "title": "Rose Hand Cream 75 ml", "mpn": "HC-75", "brand": "Nordlicht"},
            "GTIN, part number and title differ", id="a recycled item code",
        ),
        pytest.param(
            "sku", SERUM, SERUM | {"gtin14": "04006381444446", "mpn": None, "title": "Vitamin C Serum 50 ml"},
            "GTIN and title differ", id="another size under another barcode",
        ),
        pytest.param(
            "location", STORE, {"gln": None, "location_name": "Warehouse Hamburg", "street": "Am Kai 2", "postcode": "20457"},
            "name and street differ", id="a recycled location code",
        ),
        pytest.param(
            "order", {"order_number": "1001", "customer_key": "c:1"}, {"order_number": "2044", "customer_key": "c:2"},
            "order number and customer differ", id="a recycled order key",
        ),
    ],
)  # fmt: skip
def test_a_recycled_key_is_rewritten_and_the_reason_names_no_value(
    entity: str, before: dict[str, Any], after: dict[str, Any], reason: str
) -> None:
    assert said(entity, before, after) == reason


TEXT = st.one_of(st.none(), st.text(max_size=12), st.sampled_from(["Anna Schmidt", "a@b.de", "5 ml", "王丽"]))


@settings(max_examples=150, deadline=None, database=None)
@given(st.sampled_from(sorted(COLUMNS)), st.data())
def test_no_record_is_rewritten_into_itself_or_by_values_appearing(entity: str, data: st.DataObject) -> None:
    row = {name: data.draw(TEXT) for name in COLUMNS[entity]}
    other = {name: data.draw(TEXT) for name in COLUMNS[entity]}
    assert said(entity, row, row) is None
    assert said(entity, {}, other) is None
    assert (said(entity, row, other) is None) == (said(entity, other, row) is None), "the same both ways"
    kept = {
        name: value if data.draw(st.booleans()) else None
        for name, value in row.items()
        if name != "customer_type"
    }
    assert said(entity, row, row | kept) is None, "emptied values contradict nothing"


def test_only_what_identifies_is_kept() -> None:
    row = dict.fromkeys(COLUMNS["customer"]) | ANNA | {"loyalty_tier": "gold", "region": ""}
    assert identifying("customer", row) == (
        '{"customer_type":"person","full_name":"Anna Schmidt","email":"anna@example.com","phone":"030 901820",'
        '"street":"Hauptstr. 5","postcode":"10115","country":"DE"}'
    )
