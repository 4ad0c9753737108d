"""`orderhub sources new`: what it writes works as it is, and it spoils nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from oms_core.cli.main import app

ROOT = Path(__file__).resolve().parents[3]
_KEPT = (
    "README.md", "pyproject.toml", "dbt/dbt_project.yml", "dbt/profiles.yml", "dbt/seeds", "dbt/macros", "dbt/data_tests",
    "connectors", "tests/connectors/conftest.py", "tests/connectors/sources/conftest.py",
    "tests/connectors/sources/test_answers.py",
)  # fmt: skip


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What of a checkout a source touches and needs, with no staging models."""
    if not (ROOT / "connectors").is_dir():
        pytest.skip("no checkout")
    for name in _KEPT:
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, place)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _call(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["sources", "new", *words])
    return done.exit_code, " ".join(done.output.split())


def _files(checkout: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(checkout)): path.read_bytes() for path in checkout.rglob("*") if path.is_file()
    }


def _run(checkout: Path, *command: str) -> None:
    values = os.environ | {"ORDERHUB_WAREHOUSE_PATH": ":memory:"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=checkout, env=values, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_dry_run_names_what_would_be_written_and_writes_nothing(checkout: Path) -> None:
    before = _files(checkout)
    code, said = _call("order_desk", "--dry-run")
    assert code == 0
    for path in (
        "write connectors/sources/order_desk.py", "write connectors/sandbox/order_desk.py",
        "write dbt/models/staging/order_desk/stg_order_desk__orders.sql",
        "write tests/connectors/sources/test_order_desk.py",
        "write tests/connectors/sources/answers/order_desk/orders.json", "change dbt/dbt_project.yml", "change README.md",
    ):  # fmt: skip
        assert path in said
    assert _files(checkout) == before


@pytest.mark.parametrize("name", ["Shop", "2shops", "a-b", "a__b", "_a", "a_", "", "class", "../x", "x" * 25])
def test_what_is_no_name_is_refused(checkout: Path, name: str) -> None:
    before = _files(checkout)
    code, said = _call("--", name)
    assert code == 2
    assert "order_desk" in said or "longer than 24" in said
    assert _files(checkout) == before


@pytest.mark.parametrize("name", ["shopify", "world"])
def test_what_exists_is_not_overwritten(checkout: Path, name: str) -> None:
    before = _files(checkout)
    code, said = _call(name)
    assert code == 2
    assert f"'{name}' is taken" in said and f"{name}.py exists" in said
    assert _files(checkout) == before


def test_elsewhere_than_in_a_checkout_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = _call("order_desk")
    assert code == 2
    assert "is no checkout of orderhub" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_is_written_works_as_it_is(checkout: Path) -> None:
    before = _files(checkout)
    code, _ = _call("order_desk")
    assert code == 0
    after = _files(checkout)
    assert {name for name in before if before[name] != after[name]} == {
        "README.md", "dbt/dbt_project.yml", "dbt/seeds/source_systems.csv"
    }  # fmt: skip
    fed = yaml.safe_load(after["dbt/dbt_project.yml"])["vars"]["sources_by_entity"]
    assert {entity for entity, sources in fed.items() if "order_desk" in sources} == {
        "order_records",
        "order_lines",
    }
    assert all(sources == sorted(sources) for sources in fed.values())
    assert b"| `order_desk` |" in after["README.md"]

    written = [name for name in after.keys() - before.keys() if name.endswith(".py")]
    assert len(written) == 3
    _run(checkout, "ruff", "check", *written)
    _run(checkout, "ruff", "format", "--check", *written)
    _run(checkout, "pytest", "-q", "-p", "no:cacheprovider", "tests/connectors/sources", "-k", "order_desk")
    _run(checkout, "dbt.cli.main", "parse", "--project-dir", "dbt", "--profiles-dir", "dbt")
    nodes = json.loads((checkout / "dbt" / "target" / "manifest.json").read_bytes())["nodes"]
    assert "model.orderhub.order_desk__order_records" in nodes
