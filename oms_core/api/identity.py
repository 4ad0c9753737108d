"""What stewards look at and decide, over HTTP; and the feed and the dated look-up that services follow.

Looking at tasks, pairs and golden ids shows personal data, and deciding changes them: both need a steward's own key, whose
name the decision carries. The feed and the look-up tell ids only; the key of the look-ups opens them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Header, HTTPException, Path, Query, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy import Connection

from oms_core.api import keys
from oms_core.api.access import Access, looking
from oms_core.api.models import Decision, EntityName, Judgement
from oms_core.api.problems import failures
from oms_core.identity import feed, lookup
from oms_core.identity.scoring.model import Model
from oms_core.identity.scoring.weights import weigher
from oms_core.identity.stewardship import activation, evidence, plain, show, steward
from oms_core.identity.stewardship.errors import ActivationRefusedError, UnknownNameError
from oms_core.identity.stewardship.worth import rank
from oms_core.store.postgres import Database

_MOST_TASKS = 200
_MOST_EVENTS = 1000


def _storable(value: str) -> str:
    """PostgreSQL's text holds neither NUL nor half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds half a character") from error
    if "\0" in value:
        raise ValueError("it holds a NUL character")
    return value


Text = Annotated[str, AfterValidator(_storable)]
Item = TypeVar("Item")
Name = Annotated[Text, StringConstraints(min_length=1, max_length=300)]
Reason = Annotated[Text, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Number = Annotated[int, Path(ge=1, lt=2**63)]
OfEntity = Annotated[
    EntityName | None, Query(description="Only this one; found out from the names where it can be.")
]


class WorthAnswer(BaseModel):
    """What hangs on records: orders, those still to be fulfilled, net revenue by currency (decimal text)."""

    orders: int
    open_orders: int
    revenue: dict[str, Decimal]


class Decided(Decision):
    """A decision just made, with the version the pair has now."""

    version: int = Field(description="Of the pair; the next decision on it names this as what it has seen.")


class Task(BaseModel):
    """A question that waits for a steward: about two records, or about one golden id and an attribute of it."""

    id: int
    entity: EntityName
    kind: str = Field(examples=["grey_zone", "refused_evidence", "decision_in_doubt", "contradiction"])
    left: str | None
    right: str | None
    golden_id: str | None
    attribute: str | None
    probability: float | None = Field(description="That the two are one, where a score asks.")
    evidence: dict[str, Any]
    worth: WorthAnswer
    opened_at: datetime
    closed_at: datetime | None
    outcome: str | None = Field(description="same, different, unsure; gone: its cause disappeared.")
    decision_id: int | None


class Tasks(BaseModel):
    """Tasks, what is worth most first."""

    tasks: list[Task]
    total: int


class Link(BaseModel):
    """One piece of evidence; strength 1 is strongest. `refused` says why the last run did not follow it."""

    left: str
    right: str
    rule: str
    strength: int
    probability: float | None
    refused: str | None


class Record(BaseModel):
    """One source record: where it is and by which rule, its values, what hangs on it."""

    record_id: str
    golden_id: str | None
    match_rule: str | None
    first_seen_at: datetime
    fields: dict[str, Any]
    worth: WorthAnswer


class Member(Record):
    """A record of a golden id: since when, and the links that hold it there."""

    since: datetime | None
    links: list[Link]


class Happening(BaseModel):
    """One entry of a history."""

    at: datetime
    kind: str
    by: str | None
    what: str


class Named(BaseModel):
    """What a name led to. Of a golden id, the record is its representative."""

    asked: str
    entity: EntityName
    record_id: str
    golden_id: str
    found_by: str


class FieldAnswer(BaseModel):
    """One field of two records; alike is equal once normalised, unknown where a side has none."""

    name: str
    left: Any
    right: Any
    verdict: Literal["equal", "alike", "different", "unknown"]


class StepAnswer(BaseModel):
    """One step of the waterfall: a field and its weight in bits (log2 odds)."""

    field: str
    weight_bits: float
    found: str


class Score(BaseModel):
    """How the score of two records adds up."""

    steps: list[StepAnswer]
    match_weight_bits: float
    probability: float


class Side(WorthAnswer):
    """One golden id and the records that are it."""

    golden_id: str
    records: list[str]


class BlastAnswer(BaseModel):
    """What a judgement would change in the next run; null is the withdrawal of what stands."""

    judgement: Judgement | None
    before: list[Side]
    after: list[Side]
    change: dict[str, Any]
    redirects: dict[str, str | None]
    is_whole: bool = Field(description="Whether all records that evidence ties to the two were looked at.")


class Pair(BaseModel):
    """Two records side by side, why they are one or two, and what a decision would do."""

    entity: EntityName
    is_one: bool
    version: int = Field(description="A decision on the pair names this as what it has seen.")
    asked: list[Named]
    left: Record
    right: Record
    fields: list[FieldAnswer]
    links: list[Link]
    path: list[Link]
    contradictions: list[str]
    score: Score | None
    decisions: list[Decision]
    tasks: list[Task]
    history: list[Happening]
    blast: list[BlastAnswer]


class Golden(BaseModel):
    """A golden id with its records, and why each is there. `asked` may be an id that retired into it."""

    entity: EntityName
    asked: str
    golden_id: str
    born_at: datetime
    born_from: str
    worth: WorthAnswer
    records: list[Member]
    decisions: list[Decision]
    tasks: list[Task]
    history: list[Happening]


class History(BaseModel):
    """Everything that ever happened to a golden id, to a record, or between two records, oldest first."""

    history: list[Happening]
    total: int
    version: int | None = Field(description="Of the pair, where two records were asked for.")


class Event(BaseModel):
    """Something that happened to a golden id."""

    seq: int
    at: datetime
    entity: EntityName
    kind: str
    golden_id: str
    record_id: str | None
    other_id: str | None
    reason: str | None


class Events(BaseModel):
    """Events in order; `next_after` asks for what follows them."""

    events: list[Event]
    next_after: int


class Found(BaseModel):
    """Golden id of a record at a time, and the id it leads to now."""

    entity: EntityName
    golden_id: str
    current_id: str | None


class LookUp(BaseModel):
    """Golden ids of a source record, one per entity it belongs to."""

    record: str
    at: datetime | None
    found: list[Found]


class Activation(BaseModel):
    """A model that scored from then on."""

    id: int
    entity: EntityName
    version: str
    sha256: str
    at: datetime
    by: str
    reason: str


class ModelReport(BaseModel):
    """What a model would have changed against identity as it was then."""

    id: int
    entity: EntityName
    model_version: str
    model_sha256: str
    state_sha256: str
    report: dict[str, Any]
    at: datetime
    by: str


class Models(BaseModel):
    """Activations, oldest first (the last of an entity is in force), and the reports behind them."""

    activations: list[Activation]
    reports: list[ModelReport]


class Judge(BaseModel):
    """A judgement on two records, named by record id, golden id or number."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "left": "shopify:customers:71",
                    "right": "tryton:parties:9",
                    "judgement": "same",
                    "reason": "called them: one shop, two spellings",
                    "seen": 0,
                }
            ]
        },
    )

    left: Name
    right: Name
    judgement: Judgement
    reason: Reason
    entity: EntityName | None = None
    seen: int | None = Field(
        None,
        ge=0,
        description="Version of the pair that was looked at, 0 for none; or send If-Match with its ETag.",
    )


class Withdraw(BaseModel):
    """Why a decision is taken back."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason
    seen: int | None = Field(None, ge=0, description="Version of the pair, to be checked too.")


class Activate(BaseModel):
    """Which model is to score from now on, and why."""

    model_config = ConfigDict(extra="forbid")

    entity: EntityName
    version: Name
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")] = Field(
        description="Of the model, as the report says it."
    )
    reason: Reason


