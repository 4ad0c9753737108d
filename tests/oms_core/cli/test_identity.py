"""`orderhub identity`: what is printed, what it means as an exit code, and that nothing is decided by accident."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import Result
from sqlalchemy import URL
from typer.testing import CliRunner

from oms_core import identification
from oms_core.cli import terminal
from oms_core.cli.main import app
from oms_core.identity import state
from oms_core.identity.resolve import ScoredPair, Scores, resolve
from oms_core.identity.scoring.model import Model
from oms_core.identity.scoring.threshold import Thresholds
from oms_core.identity.stewardship import evidence
from oms_core.identity.stewardship.queue import links, pair_tasks
from oms_core.identity.stewardship.worth import Worth
from oms_core.store.postgres import Database

T0 = datetime(2026, 10, 1, tzinfo=UTC)
ANN, ANNA, BOB = "shop:customers:1", "crm:contacts:2", "erp:parties:3"
_EMPTY = dict.fromkeys(
    (
        "customer_type", "full_name", "company_name", "email", "phone", "phone_e164", "tax_number", "street", "city", "region",
        "postcode", "country", "marketplace_buyer_id", "parent_key",
    )
)  # fmt: skip
Run = Callable[..., Result]


def _people() -> list[dict[str, Any]]:
    rows = []
    for second, (record_id, name, email) in enumerate(
        (
            (ANN, "Ann Lee", "ann@example.org"),
            (ANNA, "Anna Lee", "a.lee@example.net"),
            (BOB, "Bob Roe", "b@example.org"),
        )
    ):
        source, _, key = record_id.split(":")
        known = {
            "record_id": record_id,
            "source_system": source,
            "source_key": key,
            "full_name": name,
            "email": email,
        }
        rows.append({**_EMPTY, **known, "_first_seen_at": T0.replace(second=second)})
    return rows


def identity_run(database: Database) -> None:
    """A run over three people, two of whom may be one."""
    people = _people()
    with database.begin() as connection:
        known = state.recall(connection)
        scores = {"customer": Scores([ScoredPair(ANNA, ANN, 0.7)], Thresholds(0.9, 0.5))}
        outcome = resolve(people, [], [], [], [], known, scores=scores)["customer"]
        state.remember(connection, {"customer": outcome}, known, T0)
        evidence.keep_records(
            connection, "customer", people, {ANN: Worth(3, 1, {"EUR": (3, Decimal("149.70"))})}
        )
        evidence.keep_links(connection, "customer", links(outcome.evidence, outcome.refusals))
        grey = [(item.left, item.right, item.probability) for item in outcome.doubtful]
        tasks = pair_tasks("customer", outcome.assignment.members, outcome.refusals, grey)
        evidence.open_tasks(connection, "customer", tasks, T0)


@pytest.fixture
def run(database: Database, database_url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `orderhub identity` over a store that has seen one run."""
    identity_run(database)
    monkeypatch.setenv(
        "ORDERHUB_DATABASE_URL", database_url.render_as_string(hide_password=False).replace("+psycopg", "")
    )
    monkeypatch.setenv("ORDERHUB_HOME", str(tmp_path))
    monkeypatch.setattr(terminal.out, "_width", 200)  # a table for people folds what it has no room for

    def call(*words: str) -> Result:
        return CliRunner().invoke(app, ["identity", *words])

    return call


def told(result: Result) -> Any:
    """What a command that worked printed as JSON."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(result: Result, code: int) -> str:
    """What a command that was refused said."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    return " ".join(result.stderr.split())


def test_the_queue_is_shown_ranked(run: Run) -> None:
    (task,) = told(run("queue", "--json"))
    assert (task["left"], task["right"], task["kind"], task["probability"]) == (ANNA, ANN, "grey_zone", 0.7)
    assert task["worth"] == {"orders": 3, "open_orders": 1, "revenue": {"EUR": "149.70"}}
    shown = run("queue", "--entity", "customer")
    assert ANNA in shown.stdout and "0.700" in shown.stdout and "149.70 EUR" in shown.stdout
    assert "nothing waits" in run("queue", "--kind", "contradiction").stdout
    assert "no entity 'cat'" in refused(run("queue", "--entity", "cat"), 2)


