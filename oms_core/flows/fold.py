"""An order's state: the fold of its events, in the order in which they happened, whatever the order they came in.

Events are sorted by instant, then by their place in the document, then by id; the same id counts once. So any permutation
of the same events folds to the same state. An event that no transition waits for where the order is changes nothing, which
is why a carrier's late scan cannot take an order back from delivered; after a return has begun the same scan means something
else, since the order is in another state. A fold is always from the beginning: what comes late is put where it belongs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from oms_core.flows.chart import take
from oms_core.flows.definition import MIGRATED, Flow
from oms_core.flows.errors import DocumentError
from oms_core.flows.guard import scope

Flows = Mapping[str, Flow]  # versions of one flow, by version


@dataclass(frozen=True)
class Event:
    """Something that happened to an order.

    Attributes:
        event_id: the same id is the same event.
        occurred_at: when it happened, with its offset.
        source: system that told it.
        by: who told it, where somebody did.
        due_from: of a timeout's event: the state whose time was up.
        reason: in the words of who told it.
        data: as the flow declares it for this kind of event.
    """

    event_id: str
    kind: str
    occurred_at: datetime
    source: str
    by: str | None = None
    reason: str | None = None
    due_from: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One transition an order took.

    Attributes:
        index: of the transition in the version's document; None: it was taken to another version.
    """

    event: Event
    from_state: str
    to_state: str
    version: str
    index: int | None


@dataclass(frozen=True)
class Idle:
    """An event that changed nothing, and why."""

    event: Event
    state: str
    because: str


@dataclass(frozen=True)
class Folded:
    """Where an order is, how it came there, and what changed nothing.

    Attributes:
        entered_at: since when; None: nothing happened yet.
        due_at: when its timeout's event happens; None: it has none.
    """

    version: str
    state: str
    entered_at: datetime | None
    due_at: datetime | None
    seen: tuple[str, ...]
    steps: tuple[Step, ...]
    idle: tuple[Idle, ...]


@dataclass(frozen=True)
class Stay:
    """How long an order was in a state.

    Attributes:
        left_by: kind of the event that took it out; None: it is still there.
        is_usual: it left because something happened, not because time was up or its version changed.
    """

    state: str
    entered_at: datetime
    left_at: datetime | None
    left_by: str | None
    is_usual: bool


def stays(folded: Folded) -> list[Stay]:
    """An order's stays in the states it went through, in order; before its first event it is nowhere."""
    moves = [step for step in folded.steps if step.to_state != step.from_state]
    found = []
    for step, following in itertools.pairwise([*moves, None]):
        assert step is not None  # only the last has nothing behind it
        event = None if following is None else following.event
        is_usual = event is None or (event.due_from is None and event.kind != MIGRATED)
        found.append(
            Stay(
                step.to_state,
                step.event.occurred_at,
                None if event is None else event.occurred_at,
                None if event is None else event.kind,
                is_usual,
            )
        )
    return found


def fold(flows: Flows, version: str, facts: Mapping[str, Any], events: Iterable[Event]) -> Folded:
    """Fold an order's events.

    Args:
        flows: every version that the order went through.
        version: the one it began with.
        facts: what was known of the order when it began; they do not change.
        events: in any order, repetitions included.

    Raises:
        DocumentError: a version is not there, or a guard cannot be compiled.
    """
    flow = _version(flows, version)
    ranks = {kind: rank for rank, kind in enumerate(flow.events)}
    unique = {event.event_id: event for event in events}
    ordered = sorted(
        unique.values(),
        key=lambda event: (event.occurred_at, ranks.get(event.kind, len(ranks)), event.event_id),
    )
    state = flow.enters(flow.initial)
    entered_at: datetime | None = None
    seen: list[str] = []
    steps: list[Step] = []
    idle: list[Idle] = []
    for event in ordered:
        if event.kind == MIGRATED:
            flow = _version(flows, str(event.data["to_version"]))
            mapped = event.data["states"].get(state)
            if mapped not in flow.leaves:
                raise DocumentError(
                    "no-mapping",
                    f"event {event.event_id} takes an order in {state!r} to {mapped!r} of version {flow.version}, "
                    "which has no such state",
                )
            steps.append(Step(event, state, mapped, flow.version, None))
            if mapped != state:
                state, entered_at = mapped, event.occurred_at
            continue
        why = _void(flow, state, entered_at, event)
        if why is None:
            if event.kind not in seen:
                seen.append(event.kind)
            asked = partial(scope, facts, seen, flow.events[event.kind], event.data, event.source)
            taken, unknown = take(flow, state, event.kind, asked)
            for index, reached in taken:
                steps.append(Step(event, state, reached, flow.version, index))
                if reached != state or flow.transitions[index].to is not None:
                    entered_at = event.occurred_at
                state = reached
            if not taken:
                why = "; ".join(unknown) or f"nothing waits for it in {state}"
        if why is not None:
            idle.append(Idle(event, state, why))
    timeout = flow.leaves[state].timeout
    due_at = None if timeout is None or entered_at is None else entered_at + timeout.after
    return Folded(flow.version, state, entered_at, due_at, tuple(seen), tuple(steps), tuple(idle))


def _void(flow: Flow, state: str, entered_at: datetime | None, event: Event) -> str | None:
    """Why an event does not count where the order is."""
    if event.kind not in flow.events:
        return f"version {flow.version} knows no such event"
    if event.due_from is not None:
        timeout = flow.leaves[state].timeout
        if state != event.due_from or timeout is None or timeout.event != event.kind:
            return f"the time of {event.due_from} was up, and the order was in {state}"
        if entered_at is None or event.occurred_at < entered_at + timeout.after:
            return f"the order had not been in {state} for so long"
    approval = flow.leaves[state].approval
    if event.kind in flow.deciders and (
        approval is None or event.kind not in (approval.approve, approval.reject)
    ):
        return f"in {state} nobody decides this"
    return None


def _version(flows: Flows, version: str) -> Flow:
    flow = flows.get(version)
    if flow is None:
        raise DocumentError("unknown-version", f"there is no version {version!r} of the flow")
    return flow
