"""The DAGs, run to the end in a real Airflow."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connectors.landing import Landing
from connectors.registry import sources

pytestmark = pytest.mark.slow


def test_every_source_has_its_dag_and_every_pool_is_made(run_dags: Any, airflow: Any) -> None:
    loaded = run_dags()
    assert loaded["errors"] == {}
    assert set(loaded["pools"]) == {"unify", *(f"ingest_{name}" for name in sources())}
    # A task whose pool does not exist is never scheduled.
    made = json.loads(airflow(sys.executable, "dags/wiring.py"))
    assert {pool["slots"] for pool in made.values()} == {1}
    used = {pool for pools in loaded["pools"].values() for pool in pools}
    assert used == {"default_pool", *made}


def test_ingest_lands_every_stream_and_unify_releases(
    run_dags: Any, sandbox: dict[str, str], make_home: Callable[[str], Path]
) -> None:
    home = make_home("dags")
    # Square's token comes from an Airflow connection, as in production.
    token = sandbox["ORDERHUB_SQUARE_TOKEN"]
    variables = {
        **{name: value for name, value in sandbox.items() if name != "ORDERHUB_SQUARE_TOKEN"},
        "AIRFLOW_CONN_ORDERHUB_SQUARE": json.dumps({"conn_type": "generic", "extra": {"token": token}}),
        "ORDERHUB_HOME": str(home),
    }
    done = run_dags("ingest_square", "ingest_file_drop", "unify", **variables)
    assert {dag: run["state"] for dag, run in done["runs"].items()} == dict.fromkeys(
        done["runs"], "success"
    ), done

    square = done["runs"]["ingest_square"]["tasks"]
    declared = sources()["square"]
    assert set(square["pull"]) | set(square["pull_followers"]) == {stream.name for stream in declared.streams}
    assert done["assets"]["orderhub_landing_square"] == 1
    assert done["assets"]["orderhub_landing_file_drop"] == 1
    assert done["queued"] == ["unify"]

    with closing(Landing(home / "landing")) as landing:
        batches = [batch for batch in landing.batches() if batch.gate in ("passed", "unchanged")]
    assert {batch.stream for batch in batches if batch.source == "square"} == {
        s.name for s in declared.streams
    }
    assert any(batch.source == "file_drop" for batch in batches)
    released = json.loads((home / "last_run.json").read_text())
    assert released["release_id"] is not None
    assert released["orders"] > 0


def test_back_fill_reads_its_window_only(run_dags: Any, sandbox: dict[str, str], tmp_path: Path) -> None:
    window = {"since": "2020-01-01T00:00:00+00:00", "until": "2020-02-01T00:00:00+00:00"}
    done = run_dags(f"ingest_hubspot={json.dumps(window)}", **sandbox, ORDERHUB_HOME=str(tmp_path))
    assert done["runs"]["ingest_hubspot"]["state"] == "success", done
    bounded = [stream.name for stream in sources()["hubspot"].streams if stream.cursor is not None]
    with closing(Landing(tmp_path / "landing")) as landing:
        pulled = {count.stream: count.pulled for count in landing.counts() if count.stream in bounded}
        cursors = [landing.cursor("hubspot", stream) for stream in bounded]
    assert pulled == dict.fromkeys(bounded, 0)
    assert cursors == [None] * len(bounded)


def test_a_stream_that_fails_fails_the_run_and_the_others_are_announced(
    run_dags: Any, sandbox: dict[str, str], tmp_path: Path
) -> None:
    # A file stands where the stream's folder should go.
    (tmp_path / "landing/hubspot").mkdir(parents=True)
    (tmp_path / "landing/hubspot/companies").touch()
    done = run_dags("ingest_hubspot", **sandbox, ORDERHUB_HOME=str(tmp_path), RUN_DAGS_RETRIES="1")
    run = done["runs"]["ingest_hubspot"]
    assert run["state"] == "failed"
    # What nobody foresaw may pass by itself: it is tried again.
    assert done["tries"]["ingest_hubspot"]["pull"]["companies"] == 2
    assert run["tasks"]["pull"] == {
        stream.name: "failed" if stream.name == "companies" else "success"
        for stream in sources()["hubspot"].streams
    }
    assert run["tasks"]["announce"] == {"-1": "success"}
    assert run["tasks"]["every_stream_pulled"] == {"-1": "upstream_failed"}


def test_a_refused_credential_fails_the_run_without_naming_it(
    run_dags: Any, sandbox: dict[str, str], tmp_path: Path
) -> None:
    wrong = {"ORDERHUB_HUBSPOT_TOKEN": "not-the-token", "RUN_DAGS_RETRIES": "1"}
    variables = {**sandbox, **wrong, "ORDERHUB_HOME": str(tmp_path)}
    done = run_dags("ingest_hubspot", **variables)
    run = done["runs"]["ingest_hubspot"]
    assert run["state"] == "failed"
    assert set(run["tasks"]["pull"].values()) == {"failed"}
    # A credential that was refused is not tried again: that could lock the account.
    assert set(done["tries"]["ingest_hubspot"]["pull"].values()) == {1}
    assert "ORDERHUB_HUBSPOT_TOKEN" in done["log"]
    assert "not-the-token" not in done["log"]
    assert run["tasks"]["announce"] == {"-1": "upstream_failed"}
    with closing(Landing(tmp_path / "landing")) as landing:
        assert landing.batches() == []
