"""The queue of exceptions, kept: found again they are the same, decided they stay decided until what they rest on changes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, text

from oms_core.audit import log
from oms_core.exceptions import gather
from oms_core.exceptions.baseline import Baselines
from oms_core.exceptions.detect import DETECTORS, KINDS, RESOLUTIONS, Found, stuck
from oms_core.exceptions.errors import DecidedError, ResolutionError, UnknownExceptionError
from oms_core.store import outbox
from oms_core.store.outbox import Telling
from oms_core.store.postgres import Database

Say = Callable[[str], None]
DECIDED = ("accepted", "changed", "rejected")
_COLUMNS = (
    "exception_id, kind, order_id, about, fingerprint, evidence, suggestion, state, revision, opened_at, seen_at, decided_at, "
    "decided_by, resolution, reason, outcome"
)


@dataclass(frozen=True)
class Item:
    """An exception as it stands.

    Attributes:
        about: what of the order it is about; empty: the order.
        suggestion: resolution, because, details.
        state: open, accepted, changed, rejected; gone: nobody decided, and it is found no more.
        revision: changes so far.
        resolution: what was decided; None: nothing yet, or that the suggestion is wrong.
        outcome: solved once it is found no more after a decision, persists while it still is; None: not looked since.
    """

    exception_id: str
    kind: str
    order_id: str
    about: str
    fingerprint: str
    evidence: Mapping[str, Any]
    suggestion: Mapping[str, Any]
    state: str
    revision: int
    opened_at: datetime
    seen_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    resolution: str | None
    reason: str | None
    outcome: str | None


@dataclass(frozen=True)
class Detected:
    """What a look for exceptions came to: orders that need a person, by kind.

    Attributes:
        found: as they are now.
        opened: of them, new ones and those asked anew.
        closed: open ones that are found no more.
        not_looked: kinds that cannot be told, since what they are told from is not released.
    """

    found: Mapping[str, int]
    opened: int
    closed: int
    not_looked: tuple[str, ...]


@dataclass(frozen=True)
class Statistics:
    """How a kind's suggestions fared.

    Attributes:
        open: waiting for a person.
        accepted, changed, rejected: decisions ever made.
        adoption: share of accepted among decided; None: nobody decided yet.
        solved, persists: what became of what was decided, looked at since.
        gone: went by themselves.
        median_hours: from opening to decision.
    """

    kind: str
    open: int
    accepted: int
    changed: int
    rejected: int
    adoption: float | None
    solved: int
    persists: int
    gone: int
    median_hours: float | None


def detect(database: Database, *, by: str, say: Say = lambda _: None) -> Detected:
    """Look for orders that need a person, and bring the queue up to date.

    Nothing happens twice: looked again at the same, the queue is the same.
    """
    with database.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(7301014)"))  # one looks at a time
        now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        tables = gather.released_tables(connection)
        found: list[Found] = []
        not_looked = []
        for kind in KINDS:
            if not tables.issuperset(gather.STATEMENTS[kind][1]):
                not_looked.append(kind)
                continue
            rows = gather.rows(connection, kind)
            if kind == "stuck":
                found += stuck(rows, Baselines(gather.stays(connection)), now)
            else:
                found += DETECTORS[kind](rows)
        opened, closed = _bring(connection, found, frozenset(KINDS) - set(not_looked), now, by)
        if opened or closed:
            told = {"opened": opened, "closed": closed, "found": len(found)}
            log.append(connection, [log.Happening("exceptions.detected", by, "exceptions", told)])
    counts = Counter(item.kind for item in found)
    say(
        f"{len(found):,} orders' questions wait for a person or were decided: {opened:,} opened, {closed:,} gone"
    )
    return Detected(dict(sorted(counts.items())), opened, closed, tuple(not_looked))


def look(
    connection: Connection,
    *,
    kind: str | None = None,
    state: str | None = "open",
    order_id: str | None = None,
    after: str | None = None,
    limit: int = 100,
) -> list[Item]:
    """Exceptions, oldest first; those of one instant by id.

    Args:
        kind, state, order_id: only these; None: all.
        after: id of the last one seen; None: from the beginning.
    """
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM orderhub.exceptions AS e WHERE (CAST(:kind AS text) IS NULL OR kind = :kind) "
            "AND (CAST(:state AS text) IS NULL OR state = :state) "
            "AND (CAST(:order AS text) IS NULL OR order_id = :order) "
            "AND (CAST(:after AS text) IS NULL OR (opened_at, exception_id) > "
            "(SELECT opened_at, exception_id FROM orderhub.exceptions WHERE exception_id = :after)) "
            "ORDER BY opened_at, exception_id LIMIT :limit"
        ),
        {"kind": kind, "state": state, "order": order_id, "after": after, "limit": limit},
    )
    return [Item(**row) for row in rows.mappings()]


def one(connection: Connection, exception_id: str, *, is_locked: bool = False) -> Item:
    """An exception.

    Raises:
        UnknownExceptionError: there is none of this id.
    """
    found = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM orderhub.exceptions WHERE exception_id = :id"
            + (" FOR UPDATE" if is_locked else "")
        ),
        {"id": exception_id},
    ).mappings().one_or_none()  # fmt: skip
    if found is None:
        raise UnknownExceptionError(
            "unknown-exception",
            f"there is no exception {exception_id!r}: `orderhub exceptions list` shows them",
        )
    return Item(**found)


def history(connection: Connection, exception_id: str) -> list[dict[str, Any]]:
    """All that happened to an exception, oldest first."""
    rows = connection.execute(
        text(
            "SELECT revision, happened, at, by, suggested, resolution, reason, evidence "
            "FROM orderhub.exception_history WHERE exception_id = :id ORDER BY revision"
        ),
        {"id": exception_id},
    )
    return [dict(row) for row in rows.mappings()]


def decide(
    connection: Connection,
    exception_id: str,
    decision: Literal["accept", "change", "reject"],
    *,
    by: str,
    reason: str,
    resolution: str | None = None,
    revision: int | None = None,
) -> Item:
    """Take up the suggestion, another resolution, or none.

    Args:
        connection: a writing transaction.
        resolution: of `change`: what is done instead.
        revision: what the caller saw; None: whatever there is.

    Raises:
        UnknownExceptionError: there is none of this id.
        ResolutionError: `change` names no resolution of the kind, or the one that was suggested.
        DecidedError: somebody decided first, its cause is gone, or it changed since.
    """
    item = one(connection, exception_id, is_locked=True)
    if revision is not None and revision != item.revision:
        raise DecidedError(
            "revision-past",
            f"{exception_id} is at revision {item.revision}, {item.state}, and was seen at {revision}: look again",
            {"revision": item.revision, "state": item.state},
        )
    if item.state != "open":
        who = (
            f"{item.decided_by} {item.state} it at {item.decided_at:%Y-%m-%d %H:%M}Z"
            if item.decided_at is not None
            else "its cause is gone"
        )
        raise DecidedError("already-decided", f"{exception_id} is not open: {who}", {"state": item.state})
    known = RESOLUTIONS[item.kind]
    suggested = item.suggestion["resolution"]
    if decision == "change" and (resolution not in known or resolution == suggested):
        others = ", ".join(name for name in known if name != suggested)
        raise ResolutionError(
            "unknown-resolution",
            f"{exception_id} ({item.kind}) cannot be changed to {resolution!r}: choose one of {others}",
        )
    done = {"accept": suggested, "change": resolution, "reject": None}[decision]
    state = {"accept": "accepted", "change": "changed", "reject": "rejected"}[decision]
    connection.execute(
        text(
            "UPDATE orderhub.exceptions SET state = :state, revision = revision + 1, decided_at = clock_timestamp(), "
            "decided_by = :by, resolution = :resolution, reason = :reason, outcome = NULL WHERE exception_id = :id"
        ),
        {"state": state, "by": by, "resolution": done, "reason": reason, "id": exception_id},
    )
    after = one(connection, exception_id)
    _note(connection, [(after, state, by)])
    assert after.decided_at is not None
    told = {
        "exception_id": exception_id, "kind": item.kind, "order_id": item.order_id, "decision": state,
        "resolution": done, "suggested": suggested, "details": item.suggestion["details"] if decision == "accept" else {},
    }  # fmt: skip
    outbox.append(
        connection,
        [
            Telling(
                f"exception/{exception_id}/{after.revision}",
                "orderhub.exception.decided",
                item.order_id,
                after.decided_at,
                told,
            )
        ],
    )
    log.append(
        connection,
        [log.Happening("exception.decided", by, f"exception/{exception_id}", told | {"reason": reason})],
    )
    return after


def statistics(connection: Connection) -> list[Statistics]:
    """How each kind's suggestions fared, over all that ever happened."""
    rows = connection.execute(
        text(
            "WITH decided AS (SELECT h.*, e.kind, (SELECT max(o.at) FROM orderhub.exception_history AS o "
            "WHERE o.exception_id = h.exception_id AND o.revision < h.revision AND o.happened IN ('opened', 'reopened')) "
            "AS opened_at FROM orderhub.exception_history AS h JOIN orderhub.exceptions AS e USING (exception_id)) "
            "SELECT kind, count(*) FILTER (WHERE happened = 'accepted') AS accepted, "
            "count(*) FILTER (WHERE happened = 'changed') AS changed, "
            "count(*) FILTER (WHERE happened = 'rejected') AS rejected, "
            "count(*) FILTER (WHERE happened = 'solved') AS solved, count(*) FILTER (WHERE happened = 'gone') AS gone, "
            "percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM at - opened_at) / 3600) "
            "FILTER (WHERE happened IN ('accepted', 'changed', 'rejected')) AS hours FROM decided GROUP BY kind"
        )
    )
    past = {row.kind: row for row in rows}
    now = {
        (row.kind, row.state): (row.orders, row.persists)
        for row in connection.execute(
            text(
                "SELECT kind, state, count(*) AS orders, count(*) FILTER (WHERE outcome = 'persists') AS persists "
                "FROM orderhub.exceptions GROUP BY kind, state"
            )
        )
    }
    found = []
    for kind in KINDS:
        row = past.get(kind)
        accepted, changed, rejected, solved, gone = (
            (0, 0, 0, 0, 0)
            if row is None
            else (row.accepted, row.changed, row.rejected, row.solved, row.gone)
        )
        decided = accepted + changed + rejected
        found.append(
            Statistics(
                kind=kind,
                open=now.get((kind, "open"), (0, 0))[0],
                accepted=accepted,
                changed=changed,
                rejected=rejected,
                adoption=accepted / decided if decided else None,
                solved=solved,
                persists=sum(now.get((kind, state), (0, 0))[1] for state in DECIDED),
                gone=gone,
                median_hours=None if row is None or row.hours is None else float(row.hours),
            )
        )
    return found


