"""Where orders are in their flows, kept: events go in, the fold of all of them comes out, in one transaction.

A row of an order is locked while its events change, so of two writers the second folds what the first wrote, too. A caller
that acted on what it saw says which revision that was, and gets a conflict when it is past.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from oms_core.audit import log
from oms_core.flows import template, versions
from oms_core.flows.definition import EventKind, Flow
from oms_core.flows.errors import ConflictError, EventError, FlowError, RoleError, UnknownError
from oms_core.flows.fold import Event, Folded, Step, fold, stays
from oms_core.store import outbox
from oms_core.store.outbox import Telling
from oms_core.store.pipelined import together

MOST_AHEAD = timedelta(minutes=5)  # clocks of two systems differ by less
_PLACED = "order_id, flow, first_version, version, facts, state, entered_at, due_at, is_done, revision"
_LOCK = f"""
SELECT {_PLACED} FROM orderhub.flow_orders WHERE order_id = ANY (%(ids)s::text[]) ORDER BY order_id FOR UPDATE
"""
_EVENTS = """
SELECT order_id, event_id, kind, occurred_at, source_system, told_by, reason, due_from, data, body_sha256
FROM orderhub.flow_events WHERE order_id = ANY (%(ids)s::text[])
"""
_VERSIONS = """
SELECT flow, version, sha256 FROM orderhub.flow_versions
WHERE flow IN (SELECT flow FROM orderhub.flow_orders WHERE order_id = ANY (%(ids)s::text[]))
"""
_CLOCK = "SELECT clock_timestamp() AS now"
_ADD = """
INSERT INTO orderhub.flow_events (order_id, event_id, kind, occurred_at, source_system, told_by, reason, due_from, data,
    body_sha256, is_released)
SELECT *, false FROM unnest(%(ids)s::text[], %(events)s::text[], %(kinds)s::text[], %(instants)s::timestamptz[],
    %(sources)s::text[], %(by)s::text[], %(reasons)s::text[], %(due)s::text[], %(data)s::jsonb[], %(digests)s::bytea[])
ON CONFLICT DO NOTHING
"""
_MOVE = """
UPDATE orderhub.flow_orders AS f SET version = n.version, state = n.state, entered_at = n.entered_at, due_at = n.due_at,
    is_done = n.is_done, revision = n.revision
FROM unnest(%(ids)s::text[], %(versions)s::text[], %(states)s::text[], %(entered)s::timestamptz[], %(due)s::timestamptz[],
    %(done)s::boolean[], %(revisions)s::bigint[]) AS n (order_id, version, state, entered_at, due_at, is_done, revision)
WHERE f.order_id = n.order_id
"""
_CHANGE = """
INSERT INTO orderhub.flow_changes (order_id, revision, version, from_state, to_state, event_id, entered_at, changed_by, reason)
SELECT * FROM unnest(%(ids)s::text[], %(revisions)s::bigint[], %(versions)s::text[], %(origins)s::text[], %(states)s::text[],
    %(events)s::text[], %(entered)s::timestamptz[], %(by)s::text[], %(reasons)s::text[])
"""
_FORGET_STAYS = """
DELETE FROM orderhub.flow_stays AS s USING unnest(%(ids)s::text[], %(many)s::int[]) AS n (order_id, many)
WHERE s.order_id = n.order_id AND s.place >= n.many
"""
_NOTE_STAYS = """
MERGE INTO orderhub.flow_stays AS s
USING unnest(%(ids)s::text[], %(places)s::int[], %(flows)s::text[], %(channels)s::text[], %(states)s::text[],
    %(entered)s::timestamptz[], %(left_at)s::timestamptz[], %(left_by)s::text[], %(usual)s::boolean[])
    AS n (order_id, place, flow, channel, state, entered_at, left_at, left_by, is_usual)
ON s.order_id = n.order_id AND s.place = n.place
WHEN MATCHED AND (s.state, s.entered_at, s.left_at, s.left_by, s.is_usual)
    IS DISTINCT FROM (n.state, n.entered_at, n.left_at, n.left_by, n.is_usual)
    THEN UPDATE SET state = n.state, entered_at = n.entered_at, left_at = n.left_at, left_by = n.left_by, is_usual = n.is_usual
