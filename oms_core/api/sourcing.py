"""Sourcing over HTTP: which node ships an order, why not another, and what a day would have come to under other rules.

Looking needs a key of any role; deciding needs a key of the role `oms_service`, whose tenant owns what is reserved.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from oms_core.api import keys
from oms_core.api.access import Access
from oms_core.api.identity import Text
from oms_core.api.problems import failures
from oms_core.fulfilment.assignment import record, rules
from oms_core.fulfilment.assignment.assign import Request, Sourcing
from oms_core.fulfilment.assignment.past import past_day, varied
from oms_core.fulfilment.assignment.record import Stored
from oms_core.fulfilment.errors import RequestError, UnknownError
from oms_core.fulfilment.sourcing import policy
from oms_core.fulfilment.sourcing.replay import Outcome, replay
from oms_core.store.errors import NotReleasedError
from oms_core.store.postgres import Database
from oms_core.store.released import LOCATION, Released

_MOST_POLICIES = 10

Name = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Document = Annotated[
    dict[str, Any], Field(description="As `GET /sourcing/rules/policy` or `/sourcing/rules/facts` gives it.")
]
DecisionId = Annotated[Text, Path(min_length=1, max_length=60, examples=["src_0660ef4186310e6be4b229de3b"])]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SourcingAsk(_Body):
    """What is asked: a dry run, or to reserve and allocate what the plan takes."""

    commit: bool = Field(False, description="Reserve and allocate with the decision, all or nothing.")
    policy: Document | None = Field(
        None, description="To be tried in a dry run; the one in force by default."
    )


class ReviewAsk(_Body):
    """Whether to change to a better plan at once."""

    commit: bool = False


class RefusalAsk(_Body):
    """Which node does not send its parcel, and why."""

    location: Name
    reason: Annotated[Text, StringConstraints(min_length=1, max_length=500)]


class ActivationAsk(_Body):
    """A document that comes into force."""

    document: Document
    reason: Annotated[Text, StringConstraints(min_length=1, max_length=500)]


class WhatIfAsk(_Body):
    """A past day, and what to replay it under."""

    on: date = Field(
        description="Day (UTC) on which was decided or, where nothing was, on which orders were placed."
    )
    orders: bool = Field(
        False, description="The orders placed on the day, even where decisions of it are kept."
    )
    policies: list[Document] = Field(default_factory=list, max_length=_MOST_POLICIES)
    stock_factor: Decimal = Field(Decimal(1), description="Times what lay on every shelf.")
    without: list[Name] = Field(
        default_factory=list, max_length=200, description="Golden ids of nodes to be closed."
    )


class Unfillable(BaseModel):
    """A line that keeps the order from being sent whole."""

    sku_id: str
    qty: str
    sendable_qty: str
    reason: str
    forbidden: dict[str, list[str]] = Field(
        description="Constraint, and the nodes that hold some and may not send it."
    )


class Input(BaseModel):
    """A parameter's input and what it adds to the score; null: unknown, and counted as the worst that is known."""

    input: float | Literal["infinite"] | None
    unit: str
    score: float


class Parcel(BaseModel):
    """What a node sends, and the parameters it was chosen by."""

    node_id: str
    takes: dict[str, str]
    score: float
    values: dict[str, Input]


class Counterfactual(BaseModel):
    """Why a node was not chosen."""

    node_id: str
    verdict: Literal["forbidden", "short", "worse", "kept"]
    instead_of: str | None
    decided_by: str
    score_gap: float | None
    input_gap: float | None
    unit: str | None
    because: str


class DecisionAnswer(BaseModel):
    """A decision, with all that speaks for it and against it."""

    decision_id: str
    order_id: str
    decided_at: datetime
    decided_by: str
    release_id: int
    policy_version: str
    policy_sha256: str
    facts_version: str | None
    reservation_id: str | None = Field(description="That carries it out; null: a dry run, or unfilled.")
    replaces: str | None
    is_filled: bool
    is_best: bool = Field(description="Proven: alone, the order cannot be sent any better.")
    score: float | None
    split_score: float | None
    parcels: list[Parcel]
    counterfactuals: list[Counterfactual]
    unfillable: list[Unfillable]
    not_compared: list[str] = Field(description="Parameters that are known of no node.")
    unknown: list[str] = Field(description="What nobody knew, in words.")


class Inputs(BaseModel):
    """What a decision rests on, and whether the same inputs give the same decision today."""

    decision_id: str
    is_same: bool
    policy: dict[str, Any]
    day: dict[str, Any]