def _bring(
    connection: Connection, found: Sequence[Found], looked: frozenset[str], now: datetime, by: str
) -> tuple[int, int]:
    """Open what is new or rests on something else, and close what is found no more; gives how many of each."""
    rows = connection.execute(
        text(f"SELECT {_COLUMNS} FROM orderhub.exceptions WHERE kind = ANY (:kinds) FOR UPDATE"),
        {"kinds": sorted(looked)},
    )
    known = {row["exception_id"]: Item(**row) for row in rows.mappings()}
    fresh = {item.exception_id: item for item in found}
    written: list[tuple[Item, str, str]] = []
    rewritten: list[Item] = []
    for exception_id, item in fresh.items():
        before = known.get(exception_id)
        is_same = before is not None and before.fingerprint == item.fingerprint
        if (
            before is None
            or before.state == "gone"
            or (before.state in DECIDED and (not is_same or before.outcome == "solved"))
        ):
            revision = 1 if before is None else before.revision + 1
            after = _item(item, "open", revision, now, now)
            written.append((after, "opened" if before is None else "reopened", by))
        elif before.state == "open":
            after = _item(item, "open", before.revision + (not is_same), before.opened_at, now)
            if not is_same:
                written.append((after, "reopened", by))
        else:
            after = Item(**{**vars(before), "seen_at": now, "outcome": "persists"})
        rewritten.append(after)
    closed = 0
    for exception_id, before in known.items():
        if exception_id in fresh or before.state == "gone" or before.outcome == "solved":
            continue
        is_open = before.state == "open"
        closed += is_open
        changed = {"state": "gone"} if is_open else {"outcome": "solved"}
        after = Item(**{**vars(before), **changed, "revision": before.revision + 1})
        written.append((after, "gone" if is_open else "solved", by))
        rewritten.append(after)
    _put(connection, rewritten)
    _note(connection, written)
    return sum(happened in ("opened", "reopened") for _, happened, _ in written), closed


