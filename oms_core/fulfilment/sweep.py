"""Free what expired where nobody asks for it; where somebody does, it is free already."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection, text

from oms_core.audit import log
from oms_core.fulfilment import ledger
from oms_core.fulfilment.desk import repeat
from oms_core.fulfilment.stock import PoolKey
from oms_core.store.postgres import Database

AT_ONCE = 200  # pools locked together


def sweep(database: Database, *, by: str) -> int:
    """Free all stock that expired reservations still hold.

    Returns:
        Number of pools in which something was freed.
    """
    with database.begin() as connection:
        rows = connection.execute(
            text(
                "SELECT DISTINCT sku_id, location_id FROM orderhub.reservation_holds "
                "WHERE expires_at <= statement_timestamp() ORDER BY sku_id, location_id"
            )
        )
        pools = [(row.sku_id, row.location_id) for row in rows]
    for first in range(0, len(pools), AT_ONCE):
        repeat(database, partial(_free, pools[first : first + AT_ONCE], by))
    return len(pools)


def _free(pools: list[PoolKey], by: str, connection: Connection, _also: frozenset[PoolKey]) -> None:
    ledger.write(connection, ledger.lock(connection, pools, ()))
    log.append(connection, [log.Happening("reservation.swept", by, "stock", {"pools": len(pools)})])
