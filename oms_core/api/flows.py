"""Order flows over HTTP: where an order is and why, what happened to it, and who approves it.

Looking needs what look-ups need; a flow is put in force with a key of the role `data_engineer`. Events need a key of the role `oms_service`; an approval needs a key of the role that the
flow names.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from oms_core.api import keys
from oms_core.api.access import Access, looking
from oms_core.api.identity import Reason, Text
from oms_core.api.problems import failures
from oms_core.flows import book, lanes, versions
from oms_core.flows.definition import Flow, load
from oms_core.flows.errors import EventError
from oms_core.flows.fold import Event, Step
from oms_core.fulfilment.desk import GroupCommit, repeat
from oms_core.store.postgres import Database
from oms_core.store.released import ORDER, Released
from oms_core.store.tables import API_ROLES

Name = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Order = Annotated[Name, Path(description="Any number of the order.")]
Field_ = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
Value = (
    bool
    | Annotated[int, Field(ge=-(2**63), lt=2**63)]
    | Annotated[float, Field(allow_inf_nan=False)]
    | Annotated[Text, StringConstraints(max_length=2000)]
)
Revision = Annotated[
    int | None,
    Field(ge=0, lt=2**63, description="The revision seen; refused when the order has changed since."),
]
Key = Annotated[
    str, Header(min_length=1, max_length=200, description="The caller's own name for the request.")
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EventAsk(_Body):
    """What happened to an order."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"event": "dispatched", "occurred_at": "2026-11-20T14:05:00+01:00", "source_system": "wms"}]
        },
    )  # fmt: skip

    event: Field_ = Field(description="As the order's flow names it.")
    occurred_at: AwareDatetime = Field(description="When it happened, however late it is told.")
    source_system: Name
    reason: Reason | None = None
    data: dict[Field_, Value] = Field(default_factory=dict, max_length=30)
    revision: Revision = None


class ApprovalAsk(_Body):
    """Yes or no to an order that waits for it."""

    decision: Literal["approved", "rejected"]
    reason: Reason
    revision: Revision = None


class FlowAsk(_Body):
    """A flow to be put in force."""

    document: dict[str, Any] = Field(description="As `orderhub flow schema` describes it.")
    reason: Reason


class FindingAnswer(BaseModel):
    """What the lint says of a flow."""

    code: str
    place: str
    message: str
    remedy: str
    severity: Literal["error", "warning"]


class FlowAnswer(BaseModel):
    """A version in force."""

    flow: str
    version: str
    sha256: str
    warnings: list[FindingAnswer]


class EventAnswer(BaseModel):
    """An event as it is kept."""

    event_id: str
    event: str
    occurred_at: datetime
    source_system: str
    told_by: str | None
    reason: str | None


class StepAnswer(EventAnswer):
    """An event that took the order somewhere."""

    from_state: str
    to_state: str
    version: str


class IdleAnswer(EventAnswer):
    """An event that changed nothing where the order was, and why."""

    state: str
    because: str


class ChangeAnswer(BaseModel):
    """What became known, and when."""

    revision: int
    version: str
    from_state: str | None = Field(description="Null: its flow began.")
    to_state: str
    event_id: str | None
    changed_by: str
    changed_at: datetime
    reason: str


class Position(BaseModel):
    """Where an order is in its flow."""

    order_id: str
    flow: str
    version: str
    state: str
    title: str
    is_done: bool
    entered_at: datetime | None
    due_at: datetime | None = Field(description="When its timeout happens; null: none will.")
    waits_for: str | None = Field(description="Role that approves or rejects it; null: nobody has to.")
    revision: int


class OrderFlow(Position):
    """Where an order is in its flow, the way it took, and what was known when."""

    steps: list[StepAnswer]
    idle: list[IdleAnswer]
    changes: list[ChangeAnswer]


class EventOutcome(Position):
    """What became of an event: the transitions it took, or why it changed nothing."""

    steps: list[StepAnswer]
    because: str | None


