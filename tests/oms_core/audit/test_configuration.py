"""What the hub ran with stands in the log, once per change."""

from __future__ import annotations

from pathlib import Path

from oms_core.audit import configuration, log
from oms_core.store.postgres import Database


def entries(database: Database) -> list[dict[str, object]]:
    with database.begin() as connection:
        return [entry.said for entry in log.read(connection, -1, 100)]


def test_a_configuration_is_logged_when_it_differs_from_the_last(database: Database) -> None:
    for settings in (
        {"code_version": "1"},
        {"code_version": "1"},
        {"code_version": "2"},
        {"code_version": "1"},
    ):
        with database.begin() as connection:
            configuration.note(connection, "ann", settings)
    said = entries(database)
    assert [(entry["kind"], entry["actor"]) for entry in said] == [("configuration.changed", "ann")] * 3
    assert [entry["data"] for entry in said] == [
        {"code_version": "1"}, {"code_version": "2"}, {"code_version": "1"},
    ]  # fmt: skip


def test_each_seed_has_a_digest_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "seeds").mkdir()
    (tmp_path / "models").mkdir()
    (tmp_path / "seeds" / "match_costs.csv").write_text("a\n1\n")
    (tmp_path / "models" / "m.sql").write_text("select 1")
    before = configuration.project_digests(tmp_path)
    (tmp_path / "seeds" / "match_costs.csv").write_text("a\n2\n")
    after = configuration.project_digests(tmp_path)
    assert after["models_sha256"] == before["models_sha256"]
    assert after["seeds_sha256"]["match_costs"] != before["seeds_sha256"]["match_costs"]
    (tmp_path / "models" / "m.sql").write_text("select 2")
    assert configuration.project_digests(tmp_path)["models_sha256"] != after["models_sha256"]
