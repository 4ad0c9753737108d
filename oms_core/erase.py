"""Erase a person: landing, warehouse and operational store in step.

What is erased is gone from this installation. Backups, the source systems and whoever was sent an export are not in its
reach; the certificate says so.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connectors import registry
from connectors.erasure import Erased, Person
from connectors.erasure import erase as erase_landing
from connectors.integrity import batch_digests
from connectors.landing import Landing
from oms_core import pipeline
from oms_core.audit import erasure
from oms_core.audit.erasure import About
from oms_core.release.tables import RELEASED_TABLES
from oms_core.settings import Settings
from oms_core.store.postgres import Database
from oms_core.store.released import CUSTOMER, Released
from oms_core.store.tables import HISTORY_SCHEMA, STATE_SCHEMA
from oms_core.warehouse import Warehouse, open_warehouse, sole_writer

Say = Callable[[str], None]
_OF_CUSTOMERS = "int_customer_records"
_HELD_PERSONS = (
    *(f"{HISTORY_SCHEMA}.{table.name}" for table in RELEASED_TABLES.values() if table.personal),
    *(
        f"{STATE_SCHEMA}.{name}"
        for name in (
            "identity_values",
            "identity_records",
            "identity_tasks",
            "person_keys",
            *erasure.WRITTEN_TABLES,
        )
    ),
    "pg_catalog.pg_statistic",  # holds the most common values of each column
)
_OF_ORDERS = (
    "int_order_records",
    "int_shipments",
    "int_payments",
    "int_refunds",
    "int_returns",
    "int_tickets",
)


@dataclass(frozen=True)
class Erasure:
    """What an erasure touched, or would touch.

    Attributes:
        rows: rows, by released table, `source.stream`, or "quarantine".
        certificate: where it was written; None for a dry run.
        release_id: the release that shows the person erased; None for a dry run.
    """

    customer_id: str
    records: tuple[str, ...]
    rows: Mapping[str, int]
    pages: int
    certificate: Path | None
    release_id: int | None


def erase(
    settings: Settings, number: str, reason: str, *, dry_run: bool = False, say: Say = lambda _: None
) -> Erasure:
    """Erase a customer: typed rows, pages as received, quarantine, released history, what identity remembers, the key.

    Amounts, orders and links stay, and so do the proofs: released rows keep commitments, and the audit log says what lies in
    the landing since. The customer's records stay one customer by a decision that is written for it.

    Args:
        settings: where things are.
        number: golden id, or any key of the customer in any system.
        reason: why; kept in the log and the certificate, so no personal data in it.
        dry_run: say what would be touched, and touch nothing.
        say: told each step.

    Raises:
        ErasureRefusedError: there is no reason, the customer was erased already, or a seal would break.
        NotReleasedError, AmbiguousError: the number leads to no customer, or to several.
    """
    if not reason.strip():
        raise erasure.ErasureRefusedError(
            "an erasure has a reason, such as the number of the request: --reason"
        )
    with contextlib.ExitStack() as stack:
        landing = stack.enter_context(contextlib.closing(Landing(settings.landing)))
        stack.enter_context(sole_writer(settings.home, say=say))
        database = stack.enter_context(Database.from_environment(settings.home, settings.values))
        database.upgrade()
        warehouse = open_warehouse(settings.home, settings.warehouse_url)
        with database.read() as connection:
            customer_id = Released(connection).find(CUSTOMER, number).golden_id
        with database.begin() as connection:
            found = erasure.about(connection, customer_id)
        person = Person(
            records=_places(warehouse, (_OF_CUSTOMERS,), found.records),
            documents=_places(warehouse, _OF_ORDERS, found.documents),
            values=found.values,
            own=found.own,
        )
        planned = erase_landing(landing, registry.sources(), person, dry_run=True)
        if dry_run:
            return Erasure(customer_id, found.records, _counted(planned, {}), len(planned.pages), None, None)
        with database.begin() as connection:
            erasure.begin(connection, found, by=settings.actor, reason=reason, batches=planned.batches)
            erasure.keep_together(connection, found.records, by=settings.actor, reason=f"erased: {reason}")
        with database.begin() as connection:
            released = erasure.erase_released(connection, found.person_ids)
            written = erasure.erase_written(connection, found)
            erasure.forget(connection, found.records)
            say(f"{sum(released.values()):,} released row versions erased, and the key destroyed")
            erased = erase_landing(landing, registry.sources(), person)
            say(f"{sum(erased.rows.values()):,} landed rows and {len(erased.pages):,} pages erased")
            rows = _counted(erased, {**released, **written})
            digests = batch_digests(landing, planned.batches)
            number_, seq = erasure.finish(
                connection,
                found,
                by=settings.actor,
                reason=reason,
                rows=rows,
                digests=digests,
                pages=erased.pages,
                keys=erased.keys,
            )
        warehouse.forget(planned.batches)
    result = pipeline.unify(settings, force=True, say=say)
    # Engines keep what was deleted in free room of their files until they write over it.
    with (
        sole_writer(settings.home, say=say),
        Database.from_environment(settings.home, settings.values) as database,
    ):
        say("writing the files anew that held deleted rows")
        database.rewrite(_HELD_PERSONS)
        warehouse.compact()
    certificate = _certify(settings, found, reason, number_, seq, rows, erased, result.release_id)
    return Erasure(customer_id, found.records, rows, len(erased.pages), certificate, result.release_id)


def _places(
    warehouse: Warehouse, names: Sequence[str], record_ids: Sequence[str]
) -> list[tuple[str, str, int]]:
    """(source, page, row) of records, as the union tables name them."""
    tables = set(warehouse.tables("intermediate"))
    listed = ", ".join("'" + record_id.replace("'", "''") + "'" for record_id in record_ids)
    places = set()
    for name in names if listed else ():
        if name not in tables:
            continue
        column = "record_id" if name in (_OF_CUSTOMERS, "int_order_records") else "order_record_id"
        rows = warehouse.read(
            f"select record_id, _page_sha256, _row_index from intermediate.{name} where {column} in ({listed})"
        ).to_pylist()
        places |= {
            (row["record_id"].split(":", 1)[0], row["_page_sha256"], row["_row_index"]) for row in rows
        }
    return sorted(places)


def _counted(landed: Erased, released: Mapping[str, int]) -> dict[str, int]:
    rows = {f"{source}.{stream}": count for (source, stream), count in sorted(landed.rows.items())}
    if landed.quarantined:
        rows["quarantine"] = landed.quarantined
    return {**rows, **released}


def _certify(
    settings: Settings,
    found: About,
    reason: str,
    number: int,
    seq: int,
    rows: Mapping[str, int],
    erased: Erased,
    release_id: int | None,
) -> Path:
    certificate: dict[str, Any] = {
        "erasure": number,
        "customer_id": found.customer_id,
        "erased_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "erased_by": settings.actor,
        "reason": reason,
        "records": list(found.records),
        "rows": dict(rows),
        "pages": {page: now or "removed" for page, now in sorted(erased.pages.items())},
        "key": "destroyed",
        "kept": "orders, amounts, dates and links, without what tells who the person is",
        "out_of_reach": "backups, PostgreSQL's write-ahead log until it is recycled, the source systems, whoever was sent an "
        "export or an event, and reasons that name the person, which the audit log keeps",
        "release": release_id,
        "log_entry": seq,
        "proof": f"orderhub audit proof {seq} --json",
    }
    folder = settings.home / "certificates"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"erasure-{number:05d}.json"
    path.write_text(json.dumps(certificate, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path
