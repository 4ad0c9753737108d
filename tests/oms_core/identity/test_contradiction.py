"""Which differences between trusted sources contradict each other, and which are spellings; and the task they become."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import text

from oms_core.identity.golden import conflicts, rules
from oms_core.identity.golden.contradiction import (
    MUST_AGREE,
    SAME_TRUST,
    Contradiction,
    columns,
    contradictions,
)
from oms_core.identity.golden.survivorship import Rule, in_force
from oms_core.store.postgres import Database
from oms_core.warehouse import open_warehouse

AT = datetime(2026, 1, 1, tzinfo=UTC)


def record(
    source: str, day: int | None = None, golden_id: str = "CUS-A", key: str = "1", **fields: Any
) -> dict[str, Any]:
    """A customer record as `contradictions` reads it."""
    at = None if day is None else datetime(2026, 1, day)
    names = columns("customer", in_force(rules.shipped(), []))
    return {
        "golden_id": golden_id, "record_id": f"{source}:r:{key}", "source_system": source, "source_updated_at": at,
        **dict.fromkeys(names), **fields,
    }  # fmt: skip


def found(*rows: dict[str, Any], standing: tuple[Rule, ...] = ()) -> list[Contradiction]:
    return list(contradictions("customer", rows, in_force(rules.shipped(), standing)))


def test_two_tax_numbers_contradict_each_other_whatever_the_order_of_trust() -> None:
    (one,) = found(
        record("hubspot", tax_number="DE 136 695 976"), record("tryton", tax_number="DE129274202"),
    )  # fmt: skip
    assert (one.golden_id, one.attribute, one.cause) == ("CUS-A", "tax_number", MUST_AGREE)
    assert [told.record_id for told in one.told] == ["tryton:r:1", "hubspot:r:1"]  # most trusted first
    assert [told.value for told in one.told] == ["DE129274202", "DE 136 695 976"]


SPELLINGS = {
    "tax number": ({"tax_number": "DE 136-695-976"}, {"tax_number": "de136695976"}),
    "legal form": ({"company_name": "Luna Trading GmbH"}, {"company_name": "LUNA Trading"}),
    "accents": ({"company_name": "Café Möwe KG"}, {"company_name": "Cafe Moewe"}),
    "a slip": (
        {"company_name": "Shenzhen Meilin Tradnig Co., Ltd."},
        {"company_name": "Shenzhen Meilin Trading"},
    ),
    "short form": ({"company_name": "Nordwind Logistik Hamburg"}, {"company_name": "Nordwind"}),
    "two scripts": (
        {"company_name": "深圳市美邻商贸"},
        {"company_name": "Shenzhen Meilin Trading Co., Ltd."},
    ),
    "traditional and simplified": (
        {"company_name": "啟明商貿有限公司"},
        {"company_name": "启明商贸有限公司"},
    ),
    "case of a code": ({"country": "cn"}, {"country": "CN "}),
    "nothing told": ({"country": None}, {"country": "CN"}),
}


@pytest.mark.parametrize(("left", "right"), SPELLINGS.values(), ids=SPELLINGS)
def test_spellings_do_not_contradict(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert found(record("hubspot", **left), record("tryton", **right)) == []


def test_two_legal_names_do() -> None:
    (one,) = found(
        record("hubspot", company_name="Nordwind GmbH"), record("tryton", company_name="Südstern AG")
    )
    assert (one.attribute, one.cause) == ("company_name", MUST_AGREE)


def test_a_better_kind_is_no_contradiction_but_two_of_one_kind_are() -> None:
    assert found(record("hubspot", email="a@inbox.example"), record("shopify", email="b@inbox.example")) == []
    (one,) = found(record("amazon", email="a@inbox.example"), record("shopify", email="b@inbox.example"))
    assert (one.attribute, one.cause) == ("email", SAME_TRUST)
    relay = record("amazon", email="x1@marketplace.amazon.de")
    assert found(relay, record("shopify", email="b@inbox.example")) == []  # it names no mailbox of theirs


def test_a_rule_that_tells_the_two_apart_ends_it() -> None:
    rows = record("amazon", 1, email="a@inbox.example"), record("shopify", 2, email="b@inbox.example")
    order = Rule("customer", "email", "source_priority", ("shopify", "marketplace"), version="1")
    newest = Rule("customer", "email", "most_recent", ("marketplace",), version="1")
    assert found(*rows, standing=(order,)) == found(*rows, standing=(newest,)) == []
    undated = [{**row, "source_updated_at": None} for row in rows]
    assert len(found(*undated, standing=(newest,))) == 1
    often = Rule("customer", "email", "most_frequent", ("marketplace",), version="1")
    assert len(found(*rows, standing=(often,))) == 1
    assert found(*rows, record("shopify", 1, key="2", email="b@inbox.example"), standing=(often,)) == []


def test_a_system_speaks_through_its_newest_record() -> None:
    old, new = record("hubspot", 1, key="1", country="FR"), record("hubspot", 9, key="2", country="DE")
    assert found(old, new, record("tryton", 5, country="DE")) == []


def test_a_source_the_rule_does_not_list_contradicts_nobody() -> None:
    assert found(record("tryton", country="DE"), record("zendesk", country="FR")) == []


def test_a_steward_may_say_that_sources_may_differ() -> None:
    rows = record("hubspot", country="FR"), record("tryton", country="DE")
    assert len(found(*rows)) == 1
    assert (
        found(*rows, standing=(Rule("customer", "country", None, None, must_agree=False, version="1"),)) == []
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A warehouse in which two sources contradict each other about one customer, and two spell another in two ways."""
    names = list(dict.fromkeys(columns("customer", in_force(rules.shipped(), []))))
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute("create schema identity")
        connection.execute("create schema intermediate")
        for entity in ("customer", "sku", "location", "order"):
            own = columns(entity, in_force(rules.shipped(), []))
            extra = ["document_role"] if entity == "order" else []
            listed = ", ".join(f"{name} text" for name in [*own, *extra])
            connection.execute(
                f"create table intermediate.int_{entity}_records (record_id text, source_system text, "
                f"source_updated_at timestamp, {listed})"
            )
            connection.execute(
                f"create table identity.{entity}_xref (record_id text, {entity}_id text, valid_to timestamp)"
            )
        for golden_id, source, value in (
            ("CUS-A", "hubspot", "DE136695976"), ("CUS-A", "tryton", "DE129274202"),
            ("CUS-B", "amazon", "DE 136695976"), ("CUS-B", "shopify", "de136695976"),
        ):  # fmt: skip
            row = record(source, 1, golden_id, golden_id, tax_number=value)
            kept = ["record_id", "source_system", "source_updated_at", *names]
            connection.execute(
                f"insert into intermediate.int_customer_records ({', '.join(kept)}) values ({', '.join('?' * len(kept))})",
                [row[name] for name in kept],
            )
            connection.execute(
                "insert into identity.customer_xref values (?, ?, null)", [row["record_id"], golden_id]
            )
    return tmp_path


def test_a_contradiction_is_listed_and_asked_until_it_is_gone(home: Path, database: Database) -> None:
    warehouse = open_warehouse(home, None)
    seen = conflicts.find(warehouse, in_force(rules.shipped(), []))
    listed = conflicts.conflict_table(seen).to_pylist()
    assert [(row["golden_id"], row["attribute"], row["source_system"]) for row in listed] == [
        ("CUS-A", "tax_number", "tryton"), ("CUS-A", "tax_number", "hubspot"),
    ]  # fmt: skip
    query = text("select kind, golden_id, attribute, outcome from orderhub.identity_tasks")
    for _run in range(2):  # a second run that finds the same leaves the queue as it is
        with database.begin() as connection:
            conflicts.raise_tasks(connection, seen, AT)
            assert [tuple(row) for row in connection.execute(query)] == [
                ("contradiction", "CUS-A", "tax_number", None)
            ]
    with database.begin() as connection:
        conflicts.raise_tasks(connection, [], AT)
        assert [row.outcome for row in connection.execute(query)] == ["gone"]