def test_a_decision_is_made_shown_and_withdrawn(run: Run, database: Database) -> None:
    made = told(run("same", ANN, ANNA, "--reason", "called them", "--by", "mia", "--json"))
    assert (made["id"], made["by"], made["version"], made["entity"]) == (1, "mia", 1, "customer")
    assert told(run("queue", "--json")) == []
    assert "same" in run("queue", "--closed").stdout
    identity_run(database)
    view = told(run("show", ANN, ANNA, "--json"))
    assert view["is_one"] and view["links"] == [] and view["path"][0]["rule"] == "steward mia"
    assert view["blast"][0]["judgement"] == "different" and view["blast"][1]["judgement"] is None
    shown = run("show", ANN, ANNA).stdout
    assert "says mia" in shown and "the withdrawal: of the records of" in shown
    gone = told(run("withdraw", ANNA, ANN, "--reason", "a mix-up", "--by", "tom", "--json"))
    assert (gone["id"], gone["withdrawn_by"], gone["withdrawn_reason"]) == (1, "tom", "a mix-up")
    history = told(run("history", ANN, ANNA, "--json"))
    assert [item["kind"] for item in history["history"]] == ["same", "withdrawn"] and history["version"] == 2
    assert "version 2 of the pair" in run("history", ANN, ANNA).stdout


def test_a_conflict_shows_the_other_decision(run: Run) -> None:
    assert run("unsure", "--task", "1", "--reason", "no answer yet", "--by", "mia").exit_code == 0
    said = refused(run("different", "--task", "1", "--reason", "two people", "--by", "tom"), 1)
    assert (
        said.startswith("error: conflict:")
        and "says mia" in said
        and "no answer yet" in said
        and "--seen 1" in said
    )
    assert "version 0 was seen" in refused(run("same", ANN, ANNA, "--reason", "x", "--seen", "0"), 1)
    assert (
        run("different", "--task", "1", "--reason", "two people", "--by", "tom", "--seen", "1").exit_code == 0
    )
    assert "was withdrawn by tom" in refused(run("withdraw", "1", "--reason", "late"), 1)


def test_the_steward_is_named_by_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERHUB_STEWARD", "zoe")
    assert told(run("unsure", ANN, ANNA, "--reason", "?", "--json"))["by"] == "zoe"


def test_a_contradiction_shows_its_chain(run: Run) -> None:
    assert run("same", ANN, ANNA, "--reason", "x").exit_code == 0
    assert run("same", ANNA, BOB, "--reason", "x").exit_code == 0
    said = refused(run("different", ANN, BOB, "--reason", "x"), 1)
    assert "decision 1" in said and "decision 2" in said and "Withdraw one of them first" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("same", ANN, "nobody", "--reason", "x"), "known by 'nobody'"),
        (("same", ANN, "--reason", "x"), "name two records"),
        (("same", ANN, ANNA, "--task", "1", "--reason", "x"), "not both"),
        (("same", "--task", "99", "--reason", "x"), "there is no task 99"),
        (("same", ANN, ANN, "--reason", "x"), "are the same record"),
        (("same", ANN, ANNA, "--reason", " "), "neither may be empty"),
        (("same", ANN, ANNA, "--reason", "\udcff"), "no UTF-8"),
        (("show", "\udcff"), "known by"),
        (("withdraw", "99", "--reason", "x"), "there is no decision 99"),
        (("withdraw", "soon", "--reason", "x"), "not the number of a decision"),
        (("withdraw", ANN, ANNA, "--reason", "x"), "no decision stands between"),
        (("history", "nobody"), "known by 'nobody'"),
        (("lookup", "nobody"), "names no source"),
        (("lookup", "shop:99"), "had no golden id now"),
        (("show", ANN, "--plot", "x.svg"), "name both"),
        (("activate", "nowhere.json", "--reason", "x"), "there is no model at nowhere.json"),
        (("activate", "7", "--entity", "sku", "--reason", "x"), "nothing scores sku records by one"),
        (("key", "mia", "--revoke"), "has no key in force"),
    ],
)
def test_wrong_calls_say_what_to_do(run: Run, words: tuple[str, ...], message: str) -> None:
    assert message in refused(run(*words), 2)


def test_a_golden_id_is_shown_with_its_records(run: Run) -> None:
    golden_id = told(run("lookup", ANN, "--json"))[0]["golden_id"]
    for name in (golden_id, ANN, "ann@example.org"):
        view = told(run("show", name, "--json"))
        assert (view["golden_id"], [item["record_id"] for item in view["records"]]) == (golden_id, [ANN])
    shown = run("show", golden_id).stdout
    assert ANN in shown and "3 orders (1 open), 149.70 EUR" in shown
    assert "born" in run("history", golden_id).stdout


def test_the_look_up_tells_the_time_and_the_successor(run: Run, database: Database) -> None:
    before = told(run("lookup", ANNA, "--json"))[0]["golden_id"]
    told(run("same", ANN, ANNA, "--reason", "x", "--json"))
    identity_run(database)
    now = told(run("lookup", "crm:2", "--json"))[0]["golden_id"]
    assert now != before
    # Runs are an instant apart; the first began at T0.
    then = told(run("lookup", ANNA, "--at", "2026-10-01T00:00:00Z", "--json"))
    assert then == [{"entity": "customer", "golden_id": before, "current_id": now}]
    assert f"{before}, now {now}" in run("lookup", ANNA, "--at", "2026-10-01T00:00:00Z").stdout


