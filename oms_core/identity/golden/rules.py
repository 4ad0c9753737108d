"""Survivorship rules in the operational store: what stewards set, withdrew, and what holds now."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, func, insert, select, text, update

from oms_core.audit import log
from oms_core.identity.golden.contradiction import COMPARABLE
from oms_core.identity.golden.survivorship import (
    SHIPPED,
    UNITS,
    InForce,
    Rule,
    RuleError,
    Shipped,
    check,
    in_force,
    read_shipped,
)
from oms_core.store.tables import survivorship_rules

_SEEDS = Path(__file__).resolve().parents[3] / "dbt" / "seeds"
_LOCK = 7_301_004  # advisory lock key: one steward sets or withdraws at a time


@dataclass(frozen=True)
class SetRule:
    """A rule that a steward set, with what became of it. Times are aware UTC."""

    version: int
    rule: Rule
    withdrawn_at: datetime | None
    withdrawn_by: str | None
    withdrawn_reason: str | None


def shipped() -> Shipped:
    """The rules that ship with the project, from the dbt seeds."""
    return read_shipped(
        _seed("source_systems"), _seed("survivorship_rules"), _seed("survivorship_agreements")
    )


def _seed(name: str) -> list[dict[str, str]]:
    with (_SEEDS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def standing(connection: Connection) -> list[Rule]:
    """What stewards set and nobody withdrew, oldest first."""
    return [found.rule for found in history(connection) if found.withdrawn_at is None]


def history(connection: Connection, entity: str | None = None) -> list[SetRule]:
    """Everything stewards ever set, oldest first, withdrawn or not.

    Args:
        entity: only of this entity.
    """
    query = select(survivorship_rules).order_by(survivorship_rules.c.version)
    if entity is not None:
        query = query.where(survivorship_rules.c.entity == entity)
    return [_read(row) for row in connection.execute(query).mappings()]


def _read(row: Mapping[Any, Any]) -> SetRule:
    rule = Rule(
        row["entity"],
        row["attribute_group"],
        row["rule"],
        None if row["sources"] is None else tuple(row["sources"]),
        row["must_agree"],
        str(row["version"]),
        row["set_by"],
        row["set_at"],
        row["reason"],
    )
    return SetRule(row["version"], rule, row["withdrawn_at"], row["withdrawn_by"], row["withdrawn_reason"])


def effective(connection: Connection) -> list[InForce]:
    """The rule that every unit follows now."""
    return in_force(shipped(), standing(connection))


def propose(
    entity: str,
    name: str,
    current: Sequence[Rule],
    *,
    rule: str | None = None,
    order: Sequence[str] | None = None,
    must_agree: bool | None = None,
) -> Rule:
    """A rule made whole and checked: what is not given stays as it is now for that group or attribute.

    Args:
        entity: order, customer, sku or location.
        name: attribute group, or one attribute.
        current: what stewards set so far.
        rule: one of RULES.
        order: kinds of system and single systems, most trusted first.
        must_agree: whether two listed sources that differ contradict each other.

    Raises:
        RuleError: it names what does not exist, or asks what cannot be.
    """
    ships = shipped()
    wanted = Rule(entity, name, rule, None if order is None else tuple(order), must_agree)
    if rule is not None or order is not None:
        now = _now(entity, name, in_force(ships, current))
        wanted = Rule(
            entity,
            name,
            rule or (now.rule if now else None),
            tuple(order) if order is not None else (now.sources if now else ()),
            must_agree,
        )
    check(wanted, ships.systems, COMPARABLE.get(entity, ()))
    return wanted


def _now(entity: str, name: str, rules: Iterable[InForce]) -> InForce | None:
    """What holds for a group, else for an attribute. A group is described by a unit that follows the group's own rule."""
    found = [item for item in rules if item.entity == entity and item.unit.group == name]
    found = [item for item in found if item.named_by == name] or found
    found += [item for item in rules if item.entity == entity and name in item.unit.attributes]
    return found[0] if found else None


def holding(connection: Connection, entity: str, name: str) -> str:
    """Version of the rule in force for a group or attribute: "shipped" or a number."""
    named = [rule for rule in standing(connection) if (rule.entity, rule.name) == (entity, name)]
    return named[-1].version if named else SHIPPED


