"""Apply retention rules: landing and warehouse in step, with a log entry that vouches for what lies there since."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from connectors import registry
from connectors.integrity import batch_digests
from connectors.landing import Landing
from connectors.retention import Retained, read_rules, rule_for
from connectors.retention import retain as retain_landing
from oms_core import pipeline
from oms_core.audit import erasure, log
from oms_core.builder import DBT_PROJECT
from oms_core.settings import Settings
from oms_core.store.postgres import Database
from oms_core.store.tables import HISTORY_SCHEMA
from oms_core.warehouse import open_warehouse, sole_writer

Say = Callable[[str], None]
RULES = DBT_PROJECT / "seeds" / "retention_rules.csv"


@dataclass(frozen=True)
class Retention:
    """What the rules touched, or would touch; the certificate and the log entry are None where nothing was."""

    found: Retained
    rules_sha256: str
    certificate: Path | None = None
    entry: int | None = None


def retain(
    settings: Settings,
    *,
    rules: Path = RULES,
    now: datetime | None = None,
    apply: bool = False,
    say: Say = lambda _: None,
) -> Retention:
    """Say what is older than the rules allow and, asked to, let it go.

    Facts are made from the newest version of each record, which no rule touches. Of past releases only what tells of persons
    goes, and its commitment stays: every amount and every seal stays what it was. Proofs hold, since the log says which page and
    batch lies there otherwise since.

    Args:
        settings: where things are.
        rules: CSV, as `connectors.retention.read_rules` reads it.
        now: aware UTC that ages count from; the current time by default.
        apply: let it go; without, nothing is touched.
        say: told each step.

    Raises:
        RetentionError: the rules are wrong.
    """
    known = registry.sources()
    digest = hashlib.sha256(rules.read_bytes()).hexdigest() if rules.exists() else ""
    chosen = read_rules(rules, known)
    at = now or datetime.now(UTC)
    with contextlib.ExitStack() as stack:
        landing = stack.enter_context(contextlib.closing(Landing(settings.landing)))
        planned = retain_landing(landing, known, chosen, at, dry_run=True)
        stack.enter_context(sole_writer(settings.home, say=say))
        database = stack.enter_context(Database.from_environment(settings.home, settings.values))
        database.upgrade()
        rule = rule_for(chosen, "", "", "released")
        limit = rule and at - timedelta(days=rule.keep_days)
        with database.begin() as connection:
            old = erasure.erase_superseded(connection, limit, dry_run=True) if limit else {}
        if rule and old:
            planned.by_rule[rule] = sum(old.values())
        if not apply or not planned.by_rule:
            return Retention(planned, digest)
        with database.begin() as connection:
            begun = {"rules_sha256": digest, "batches": sorted(planned.batches)}
            log.append(connection, [log.Happening(log.RETENTION_BEGUN, settings.actor, "landing", begun)])
        done = retain_landing(landing, known, chosen, at)
        with database.begin() as connection:
            released = erasure.erase_superseded(connection, limit) if limit else {}
        if rule and released:
            done.by_rule[rule] = sum(released.values())
            database.rewrite([f"{HISTORY_SCHEMA}.{table}" for table in released])
        rows = {f"{source}.{stream}": count for (source, stream), count in sorted(done.rows.items())}
        waiting = {
            f"{source}.{stream}": count for (source, stream), count in sorted(done.quarantined.items())
        }
        said = {
            "rules_sha256": digest,
            "rules": [
                {**rule.model_dump(), "touched": count}
                for rule, count in sorted(done.by_rule.items(), key=lambda item: repr(item[0]))
            ],
            "rows": rows,
            "released": released,
            "quarantined": waiting,
            "batches": sorted(
                [batch, found] for batch, found in batch_digests(landing, done.batches).items()
            ),
            "pages": sorted([page, left or ""] for page, left in done.pages.items()),
        }
        with database.begin() as connection:
            entry = log.append(
                connection, [log.Happening(log.RETENTION_APPLIED, settings.actor, "landing", said)]
            )[0]
        say(
            f"{sum(rows.values()):,} superseded rows, {len(done.pages):,} pages, {sum(waiting.values()):,} quarantined rows, "
            f"{sum(released.values()):,} rows of past releases"
        )
        warehouse = open_warehouse(settings.home, settings.warehouse_url)
        if done.batches:
            warehouse.forget(done.batches)
    if done.batches:
        pipeline.unify(settings, force=True, say=say)
        with sole_writer(settings.home, say=say):
            warehouse.compact()
    folder = settings.home / "certificates"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"retention-{entry:05d}.json"
    certificate = {
        "applied_at": at.isoformat(timespec="seconds"),
        "applied_by": settings.actor,
        **said,
        "kept": "the newest version of every record, the current release, and every amount",
        "out_of_reach": "backups, and the source systems",
        "log_entry": entry,
        "proof": f"orderhub audit proof {entry} --json",
    }
    path.write_text(json.dumps(certificate, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return Retention(done, digest, path, entry)