WHEN NOT MATCHED THEN INSERT VALUES (n.order_id, n.place, n.flow, n.channel, n.state, n.entered_at, n.left_at, n.left_by,
    n.is_usual)
"""


@dataclass(frozen=True)
class Placed:
    """Where an order is.

    Attributes:
        revision: changes so far.
        facts: of the order as known when its flow began.
    """

    order_id: str
    flow: str
    first_version: str
    version: str
    facts: Mapping[str, Any]
    state: str
    entered_at: datetime | None
    due_at: datetime | None
    is_done: bool
    revision: int


@dataclass(frozen=True)
class Told:
    """What became of an event.

    Attributes:
        steps: transitions it took; none where it changed nothing.
        because: why it changed nothing; None: it did.
        is_replayed: it was told before, and nothing happened now.
    """

    placed: Placed
    steps: tuple[Step, ...]
    because: str | None
    is_replayed: bool


@dataclass(frozen=True)
class News:
    """An event of an order, as somebody tells it.

    Attributes:
        event: its id is the teller's own; told again with the same content, it changes nothing.
        by: who tells it.
        revision: what the teller saw; None: whatever there is.
        request_id: of the request it came with.
    """

    order_id: str
    event: Event
    by: str
    revision: int | None = None
    request_id: str | None = field(default_factory=log.request_id.get)


def placed(connection: Connection, order_id: str, flow: str | None = None) -> Placed:
    """Where an order is.

    Args:
        flow: the flow it should be in; None: whichever it is in.

    Raises:
        UnknownError: it is in no flow, or in another one.
    """
    found = find(connection, [order_id], "")
    if not found:
        raise _in_no_flow(order_id)
    if flow is not None and found[0].flow != flow:
        raise UnknownError("no-flow", f"order {order_id} is in the flow {found[0].flow}, not {flow}")
    return found[0]


def history(connection: Connection, item: Placed) -> Folded:
    """The way an order took, folded anew from its events."""
    flows = versions.known(connection, item.flow)
    (rows,) = together(connection, [(_EVENTS, {"ids": [item.order_id]})])
    return fold(flows, item.first_version, item.facts, map(_event, rows.rows))


def changes(connection: Connection, order_id: str) -> list[dict[str, Any]]:
    """What was known when: each change of an order's state as it was made, oldest first."""
    rows = connection.execute(
        text(
            "SELECT revision, version, from_state, to_state, event_id, entered_at, changed_by, changed_at, reason "
            "FROM orderhub.flow_changes WHERE order_id = :order ORDER BY revision"
        ),
        {"order": order_id},
    )
    return [dict(row) for row in rows.mappings()]


def tell(
    connection: Connection, order_id: str, event: Event, *, by: str, revision: int | None = None
) -> Told:
    """Tell an event of an order.

    Args:
        connection: a writing transaction.
        event, by, revision: see `News`.

    Raises:
        UnknownError: the order is in no flow.
        EventError: its flow knows no such event, or not with this data; or it is from the future.
        RoleError: only an approval tells it, or a timeout.
        ConflictError: the id is another event's, or the order changed since.
    """
    (outcome,) = tell_all(connection, [News(order_id, event, by, revision)])
    if isinstance(outcome, FlowError):
        raise outcome
    return outcome


def tell_all(connection: Connection, news: Sequence[News]) -> list[Told | FlowError]:
    """Tell events in their order, in as many statements as for one.

    Args:
        connection: a writing transaction.

    Returns:
        For each what became of it, or why it was refused, as `tell` raises it; the others are kept all the same.
    """
    outcomes: dict[int, Told | FlowError] = {}
    while len(outcomes) < len(news):
        # Of each order one event at a time: the next one sees what this one did.
        first = {
            item.order_id: place for place, item in reversed(list(enumerate(news))) if place not in outcomes
        }
        places = sorted(first.values())
        outcomes |= zip(places, _tell_each(connection, [news[place] for place in places]), strict=True)
    return [outcomes[place] for place in range(len(news))]


