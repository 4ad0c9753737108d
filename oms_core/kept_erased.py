"""Keep erased persons erased: what a source sends of them again goes before anything reads it."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from connectors import registry
from connectors.erasure import Person
from connectors.erasure import erase as erase_landing
from connectors.landing import ERASED_PAGES, Landing
from oms_core.audit import erasure
from oms_core.store.postgres import Database

Say = Callable[[str], None]


def is_anybody_erased(landing: Landing) -> bool:
    """Whether anybody was ever erased here; cheap enough to ask before every run."""
    with landing.transaction() as connection:
        return connection.execute(sa.select(ERASED_PAGES.c.page_sha256).limit(1)).first() is not None


def erase_again(landing: Landing, database: Database, *, by: str, say: Say = lambda _: None) -> int:
    """Erase rows of erased persons that a source sent again, before anything reads them; gives how many."""
    with database.begin() as connection:
        keys = erasure.kept_erased(connection)
    pending = [batch.batch_id for batch in landing.batches(gate="pending")]
    if not keys or not pending:
        return 0
    erased = erase_landing(landing, registry.sources(), Person(keys=keys), only_batches=pending)
    count = sum(erased.rows.values())
    if count:
        with database.begin() as connection:
            erasure.note_again(connection, by=by, pages=erased.pages, rows=count)
        say(f"{count:,} rows of erased persons came again and were erased")
    return count
