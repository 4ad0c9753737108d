"""What a survivorship rule would change, before it is set: the marts' own SQL under both rules, and where they differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oms_core.identity.golden.rules import rule_table
from oms_core.identity.golden.survivorship import InForce, RuleError, Unit
from oms_core.warehouse import Warehouse

_GOLDEN = {
    "customer": ("golden_customers", "customer_id"),
    "sku": ("golden_skus", "sku_id"),
    "location": ("golden_locations", "location_id"),
    "order": ("int_orders_survived", "order_id"),
}
_SETS = ("payments", "refunds", "shipments", "returns")
_PER_ORDER = "where order_id is not null group by order_id"
_RULES = re.compile(r'(?:"\w+"\.)?"identity"\."survivorship_rules"')


@dataclass(frozen=True)
class Example:
    """One value that would change; values as text, None where unknown."""

    golden_id: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class AttributeChange:
    """How many golden records would show another value of one attribute, with the first few by id.

    For a set (payments, refunds, shipments, returns) the values are the source systems that tell it.
    """

    attribute: str
    count: int
    examples: tuple[Example, ...]


def preview(
    warehouse: Warehouse, home: Path, now: Sequence[InForce], then: Sequence[InForce], *, most: int = 5
) -> list[AttributeChange]:
    """Compare what survives under two sets of rules, over the records of the last build. Writes nothing.

    Args:
        warehouse: where the last build is.
        home: folder of all state; dbt keeps the SQL of the last build there.
        now, then: the rule of every unit, before and after, in one order.
        most: examples per attribute.

    Raises:
        RuleError: nothing was built yet, or by a version without rules as data.
    """
    changed = [(old, new) for old, new in zip(now, then, strict=True) if _decides(old) != _decides(new)]
    found: list[AttributeChange] = []
    for entity in dict.fromkeys(old.entity for old, _ in changed):
        units = [old.unit for old, _ in changed if old.entity == entity]
        before = _values([item for item in now if item.entity == entity])
        after = _values([item for item in then if item.entity == entity])
        golden, key = _GOLDEN[entity]
        columns = _columns(warehouse, _under(home, golden, before))
        wanted = {}
        for unit in units:
            for attribute in unit.attributes:
                column = _column(attribute, columns)
                if column is not None:
                    wanted[attribute] = column
            if unit.name == "lines":
                wanted["lines"] = "lines_record_id"
        queries = []
        if wanted:
            listed = ", ".join(f"cast({column} as text) as {name}" for name, column in wanted.items())
            queries.append((golden, f"select {key} as golden_id, {listed}", "", list(wanted)))
        for unit in units:
            if unit.name in _SETS:
                told = f"min(case when is_counted then source_system end) as {unit.name}"
                queries.append(
                    (f"fct_{unit.name}", f"select order_id as golden_id, {told}", _PER_ORDER, [unit.name])
                )
        steps = {unit.attributes[0]: unit.name for unit in units if _is_step(unit)}
        if steps:
            told = ", ".join(
                f"min(case when event_type = '{step}' and is_counted then cast(occurred_at as text) end) as {name}"
                for name, step in steps.items()
            )
            queries.append(
                ("fct_order_events", f"select order_id as golden_id, {told}", _PER_ORDER, list(steps))
            )
        for model, select, rest, names in queries:
            old, new = (
                f"{select} from ({_under(home, model, values)}) as told {rest}" for values in (before, after)
            )
            found += _compare(warehouse, old, new, names, most)
    return found


def _decides(item: InForce) -> tuple[str, tuple[tuple[str, int], ...]]:
    return item.rule, tuple(sorted(item.priorities.items()))


def _is_step(unit: Unit) -> bool:
    return unit.by_priority and not unit.shares and bool(unit.attributes)


def _column(attribute: str, columns: Sequence[str]) -> str | None:
    """Where the survived table keeps an attribute: an order's documents tell some under a name of their own."""
    names = (attribute, f"record_{attribute}", f"record_{attribute.removeprefix('order_')}")
    return next((name for name in names if name in columns), None)


def _under(home: Path, model: str, values: str) -> str:
    """The SQL that built a model, reading other rules."""
    places = sorted((home / "dbt" / "target" / "compiled").glob(f"*/models/marts/*/{model}.sql"))
    if not places:
        raise RuleError(f"nothing was built in {home} yet: run orderhub unify once, then try again")
    query, count = _RULES.subn(lambda _: values, places[0].read_text(encoding="utf-8"))
    if count == 0:
        raise RuleError(
            f"the last build in {home} is of an older version: run orderhub unify, then try again"
        )
    return f"\n{query}\n"


def _values(rules: Sequence[InForce]) -> str:
    """The rules as a relation written out in SQL. Every text in it is one of ours, or was checked against them."""
    table = rule_table(rules)
    rows = [
        "("
        + ", ".join(
            "cast(null as integer)"
            if value is None
            else str(value)
            if isinstance(value, int)
            else f"'{value}'"
            for value in row.values()
        )
        + ")"
        for row in table.to_pylist()
    ]
    return f"(select * from (values {', '.join(rows)}) as listed ({', '.join(table.schema.names)}))"


def _columns(warehouse: Warehouse, query: str) -> list[str]:
    return list(warehouse.read(f"select * from ({query}) as told where 1 = 0").schema.names)


def _compare(
    warehouse: Warehouse, before: str, after: str, attributes: Sequence[str], most: int
) -> list[AttributeChange]:
    differs = [f"a.{name} is distinct from b.{name}" for name in attributes]
    joined = f"from ({before}) as a inner join ({after}) as b on a.golden_id = b.golden_id"
    counts = warehouse.read(
        "select "
        + ", ".join(
            f"coalesce(sum(case when {condition} then 1 else 0 end), 0) as {name}"
            for name, condition in zip(attributes, differs, strict=True)
        )
        + f" {joined}"
    ).to_pylist()[0]
    found = []
    for name, condition in zip(attributes, differs, strict=True):
        if not counts[name]:
            continue
        rows = warehouse.read(
            f"select a.golden_id, a.{name} as before, b.{name} as after {joined} where {condition} "
            f"order by a.golden_id limit {most}"
        ).to_pylist()
        found.append(
            AttributeChange(
                name,
                int(counts[name]),
                tuple(Example(row["golden_id"], row["before"], row["after"]) for row in rows),
            )
        )
    return found