def _tell_each(connection: Connection, news: Sequence[News]) -> list[Told | FlowError]:
    """Tell one event of each of these orders."""
    sight = _look(connection, [each.order_id for each in news])
    outcomes: dict[str, Told | FlowError] = {}
    fresh: list[News] = []
    for each in news:
        try:
            heard = _heard(sight, each)
        except FlowError as refusal:
            outcomes[each.order_id] = refusal
            continue
        if heard is None:
            fresh.append(each)
        else:
            outcomes[each.order_id] = heard
    outcomes |= _keep(connection, sight, fresh)
    return [outcomes[each.order_id] for each in news]


def _heard(sight: _Sight, news: News) -> Told | None:
    """What became of an event when it was told before; None: it is new, and makes sense."""
    item, event = sight.item(news.order_id), news.event
    flow = sight.flow(item)
    if not 1990 <= event.occurred_at.year < 2200:
        raise EventError(
            "bad-instant", f"{event.occurred_at.isoformat()} is no time at which an order could be"
        )
    if (item.order_id, event.event_id) in sight.digests:
        if sight.digests[item.order_id, event.event_id] != _digest(event):
            raise ConflictError(
                "key-reused", f"{event.event_id!r} is the id of another event of order {item.order_id}"
            )
        return Told(item, (), None, True)
    _unchanged(item, news.revision)
    _sensible(flow, event, sight.now)
    if event.kind in flow.deciders:
        raise RoleError(
            "approval-needed", f"{event.kind!r} is decided, not told: `orderhub flow approve` or `reject`"
        )
    if event.kind in flow.alarms:
        raise RoleError(
            "timeout-only", f"{event.kind!r} happens when time is up: `orderhub flow sweep` tells it"
        )
    return None


def decide(
    connection: Connection,
    order_id: str,
    *,
    is_approved: bool,
    by: str,
    reason: str,
    role: str | None,
    key: str,
    revision: int | None = None,
) -> Told:
    """Approve or reject an order that waits for it.

    Args:
        by, role: who decides, and as what; a role of None is the operator's, who may do what every role may.
        key: of the request; the same key decides once.
        revision: what the caller saw; None: whatever there is.

    Raises:
        UnknownError: the order is in no flow.
        RoleError: another role decides here.
        ConflictError: nothing waits for a decision, somebody decided first, or the order changed since.
    """
    sight = _look(connection, [order_id])
    item = sight.item(order_id)
    flow = sight.flow(item)
    event_id = f"decided:{by}:{key}"
    before = sight.events[order_id]
    earlier = next((event for event in before if event.event_id == event_id), None)
    if earlier is not None:
        was_approved = any(
            state.approval is not None and state.approval.approve == earlier.kind
            for version in sight.flows[item.flow].values()
            for state in version.leaves.values()
        )
        if was_approved != is_approved or earlier.reason != reason:
            raise ConflictError("key-reused", f"the key {key!r} was used for another decision")
        return Told(item, (), None, True)
    _unchanged(item, revision)
    approval = flow.leaves[item.state].approval
    if approval is None:
        decided = [event for event in before if event.kind in flow.deciders]
        last = max(decided, key=lambda event: event.occurred_at, default=None)
        told = f"; {last.by} {last.kind} it at {last.occurred_at:%Y-%m-%d %H:%M}Z" if last else ""
        raise ConflictError(
            "nothing-to-approve", f"order {order_id} is in {item.state} and waits for nobody's decision{told}"
        )
    if role is not None and role != approval.role:
        raise RoleError(
            "other-role",
            f"order {order_id} waits for {approval.role}: a key of the role {role} does not decide",
        )
    # A decision is later than what it was made on, even if a clock that told of that is fast.
    at = sight.now
    if item.entered_at is not None:
        at = max(at, item.entered_at + timedelta(microseconds=1))
    kind = approval.approve if is_approved else approval.reject
    event = Event(event_id, kind, at, "orderhub", by, reason)
    return _keep(connection, sight, [News(order_id, event, by)], reason)[order_id]


def refold(
    connection: Connection,
    items: Sequence[Placed],
    *,
    by: str,
    reason: str,
    told: Mapping[str, Event] | None = None,
    happenings: Sequence[log.Happening] = (),
) -> dict[str, tuple[Placed, Folded]]:
    """Fold orders anew whose events changed, and write down what came of it.

    Args:
        connection: a writing transaction that holds their rows.
        reason: why they are folded, for the changes' record.
        told: an event each that is to be kept with the others.
        happenings: what is to be logged.

    Returns:
        Where each is, and its way.
    """
    sight = _look(connection, [item.order_id for item in items])
    found, writing = _move(sight, told or {}, dict.fromkeys(sight.items, (by, reason)))
    log.append(connection, happenings, after=writing)
    return found


