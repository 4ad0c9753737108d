"""What a decision would do, before it is made: the ids of both sides are worked out anew, by the rules of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from oms_core.identity import resolve
from oms_core.identity.cluster import Edge
from oms_core.identity.stable import Assignment, GoldenId, IdentityEvent, Memory, assign
from oms_core.identity.stewardship import evidence, steward
from oms_core.identity.stewardship.compare import Comparison, compare
from oms_core.identity.stewardship.evidence import Record
from oms_core.identity.stewardship.worth import Worth
from oms_core.store.tables import golden_ids, identity_records

# Records that are grouped anew for one look; evidence that leads further is left aside, and that is said.
_MOST_RECORDS = 500


@dataclass(frozen=True)
class Side:
    """One golden id, the records that are it, and what hangs on them."""

    golden_id: str
    records: tuple[str, ...]
    worth: Worth


@dataclass(frozen=True)
class Blast:
    """What a judgement on a pair would change in the next run, all else being equal.

    Attributes:
        judgement: same, different or unsure; None for the withdrawal of what stands.
        before, after: the golden ids of the two records, and every third one that would change with them, now and then.
        change: ids that merge, split, move; what hangs on the records that move.
        redirects: id that would retire -> id that would take over, or None.
        events: what the feed would say.
        is_whole: whether all that evidence ties to the two was looked at; it is not where that is too much.
    """

    judgement: str | None
    before: tuple[Side, ...]
    after: tuple[Side, ...]
    change: Comparison
    redirects: Mapping[str, str | None]
    events: tuple[IdentityEvent, ...]
    is_whole: bool = True

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "judgement": self.judgement,
            "before": [_side(side) for side in self.before],
            "after": [_side(side) for side in self.after],
            "change": self.change.as_json(),
            "redirects": dict(self.redirects),
            "is_whole": self.is_whole,
        }

    def __str__(self) -> str:
        """A sentence for a person."""
        what = self.judgement or "the withdrawal"
        if self.change.is_same:
            return f"{what}: nothing would change"
        words = [
            f"{golden_id} retires, redirected to {self.redirects.get(golden_id) or others[0]}"
            for golden_id, others in self.change.merged.items()
        ]
        for golden_id, others in self.change.split.items():
            for other in others:
                held = sum(pair == (golden_id, other) for pair in self.change.moved.values())
                part = "part from it as" if other in self.change.born else "go to"
                words.append(f"of the records of {golden_id}, {held} {part} {other}")
        hangs = self.change.worth.as_json()
        revenue = ", ".join(f"{amount} {currency}" for currency, amount in hangs["revenue"].items())
        words.append(
            f"records that move: {len(self.change.moved)}, orders with them: {hangs['orders']} "
            f"({hangs['open_orders']} open), {revenue or 'no revenue'}"
        )
        if not self.is_whole:
            words.append(
                f"more than {_MOST_RECORDS} records hang together here: further ones are not looked at"
            )
        return f"{what}: " + "; ".join(words)


def blast(connection: Connection, entity: str, left: str, right: str, judgement: str | None) -> Blast:
    """Work out what a judgement on two records would do to their golden ids.

    The records of both ids, and of all others that evidence ties to them, are grouped again from the evidence of the last
    run with this decision among those in force, and given ids by the rules of a run.

    Args:
        connection: reading is enough.
        entity: customer, sku, location or order. Of orders, only order documents are looked at.
        left, right: record ids known now.
        judgement: same, different, unsure, or None to withdraw what stands.
    """
    home = evidence.golden_ids_of(connection, entity, {left, right})
    named = {home[left], home[right]}
    ids, is_whole = _reach(connection, entity, named)
    members = {
        record: golden_id
        for golden_id, records in evidence.members_of(connection, entity, ids).items()
        for record in records
    }
    known = {
        record_id: record
        for record_id, record in evidence.records(connection, entity, members.keys()).items()
        if entity != "order" or record.fields.get("document_role", "order") == "order"
    }
    members = {record: golden_id for record, golden_id in members.items() if record in known}
    low, high = sorted((left, right))
    decisions = [
        resolve.Decision(item.left, item.right, item.judgement)
        for item in steward.decisions_about(connection, entity, known.keys())
        if item.withdrawn_at is None and (item.left, item.right) != (low, high)
    ]
    if judgement is not None:
        decisions.append(resolve.Decision(low, high, judgement))
    edges = [
        Edge(link.strength, link.left, link.right, link.rule)
        for link in evidence.links_among(connection, entity, known.keys())
    ]
    found = resolve.group(entity, [row(record) for record in known.values()], edges, decisions)
    outcome = assign(
        entity,
        found.clusters,
        {record_id: record.first_seen_at for record_id, record in known.items()},
        _memory(connection, entity, members),
    )
    worth = {record_id: record.worth for record_id, record in known.items()}
    change = compare(members, outcome.members, worth)
    touched = {golden_id for pair in change.moved.values() for golden_id in pair} | named
    touched |= {outcome.members[record] for record in (left, right) if record in outcome.members}
    return Blast(
        judgement,
        _sides(members, worth, touched),
        _sides(outcome.members, worth, touched),
        change,
        _redirects(outcome, ids),
        tuple(outcome.events),
        is_whole,
    )


def _reach(connection: Connection, entity: str, ids: set[str]) -> tuple[set[str], bool]:
    """These ids and all that evidence ties to their records, step by step; and whether that was all."""
    found = set(ids)
    held = evidence.members_of(connection, entity, found)
    newest = {record for records in held.values() for record in records}
    count = len(newest)
    while newest:
        near = evidence.neighbours(connection, entity, newest)
        more = set(evidence.golden_ids_of(connection, entity, near).values()) - found if near else set()
        if not more:
            break
        held = evidence.members_of(connection, entity, more)
        newest = {record for records in held.values() for record in records}
        count += len(newest)
        if count > _MOST_RECORDS:
            return found, False
        found |= more
    return found, True


def row(record: Record) -> dict[str, Any]:
    """A record as a row of its `int_` table: what is not known is null."""
    return _Row(record.fields, record_id=record.record_id, _first_seen_at=record.first_seen_at)


class _Row(dict[str, Any]):
    def __missing__(self, column: str) -> None:
        return None


def _memory(connection: Connection, entity: str, members: Mapping[str, str]) -> Memory:
    """What is remembered of these records: their homes, as far as those ids are theirs alone or retired."""
    table = identity_records
    query = select(table.c.record_id, table.c.home_id).where(
        table.c.entity == entity, evidence.among(table.c.record_id, members.keys())
    )
    homes: dict[str, str | None] = {item.record_id: item.home_id for item in connection.execute(query)}
    wanted = {*members.values(), *(home for home in homes.values() if home is not None)}
    here = set(members.values())
    ids = {
        item.golden_id: GoldenId(
            item.born_from_record_id,
            item.born_from_seen_at or item.born_at,
            item.born_at,
            item.retired_at is not None,
            item.redirect_to,
        )
        for item in connection.execute(
            select(golden_ids).where(
                golden_ids.c.entity == entity, evidence.among(golden_ids.c.golden_id, wanted)
            )
        )
        # An id in force elsewhere has claims of its own, which are not looked at here.
        if item.golden_id in here or item.retired_at is not None
    }
    return Memory(
        members, {record: home for record, home in homes.items() if home is None or home in ids}, ids
    )


def _redirects(outcome: Assignment, ids: set[str]) -> dict[str, str | None]:
    return {golden_id: redirect for golden_id, redirect in outcome.retired.items() if golden_id in ids}


def _sides(
    members: Mapping[str, str], worth: Mapping[str, Worth], touched: Collection[str]
) -> tuple[Side, ...]:
    records: dict[str, list[str]] = defaultdict(list)
    for record, golden_id in sorted(members.items()):
        if golden_id in touched:
            records[golden_id].append(record)
    return tuple(
        Side(golden_id, tuple(held), sum((worth[record] for record in held), Worth()))
        for golden_id, held in sorted(records.items())
    )


def _side(side: Side) -> dict[str, Any]:
    return {"golden_id": side.golden_id, "records": list(side.records), **side.worth.as_json()}
