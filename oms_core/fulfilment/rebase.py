"""Put stock on the newest release: what was counted becomes the base, newer movements and reservations stay on top.

For each node one system is believed, the best-ranked one that counts it; what others say of the node is their copy of it, and
adding it up would count goods twice. A position's watermark is the time of its count. Movements that the books took up later
stay on top of the new base, older ones are in it. A position that the release no longer has lies there no more: its base is
nothing, and its movements up to the last time the release read their system are settled with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

from sqlalchemy import Connection, text

from oms_core.audit import log
from oms_core.fulfilment import book, ledger, movement
from oms_core.fulfilment.book import Place
from oms_core.fulfilment.desk import repeat
from oms_core.fulfilment.merge import follow_redirects
from oms_core.fulfilment.movement import Step
from oms_core.fulfilment.stock import ZERO, PoolKey
from oms_core.store.pipelined import together
from oms_core.store.postgres import Database

AT_ONCE = 500  # pools locked together; others are served meanwhile

# What a channel offers says of no place that goods lie there: it is no count.
_COUNTED = """
SELECT p.position_id, p.sku_id, p.location_id, coalesce(p.lot_number, '') AS lot_number, p.on_hand_qty, p.reserved_qty, p.uom,
    coalesce(p.counted_at, p._extracted_at) AS counted_at, CAST(p.expires_on AS date) AS expires_on, p.source_system, p.release_id, p._extracted_at,
    coalesce(CAST(s.needs_cold_chain AS boolean), false) AS needs_expiry
FROM fct_inventory_positions AS p LEFT JOIN dim_skus AS s ON s.sku_id = p.sku_id
WHERE p.location_id IS NOT NULL OR p.on_hand_qty IS NOT NULL ORDER BY p.position_id"""
# Positions with a base, and those without one whose movements the release has read by now.
_STANDING = """
SELECT p.sku_id, p.location_id, p.lot_number, p.expires_on, p.committed_qty, p.base_qty, p.base_counted_at, p.base_source,
    p.base_position_ids FROM orderhub.stock_positions AS p WHERE p.inbound = '' AND (p.base_source IS NOT NULL OR EXISTS (
        SELECT FROM orderhub.stock_movements AS m
        JOIN unnest(%(systems)s::text[], %(read)s::timestamptz[]) AS r (system, at)
        ON m.source_system = r.system AND m.recorded_at <= r.at
        WHERE m.sku_id = p.sku_id AND m.location_id = p.location_id AND m.lot_number = p.lot_number AND NOT m.is_absorbed))"""
_ABSORB = """
UPDATE orderhub.stock_movements AS m SET is_absorbed = m.recorded_at <= v.at
FROM unnest(%(skus)s::text[], %(nodes)s::text[], %(lots)s::text[], %(at)s::timestamptz[]) AS v (sku, node, lot, at)
WHERE m.sku_id = v.sku AND m.location_id = v.node AND m.lot_number = v.lot
AND m.is_absorbed IS DISTINCT FROM (m.recorded_at <= v.at)"""
_ABSORB_GONE = """
UPDATE orderhub.stock_movements AS m SET is_absorbed = true
FROM unnest(%(skus)s::text[], %(nodes)s::text[], %(lots)s::text[]) AS v (sku, node, lot),
    unnest(%(systems)s::text[], %(read)s::timestamptz[]) AS r (system, at)
WHERE m.sku_id = v.sku AND m.location_id = v.node AND m.lot_number = v.lot AND NOT m.is_absorbed
AND m.source_system = r.system AND m.recorded_at <= r.at"""
_SET_BASE = """
UPDATE orderhub.stock_positions AS p SET base_qty = v.qty, committed_qty = v.committed, base_counted_at = v.at,
    base_source = v.source, base_release_id = v.release, base_position_ids = string_to_array(v.ids, chr(31)),
    expires_on = coalesce(v.expires, p.expires_on), last_recorded_at = (
        SELECT max(m.recorded_at) FROM orderhub.stock_movements AS m WHERE m.sku_id = p.sku_id
        AND m.location_id = p.location_id AND m.lot_number = p.lot_number AND NOT m.is_absorbed)
FROM unnest(%(skus)s::text[], %(nodes)s::text[], %(lots)s::text[], %(qty)s::numeric[], %(committed)s::numeric[],
    %(at)s::timestamptz[], %(sources)s::text[], %(releases)s::bigint[], %(ids)s::text[], %(expires)s::date[])
    AS v (sku, node, lot, qty, committed, at, source, release, ids, expires)