@dataclass(frozen=True)
class _Sight:
    """What there is of some orders, their rows locked for the transaction.

    Attributes:
        items: those that are in a flow, by order.
        events: what was told of each.
        digests: (order, event) -> hash of what it said; None: a release told it.
        flows: every version of their flows, by flow and version.
    """

    items: Mapping[str, Placed]
    events: Mapping[str, list[Event]]
    digests: Mapping[tuple[str, str], bytes | None]
    flows: Mapping[str, Mapping[str, Flow]]
    now: datetime

    def item(self, order_id: str) -> Placed:
        found = self.items.get(order_id)
        if found is None:
            raise _in_no_flow(order_id)
        return found

    def flow(self, item: Placed) -> Flow:
        return self.flows[item.flow][item.version]


def _look(connection: Connection, order_ids: Sequence[str]) -> _Sight:
    """Lock orders and look at them, in one round trip."""
    asked = {"ids": list(order_ids)}
    rows, events, flows, clock_ = together(
        connection, [(_LOCK, asked), (_EVENTS, asked), (_VERSIONS, asked), (_CLOCK, {})]
    )
    items = {row.order_id: Placed(**row._asdict()) for row in rows.rows}
    told: dict[str, list[Event]] = {order_id: [] for order_id in items}
    for row in events.rows:
        told[row.order_id].append(_event(row))
    return _Sight(
        items,
        told,
        {(row.order_id, row.event_id): row.body_sha256 for row in events.rows},
        versions.documents(connection, flows.rows),
        clock_.rows[0].now,
    )


def _move(
    sight: _Sight, told: Mapping[str, Event], causes: Mapping[str, tuple[str, str]]
) -> tuple[dict[str, tuple[Placed, Folded]], list[tuple[str, dict[str, Any]]]]:
    """Where orders are with an event more each.

    Args:
        causes: the orders to fold, and who moves each, and why.

    Returns:
        Where each is, and its way; and the statements that keep both and the events.
    """
    found: dict[str, tuple[Placed, Folded]] = {}
    moved: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    tellings: list[Telling] = []
    for order_id, (by, reason) in causes.items():
        item = sight.items[order_id]
        flows = sight.flows[item.flow]
        events = sight.events[order_id] + ([told[order_id]] if order_id in told else [])
        folded = fold(flows, item.first_version, item.facts, events)
        flow = flows[folded.version]
        # A timeout that happened and led nowhere does not happen again.
        due_at = folded.due_at
        if due_at is not None and any(
            each.due_from == folded.state and each.occurred_at == due_at for each in events
        ):
            due_at = None
        is_changed = (folded.state, folded.version, folded.entered_at) != (
            item.state,
            item.version,
            item.entered_at,
        ) or item.revision == 0
        after = Placed(
            item.order_id,
            item.flow,
            item.first_version,
            folded.version,
            item.facts,
            folded.state,
            folded.entered_at,
            due_at,
            flow.leaves[folded.state].done,
            item.revision + is_changed,
        )
        found[order_id] = (after, folded)
        if after != item:
            moved.append(
                {
                    "ids": order_id, "versions": after.version, "states": after.state, "entered": after.entered_at,
                    "due": after.due_at, "done": after.is_done, "revisions": after.revision,
                }
            )  # fmt: skip
        if is_changed:
            last = folded.steps[-1].event.event_id if folded.steps else None
            changed.append(
                {
                    "ids": order_id, "revisions": after.revision, "versions": after.version,
                    "origins": item.state if item.revision else None, "states": after.state, "events": last,
                    "entered": after.entered_at, "by": by, "reasons": reason,
                }
            )  # fmt: skip
            if item.revision or _is_fresh(flow, after.entered_at, sight.now):
                tellings.append(_moved(item, after, after.entered_at or sight.now, reason))
        tellings += [
            telling
            for step in folded.steps
            for telling in _consequences(flows[step.version], item, step, sight.now)
        ]
    kept = [
        {
            "ids": order_id, "events": event.event_id, "kinds": event.kind, "instants": event.occurred_at,
            "sources": event.source, "by": event.by, "reasons": event.reason, "due": event.due_from,
            "data": json.dumps(dict(event.data), ensure_ascii=False), "digests": _digest(event),
        }
        for order_id, event in told.items()
    ]  # fmt: skip
    stayed = {order_id: stays(folded) for order_id, (_, folded) in found.items()}
    noted = [
        {
            "ids": order_id, "places": place, "flows": found[order_id][0].flow,
            "channels": found[order_id][0].facts.get("channel"), "states": stay.state, "entered": stay.entered_at,
            "left_at": stay.left_at, "left_by": stay.left_by, "usual": stay.is_usual,
        }
        for order_id, some in stayed.items()
        for place, stay in enumerate(some)
    ]  # fmt: skip
    gone = [{"ids": order_id, "many": len(some)} for order_id, some in stayed.items()]
    writing = [
        (statement, {name: [row[name] for row in rows] for name in rows[0]})
        for statement, rows in (
            (_ADD, kept), (_MOVE, moved), (_CHANGE, changed), (_FORGET_STAYS, gone), (_NOTE_STAYS, noted),
        )
        if rows
    ]  # fmt: skip
    if tellings:
        writing.append(outbox.adding(tellings))
    return found, writing


