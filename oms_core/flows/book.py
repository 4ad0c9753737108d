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

MOST_AHEAD = timedelta(minutes=5)  # clocks of two systems differ by less


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
    events = _events(connection, [item.order_id]).get(item.order_id, [])
    return fold(versions.known(connection, item.flow), item.first_version, item.facts, events)


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
    items = {item.order_id: item for item in locked(connection, [each.order_id for each in news])}
    known = versions.of(connection, (item.flow for item in items.values()))
    kept = _digests(connection, news)
    now = clock(connection)
    outcomes: dict[str, Told | FlowError] = {}
    fresh: dict[tuple[str, str], list[News]] = {}
    for each in news:
        outcome: Told | FlowError | None
        try:
            item = items.get(each.order_id)
            if item is None:
                raise _in_no_flow(each.order_id)
            outcome = _heard(item, known[item.flow][item.version], each, kept, now)
        except FlowError as refusal:
            outcome = refusal
        if outcome is None:
            fresh.setdefault((each.by, f"told by {each.event.source}"), []).append(each)
        else:
            outcomes[each.order_id] = outcome
    for (by, reason), some in fresh.items():
        outcomes |= _keep(connection, items, some, by, reason)
    return [outcomes[each.order_id] for each in news]


def _heard(
    item: Placed, flow: Flow, news: News, kept: Mapping[tuple[str, str], bytes | None], now: datetime
) -> Told | None:
    """What became of an event when it was told before; None: it is new, and makes sense."""
    event = news.event
    if not 1990 <= event.occurred_at.year < 2200:
        raise EventError(
            "bad-instant", f"{event.occurred_at.isoformat()} is no time at which an order could be"
        )
    if (item.order_id, event.event_id) in kept:
        if kept[item.order_id, event.event_id] != _digest(event):
            raise ConflictError(
                "key-reused", f"{event.event_id!r} is the id of another event of order {item.order_id}"
            )
        return Told(item, (), None, True)
    _unchanged(item, news.revision)
    _sensible(flow, event, now)
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
    item, flow = _locked(connection, order_id)
    event_id = f"decided:{by}:{key}"
    before = _events(connection, [order_id]).get(order_id, [])
    earlier = next((event for event in before if event.event_id == event_id), None)
    if earlier is not None:
        was_approved = any(
            state.approval is not None and state.approval.approve == earlier.kind
            for version in versions.known(connection, item.flow).values()
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
    at = clock(connection)
    if item.entered_at is not None:
        at = max(at, item.entered_at + timedelta(microseconds=1))
    kind = approval.approve if is_approved else approval.reject
    event = Event(event_id, kind, at, "orderhub", by, reason)
    return _keep(connection, {order_id: item}, [News(order_id, event, by)], by, reason)[order_id]


def refold(
    connection: Connection, items: Sequence[Placed], *, by: str, reason: str
) -> dict[str, tuple[Placed, Folded]]:
    """Fold orders anew whose events changed, and write down what came of it.

    Args:
        connection: a writing transaction that holds their rows.
        reason: why they are folded, for the changes' record.

    Returns:
        Where each is, and its way.
    """
    known = versions.of(connection, (item.flow for item in items))
    now = clock(connection)
    events = _events(connection, [item.order_id for item in items])
    found, updates, changed, tellings = {}, [], [], []
    for item in items:
        flows = known[item.flow]
        told = events.get(item.order_id, [])
        folded = fold(flows, item.first_version, item.facts, told)
        flow = flows[folded.version]
        # A timeout that happened and led nowhere does not happen again.
        due_at = folded.due_at
        if due_at is not None and any(
            each.due_from == folded.state and each.occurred_at == due_at for each in told
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
        found[item.order_id] = (after, folded)
        updates.append(
            {
                "order_id": item.order_id, "version": after.version, "state": after.state, "entered_at": after.entered_at,
                "due_at": after.due_at, "is_done": after.is_done, "revision": after.revision,
            }
        )  # fmt: skip
        if is_changed:
            last = folded.steps[-1].event.event_id if folded.steps else None
            changed.append(
                {
                    "order_id": item.order_id, "revision": after.revision, "version": after.version,
                    "from_state": item.state if item.revision else None, "to_state": after.state, "event_id": last,
                    "entered_at": after.entered_at, "by": by, "reason": reason,
                }
            )  # fmt: skip
            if item.revision or _is_fresh(flow, after.entered_at, now):
                tellings.append(_moved(item, after, after.entered_at or now, reason))
        tellings += [
            telling
            for step in folded.steps
            for telling in _consequences(flows[step.version], item, step, now)
        ]
    if updates:
        connection.execute(
            text(
                "UPDATE orderhub.flow_orders SET version = :version, state = :state, entered_at = :entered_at, "
                "due_at = :due_at, is_done = :is_done, revision = :revision WHERE order_id = :order_id"
            ),
            updates,
        )
    if changed:
        connection.execute(
            text(
                "INSERT INTO orderhub.flow_changes (order_id, revision, version, from_state, to_state, event_id, "
                "entered_at, changed_by, reason) VALUES (:order_id, :revision, :version, :from_state, :to_state, "
                ":event_id, :entered_at, :by, :reason)"
            ),
            changed,
        )
    _note_stays(connection, found)
    outbox.append(connection, tellings)
    return found


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
        text(
            "SELECT order_id, flow, first_version, version, facts, state, entered_at, due_at, is_done, revision "
            f"FROM orderhub.flow_orders WHERE {asked}{rest}"
        ),
        {**(values or {}), **({} if order_ids is None else {"ids": list(order_ids)})},
    )
    return [Placed(**row) for row in rows.mappings()]


def _locked(connection: Connection, order_id: str) -> tuple[Placed, Flow]:
    found = locked(connection, [order_id])
    if not found:
        raise _in_no_flow(order_id)
    return found[0], versions.known(connection, found[0].flow)[found[0].version]


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


def _digests(connection: Connection, news: Sequence[News]) -> dict[tuple[str, str], bytes | None]:
    """Of the events that are kept already: (order, event) -> hash of what it said; None: a release told it."""
    rows = connection.execute(
        text(
            "SELECT e.order_id, e.event_id, e.body_sha256 FROM unnest(CAST(:orders AS text[]), CAST(:events AS text[])) "
            "AS asked (order_id, event_id) JOIN orderhub.flow_events AS e USING (order_id, event_id)"
        ),
        {"orders": [each.order_id for each in news], "events": [each.event.event_id for each in news]},
    )
    return {
        (row.order_id, row.event_id): None if row.body_sha256 is None else bytes(row.body_sha256)
        for row in rows
    }


def _keep(
    connection: Connection, items: Mapping[str, Placed], news: Sequence[News], by: str, reason: str
) -> dict[str, Told]:
    """Keep one event of each of these orders, and put them where they are now."""
    events = {each.order_id: each.event for each in news}
    add(connection, events, is_released=False)
    found = refold(connection, [items[order_id] for order_id in events], by=by, reason=reason)
    told = {}
    happenings = []
    for each in news:
        event, before = each.event, items[each.order_id]
        after, folded = found[each.order_id]
        steps = tuple(step for step in folded.steps if step.event.event_id == event.event_id)
        because = next((idle.because for idle in folded.idle if idle.event.event_id == event.event_id), None)
        told[each.order_id] = Told(after, steps, because, False)
        said = {
            "event": event.kind, "event_id": event.event_id, "occurred_at": event.occurred_at.isoformat(),
            "from": before.state, "to": after.state, "reason": event.reason,
        }  # fmt: skip
        happenings.append(log.Happening("flow.event", by, f"order/{each.order_id}", said, each.request_id))
    log.append(connection, happenings)
    return told


def add(connection: Connection, events: Mapping[str, Event], *, is_released: bool) -> None:
    connection.execute(
        text(
            "INSERT INTO orderhub.flow_events (order_id, event_id, kind, occurred_at, source_system, told_by, reason, "
            "due_from, data, body_sha256, is_released) VALUES (:order_id, :event_id, :kind, :occurred_at, :source, "
            ":by, :reason, :due_from, CAST(:data AS jsonb), :body, :is_released) ON CONFLICT DO NOTHING"
        ),
        [
            {
                "order_id": order_id, "event_id": event.event_id, "kind": event.kind, "occurred_at": event.occurred_at,
                "source": event.source, "by": event.by, "reason": event.reason, "due_from": event.due_from,
                "data": json.dumps(dict(event.data), ensure_ascii=False), "body": _digest(event),
                "is_released": is_released,
            }
            for order_id, event in events.items()
        ],
    )  # fmt: skip


def _events(connection: Connection, order_ids: Sequence[str]) -> dict[str, list[Event]]:
    rows = connection.execute(
        text(
            "SELECT order_id, event_id, kind, occurred_at, source_system, told_by, reason, due_from, data "
            "FROM orderhub.flow_events WHERE order_id = ANY (:ids)"
        ),
        {"ids": list(order_ids)},
    )
    found: dict[str, list[Event]] = {}
    for row in rows:
        event = Event(
            row.event_id,
            row.kind,
            row.occurred_at,
            row.source_system,
            row.told_by,
            row.reason,
            row.due_from,
            row.data,
        )
        found.setdefault(row.order_id, []).append(event)
    return found


def _note_stays(connection: Connection, found: Mapping[str, tuple[Placed, Folded]]) -> None:
    rows = [
        {
            "order_id": order_id,
            "place": place,
            "flow": item.flow,
            "channel": item.facts.get("channel"),
            **vars(stay),
        }
        for order_id, (item, folded) in found.items()
        for place, stay in enumerate(stays(folded))
    ]
    connection.execute(
        text("DELETE FROM orderhub.flow_stays WHERE order_id = ANY (:ids)"), {"ids": list(found)}
    )
    if rows:
        connection.execute(
            text(
                "INSERT INTO orderhub.flow_stays (order_id, place, flow, channel, state, entered_at, left_at, left_by, "
                "is_usual) VALUES (:order_id, :place, :flow, :channel, :state, :entered_at, :left_at, :left_by, :is_usual)"
            ),
            rows,
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