WHERE p.sku_id = v.sku AND p.location_id = v.node AND p.lot_number = v.lot AND p.inbound = ''"""

_SET_UNIT = "UPDATE orderhub.stock_pools SET uom = :uom WHERE sku_id = :sku AND location_id = :node"

LotKey = tuple[str, str, str]  # (sku_id, location_id, lot_number)


@dataclass(frozen=True)
class Base:
    """What a release says of a position.

    Attributes:
        committed: what the counting system has promised itself.
        counted_at: watermark (aware UTC), the latest of the released rows it is the sum of.
        release_id: release in which the newest of them began.
        position_ids: the released rows.
    """

    uom: str
    needs_expiry: bool
    qty: Decimal
    committed: Decimal
    counted_at: datetime
    expires_on: date | None
    source: str
    release_id: int
    position_ids: tuple[str, ...]


@dataclass(frozen=True)
class Counted:
    """A release's stock: bases by lot, who is believed at each node, when each system was read, what could not be used.

    Attributes:
        read_at: system -> when the release last read it.
        left_out: reason -> number of released rows.
    """

    bases: Mapping[LotKey, Base]
    counted_by: Mapping[str, str]
    read_at: Mapping[str, datetime]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Rebased:
    """What putting stock on a release did.

    Attributes:
        positions: positions the release has.
        changed: positions whose base changed.
        left_out: reason -> number of released rows that are not stock of a known SKU at a known node.
    """

    release_id: int | None
    positions: int
    changed: int
    left_out: Mapping[str, int]


def gather(rows: Iterable[Any], ranks: Mapping[str, int]) -> Counted:
    """Add released rows up to positions, believing one system at each node.

    Args:
        rows: released rows; see the statement here for their columns.
        ranks: system -> rank, the lowest is believed; unranked ones come last, by name.
    """
    left_out: dict[str, int] = {}
    fit: list[Any] = []
    read_at: dict[str, datetime] = {}
    for row in rows:
        if row._extracted_at is not None:
            read_at[row.source_system] = max(
                read_at.get(row.source_system, row._extracted_at), row._extracted_at
            )
        reason = next(
            (
                f"no {name}"
                for name in ("sku_id", "location_id", "on_hand_qty", "uom", "counted_at")
                if getattr(row, name) is None
            ),
            None,
        )
        if reason is None:
            fit.append(row)
        else:
            left_out[reason] = left_out.get(reason, 0) + 1
    counted_by: dict[str, str] = {}
    for row in sorted(fit, key=lambda row: (ranks.get(row.source_system, len(ranks)), row.source_system)):
        counted_by.setdefault(row.location_id, row.source_system)
    told: dict[PoolKey, Counter[str]] = {}
    for row in fit:
        if counted_by[row.location_id] == row.source_system:
            told.setdefault((row.sku_id, row.location_id), Counter())[row.uom] += 1
    units = {key: min(found, key=lambda uom: (-found[uom], uom)) for key, found in told.items()}
    bases: dict[LotKey, Base] = {}
    for row in fit:
        if counted_by[row.location_id] != row.source_system:
            left_out["copy of a better-ranked count"] = left_out.get("copy of a better-ranked count", 0) + 1
            continue
        if units[row.sku_id, row.location_id] != row.uom:
            left_out["other unit"] = left_out.get("other unit", 0) + 1
            continue
        key = (row.sku_id, row.location_id, row.lot_number)
        before = bases.get(key)
        committed = max(row.reserved_qty or ZERO, ZERO)
        bases[key] = Base(
            row.uom,
            row.needs_expiry,
            row.on_hand_qty + (before.qty if before else ZERO),
            committed + (before.committed if before else ZERO),
            max(row.counted_at, before.counted_at) if before else row.counted_at,
            min((day for day in (row.expires_on, before and before.expires_on) if day), default=None),
            row.source_system,
            max(row.release_id, before.release_id) if before else row.release_id,
            (*(before.position_ids if before else ()), row.position_id),
        )
    return Counted(bases, counted_by, read_at, left_out)


def rebase(database: Database, ranks: Mapping[str, int], *, by: str) -> Rebased:
    """Put stock on the current release. Called again it finds nothing to do.

    Some pools at a time are locked and settled, so that reservations go on meanwhile; a stop in between leaves every pool on
    the old release or on the new one, and the next call does the rest.

    Args:
        ranks: see `gather`.
        by: who, for the audit log.
    """
    follow_redirects(database, by=by)
    with database.read() as connection:
        release_id = connection.execute(text("SELECT max(id) FROM releases")).scalar()
        if (
            release_id is None
            or connection.execute(text("SELECT to_regclass('fct_inventory_positions')")).scalar() is None
        ):
            return Rebased(release_id, 0, 0, {})
        counted = gather(connection.execute(text(_COUNTED)), ranks)
    with database.begin() as connection:
        (rows,) = together(
            connection,
            [(_STANDING, {"systems": list(counted.read_at), "read": list(counted.read_at.values())})],
        )
    standing = {(row.sku_id, row.location_id, row.lot_number): row for row in rows.rows}
    stale = sorted(
        key
        for key in counted.bases.keys() | standing.keys()
        if not _is_same(counted.bases.get(key), standing.get(key))
    )
    pools = sorted({key[:2] for key in stale})
    changed = 0
    for first in range(0, len(pools), AT_ONCE):
        some = set(pools[first : first + AT_ONCE])
        keys = [key for key in stale if key[:2] in some]
        changed += repeat(database, partial(_settle, counted, keys, by, release_id))
    with database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO orderhub.stock_nodes AS n (location_id, counted_by) "
                "SELECT * FROM unnest(CAST(:nodes AS text[]), CAST(:systems AS text[])) ON CONFLICT (location_id) DO UPDATE "
                "SET counted_by = excluded.counted_by WHERE n.counted_by IS DISTINCT FROM excluded.counted_by"
            ),
            {"nodes": list(counted.counted_by), "systems": list(counted.counted_by.values())},
        )
    return Rebased(release_id, len(counted.bases), changed, counted.left_out)


def _is_same(base: Base | None, row: Any) -> bool:
    if base is None or row is None:
        return False
    return (base.qty, base.committed, base.counted_at, base.source, list(base.position_ids)) == (
        row.base_qty, row.committed_qty, row.base_counted_at, row.base_source, row.base_position_ids,
    ) and (base.expires_on is None or base.expires_on == row.expires_on)  # fmt: skip


def _settle(
    counted: Counted,
    keys: Sequence[LotKey],
    by: str,
    release_id: int,
    connection: Connection,
    also: frozenset[PoolKey],
) -> int:
    bases = {key: counted.bases[key] for key in keys if key in counted.bases}
    places = {key[:2]: Place(*key[:2], base.uom, base.needs_expiry) for key, base in bases.items()}
    book.make_places(connection, list(places.values()))
    together(
        connection,
        [
            (
                book.ADD_POSITIONS,
                {
                    "skus": [key[0] for key in bases],
                    "nodes": [key[1] for key in bases],
                    "lots": [key[2] for key in bases],
                    "dates": [base.expires_on for base in bases.values()],
                },
            )
        ],
    )
    stock = ledger.lock(connection, {key[:2] for key in keys} | also, ())
    # A pool changes its unit only while nobody was promised anything in the old one.
    promised = {key for key, pool in stock.pools.items() if any(lot.reserved for lot in pool.lots)}
    other = {key[:2]: base.uom for key, base in bases.items() if stock.pools[key[:2]].uom != base.uom}
    keys = [key for key in keys if key[:2] not in other.keys() & promised]
    bases = {key: base for key, base in bases.items() if key in keys}
    for sku_id, node in other.keys() - promised:
        connection.execute(text(_SET_UNIT), {"sku": sku_id, "node": node, "uom": other[sku_id, node]})
    gone = [key for key in keys if key not in bases]
    together(
        connection,
        [
            (_ABSORB, {**_lots(bases), "at": [base.counted_at for base in bases.values()]}),
            (
                _ABSORB_GONE,
                {**_lots(gone), "systems": list(counted.read_at), "read": list(counted.read_at.values())},
            ),
        ],
    )
    lots = {(*key, lot.lot_number): lot for key, pool in stock.pools.items() for lot in pool.lots}
    chosen = {lots[key].position_id: key for key in keys}
    (rows,) = together(connection, [(book.STEPS, {"ids": list(chosen)})])
    steps: dict[int, list[Step]] = {}
    for row in rows.rows:
        steps.setdefault(row.id, []).append(Step(row.recorded_at, row.seq, row.kind, row.qty))
    on_hand: dict[int, Decimal] = {}
    for position_id, key in chosen.items():
        base = bases.get(key)
        on_hand[position_id] = movement.fold(
            base.qty if base else ZERO, base.counted_at if base else None, steps.get(position_id, [])
        )
    lost = book.settle(connection, stock, on_hand, {}, (), by=by)
    together(connection, [(_SET_BASE, _bases(keys, bases))])
    log.append(
        connection,
        [
            log.Happening(
                "stock.rebased",
                by,
                f"release/{release_id}",
                {"positions": len(keys), "pools": len({key[:2] for key in keys})},
            ),
            *lost,
        ],
    )
    return len(keys)


def _lots(keys: Iterable[LotKey]) -> dict[str, Any]:
    keys = list(keys)
    return {
        "skus": [key[0] for key in keys],
        "nodes": [key[1] for key in keys],
        "lots": [key[2] for key in keys],
    }


def _bases(keys: Sequence[LotKey], bases: Mapping[LotKey, Base]) -> dict[str, Any]:
    found = [bases.get(key) for key in keys]
    return {
        **_lots(keys),
        "qty": [base.qty if base else ZERO for base in found],
        "committed": [base.committed if base else ZERO for base in found],
        "at": [base.counted_at if base else None for base in found],
        "sources": [base.source if base else None for base in found],
        "releases": [base.release_id if base else None for base in found],
        "ids": ["\x1f".join(base.position_ids) if base else None for base in found],
        "expires": [base.expires_on if base else None for base in found],
    }