def begin(connection: Connection, flow: Flow, orders: Mapping[str, Mapping[str, Any]]) -> None:
    """Let orders begin their flow.

    Args:
        orders: order id -> its facts; amounts as text.
    """
    if orders:
        connection.execute(
            text(
                "INSERT INTO orderhub.flow_orders (order_id, flow, first_version, version, facts, state, is_done, "
                "revision) SELECT id, :flow, :version, :version, facts, :state, :done, 0 "
                "FROM unnest(CAST(:ids AS text[]), CAST(:facts AS jsonb[])) AS new (id, facts) "
                "ON CONFLICT (order_id) DO NOTHING"
            ),
            {
                "flow": flow.flow,
                "version": flow.version,
                "state": flow.enters(flow.initial),
                "done": flow.leaves[flow.enters(flow.initial)].done,
                "ids": list(orders),
                "facts": [json.dumps(facts, ensure_ascii=False) for facts in orders.values()],
            },
        )


def locked(connection: Connection, order_ids: Sequence[str]) -> list[Placed]:
    """Where orders are, their rows locked for this transaction; those in no flow are left out."""
    return find(connection, order_ids, "ORDER BY order_id FOR UPDATE")


def find(
    connection: Connection,
    order_ids: Sequence[str] | None,
    rest: str,
    values: Mapping[str, Any] | None = None,
) -> list[Placed]:
    asked = "order_id = ANY (:ids) " if order_ids is not None else ""
    rows = connection.execute(
        text(f"SELECT {_PLACED} FROM orderhub.flow_orders WHERE {asked}{rest}"),
        {**(values or {}), **({} if order_ids is None else {"ids": list(order_ids)})},
    )
    return [Placed(**row) for row in rows.mappings()]


def _unchanged(item: Placed, revision: int | None) -> None:
    if revision is not None and revision != item.revision:
        raise ConflictError(
            "revision-past",
            f"order {item.order_id} is at revision {item.revision}, in {item.state}, and was seen at {revision}: look "
            "again",
            {"revision": item.revision, "state": item.state},
        )


def _in_no_flow(order_id: str) -> UnknownError:
    return UnknownError(
        "no-flow",
        f"order {order_id} is in no flow: no active one applied when it was released; see `orderhub flow list`",
    )


def _sensible(flow: Flow, event: Event, now: datetime) -> None:
    declared = flow.events.get(event.kind)
    if declared is None:
        raise EventError(
            "unknown-event",
            f"flow {flow.flow} {flow.version} knows no event {event.kind!r}: there are {', '.join(flow.events)}",
        )
    _data_fits(event, declared)
    if event.occurred_at > now + MOST_AHEAD:
        raise EventError(
            "event-from-the-future",
            f"{event.kind} is said to happen at {event.occurred_at.isoformat()}, and it is {now.isoformat()}: "
            "tell it when it has happened",
        )


