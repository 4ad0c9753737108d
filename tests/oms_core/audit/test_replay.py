"""What came out of quarantine stands in the log, once, with the batch it landed in."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from connectors import registry
from connectors.files import pull_files
from connectors.landing import QUARANTINE, Landing
from oms_core import intake
from oms_core.audit import log
from oms_core.settings import Settings
from oms_core.store.postgres import Database

MAPPING = """
name = "till"
files = "till_*.csv"
timezone = "Europe/London"
[columns]
order_number = "no"
ordered_at = "at"
sku_code = "sku"
qty = "qty"
unit_price_amount = "price"
[constants]
currency = "GBP"
"""


def test_a_replay_that_lands_something_is_logged(database: Database, tmp_path: Path) -> None:
    url = database.url.render_as_string(hide_password=False)
    settings = Settings(tmp_path, {"ORDERHUB_DATABASE_URL": url, "ORDERHUB_ACTOR": "ann"})
    inbox = tmp_path / "drop"
    inbox.mkdir()
    (inbox / "till.mapping.toml").write_text(MAPPING)
    (inbox / "till_1.csv").write_text("no,at,sku,qty,price\n1,2026-03-01T10:00:00,A,2,odd\n")
    with closing(Landing(settings.landing)) as landing:
        pull_files(registry.source("file_drop"), inbox, landing)
    assert [item.landed for item in intake.replay(settings, "file_drop")] == [0]
    with closing(Landing(settings.landing)) as landing, landing.transaction() as connection:
        mended = sa.func.replace(sa.func.replace(QUARANTINE.c.payload, "null", '"19.90"'), "odd", "9.95")
        connection.execute(sa.update(QUARANTINE).values(payload=mended))
    assert [item.landed for item in intake.replay(settings, "file_drop", dry_run=True)] == [1]
    (done,) = intake.replay(settings, "file_drop")
    with database.begin() as connection:
        (said,) = (entry.said for entry in log.read(connection, -1, 9))
    assert (said["kind"], said["subject"]) == ("quarantine.replayed", "file_drop." + done.stream)
    assert said["data"] == {"tried": 1, "landed": 1, "batch": done.batch_id}
