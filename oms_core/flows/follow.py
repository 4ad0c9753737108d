"""Flows follow the release: new orders begin one, and what the released events say now is what their state is folded from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from oms_core.audit import log
from oms_core.flows import book, versions
from oms_core.flows.definition import Flow
from oms_core.flows.errors import UnknownError
from oms_core.flows.guard import ORDER_FACTS, Guard, scope
from oms_core.store.postgres import Database

Say = Callable[[str], None]
_TOGETHER = 500
# An order is another one's to ship where none of the places that ship it is ours.
_NEW = """
SELECT o.*, CASE WHEN bool_and(l.location_type = 'third_party') THEN 'third_party'
    WHEN count(l.location_type) > 0 THEN 'own' END AS fulfilled_by
FROM (SELECT {facts}, order_id, fulfilment_location_ids FROM released.fct_orders WHERE is_test IS NOT TRUE
    AND order_id NOT IN (SELECT order_id FROM orderhub.flow_orders)) AS o
LEFT JOIN LATERAL jsonb_array_elements_text(CAST(o.fulfilment_location_ids AS jsonb)) AS at (location_id) ON true
LEFT JOIN released.dim_locations AS l ON l.location_id = at.location_id AND l.location_type IS NOT NULL
GROUP BY {facts}, o.order_id, o.fulfilment_location_ids
"""
# What happens to the order as a whole is told once, by the event that counts: a parcel's delivery is not the order's while
# others are under way, and an order whose documents state their time is created then, though no event says so.
_WANTED = """
CREATE TEMPORARY TABLE wanted ON COMMIT DROP AS
WITH kinds AS (
    SELECT * FROM unnest(CAST(:flows AS text[]), CAST(:versions AS text[]), CAST(:kinds AS text[])) AS k (flow, version, kind)
)
SELECT f.order_id, e.event_id, e.event_type AS kind, e.occurred_at, e.source_system
FROM orderhub.flow_orders AS f
JOIN released.fct_order_events AS e ON e.order_id = f.order_id
JOIN released.fct_orders AS o ON o.order_id = f.order_id
JOIN kinds AS k ON k.flow = f.flow AND k.version = f.version AND k.kind = e.event_type
WHERE e.occurred_at IS NOT NULL
AND (e.is_counted OR e.event_type NOT IN ('created', 'delivered', 'cancelled', 'closed'))
AND (e.event_type <> 'delivered' OR o.delivered_at IS NOT NULL)
UNION ALL
SELECT f.order_id, 'fct_orders:ordered_at:' || f.order_id, 'created', o.ordered_at, 'orderhub'
FROM orderhub.flow_orders AS f
JOIN released.fct_orders AS o ON o.order_id = f.order_id
JOIN kinds AS k ON k.flow = f.flow AND k.version = f.version AND k.kind = 'created'
WHERE o.ordered_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM released.fct_order_events AS e
    WHERE e.order_id = f.order_id AND e.event_type = 'created' AND e.is_counted
)
"""
_PUT = """
INSERT INTO orderhub.flow_events (order_id, event_id, kind, occurred_at, source_system, data, is_released)
SELECT order_id, event_id, kind, occurred_at, source_system, '{}', true FROM wanted
ON CONFLICT (order_id, event_id) DO UPDATE SET kind = excluded.kind, occurred_at = excluded.occurred_at,
    source_system = excluded.source_system, told_at = clock_timestamp()
WHERE (flow_events.kind, flow_events.occurred_at, flow_events.source_system)
    IS DISTINCT FROM (excluded.kind, excluded.occurred_at, excluded.source_system)
RETURNING order_id
"""
_DROP = """
DELETE FROM orderhub.flow_events AS e USING orderhub.flow_orders AS f
WHERE f.order_id = e.order_id AND e.is_released AND f.merged_into IS NULL
AND NOT EXISTS (SELECT FROM wanted AS w WHERE w.order_id = e.order_id AND w.event_id = e.event_id)
RETURNING e.order_id
"""
# What was told of an order that turned out to be another one is told of that one.
_MERGED = """
WITH merged AS (
    UPDATE orderhub.flow_orders AS f SET merged_into = g.redirect_to, due_at = NULL
    FROM orderhub.golden_ids AS g
    WHERE g.entity = 'order' AND g.golden_id = f.order_id AND g.redirect_to IS NOT NULL AND f.merged_into IS NULL
    AND g.redirect_to IN (SELECT order_id FROM orderhub.flow_orders)
    RETURNING f.order_id, f.merged_into
)
INSERT INTO orderhub.flow_events (order_id, event_id, kind, occurred_at, source_system, told_by, reason, due_from, data,
    body_sha256, is_released, told_at)
