"""`orderhub sourcing`: the shipped example is sourced, replayed and refused when it is broken."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from oms_core.cli.main import app

cli = CliRunner()


def _written(path: Path, command: str) -> Path:
    shown = cli.invoke(app, ["sourcing", command])
    assert shown.exit_code == 0
    path.write_text(shown.stdout, "utf-8")
    return path


def test_the_example_is_sourced_and_explained(tmp_path: Path) -> None:
    day = _written(tmp_path / "day.json", "example")
    for order in json.loads(day.read_text("utf-8"))["orders"]:
        shown = cli.invoke(app, ["sourcing", "order", order["order_id"], "--day", str(day), "--json"])
        assert shown.exit_code == 0, shown.output
        told = json.loads(shown.stdout)
        assert told["is_filled"] and told["is_best"]
        assert len(told["parcels"]) + len(told["counterfactuals"]) == 3
    shown = cli.invoke(app, ["sourcing", "order", "SO-1002", "--day", str(day)])
    assert "DC-LEIPZIG sends" in shown.output and "SER-30 is chilled" in shown.output


def test_a_day_is_replayed_under_policies_and_stocks(tmp_path: Path) -> None:
    day, mine = _written(tmp_path / "day.json", "example"), _written(tmp_path / "one.json", "policy")
    whole = json.loads(mine.read_text("utf-8")) | {"version": "one-parcel", "most_parcels": 1}
    mine.write_text(json.dumps(whole), "utf-8")
    empty = json.loads(day.read_text("utf-8"))
    for shelf in empty["shelves"]:
        shelf["free_qty"] = "0"
    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(empty), "utf-8")
    command = ["sourcing", "what-if", str(day), "--policy", str(mine), "--stock", str(bare)]
    rows = json.loads(cli.invoke(app, [*command, "--json"]).stdout)
    assert [(row["policy_version"], row["stock"]) for row in rows] == [
        (version, name) for name in ("day.json", "bare.json") for version in ("2026-11-1", "one-parcel")
    ]
    assert [row["fill_rate"] for row in rows[2:]] == [0, 0] and rows[0]["fill_rate"] == 1
    assert rows[1]["splits"] == 0
    assert "one-parcel" in cli.invoke(app, command).output


def test_what_makes_no_sense_is_refused_in_one_sentence(tmp_path: Path) -> None:
    day, mine = _written(tmp_path / "day.json", "example"), _written(tmp_path / "one.json", "policy")
    heavy = json.loads(mine.read_text("utf-8"))
    heavy["parameters"]["carbon"]["weight"] = 0.9
    mine.write_text(json.dumps(heavy), "utf-8")
    shown = cli.invoke(app, ["sourcing", "what-if", str(day), "--policy", str(mine)])
    assert shown.exit_code == 2 and "bad-weights" in shown.output
    shown = cli.invoke(app, ["sourcing", "order", "NOPE", "--day", str(day)])
    assert shown.exit_code == 2 and "NOPE" in shown.output
    broken = json.loads(day.read_text("utf-8"))
    broken["nodes"][0]["closed_reson"] = "flood"
    day.write_text(json.dumps(broken), "utf-8")
    shown = cli.invoke(app, ["sourcing", "order", "SO-1001", "--day", str(day)])
    assert shown.exit_code == 2 and "closed_reson" in shown.output


def test_a_batch_is_of_a_day_or_of_all_open_orders() -> None:
    for wrong in ([], ["--day", "2026-10-26", "--released"]):
        shown = cli.invoke(app, ["sourcing", "batch", *wrong])
        assert shown.exit_code == 2 and "--released" in shown.output