def _data_fits(event: Event, declared: EventKind) -> None:
    for name, value in event.data.items():
        kind = declared.data.get(name)
        fits = {
            "text": isinstance(value, str),
            "flag": isinstance(value, bool),
            "whole": isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63,
            "number": isinstance(value, int | float) and not isinstance(value, bool),
            None: False,
        }[kind]
        if not fits:
            known = ", ".join(f"{key} ({form})" for key, form in declared.data.items()) or "none"
            raise EventError("bad-data", f"{event.kind} carries {name} = {value!r}: it may carry {known}")


def _keep(
    connection: Connection, sight: _Sight, news: Sequence[News], reason: str | None = None
) -> dict[str, Told]:
    """Keep one event of each of these orders, and put them where they are now.

    Args:
        reason: for the changes' record; None: that somebody told it.
    """
    events = {each.order_id: each.event for each in news}
    causes = {each.order_id: (each.by, reason or f"told by {each.event.source}") for each in news}
    found, writing = _move(sight, events, causes)
    told = {}
    happenings = []
    for each in news:
        event, before = each.event, sight.items[each.order_id]
        after, folded = found[each.order_id]
        steps = tuple(step for step in folded.steps if step.event.event_id == event.event_id)
        because = next((idle.because for idle in folded.idle if idle.event.event_id == event.event_id), None)
        told[each.order_id] = Told(after, steps, because, False)
        said = {
            "event": event.kind, "event_id": event.event_id, "occurred_at": event.occurred_at.isoformat(),
            "from": before.state, "to": after.state, "reason": event.reason,
        }  # fmt: skip
        happenings.append(
            log.Happening("flow.event", each.by, f"order/{each.order_id}", said, each.request_id)
        )
    log.append(connection, happenings, after=writing)
    return told


def _event(row: Any) -> Event:
    return Event(
        row.event_id,
        row.kind,
        row.occurred_at,
        row.source_system,
        row.told_by,
        row.reason,
        row.due_from,
        row.data,
    )


def _moved(before: Placed, after: Placed, at: datetime, reason: str) -> Telling:
    return Telling(
        f"flow/{after.order_id}/{after.revision}",
        "orderhub.flow.moved",
        after.order_id,
        at,
        {
            "order_id": after.order_id,
            "flow": after.flow,
            "version": after.version,
            "from_state": before.state if before.revision else None,
            "to_state": after.state,
            "is_done": after.is_done,
            "revision": after.revision,
            "reason": reason,
        },
    )


def _consequences(flow: Flow, item: Placed, step: Step, now: datetime) -> list[Telling]:
    """What a step asks of others. Its ids come from the event alone, so that folded again it is told once."""
    if step.index is None or not _is_fresh(flow, step.event.occurred_at, now):
        return []
    transition = flow.transitions[step.index]
    about = {
        "order_id": item.order_id,
        "flow": flow.flow,
        "version": flow.version,
        "event": step.event.kind,
        "event_id": step.event.event_id,
        "to_state": step.to_state,
    }
    found = []
    for kind, names in (("action", transition.actions), ("notification", transition.notify)):
        for name in names:
            key = hashlib.sha256(
                json.dumps([item.order_id, step.event.event_id, step.index, kind, name]).encode()
            ).hexdigest()[:32]
            said: dict[str, Any] = {**about, kind: name}
            if kind == "notification":
                text_ = template.render(flow.notifications[name], item.facts, step.event.data)
                said |= {"channel": text_.channel, "subject": text_.subject, "body": text_.body}
                if text_.missing:
                    kind, said = (
                        "notification_held",
                        about | {"notification": name, "missing": list(text_.missing)},
                    )
            found.append(
                Telling(
                    f"flow/{item.order_id}/{key}",
                    f"orderhub.flow.{kind}",
                    item.order_id,
                    step.event.occurred_at,
                    said,
                )
            )
    return found


def _is_fresh(flow: Flow, at: datetime | None, now: datetime) -> bool:
    return at is not None and at >= now - flow.acts_within


def _digest(event: Event) -> bytes:
    said = [
        event.kind,
        event.occurred_at.astimezone(UTC).isoformat(),
        event.source,
        event.reason,
        dict(event.data),
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()


def clock(connection: Connection) -> datetime:
    at: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return at