def test_events_are_followed_by_number(run: Run) -> None:
    first = told(run("events", "--limit", "2", "--json"))
    assert [item["kind"] for item in first] == ["born", "born"]
    assert len(told(run("events", "--after", str(first[-1]["seq"]), "--json"))) == 1
    assert "nothing happened after event 99" in run("events", "--after", "99").stdout


def test_the_weights_are_drawn(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_model: Model
) -> None:
    monkeypatch.setattr(
        "oms_core.identity.scoring.weights.active_model", lambda connection, entity: small_model
    )
    drawn = tmp_path / "weights.svg"
    view = told(run("show", ANN, ANNA, "--plot", str(drawn), "--json"))
    steps = view["score"]["steps"]
    assert [step["field"] for step in steps] == ["prior", "email", "all records"]
    assert sum(step["weight_bits"] for step in steps) == pytest.approx(view["score"]["match_weight_bits"])
    words = "".join(ElementTree.fromstring(drawn.read_text()).itertext())
    assert ANN in words and "email" in words and "prior" in words
    assert not re.search(r"href|script|url\(|@import", drawn.read_text())
    shown = run("show", ANN, ANNA).stdout
    assert re.search(r"prior +-6\.63 ", shown) and "▒" in shown


def test_a_model_is_activated_only_after_somebody_saw_what_it_changes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_model: Model
) -> None:
    path = tmp_path / "candidate.json"
    small_model.save(path)
    said = refused(run("activate", str(path), "--reason", "better"), 1)
    assert "nobody has seen yet" in said and "orderhub identity diff" in said
    seen = identification.Preview(
        {ANN: "CUS-A", ANNA: "CUS-B"},
        {ANN: "CUS-A", ANNA: "CUS-A"},
        {ANNA: Worth(2, 1, {"EUR": (2, Decimal(7))})},
    )
    monkeypatch.setattr(identification, "preview", lambda warehouse, connection, model: seen)
    report = told(run("diff", "--model", str(path), "--json"))
    assert report["report"]["records_moved"] == report["report"]["ids_merged"] == 1
    assert report["report"]["touched"] == {"orders": 2, "open_orders": 1, "revenue": {"EUR": "7"}}
    assert report["report"]["examples"]["merged"] == [{"golden_id": "CUS-B", "into": ["CUS-A"]}]
    shown = run("diff", "--model", str(path)).stdout
    assert "1 of 2 records move" in shown and "merges: CUS-B into CUS-A" in shown
    # A decision changes what the model would do: the report is out of date.
    assert run("unsure", ANN, ANNA, "--reason", "x").exit_code == 0
    assert "out of date" in refused(run("activate", str(path), "--reason", "better"), 1)
    assert run("diff", "--model", str(path)).exit_code == 0
    # Neither may the file have changed since.
    small_model.model_copy(update={"prior": 0.02}).save(path)
    assert "nobody has seen yet" in refused(run("activate", str(path), "--reason", "better"), 1)
    made = told(
        run("activate", "by hand", "--entity", "customer", "--reason", "better", "--by", "mia", "--json")
    )
    assert (made["version"], made["sha256"], made["by"]) == ("by hand", small_model.sha256, "mia")
    assert [item["sha256"] for item in told(run("models", "--json"))] == [small_model.sha256]
    assert "better" in run("models").stdout


def test_nothing_can_be_compared_before_records_came_in(run: Run, tmp_path: Path, small_model: Model) -> None:
    path = tmp_path / "candidate.json"
    small_model.save(path)
    assert "run `orderhub run` first" in refused(run("diff", "--model", str(path)), 1)


def test_a_key_is_shown_once(run: Run, database: Database) -> None:
    from oms_core.api import keys

    key = told(run("key", "mia", "--json"))["key"]
    with database.begin() as connection:
        assert keys.holder(connection, key) == keys.Holder("mia", "steward")
    assert "revoke it first" in refused(run("key", "mia"), 2)
    assert run("key", "mia", "--revoke").exit_code == 0
    with database.begin() as connection:
        assert keys.holder(connection, key) is None
    assert "ohs_2_" in run("key", "mia").stdout


def test_every_command_has_help_with_an_example() -> None:
    from oms_core.cli.identity import app as identity

    for command in identity.registered_commands:
        assert command.epilog is not None and command.epilog.startswith("Example: `orderhub identity")
        result = CliRunner().invoke(app, ["identity", command.name or "", "--help"])
        assert result.exit_code == 0
