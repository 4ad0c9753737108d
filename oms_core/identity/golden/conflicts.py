"""Contradictions between trusted sources, from warehouse to stewards: looked for, listed, and put into the queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection

from oms_core.identity.golden.contradiction import COMPARABLE, Contradiction, columns, contradictions
from oms_core.identity.golden.survivorship import InForce
from oms_core.identity.stewardship import evidence
from oms_core.identity.stewardship.queue import CONTRADICTION, Task
from oms_core.warehouse import Warehouse

# A number that its source does not write in E.164 is read from how it was written.
_VALUES = {"phone_e164": "coalesce(records.phone_e164, records.phone)"}


def find(warehouse: Warehouse, rules: Sequence[InForce]) -> list[Contradiction]:
    """Look through the records of the warehouse, with the crosswalks it holds.

    Args:
        warehouse: with schemas `intermediate` and `identity`.
        rules: the rule of every unit.
    """
    found: list[Contradiction] = []
    for entity in COMPARABLE:
        systems = warehouse.read(f"select distinct source_system from intermediate.int_{entity}_records")
        query = _query(entity, rules, frozenset(map(str, systems["source_system"].to_pylist())))
        if query is not None:
            with warehouse.stream(query) as reader:
                rows: Iterator[dict[str, Any]] = (row for batch in reader for row in batch.to_pylist())
                found += contradictions(entity, rows, rules)
    return found


def _query(entity: str, rules: Sequence[InForce], present: frozenset[str]) -> str | None:
    """Records of those golden ids about which trusted sources write different things: few of all. None: there are none.

    Sources can only contradict each other where they must agree, or where the order of sources leaves them even.
    """
    differing = []
    for item in rules:
        for attribute in item.unit.attributes if item.entity == entity else ():
            if attribute in COMPARABLE[entity]:
                even = [list(item.priorities)] if attribute in item.must_agree else _even(item)
                meeting = [[system for system in systems if system in present] for systems in even]
                differing += [_differ(attribute, systems) for systems in meeting if len(systems) > 1]
    if not differing:
        return None
    linked = (
        f"from identity.{entity}_xref as xref inner join intermediate.int_{entity}_records as records "
        "on xref.record_id = records.record_id where xref.valid_to is null"
        + (" and records.document_role = 'order'" if entity == "order" else "")
    )
    listed = ", ".join(f"records.{name}" for name in columns(entity, rules))
    return (
        f"select xref.{entity}_id as golden_id, records.record_id, records.source_system, records.source_updated_at, "
        f"{listed} {linked} and xref.{entity}_id in (select xref.{entity}_id {linked} group by xref.{entity}_id "
        f"having {' or '.join(differing)}) order by xref.{entity}_id, records.record_id"
    )


def _even(item: InForce) -> list[list[str]]:
    """Systems of one priority, for each priority."""
    found: dict[int, list[str]] = {}
    for system, priority in item.priorities.items():
        found.setdefault(priority, []).append(system)
    return list(found.values())


def _differ(attribute: str, systems: Sequence[str]) -> str:
    """SQL condition on a group of records: of these systems at least two tell the attribute, and not letter by letter the
    same."""
    value = _VALUES.get(attribute, f"records.{attribute}")
    told = f"{value} is not null and records.source_system in ({', '.join(map(repr, systems))})"
    return (
        f"(count(distinct case when {told} then records.source_system end) > 1 "
        f"and count(distinct case when {told} then lower(trim({value})) end) > 1)"
    )


def conflict_table(found: Sequence[Contradiction]) -> pa.Table:
    """Contradictions as the warehouse lists them, one row per record that takes part.

    Columns: entity, golden_id, attribute, cause, record_id, source_system, value, normal_value.
    """
    rows = [
        (item.entity, item.golden_id, item.attribute, item.cause, told.record_id, told.source_system, told.value, told.normal)
        for item in found
        for told in item.told
    ]  # fmt: skip
    names = (
        "entity", "golden_id", "attribute", "cause", "record_id", "source_system", "value", "normal_value",
    )  # fmt: skip
    return pa.table(
        {name: pa.array([row[place] for row in rows], pa.string()) for place, name in enumerate(names)}
    )


def raise_tasks(
    connection: Connection, found: Sequence[Contradiction], at: datetime
) -> dict[str, evidence.QueueChange]:
    """Ask the stewards: one task per contradiction; a task whose contradiction is gone closes by itself.

    Args:
        connection: inside a transaction, after the run's members were written.
        found: everything the run found.
        at: time of the run, aware UTC.

    Returns:
        What changed in the queue, by entity.
    """
    changes = {}
    for entity in COMPARABLE:
        tasks = [
            Task(
                entity,
                CONTRADICTION,
                golden_id=item.golden_id,
                attribute=item.attribute,
                evidence={
                    "cause": item.cause,
                    "told": [
                        {
                            "record_id": told.record_id,
                            "source_system": told.source_system,
                            "value": told.value,
                        }
                        for told in item.told
                    ],
                },
            )
            for item in found
            if item.entity == entity
        ]
        changes[entity] = evidence.open_tasks(connection, entity, tasks, at, kinds=(CONTRADICTION,))
    return changes