# Reports what a model would change, in a transaction of the store; `identification.differing` makes one.
Differ = Callable[[Connection, Model], Mapping[str, Any]]


class Diff(BaseModel):
    """Which model to report on: one that was shipped, reported on or activated.

    A new one comes by the command line first: a model holds conditions that the engine executes, which nobody sends by HTTP.
    """

    model_config = ConfigDict(extra="forbid")

    entity: EntityName
    version: Name


def router(database: Database, access: Access, differ: Differ | None = None) -> APIRouter:
    """The routes under /identity.

    Args:
        database: stewards' routes go through its owner, the feed and the look-up through its reading role.
        access: lets stewards in, and look-ups.
        differ: works out what a model would change; without it, that is refused.
    """
    routes = APIRouter(prefix="/identity", tags=["identity"])
    reader = access.look_up_or(keys.STEWARD)
    steward_key = access.of_role(keys.STEWARD)

    def steward_of(held: keys.Holder = Depends(steward_key)) -> str:
        """Name of the steward whose key the request carries."""
        return held.name

    stewards = [Depends(steward_key)]

    @routes.get("/tasks", dependencies=stewards, responses=failures())
    def tasks(
        entity: OfEntity = None,
        kind: Annotated[
            Name | None, Query(description="grey_zone, refused_evidence, decision_in_doubt or contradiction.")
        ] = None,
        state: Annotated[Literal["open", "closed"], Query()] = "open",
        limit: Annotated[int, Query(ge=1, le=_MOST_TASKS)] = 50,
        offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    ) -> Tasks:
        """What waits for a decision, what is worth most first: orders, open orders, revenue."""
        with looking(database) as connection:
            found = evidence.tasks(connection, entity, kind=kind, is_open=state == "open")
        by_id = {item.id: item for item in found}
        ranked = rank({item.id: item.worth for item in found})[offset : offset + limit]
        shown = [Task.model_validate(plain.task(by_id[number])) for number in ranked]
        return Tasks(tasks=shown, total=len(found))

    @routes.get(
        "/pairs",
        dependencies=stewards,
        responses=failures(404, 409, _404="A name leads nowhere", _409="A name leads to several"),
    )
    def pairs(
        response: Response,
        left: Annotated[Name, Query(description="Record id, golden id or number.")],
        right: Annotated[Name, Query(description="The other one.")],
        entity: OfEntity = None,
    ) -> Pair:
        """Two records field by field: evidence, weights, decisions, and what each decision would do.

        The ETag is the version of the pair: send it back as `If-Match` with the decision.
        """
        with looking(database) as connection:
            view = show.pair_view(
                connection, *steward.pair(connection, left, right, entity), weigher(connection)
            )
        response.headers["ETag"] = f'"{view.version}"'
        response.headers["Cache-Control"] = "private, no-store"
        return Pair.model_validate(plain.pair(view))

    @routes.get(
        "/decisions/{decision_id}",
        dependencies=stewards,
        responses=failures(404, _404="There is no such decision"),
    )
    def decision(decision_id: Number) -> Decision:
        """One decision, withdrawn ones too."""
        with looking(database) as connection:
            return Decision.model_validate(plain.decision(steward.get(connection, decision_id)))

    @routes.post(
        "/decisions",
        status_code=201,
        responses=failures(
            404, 409, 413, 428,
            _404="A name leads nowhere",
            _409="Somebody decided first (`decision` says what stands), standing decisions say the opposite (`chain`), or a "
            "name leads to several records (`candidates`)",
            _422="No decision about two records",
        ),
    )  # fmt: skip
    def decide(
        request: Request,
        response: Response,
        body: Judge,
        if_match: Annotated[
            str | None, Header(max_length=40, description="ETag of the pair as seen.")
        ] = None,
        by: str = Depends(steward_of),
    ) -> Decided:
        """Judge two records: same, different or unsure. In force from the next run on, whatever any score says."""
        seen = _seen(if_match, body.seen)
        with database.begin() as connection:
            left, right = steward.pair(connection, body.left, body.right, body.entity)
            made = steward.decide(
                connection, left.entity, left.record_id, right.record_id, body.judgement,
                by=by, reason=body.reason, seen=seen,
            )  # fmt: skip
            version = steward.version(steward.history(connection, made.entity, made.left, made.right))
        response.headers["ETag"] = f'"{version}"'
        response.headers["Location"] = f"{request.url.path}/{made.id}"
        return Decided.model_validate({**plain.decision(made), "version": version})

    @routes.post(
        "/decisions/{decision_id}/withdrawal",
        responses=failures(
            404, 409, 413, _404="There is no such decision", _409="It was withdrawn already, or the pair has another version"
        ),
    )  # fmt: skip
    def withdrawal(
        decision_id: Number,
        body: Withdraw,
        if_match: Annotated[
            str | None, Header(max_length=40, description="ETag of the pair as seen.")
        ] = None,
        by: str = Depends(steward_of),
    ) -> Decision:
        """Take a decision back. It stays in the history; what it had answered comes back into the queue."""
        seen = None if if_match is None and body.seen is None else _seen(if_match, body.seen)
        with database.begin() as connection:
            gone = steward.withdraw(connection, decision_id, by=by, reason=body.reason, seen=seen)
        return Decision.model_validate(plain.decision(gone))

    @routes.get(
        "/history",
        dependencies=stewards,
        responses=failures(404, 409, _404="A name leads nowhere", _409="A name leads to several"),
    )
    def history(
        of: Annotated[Name, Query(description="Golden id, retired ones too, record id or number.")],
        other: Annotated[
            Name | None, Query(description="A second record: what was decided about the two.")
        ] = None,
        entity: OfEntity = None,
        limit: Annotated[int, Query(ge=1, le=_MOST_EVENTS)] = 100,
        offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    ) -> History:
        """Everything that ever happened: decisions with who, when and why, withdrawals, events. Nothing is ever deleted."""
        with looking(database) as connection:
            entries, version = steward.history_of(connection, of, other, entity)
        return History(
            history=[
                Happening.model_validate(plain.happening(item)) for item in entries[offset : offset + limit]
            ],
            total=len(entries),
            version=version,
        )

    @routes.get("/events", dependencies=[Depends(reader)], responses=failures())
    def events(
        after: Annotated[int, Query(ge=0, lt=2**63, description="Number of the last event known.")] = 0,
        limit: Annotated[int, Query(ge=1, le=_MOST_EVENTS)] = 100,
        entity: OfEntity = None,
    ) -> Events:
        """What happens to golden ids, in order, for services that follow: keep `next_after` and ask again with it."""
        with database.read() as connection:
            found = feed.read_events(connection, after, limit, entity)
        shown = [Event.model_validate(vars(item)) for item in found]
        return Events(events=shown, next_after=found[-1].seq if found else after)

    @routes.get(
        "/lookup", dependencies=[Depends(reader)], responses=failures(404, 409, _404="No such record then")
    )
    def look_up(
        record: Annotated[Name, Query(description="Record id source:stream:key, or source:key.")],
        at: Annotated[
            datetime | None, Query(description="At this instant; now by default. UTC without an offset.")
        ] = None,
        entity: OfEntity = None,
    ) -> LookUp:
        """Golden id that a source record had at a time, and the id that one leads to now."""
        when = at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)
        with database.read() as connection:
            found = [
                Found.model_validate(vars(item)) for item in lookup.find(connection, record, when, entity)
            ]
        if not found:
            raise UnknownNameError(
                f"{record} had no golden id {'now' if when is None else f'at {when.isoformat()}'}"
            )
        return LookUp(record=record, at=when, found=found)

    @routes.get("/models", dependencies=stewards, responses=failures())
    def models(
        entity: EntityName,
        limit: Annotated[int, Query(ge=1, le=_MOST_TASKS, description="Of each, the newest.")] = 50,
        offset: Annotated[int, Query(ge=0, lt=2**31, description="Of each, newest ones seen already.")] = 0,
    ) -> Models:
        """Activated models of an entity, and reports on what candidates would change."""
        with looking(database) as connection:
            made = activation.activations(connection, entity)
            told = activation.reports(connection, entity)
        return Models(
            activations=[Activation.model_validate(vars(item)) for item in _newest(made, limit, offset)],
            reports=[ModelReport.model_validate(vars(item)) for item in _newest(told, limit, offset)],
        )

    @routes.post(
        "/models/reports",
        status_code=201,
        responses=failures(
            404, 409, 413, _404="No such model", _409="The records are elsewhere, or a run is working on them"
        ),
    )  # fmt: skip
    def diff(body: Diff, by: str = Depends(steward_of)) -> ModelReport:
        """Report what a model would change, before it is activated: ids moved, merged and split, orders and revenue touched."""
        if differ is None:
            raise ActivationRefusedError(
                "no records are beside this server: run `orderhub identity diff` where they are"
            )
        with database.begin() as connection:
            model = activation.known_model(connection, body.entity, body.version)
            made = activation.keep_report(connection, body.entity, model, differ(connection, model), by=by)
        return ModelReport.model_validate(vars(made))

    @routes.post(
        "/models/activations",
        status_code=201,
        responses=failures(
            404, 409, 413, _404="No such model", _409="No report says what it would change against identity as it is now"
        ),
    )  # fmt: skip
    def activate(body: Activate, by: str = Depends(steward_of)) -> Activation:
        """Let a model score from the next run on. `orderhub identity diff` reports on it first, where the records are."""
        with database.begin() as connection:
            model = activation.reported_model(connection, body.entity, body.version, body.sha256)
            made = activation.activate(connection, body.entity, model, by=by, reason=body.reason)
        return Activation.model_validate(vars(made))

    # Last: the paths above would else be read as an entity and an id.
    @routes.get(
        "/{entity}/{golden_id}",
        dependencies=stewards,
        responses=failures(404, _404="There never was such an id, or nothing took over"),
    )
    def golden(entity: EntityName, golden_id: Annotated[Name, Path()]) -> Golden:
        """A golden id with its records, why each is there, and its history. Retired ids lead to their successor."""
        with looking(database) as connection:
            return Golden.model_validate(plain.golden(show.golden_view(connection, entity, golden_id)))

    return routes


def _newest(items: list[Item], limit: int, offset: int) -> list[Item]:
    """The newest of a list that begins with the oldest, without the last `offset`; in its order."""
    end = max(len(items) - offset, 0)
    return items[max(end - limit, 0) : end]


def _seen(if_match: str | None, seen: int | None) -> int:
    """Version that the caller has seen: by ETag, or in the body."""
    if if_match is not None:
        tag = if_match.strip().removeprefix("W/").strip('"')
        if not tag.isascii() or not tag.isdecimal() or (seen is not None and seen != int(tag)):
            raise HTTPException(422, f"If-Match {if_match!r} is not the ETag of one pair")
        return int(tag)
    if seen is None:
        raise HTTPException(
            428,
            "a decision says which version of the pair it has seen: send `seen`, or If-Match with the ETag of the pair",
        )
    return seen