class Reviewed(BaseModel):
    """Whether a decision still stands, and what takes its place."""

    keeps: bool
    score: float | None = Field(description="What its plan scores now; null: it can no longer be sent.")
    proposed_score: float | None
    proposed_nodes: list[str]
    replaced_by: str | None


class ActivationAnswer(BaseModel):
    """That a document came into force."""

    kind: Literal["policy", "facts"]
    version: str
    sha256: str
    activated_at: datetime
    activated_by: str
    reason: str


class InForce(BaseModel):
    """A document in force, and what came before it."""

    version: str
    sha256: str
    document: dict[str, Any]
    activations: list[ActivationAnswer]


class OutcomeAnswer(BaseModel):
    """What the day came to under a policy."""

    policy_version: str
    orders: int
    filled: int
    fill_rate: float
    splits: int
    cost_amount: Decimal
    currency: str
    promise_rate: float
    co2e_kg: float
    shelves_emptied: int
    stores_emptied: int
    unknown: dict[str, int] = Field(
        description="Parameter, and parcels of which it is not known: not in the sums."
    )


class WhatIf(BaseModel):
    """The day under the policy in force, and under each of the others."""

    on: date
    told_by: Literal["decisions", "orders"]
    left_out: dict[str, str]
    outcomes: list[OutcomeAnswer]