SELECT m.merged_into, e.event_id, e.kind, e.occurred_at, e.source_system, e.told_by, e.reason, e.due_from, e.data,
    e.body_sha256, false, e.told_at
FROM merged AS m JOIN orderhub.flow_events AS e ON e.order_id = m.order_id
WHERE NOT e.is_released AND e.due_from IS NULL AND e.kind <> 'flow.migrated'
ON CONFLICT DO NOTHING RETURNING order_id
"""


@dataclass(frozen=True)
class Followed:
    """What following a release came to.

    Attributes:
        begun: flow -> orders that began it.
        in_none: orders of the release that no active flow applies to.
        events: released events that are new, told otherwise, or gone.
        moved: orders that are in another state, or in it since another time.
    """

    release_id: int | None
    begun: Mapping[str, int]
    in_none: int
    events: int
    moved: int


def follow(database: Database, *, by: str, say: Say = lambda _: None) -> Followed:
    """Put every order where the current release and what was told since say it is.

    Nothing happens twice: followed again, nothing changes.

    Raises:
        UnknownError: no flow is active.
    """
    with database.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(7301013)"))  # one follows at a time
        flows = {name: item.flow for name, item in versions.active(connection).items()}
        if not flows:
            raise UnknownError(
                "no-active-flow",
                "no flow is active: `orderhub flow activate b2c` puts a shipped one in force",
            )
        release_id = connection.execute(text("SELECT max(id) FROM orderhub.releases")).scalar()
        if release_id is None:
            return Followed(None, {}, 0, 0, 0)
        begun, in_none = _begin(connection, flows)
        connection.execute(text(_WANTED), _kinds(connection))
        touched = [
            row.order_id
            for statement in (_MERGED, _PUT, _DROP)
            for row in connection.execute(text(statement))
        ]
        orders = sorted({*touched, *(order for ids in begun.values() for order in ids)})
        moved = 0
        for start in range(0, len(orders), _TOGETHER):
            some = orders[start : start + _TOGETHER]
            before = {item.order_id: item for item in book.locked(connection, some)}
            after = book.refold(connection, list(before.values()), by=by, reason=f"release {release_id}")
            moved += sum(before[order].revision != item.revision for order, (item, _) in after.items())
        done = Followed(
            release_id, {name: len(ids) for name, ids in begun.items() if ids}, in_none, len(touched), moved
        )
        if orders:
            told = {
                "release": release_id,
                "begun": sum(done.begun.values()),
                "events": done.events,
                "moved": moved,
            }
            log.append(connection, [log.Happening("flow.followed", by, f"release/{release_id}", told)])
    say(
        f"release {release_id}: {sum(done.begun.values()):,} orders began a flow, {moved:,} are in another state"
    )
    return done


def _begin(connection: Connection, flows: Mapping[str, Flow]) -> tuple[dict[str, list[str]], int]:
    """Let each new order begin the first flow that applies to it."""
    begun: dict[str, list[str]] = {name: [] for name in flows}
    facts: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in flows}
    guards = {name: Guard(flow.applies_to) for name, flow in flows.items()}
    released = [name for name in ORDER_FACTS if name != "fulfilled_by"]
    rows = connection.execute(text(_NEW.format(facts=", ".join(released))))
    in_none = 0
    for row in rows.mappings():
        known = {name: _value(row[name]) for name in ORDER_FACTS if row[name] is not None}
        asked = scope(known, [])
        name = next((name for name, guard in guards.items() if guard.ask(asked).holds), None)
        if name is None:
            in_none += 1
        else:
            facts[name][row["order_id"]] = known
            begun[name].append(row["order_id"])
    for name, orders in facts.items():
        book.begin(connection, flows[name], orders)
    return begun, in_none


def _kinds(connection: Connection) -> dict[str, list[str]]:
    """The kinds of events that each version in use knows."""
    used = connection.execute(text("SELECT DISTINCT flow, version FROM orderhub.flow_orders")).all()
    known = [
        (row.flow, row.version, kind)
        for row in used
        for flow in [versions.known(connection, row.flow)[row.version]]
        for kind in flow.events
        if kind not in flow.deciders | flow.alarms
    ]
    return {
        "flows": [flow for flow, _, _ in known],
        "versions": [version for _, version, _ in known],
        "kinds": [kind for _, _, kind in known],
    }


def _value(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value