def _item(found: Found, state: str, revision: int, opened_at: datetime, now: datetime) -> Item:
    return Item(
        found.exception_id, found.kind, found.order_id, found.about, found.fingerprint, found.evidence,
        vars(found.suggestion), state, revision, opened_at, now, None, None, None, None, None,
    )  # fmt: skip


def _put(connection: Connection, items: Sequence[Item]) -> None:
    if items:
        names = _COLUMNS.split(", ")
        values = ", ".join(f"CAST(:{name} AS jsonb)" if name in _JSON else f":{name}" for name in names)
        changed = ", ".join(f"{name} = excluded.{name}" for name in names[4:])
        connection.execute(
            text(
                f"INSERT INTO orderhub.exceptions ({_COLUMNS}) VALUES ({values}) "
                f"ON CONFLICT (exception_id) DO UPDATE SET {changed}"
            ),
            [
                {**vars(item), **{name: json.dumps(vars(item)[name], ensure_ascii=False) for name in _JSON}}
                for item in items
            ],
        )


def _note(connection: Connection, written: Sequence[tuple[Item, str, str]]) -> None:
    if written:
        connection.execute(
            text(
                "INSERT INTO orderhub.exception_history (exception_id, revision, happened, by, suggested, resolution, "
                "reason, evidence) VALUES (:id, :revision, :happened, :by, :suggested, :resolution, :reason, "
                "CAST(:evidence AS jsonb))"
            ),
            [
                {
                    "id": item.exception_id, "revision": item.revision, "happened": happened, "by": by,
                    "suggested": item.suggestion["resolution"], "resolution": item.resolution, "reason": item.reason,
                    "evidence": json.dumps(dict(item.evidence), ensure_ascii=False),
                }
                for item, happened, by in written
            ],
        )  # fmt: skip


_JSON = ("evidence", "suggestion")
