"""Retention, applied to a whole installation: what past releases said of a person goes, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text

from oms_core import retain
from oms_core.audit import log
from oms_core.audit.checkpoint import Signer
from oms_core.audit.verify import verify
from oms_core.release.publish import Publication
from oms_core.settings import Settings
from oms_core.store.postgres import Database

RULES = """source_system,stream,part,keep_days,reason
*,*,released,30,persons are forgotten after a month
"""


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    url = database.url.render_as_string(hide_password=False)
    return Settings(tmp_path, {"ORDERHUB_DATABASE_URL": url})


def names(database: Database) -> list[str]:
    with database.begin() as connection:
        rows = connection.execute(
            text("SELECT full_name FROM release_history.dim_customers ORDER BY release_from")
        )
        return list(rows.scalars())


def test_past_releases_forget_a_person_after_the_rules_days(
    settings: Settings, database: Database, publish_small: Callable[..., Publication]
) -> None:
    rules = settings.home / "rules.csv"
    rules.write_text(RULES)
    publish_small(database)
    renamed = [{"customer_id": "customer_w", "full_name": "李小红", "preference_tags": "[]"}]
    published = publish_small(database, dim_customers=renamed).published_at
    early, late = published + timedelta(days=29), published + timedelta(days=31)

    assert retain.retain(settings, rules=rules, now=early, apply=True).entry is None
    planned = retain.retain(settings, rules=rules, now=late)
    assert ([*planned.found.by_rule.values()], planned.entry) == ([1], None)
    assert names(database) == ["王小明", "李小红"], "nothing goes until it is asked to"

    done = retain.retain(settings, rules=rules, now=late, apply=True)
    former, current = names(database)
    assert former.startswith("erased:") and current == "李小红"
    with database.begin() as connection:
        said = [entry.said for entry in log.read(connection, -1, 100)]
        amounts = connection.execute(
            text("SELECT net_amount FROM release_history.fct_orders ORDER BY order_id")
        )
        key = Signer.open(settings.home / "key.pem", log.origin(connection)).verifier
        assert list(amounts.scalars()) == [Decimal("49.9"), Decimal(8)]
    begun, applied = said[-2:]
    assert (begun["kind"], applied["kind"]) == (log.RETENTION_BEGUN, log.RETENTION_APPLIED)
    assert applied["seq"] == done.entry
    assert applied["data"]["released"] == {"dim_customers": 1}
    assert done.certificate is not None
    certificate = json.loads(done.certificate.read_text())
    assert (certificate["log_entry"], certificate["released"]) == (done.entry, {"dim_customers": 1})
    assert verify(database, {}, key).faults == []

    assert retain.retain(settings, rules=rules, now=late, apply=True).entry is None, "nothing is left to go"