def set_rule(
    connection: Connection, rule: Rule, *, by: str, reason: str, replaces: str | None = None
) -> Rule:
    """Write a rule that `propose` made; it holds from the next unify on.

    Args:
        rule: what shall hold.
        by, reason: who sets it and why; not empty.
        replaces: version the steward saw; another steward's newer one is then a conflict, not a lost update.

    Returns:
        The rule with its version.

    Raises:
        RuleError: by or reason is missing, or another version holds than the one to be replaced.
    """
    _signed(by, reason)
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    now = holding(connection, rule.entity, rule.name)
    if replaces is not None and now != replaces:
        raise RuleError(
            f"version {now} holds for {rule.entity} {rule.name}, not {replaces}: somebody set or withdrew a rule "
            "meanwhile; look at it (orderhub rules history), then decide again"
        )
    row = connection.execute(
        insert(survivorship_rules)
        .values(
            entity=rule.entity,
            attribute_group=rule.name,
            rule=rule.rule,
            sources=None if rule.sources is None else list(rule.sources),
            must_agree=rule.must_agree,
            set_by=by.strip(),
            reason=reason.strip(),
        )
        .returning(survivorship_rules)
    )
    made = _read(row.mappings().one())
    said = {
        "version": made.version,
        "rule": rule.rule,
        "sources": None if rule.sources is None else list(rule.sources),
        "must_agree": rule.must_agree,
        "reason": reason.strip(),
    }
    log.append(connection, [log.Happening("rule.set", by.strip(), f"{rule.entity}/{rule.name}", said)])
    return made.rule


def withdraw(connection: Connection, version: int, *, by: str, reason: str) -> SetRule:
    """Withdraw a rule: what held before it holds again, in the end what ships.

    Raises:
        RuleError: there is no such version, it is withdrawn already, or by or reason is missing.
    """
    _signed(by, reason)
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    found = [item for item in history(connection) if item.version == version]
    if not found:
        raise RuleError(f"no rule has version {version}: orderhub rules history lists them")
    if found[0].withdrawn_at is not None:
        raise RuleError(
            f"version {version} was withdrawn by {found[0].withdrawn_by} at {found[0].withdrawn_at.isoformat()}"
        )
    row = connection.execute(
        update(survivorship_rules)
        .where(survivorship_rules.c.version == version)
        .values(withdrawn_at=func.now(), withdrawn_by=by.strip(), withdrawn_reason=reason.strip())
        .returning(survivorship_rules)
    )
    withdrawn = _read(row.mappings().one())
    subject = f"{withdrawn.rule.entity}/{withdrawn.rule.name}"
    said = {"version": version, "reason": reason.strip()}
    log.append(connection, [log.Happening("rule.withdrawn", by.strip(), subject, said)])
    return withdrawn


def _signed(by: str, reason: str) -> None:
    if not by.strip() or not reason.strip():
        raise RuleError("a rule carries who set it and why: give both, not empty")


def rule_table(rules: Iterable[InForce]) -> pa.Table:
    """The rules in force as the warehouse reads them, one row per unit and source system.

    Columns: entity, unit, attribute_group, source_system, priority (null: not listed, answers last), rule, rule_version.
    """
    names = list(shipped().systems)
    rows = [
        {
            "entity": item.entity,
            "unit": item.unit.name,
            "attribute_group": item.unit.group,
            "source_system": system,
            "priority": item.priorities.get(system),
            "rule": item.rule,
            "rule_version": item.version,
        }
        for item in rules
        for system in names
    ]
    schema: pa.Schema = pa.schema(
        [
            pa.field(name, pa.int32() if name == "priority" else pa.string())
            for name in (
                "entity", "unit", "attribute_group", "source_system", "priority", "rule", "rule_version",
            )
        ]
    )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=schema)


def entities(entity: str | None) -> list[str]:
    """The entity named, or all.

    Raises:
        RuleError: there is none of that name.
    """
    if entity is None:
        return list(UNITS)
    if entity not in UNITS:
        raise RuleError(f"there is no entity {entity!r}; there are {', '.join(UNITS)}")
    return [entity]