def router(database: Database, access: Access) -> APIRouter:
    """The routes of flows. They stand before the look-up of orders, whose numbers may hold slashes."""
    routes = APIRouter(tags=["flows"])
    service = access.of_role(keys.OMS_SERVICE)
    engineer = access.of_role(keys.DATA_ENGINEER)
    anybody = access.of_role(*API_ROLES)
    desk = GroupCommit[book.News, book.Told](
        lambda news, _: repeat(database, lambda connection, _: book.tell_all(connection, news))
    )

    def find(number: str) -> str:
        with database.read() as connection:
            return Released(connection).find(ORDER, number).golden_id

    @cache  # a version never changes
    def version_of(flow: str, version: str) -> Flow:
        with looking(database) as connection:
            return versions.one(connection, flow, version)

    def outcome(response: Response, told: book.Told) -> EventOutcome:
        if told.is_replayed:
            response.headers["Idempotency-Replayed"] = "true"
        position = _position(version_of(told.placed.flow, told.placed.version), told.placed)
        return EventOutcome(**position, steps=[_step(step) for step in told.steps], because=told.because)

    @routes.get(
        "/orders/{number:path}/flow",
        dependencies=[Depends(access.look_up_or(*API_ROLES))],
        responses=failures(404, 409),
    )
    def order_flow(number: Order) -> OrderFlow:
        """Where an order is in its flow, the way it took, and what was known when."""
        order_id = find(number)
        with looking(database) as connection:
            item = book.placed(connection, order_id)
            folded = book.history(connection, item)
            changes = book.changes(connection, order_id)
        position = _position(version_of(item.flow, item.version), item)
        return OrderFlow(
            **position,
            steps=[_step(step) for step in folded.steps],
            idle=[
                IdleAnswer(**_event(each.event), state=each.state, because=each.because)
                for each in folded.idle
            ],
            changes=[ChangeAnswer.model_validate(change) for change in changes],
        )

    @routes.post(
        "/orders/{number:path}/events",
        status_code=201,
        responses=failures(403, 404, 409, 413, _409=_PASSED),
    )
    def tell(
        response: Response,
        number: Order,
        body: EventAsk,
        idempotency_key: Key,
        caller: keys.Holder = Depends(service),
    ) -> EventOutcome:
        """Tell what happened to an order. It is put where it belongs; the same key with the same body counts once."""
        order_id = find(number)
        event = Event(
            f"{caller.tenant}:{_plain(idempotency_key)}", body.event, body.occurred_at, body.source_system,
            caller.name, body.reason, data=body.data,
        )  # fmt: skip
        return outcome(response, desk.ask(book.News(order_id, event, caller.name, body.revision)))

    @routes.post(
        "/orders/{number:path}/approvals",
        status_code=201,
        responses=failures(403, 404, 409, 413, _409=_PASSED),
    )
    def approve(
        response: Response,
        number: Order,
        body: ApprovalAsk,
        idempotency_key: Key,
        caller: keys.Holder = Depends(anybody),
    ) -> EventOutcome:
        """Approve or reject an order that waits for the role of the key. Of two at once, the second gets a conflict."""
        order_id = find(number)
        key = _plain(idempotency_key)
        decided = repeat(
            database,
            lambda connection, _: book.decide(
                connection, order_id, is_approved=body.decision == "approved", by=caller.name, reason=body.reason,
                role=caller.role, key=key, revision=body.revision,
            ),
        )  # fmt: skip
        return outcome(response, decided)

    @routes.get(
        "/flows/{flow}/diagram.svg",
        dependencies=[Depends(access.look_up_or(*API_ROLES))],
        response_class=Response,
        responses={200: {"content": {"image/svg+xml": {}}}, **failures(404, 409)},
    )
    def diagram(
        flow: Annotated[Name, Path(description="Name of the flow.", examples=["b2b"])],
        version: Annotated[Name | None, Query(description="The one in force by default.")] = None,
        order: Annotated[
            Name | None,
            Query(description="Any number of an order of the flow: draws its version, and where it is."),
        ] = None,
    ) -> Response:
        """The flow as a picture: a lane for each state, a row for each transition."""
        order_id = None if order is None else find(order)
        with looking(database) as connection:
            if order_id is None:
                drawn = lanes.svg(versions.one(connection, flow, version))
            else:
                item = book.placed(connection, order_id, flow)
                drawn = lanes.svg(versions.one(connection, flow, item.version), item.state)
        return Response(drawn, media_type="image/svg+xml")

    @routes.post(
        "/flows",
        status_code=201,
        responses=failures(
            403, 409, 413, _409="The version is another document's, or the precedence another flow's"
        ),
    )
    def activate(body: FlowAsk, caller: keys.Holder = Depends(engineer)) -> FlowAnswer:
        """Put a version of a flow in force: new orders follow it. What the lint finds is in `findings` of the refusal."""
        flow = load(json.dumps(body.document))
        with database.begin() as connection:
            warnings = versions.activate(connection, flow, by=caller.name, reason=body.reason)
        return FlowAnswer(
            flow=flow.flow,
            version=flow.version,
            sha256=flow.sha256,
            warnings=[FindingAnswer.model_validate(vars(finding)) for finding in warnings],
        )

    return routes


_PASSED = "It comes too late, or after somebody else; the type of the problem says which"


def _position(flow: Flow, item: book.Placed) -> dict[str, Any]:
    state = flow.leaves[item.state]
    return {
        **{name: getattr(item, name) for name in Position.model_fields if hasattr(item, name)},
        "title": state.title,
        "waits_for": state.approval.role if state.approval is not None else None,
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "event_id": event.event_id, "event": event.kind, "occurred_at": event.occurred_at,
        "source_system": event.source, "told_by": event.by, "reason": event.reason,
    }  # fmt: skip


def _step(step: Step) -> StepAnswer:
    return StepAnswer(
        **_event(step.event), from_state=step.from_state, to_state=step.to_state, version=step.version
    )


def _plain(key: str) -> str:
    if "\0" in key:
        raise EventError("bad-request", "the idempotency key holds a NUL character")
    return key
