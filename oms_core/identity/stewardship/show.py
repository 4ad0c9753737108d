"""What a steward is shown: two records side by side and why they are one or two, and a golden id with all its records."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from oms_core.identity import normalise, resolve
from oms_core.identity.stewardship import evidence, steward
from oms_core.identity.stewardship.blast import Blast, blast, row
from oms_core.identity.stewardship.errors import UnknownNameError
from oms_core.identity.stewardship.evidence import Record, Standing
from oms_core.identity.stewardship.queue import Link
from oms_core.identity.stewardship.steward import Happening, Judged, Named
from oms_core.identity.stewardship.waterfall import Step, total
from oms_core.identity.stewardship.worth import Worth

Weigh = Callable[[str, Record, Record], Sequence[Step]]

# Bits below which a difference is one of rounding.
_LEAST_BEYOND = 0.01
_BEYOND = "what the records held together with these two say, who else it could be, and how right such weights are here"
_ORDER = (
    "source_system", "source_key", "customer_type", "document_role", "order_number", "full_name", "given_name", "family_name",
    "company_name", "title", "location_name", "tax_number", "gtin14", "gln", "sku_code", "location_code", "brand", "mpn",
    "email", "phone", "phone_e164", "marketplace_buyer_id", "size_qty", "size_uom", "pack_qty", "street", "city", "region",
    "postcode", "country",
)  # fmt: skip
_NORMAL: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "email": lambda record: normalise.email(record["email"]),
    "phone": lambda record: normalise.phone(record["phone_e164"] or record["phone"], record["country"]),
    "full_name": lambda record: normalise.name(record["full_name"]),
    "company_name": lambda record: normalise.name(record["company_name"]),
    "location_name": lambda record: normalise.name(record["location_name"]),
    "tax_number": lambda record: normalise.tax_number(record["tax_number"]),
    "title": lambda record: normalise.title(record["title"]),
    "sku_code": lambda record: normalise.sku_code(record["sku_code"]),
}


@dataclass(frozen=True)
class Field:
    """One field of two records. `verdict`: equal, alike (equal once normalised), different, or one side is unknown."""

    name: str
    left: Any
    right: Any
    verdict: str


@dataclass(frozen=True)
class PairView:
    """Everything there is to know about two records before one judges them.

    Attributes:
        left, right: the records, and how the names given led to them.
        version: of the pair; a decision names it as what was seen.
        fields: side by side.
        links: evidence of the last run between these two, strongest first; `refused` says why it was not followed.
        path: where they are one without a link of their own, the followed links that connect them.
        contradictions: why weaker evidence does not join them.
        steps: weights of the score, prior first; empty where nothing scores the entity.
        decisions: every decision there ever was on the two, oldest first.
        tasks: open and closed ones about the two.
        events: what happened to their golden ids and to themselves, oldest first.
        blasts: what each judgement, and the withdrawal of a standing one, would change.
    """

    entity: str
    named: tuple[Named, Named]
    left: Record
    right: Record
    version: int
    fields: tuple[Field, ...]
    links: tuple[Link, ...]
    path: tuple[Link, ...]
    contradictions: tuple[str, ...]
    steps: tuple[Step, ...]
    decisions: tuple[Judged, ...]
    tasks: tuple[Standing, ...]
    events: tuple[Happening, ...]
    blasts: tuple[Blast, ...]

    @property
    def is_one(self) -> bool:
        """Whether the two have one golden id now."""
        return self.left.golden_id == self.right.golden_id


@dataclass(frozen=True)
class Member:
    """One record of a golden id: since when it is, by which rule, and the links that hold it there."""

    record: Record
    since: datetime | None
    links: tuple[Link, ...]


@dataclass(frozen=True)
class GoldenView:
    """A golden id: its records and why each is there, what hangs on it, and its history.

    `asked` differs from `golden_id` where the id asked for is retired: then this is the one that took over.
    """

    entity: str
    asked: str
    golden_id: str
    born_at: datetime
    born_from: str
    worth: Worth
    members: tuple[Member, ...]
    decisions: tuple[Judged, ...]
    tasks: tuple[Standing, ...]
    history: tuple[Happening, ...]


def no_score(entity: str, left: Record, right: Record) -> Sequence[Step]:
    """Weighs nothing: for entities without a model."""
    return ()


def pair_view(connection: Connection, left: Named, right: Named, weigh: Weigh = no_score) -> PairView:
    """Show two records.

    Args:
        connection: reading is enough.
        left, right: of one entity; see `steward.pair`.
        weigh: weights of the score of two records, prior first.

    Raises:
        UnknownNameError: the last run kept no values of a record.
    """
    entity = left.entity
    found = evidence.records(connection, entity, {left.record_id, right.record_id})
    ours, theirs = _kept(found, left.record_id), _kept(found, right.record_id)
    ids = {golden_id for golden_id in (ours.golden_id, theirs.golden_id) if golden_id is not None}
    members = {item for held in evidence.members_of(connection, entity, ids).values() for item in held}
    between = evidence.links_among(connection, entity, members | {left.record_id, right.record_id})
    two = {left.record_id, right.record_id}
    links = [link for link in between if {link.left, link.right} == two]
    decisions = steward.history(connection, entity, left.record_id, right.record_id)
    standing = steward.in_force(decisions)
    path: list[Link] = []
    if len(ids) == 1 and not any(link.refused is None for link in links):
        path = _path(_followed(connection, entity, members, between), left.record_id, right.record_id)
    judgements = ["same"] if len(ids) > 1 else ["different"]
    blasts = [blast(connection, entity, left.record_id, right.record_id, item) for item in judgements]
    if standing is not None:
        blasts.append(blast(connection, entity, left.record_id, right.record_id, None))
    tasks = _of_pair(evidence.tasks_about(connection, entity, two, ()), two, ids, members)
    told = [*(link.probability for link in links), *(item.task.probability for item in tasks)]
    return PairView(
        entity,
        (left, right),
        ours,
        theirs,
        steward.version(decisions),
        tuple(side_by_side(ours, theirs)),
        tuple(links),
        tuple(path),
        tuple(resolve.contradictions(entity, row(ours), row(theirs))),
        _as_decided(
            weigh(entity, ours, theirs), next((chance for chance in told if chance is not None), None)
        ),
        tuple(decisions),
        tuple(tasks),
        tuple(steward.happenings(connection, entity, record_ids=two, ids=ids, others=False)),
        tuple(blasts),
    )


def _as_decided(steps: Sequence[Step], probability: float | None) -> tuple[Step, ...]:
    """The weights of two records, and what the last run knew beyond them, so that they sum to its probability."""
    if not steps or probability is None or not 0 < probability < 1:
        return tuple(steps)
    beyond = math.log2(probability / (1 - probability)) - total(steps)
    if abs(beyond) < _LEAST_BEYOND:
        return tuple(steps)
    return (*steps, Step("all records", beyond, _BEYOND))


def golden_view(connection: Connection, entity: str, golden_id: str) -> GoldenView:
    """Show a golden id, or the one that took over from it.

    Raises:
        UnknownNameError: there never was such an id, or nothing took over when it ended.
    """
    current = steward.successor(connection, entity, golden_id)
    if current is None:
        past = steward.born(connection, entity, golden_id)
        if past is None:
            raise UnknownNameError(f"no {entity} has the golden id {golden_id!r}")
        raise UnknownNameError(
            f"{golden_id} has no record any more and nothing took over; `orderhub identity history {golden_id}` tells more"
        )
    birth = steward.born(connection, entity, current)
    if birth is None:
        raise UnknownNameError(f"{current} was never born; the store is damaged")
    held = evidence.members_of(connection, entity, {current})[current]
    found = evidence.records(connection, entity, held)
    since = {
        record: begun
        for record, begun, ended in steward.past_members(connection, entity, current)
        if ended is None
    }
    followed = _followed(connection, entity, set(held), evidence.links_among(connection, entity, held))
    touching: dict[str, list[Link]] = defaultdict(list)
    for link in followed:
        touching[link.left].append(link)
        touching[link.right].append(link)
    return GoldenView(
        entity,
        golden_id,
        current,
        birth[0],
        birth[1],
        sum((record.worth for record in found.values()), Worth()),
        tuple(Member(_kept(found, record), since.get(record), tuple(touching[record])) for record in held),
        tuple(steward.decisions_about(connection, entity, held)),
        tuple(evidence.tasks_about(connection, entity, held, {current})),
        tuple(steward.happenings(connection, entity, ids={current, golden_id})),
    )


def side_by_side(left: Record, right: Record) -> list[Field]:
    """Fields that either record has, in the order people read them."""
    ours, theirs = row(left), row(right)
    names = {*left.fields, *right.fields}
    known = [name for name in _ORDER if name in names]
    return [
        Field(name, ours[name], theirs[name], _verdict(name, ours, theirs))
        for name in [*known, *sorted(names - set(known))]
    ]


def _verdict(name: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> str:
    if left[name] is None or right[name] is None:
        return "unknown"
    if left[name] == right[name]:
        return "equal"
    normal = _NORMAL.get(name)
    if normal is not None:
        ours, theirs = normal(left), normal(right)
    else:
        ours, theirs = normalise.plain(str(left[name])), normalise.plain(str(right[name]))
    return "alike" if ours is not None and ours == theirs else "different"


def _kept(found: Mapping[str, Record], record: str) -> Record:
    if record not in found:
        raise UnknownNameError(
            f"no run has kept the values of {record} yet: run `orderhub unify --force`, then look again"
        )
    return found[record]


def _followed(
    connection: Connection, entity: str, members: Collection[str], between: Sequence[Link]
) -> list[Link]:
    """Links that hold records of one golden id together, stewards' first."""
    same = [
        Link(item.left, item.right, f"steward {item.by}", 0)
        for item in steward.decisions_about(connection, entity, members)
        if item.withdrawn_at is None
        and item.judgement == "same"
        and item.left in members
        and item.right in members
    ]
    return [*same, *(link for link in between if link.refused is None)]


def _path(links: Sequence[Link], start: str, end: str) -> list[Link]:
    """Fewest links that lead from one record to another, stronger ones first; none where nothing leads there."""
    next_to: dict[str, list[tuple[str, Link]]] = defaultdict(list)
    for link in sorted(links, key=lambda item: item.strength):
        next_to[link.left].append((link.right, link))
        next_to[link.right].append((link.left, link))
    reached: dict[str, list[Link]] = {start: []}
    waiting = deque([start])
    while waiting:
        record = waiting.popleft()
        for other, link in next_to[record]:
            if other not in reached:
                reached[other] = [*reached[record], link]
                waiting.append(other)
    return reached.get(end, [])


def _of_pair(
    tasks: Sequence[Standing], two: Collection[str], ids: Collection[str], members: Collection[str]
) -> list[Standing]:
    """Tasks about these two records or, where they have two ids, about any two records of those."""
    return [
        item
        for item in tasks
        if {item.task.left, item.task.right} == set(two)
        or (len(ids) > 1 and item.task.left in members and item.task.right in members)
    ]