def router(database: Database, access: Access) -> APIRouter:
    """The routes of sourcing."""
    routes = APIRouter(tags=["sourcing"])
    desk = Sourcing(database)
    looking = [Depends(access.look_up_or(*_EVERY_ROLE))]
    service = access.of_role(keys.OMS_SERVICE)

    @routes.post(
        "/orders/{number:path}/sourcing",
        status_code=201,
        responses=failures(
            403, 404, 409, 413, _404="An id leads nowhere, or nothing was ever counted of it", _409=_REFUSED
        ),
    )
    def source(
        response: Response,
        number: Annotated[Name, Path(description="Any id of the order.")],
        body: SourcingAsk,
        idempotency_key: Annotated[
            str | None,
            Header(
                min_length=1,
                max_length=200,
                description="The caller's own name for the request; needed to commit.",
            ),
        ] = None,
        caller: keys.Holder = Depends(service),
    ) -> DecisionAnswer:
        """Decide which nodes ship an order. Committed, what the plan takes is reserved and allocated with the decision."""
        request = None
        if body.commit:
            request = Request(_tenant(caller), _key(idempotency_key), _digest(number, body))
        tried = None if body.policy is None else policy.load(json.dumps(body.policy))
        stored = desk.source(number, by=caller.name, request=request, policy=tried)
        response.headers["Location"] = f"/sourcing/decisions/{stored.decision_id}"
        return _decision(stored)

    @routes.get(
        "/sourcing/decisions/{decision_id}", dependencies=looking, responses=failures(404, _404=_NONE)
    )
    def decision(decision_id: DecisionId) -> DecisionAnswer:
        """A decision as it was kept."""
        with database.begin() as connection:
            return _decision(record.read(connection, decision_id))

    @routes.get(
        "/sourcing/decisions/{decision_id}/inputs", dependencies=looking, responses=failures(404, _404=_NONE)
    )
    def inputs(decision_id: DecisionId) -> Inputs:
        """All that a decision rests on; it is decided once more from that and compared."""
        with database.begin() as connection:
            stored = record.read(connection, decision_id)
        return Inputs(
            decision_id=decision_id, is_same=stored.is_same(stored.replay()), **json.loads(stored.inputs)
        )

    @routes.get("/sourcing/decisions", dependencies=looking, responses=failures(404, _404=_NONE))
    def decisions(
        order_id: Annotated[Name, Query(description="Golden id of the order.")],
        before: Annotated[
            Name | None, Query(description="Id of the last decision seen: only older ones.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> list[DecisionAnswer]:
        """Decisions about an order, newest first."""
        with database.begin() as connection:
            if before is not None:
                record.read(connection, before)
            return [_decision(stored) for stored in record.of_order(connection, order_id, limit, before)]

    @routes.post(
        "/sourcing/decisions/{decision_id}/review",
        responses=failures(403, 404, 409, 413, _404=_NONE, _409=_REFUSED),
    )
    def review(decision_id: DecisionId, body: ReviewAsk, caller: keys.Holder = Depends(service)) -> Reviewed:
        """Look at a decision again before picking; committed, a better plan takes its place at once."""
        looked = desk.review(decision_id, by=caller.name, tenant=_tenant(caller), is_carried_out=body.commit)
        proposed = looked.proposed.plan
        return Reviewed(
            keeps=looked.keeps,
            score=looked.score,
            proposed_score=None if proposed is None else proposed.score,
            proposed_nodes=[parcel.node_id for parcel in looked.proposed.parcels],
            replaced_by=None if looked.fresh is None else looked.fresh.decision_id,
        )

    @routes.post(
        "/sourcing/decisions/{decision_id}/refusal",
        status_code=204,
        responses=failures(403, 404, 409, 413, _404=_NONE, _409=_REFUSED),
    )
    def refuse(decision_id: DecisionId, body: RefusalAsk, caller: keys.Holder = Depends(service)) -> None:
        """Note that a node refuses its parcel: what was reserved is released, and the node is not asked for this order again."""
        with database.read() as connection:
            try:
                node = Released(connection).find(LOCATION, body.location).golden_id
            except NotReleasedError as error:
                raise UnknownError("unknown-node", str(error)) from error
        desk.refuse(decision_id, node, body.reason, by=caller.name, tenant=_tenant(caller))

    @routes.get("/sourcing/rules/{kind}", dependencies=looking, responses=failures())
    def in_force(
        kind: Literal["policy", "facts"],
        limit: Annotated[int, Query(ge=1, le=200, description="Activations, newest first.")] = 50,
        offset: Annotated[int, Query(ge=0, lt=2**31, description="Newest activations seen already.")] = 0,
    ) -> InForce:
        """The weights and constraints in force, or the facts that no source tells."""
        with database.begin() as connection:
            rules_, facts = rules.in_force(connection)
            done = rules.history(connection, kind, limit, offset)
        found = rules_ if kind == "policy" else facts
        return InForce(
            version=found.version,
            sha256=found.sha256,
            document=found.model_dump(mode="json", exclude_unset=True),
            activations=[ActivationAnswer.model_validate(vars(item)) for item in done],
        )

    @routes.put(
        "/sourcing/rules/{kind}",
        responses=failures(403, 409, 413, _409="Another document had the same version"),
    )
    def activate(
        kind: Literal["policy", "facts"], body: ActivationAsk, caller: keys.Holder = Depends(service)
    ) -> ActivationAnswer:
        """Put weights and constraints, or facts, into force."""
        with database.begin() as connection:
            done = rules.activate(
                connection, kind, json.dumps(body.document), by=caller.name, reason=body.reason
            )
        return ActivationAnswer.model_validate(vars(done))

    @routes.post("/sourcing/what-if", responses=failures(403, 404, 409, 413, _404="The day has no such node"))
    def what_if(body: WhatIfAsk, caller: keys.Holder = Depends(service)) -> WhatIf:
        """Replay a past day under the policy in force and others: fill rate, splits, cost, promises, carbon, stores emptied."""
        with database.begin() as connection:
            known, _ = rules.in_force(connection)
        tried = [known, *(policy.load(json.dumps(document)) for document in body.policies)]
        past = past_day(database, body.on, of_orders=body.orders)
        day = varied(past.day, body.stock_factor, body.without)
        stock = day.network()
        return WhatIf(
            on=body.on,
            told_by=past.told_by,
            left_out=dict(past.left_out),
            outcomes=[_outcome(replay(day.orders, item, stock)) for item in tried],
        )

    return routes


_EVERY_ROLE = (keys.OMS_SERVICE, keys.DATA_ENGINEER, keys.FINANCE, keys.AUDITOR, keys.STEWARD)
_NONE = "There is no such decision"
_REFUSED = "It cannot be done: too little stock, every node closed, sent or sourced already; the type of the problem says which"


def _tenant(caller: keys.Holder) -> str:
    assert caller.tenant is not None  # the table of keys demands it of the role
    return caller.tenant


def _key(key: str | None) -> str:
    if key is None:
        raise RequestError("key-needed", "to commit, send an Idempotency-Key of your own")
    if "\0" in key:
        raise RequestError("bad-request", "the idempotency key holds a NUL character")
    return key


def _digest(number: str, body: SourcingAsk) -> bytes:
    said = json.dumps([number, body.model_dump()], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(said.encode()).digest()


def _decision(stored: Stored) -> DecisionAnswer:
    said: Mapping[str, Any] = stored.decision
    return DecisionAnswer.model_validate(
        {**said, **vars(stored), "not_compared": said["unknown"], "unknown": list(stored.unknown)}
    )


def _outcome(found: Outcome) -> OutcomeAnswer:
    return OutcomeAnswer.model_validate(
        {
            **vars(found),
            "fill_rate": found.fill_rate,
            "promise_rate": found.promise_rate,
            "unknown": dict(found.unknown),
        }
    )
