"""Explaining a value: from the released order back to the bytes, with the hash computed anew."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from oms_core.audit.explain import Explanation, explain
from oms_core.store.errors import AmbiguousError, NotReleasedError
from oms_core.store.postgres import Database

PAGE = b'{"orders": [' + b" " * 1000 + b'{"id": 5123, "total": "49.90"}' + b" " * 1000 + b"]}"
ROW = {
    "order_id": "order_a", "attribute": "net_amount", "source_system": "shopify", "stream": "orders",
    "record_key": "5123", "batch_id": "b1", "page_sha256": hashlib.sha256(PAGE).hexdigest(), "row_index": 4,
    "rule": "source_priority",
}  # fmt: skip


def lost(page_sha256: str) -> bytes:
    """An archive that has lost everything."""
    raise FileNotFoundError(f"no page {page_sha256}")


@pytest.fixture
def explain_order(database: Database, publish_small: Callable[..., Any]) -> Callable[..., Explanation]:
    """Explains a small release's orders from an archive that holds one page."""
    publish_small(
        database, order_attribute_provenance=[ROW, {**ROW, "record_key": "5124", "page_sha256": "00" * 32}]
    )
    pages = {ROW["page_sha256"]: PAGE}

    def run(order: str, attribute: str | None = None, **options: Any) -> Explanation:
        return explain(database, order, attribute, **{"read_page": pages.__getitem__, **options})

    return run


def test_a_value_leads_to_its_bytes(explain_order: Callable[..., Explanation]) -> None:
    found = explain_order("1042", "net_amount")
    assert (found.golden_id, found.found_by, found.release_id) == ("order_a", "order_number", 1)
    assert found.records == ("shopify:orders:5123", "tryton:sales:SO:88")
    (value,) = found.values
    assert (value.attribute, value.value) == ("net_amount", Decimal("49.9000"))
    origin, second = value.origins
    assert (origin.rule, origin.record_key, origin.row_index) == ("source_priority", "5123", 4)
    assert origin.page.is_intact
    assert origin.page.recomputed_sha256 == origin.page_sha256 == hashlib.sha256(PAGE).hexdigest()
    assert '"id": 5123, "total": "49.90"' in origin.page.excerpt
    assert len(origin.page.excerpt) < 600 < origin.page.byte_count
    # The second record's page is gone: it is said, and hides nothing else.
    assert (second.page.is_intact, second.page.recomputed_sha256) == (False, None)
    assert second.page.fault is not None
    assert "KeyError" in second.page.fault


def test_a_changed_page_is_seen(explain_order: Callable[..., Explanation]) -> None:
    page = (
        explain_order("1042", "net_amount", read_page=lambda _: PAGE.replace(b"49.90", b"94.90"))
        .values[0]
        .origins[0]
        .page
    )
    assert not page.is_intact
    assert page.recomputed_sha256 != ROW["page_sha256"]
    assert '"total": "94.90"' in page.excerpt


def test_a_binary_page_is_named(explain_order: Callable[..., Explanation]) -> None:
    for content in (b"PAR1\xff\xfe\x00\x01...", b"PK\x03\x04\0\0"):
        page = explain_order("1042", "net_amount", read_page=lambda _, c=content: c).values[0].origins[0].page
        assert page.excerpt.startswith("binary, begins with 50 ")


def test_without_an_attribute_every_known_value_is_explained(
    explain_order: Callable[..., Explanation],
) -> None:
    found = explain_order("order_a", read_page=lost)
    values = {value.attribute: len(value.origins) for value in found.values}
    assert values["net_amount"] == 2
    assert values["currency"] == 0
    assert "refunded_amount" not in values
    assert {"order_id", "row_hash", "release_id"}.isdisjoint(values)


def test_a_null_asked_for_is_shown(explain_order: Callable[..., Explanation]) -> None:
    (value,) = explain_order("1042", "refunded_amount").values
    assert (value.value, value.origins) == (None, ())


def test_a_golden_customer_is_explained_by_its_id(
    database: Database, publish_small: Callable[..., Any]
) -> None:
    told = {
        "entity": "customer", "golden_id": "CUS-W", "attribute": "email", "source_system": "hubspot",
        "record_id": "hubspot:contacts:301", "rule": "source_priority", "rule_version": "7", "is_contested": True,
        "batch_id": "b1", "page_sha256": ROW["page_sha256"], "row_index": 2,
    }  # fmt: skip
    publish_small(
        database,
        dim_customers=[{"customer_id": "CUS-W", "full_name": "王小明", "email": "w@inbox.example"}],
        golden_attribute_provenance=[told],
    )
    found = explain(database, "CUS-W", read_page=lambda _: PAGE)
    assert (found.entity, found.golden_id, found.found_by) == ("customer", "CUS-W", "id")
    origins = {value.attribute: value.origins for value in found.values}
    assert origins["full_name"] == ()
    (origin,) = origins["email"]
    assert (origin.stream, origin.record_key, origin.rule_version, origin.is_contested) == (
        "contacts", "301", "7", True,
    )  # fmt: skip
    with pytest.raises(NotReleasedError, match="dim_customers has no attribute 'emial': did you mean email"):
        explain(database, "CUS-W", "emial", read_page=lambda _: PAGE)


def test_questions_without_an_answer(
    explain_order: Callable[..., Explanation], database: Database, publish_small: Callable[..., Any]
) -> None:
    with pytest.raises(NotReleasedError, match="no attribute 'net_amuont': did you mean net_amount"):
        explain_order("1042", "net_amuont")
    with pytest.raises(NotReleasedError, match="no order in release 1 has the number '9999'"):
        explain_order("9999")
    with pytest.raises(AmbiguousError, match="'RECYCLED' is the number of 2 orders"):
        explain_order("RECYCLED")
    publish_small(database, fct_order_lines=[])
    assert explain_order("1042", "net_amount", as_of=1).release_id == 1
    for as_of in (0, 3):
        with pytest.raises(NotReleasedError, match=f"no release {as_of}: the newest is 2"):
            explain_order("1042", "net_amount", as_of=as_of)
