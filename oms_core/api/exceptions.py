"""Orders that need a person, over HTTP: what was found, what is suggested, who decided, and how suggestions fared.

Looking needs what look-ups need; deciding needs a key of the role `steward` or `finance`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from oms_core.api import keys
from oms_core.api.access import Access, looking
from oms_core.api.identity import Reason, Text
from oms_core.api.problems import failures
from oms_core.exceptions import queue
from oms_core.exceptions.detect import RESOLUTIONS
from oms_core.exceptions.queue import Item
from oms_core.store.postgres import Database
from oms_core.store.released import ORDER, Released
from oms_core.store.tables import API_ROLES

Name = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Id = Annotated[Text, Path(min_length=1, max_length=40, examples=["EXC-2R27SXOKIP7VQSTF"])]
Kind = Literal[
    "no_stock", "address_doubtful", "payment_mismatch", "cold_chain_broken", "stuck", "identity_in_doubt",
    "reconciliation_difference",
]  # fmt: skip


class SuggestionAnswer(BaseModel):
    """What could be done, why, and with what."""

    resolution: str
    because: str
    details: dict[str, Any]


class ExceptionAnswer(BaseModel):
    """An order that needs a person."""

    exception_id: str
    kind: Kind
    order_id: str
    about: str = Field(description="What of the order it is about, such as a document; empty: the order.")
    state: Literal["open", "accepted", "changed", "rejected", "gone"]
    revision: int
    evidence: dict[str, Any]
    suggestion: SuggestionAnswer
    opened_at: datetime
    seen_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    resolution: str | None = Field(
        description="What was decided; null: nothing is done, or nothing was decided."
    )
    reason: str | None
    outcome: Literal["solved", "persists"] | None


class Exceptions(BaseModel):
    """Exceptions, oldest first."""

    exceptions: list[ExceptionAnswer]
    next_after: str | None


class Happened(BaseModel):
    """Something that happened to an exception."""

    revision: int
    happened: str
    at: datetime
    by: str
    suggested: str
    resolution: str | None
    reason: str | None
    evidence: dict[str, Any]


class ExceptionWhole(ExceptionAnswer):
    """An exception with what could be done about it, and all that happened to it."""

    resolutions: dict[str, str]
    history: list[Happened]


class ExceptionDecision(BaseModel):
    """Take the suggestion up, decide for another resolution, or say that nothing is to be done."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"decision": "accept", "reason": "called the customer"}]},
    )

    decision: Literal["accept", "change", "reject"]
    reason: Reason
    resolution: Annotated[Text, StringConstraints(min_length=1, max_length=48)] | None = Field(
        None, description="Of `change`: what is done instead."
    )
    revision: int | None = Field(
        None, ge=0, lt=2**63, description="The revision seen; refused when it changed since."
    )


class KindStatistics(BaseModel):
    """How a kind's suggestions fared."""

    kind: Kind
    open: int
    accepted: int
    changed: int
    rejected: int
    adoption: float | None = Field(description="Share of accepted among decided; null: nobody decided yet.")
    solved: int
    persists: int
    gone: int = Field(description="Went by themselves.")
    median_hours: float | None = Field(description="From opening to decision.")


class ExceptionStatistics(BaseModel):
    """How the suggestions of each kind fared."""

    kinds: list[KindStatistics]


def router(database: Database, access: Access) -> APIRouter:
    """The routes of exceptions."""
    routes = APIRouter(tags=["exceptions"])
    anybody = [Depends(access.look_up_or(*API_ROLES))]
    decider = access.of_role(keys.STEWARD, keys.FINANCE)

    @routes.get("/exceptions", dependencies=anybody, responses=failures(404, 409))
    def exceptions(
        kind: Kind | None = None,
        state: Annotated[
            Literal["open", "accepted", "changed", "rejected", "gone", "all"],
            Query(description="`all`: any."),
        ] = "open",
        order: Annotated[Name | None, Query(description="Only of this order, by any number.")] = None,
        after: Annotated[Name | None, Query(description="Id of the last exception seen.")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Exceptions:
        """What waits for a person, oldest first."""
        order_id = None
        if order is not None:
            with database.read() as connection:
                order_id = Released(connection).find(ORDER, order).golden_id
        with looking(database) as connection:
            if after is not None:
                queue.one(connection, after)
            found = queue.look(
                connection, kind=kind, state=None if state == "all" else state, order_id=order_id, after=after, limit=limit + 1
            )  # fmt: skip
        shown = [ExceptionAnswer.model_validate(vars(item)) for item in found[:limit]]
        return Exceptions(exceptions=shown, next_after=shown[-1].exception_id if len(found) > limit else None)

    @routes.get("/exceptions/statistics", dependencies=anybody, responses=failures())
    def statistics() -> ExceptionStatistics:
        """How many suggestions of each kind were taken up, and what became of them."""
        with looking(database) as connection:
            found = queue.statistics(connection)
        return ExceptionStatistics(kinds=[KindStatistics.model_validate(vars(item)) for item in found])

    @routes.get(
        "/exceptions/{exception_id}",
        dependencies=anybody,
        responses=failures(404, _404="There is no such exception"),
    )
    def exception(exception_id: Id) -> ExceptionWhole:
        """An exception with its evidence, what could be done about it, and all that happened to it."""
        with looking(database) as connection:
            return _whole(queue.one(connection, exception_id), queue.history(connection, exception_id))

    @routes.post(
        "/exceptions/{exception_id}/decision",
        responses=failures(
            403,
            404,
            409,
            413,
            _404="There is no such exception",
            _409="Somebody decided first, or it changed since",
        ),
    )
    def decide(
        exception_id: Id, body: ExceptionDecision, caller: keys.Holder = Depends(decider)
    ) -> ExceptionWhole:
        """Decide an exception. Of two at once, the second gets a conflict."""
        with database.begin() as connection:
            item = queue.decide(
                connection,
                exception_id,
                body.decision,
                by=caller.name,
                reason=body.reason,
                resolution=body.resolution,
                revision=body.revision,
            )
            return _whole(item, queue.history(connection, exception_id))

    return routes


def _whole(item: Item, history: list[dict[str, Any]]) -> ExceptionWhole:
    return ExceptionWhole.model_validate(
        {**vars(item), "resolutions": RESOLUTIONS[item.kind], "history": history}
    )
