"""Records that are gone at their source: whom documents meant, and who merged records are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from oms_core.identity.match import customer_edges
from oms_core.identity.vanished import with_vanished

INSTANT = pa.timestamp("us", tz="UTC")
LINKS = pa.schema(
    [("record_id", pa.string()), ("customer_id", pa.string()), ("match_rule", pa.string()),
     ("valid_from", INSTANT), ("valid_to", INSTANT)]
)  # fmt: skip
FORMER = pa.schema(
    [("entity", pa.string()), ("record_id", pa.string()), ("golden_id", pa.string()),
     ("held_from", INSTANT), ("held_to", INSTANT)]
)  # fmt: skip


def _day(number: int) -> datetime:
    return datetime(2026, 10, number, tzinfo=UTC)


def _link(record: str, golden_id: str, start: int, end: int | None = None) -> dict[str, Any]:
    until = None if end is None else _day(end)
    return {
        "record_id": record,
        "customer_id": golden_id,
        "match_rule": "x",
        "valid_from": _day(start),
        "valid_to": until,
    }


def _former(*links: dict[str, Any], gone: set[str]) -> list[dict[str, Any]]:
    table = with_vanished(
        FORMER.empty_table(), "customer", pa.Table.from_pylist(list(links), schema=LINKS), gone
    )
    return table.to_pylist()


def test_documents_go_on_meaning_whom_a_vanished_record_was() -> None:
    found = _former(_link("a", "CUS-1", 1, 9), _link("b", "CUS-1", 1), gone={"a"})
    assert found == [
        {"entity": "customer", "record_id": "a", "golden_id": "CUS-1", "held_from": None, "held_to": _day(9)}
    ]


def test_the_last_link_counts() -> None:
    [row] = _former(
        _link("a", "CUS-2", 5, 9), _link("a", "CUS-1", 1, 5), _link("b", "CUS-1", 1), _link("c", "CUS-2", 1),
        gone={"a"},
    )  # fmt: skip
    assert row["golden_id"] == "CUS-2"


def test_who_has_no_record_left_is_nobody() -> None:
    assert _former(_link("a", "CUS-1", 1, 9), _link("b", "CUS-2", 1), gone={"a"}) == []


def test_a_record_that_is_linked_still_or_was_never_gone_is_left_alone() -> None:
    assert _former(_link("a", "CUS-1", 1), gone={"a"}) == []
    assert _former(_link("a", "CUS-1", 1, 9), _link("b", "CUS-1", 1), gone=set()) == []


def test_what_a_system_merged_is_one_customer() -> None:
    blank = dict.fromkeys(
        ("customer_type", "full_name", "given_name", "family_name", "company_name", "email", "phone", "phone_e164",
         "tax_number", "street", "city", "region", "postcode", "country", "marketplace_buyer_id", "parent_key")
    )  # fmt: skip
    rows = [
        {**blank, "record_id": "hubspot:contacts:1", "source_system": "hubspot", "full_name": "Ann Lee",
         "merged_into": "hubspot:contacts:2"},
        {**blank, "record_id": "hubspot:contacts:2", "source_system": "hubspot", "full_name": "Bob Roy"},
    ]  # fmt: skip
    [edge] = customer_edges(rows)
    assert (edge.left, edge.right, edge.rule) == (
        "hubspot:contacts:1",
        "hubspot:contacts:2",
        "merged at source",
    )
