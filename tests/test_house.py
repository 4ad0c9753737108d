"""The house as the design draws it: top level, what the DAGs may import, and that nothing is undocumented."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from connectors import registry
from expectations.landing import landing_suite
from oms_core.cli.main import app

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"connectors", "dags", "dbt", "expectations", "oms_core", "tests"}
SMALL_FILES = {
    ".ci", ".gitignore", ".pre-commit-config.yaml", "CHANGELOG.md", "CONTRIBUTING.md", "DECISIONS.md", "LICENSE",
    "Makefile", "README.md", "constraints.txt", "pyproject.toml",
}  # fmt: skip
MAY_BE_IMPORTED_BY_DAGS = {
    "connectors.registry", "connectors", "connectors.declare", "oms_core", "oms_core.intake", "oms_core.pipeline",
    "oms_core.settings", "wiring",
}  # fmt: skip


# The rows of the project's list of source systems.
SOURCES = (
    "square", "odoo", "amazon", "shopify", "tmall", "pinduoduo", "douyin", "xiaohongshu", "wechat_shop", "lazada", "vendure",
    "sap_s4", "tryton", "hubspot", "zendesk", "karrio", "epcis", "dealer_rebates", "stripe", "alipay", "ecb_fx",
)  # fmt: skip


def tracked() -> list[Path]:
    """Files git tracks, relative to the checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True)
    return [Path(line) for line in listed.stdout.splitlines()]


def commands() -> list[tuple[str, ...]]:
    """Every command as its words, groups unfolded."""
    found = []
    group: Any = typer.main.get_command(app)
    group.load()
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        found += [(name, sub) for sub in inner] if inner else [(name,)]
    return found


def test_the_top_level_is_as_designed() -> None:
    assert {path.parts[0] for path in tracked()} == ROOMS | SMALL_FILES


def test_no_package_marker_where_one_would_do_harm() -> None:
    assert [
        path for path in tracked() if path.name == "__init__.py" and path.parts[0] in ("tests", "dbt", "dags")
    ] == []


def test_only_dags_import_airflow_and_dags_import_little_of_ours() -> None:
    for path in tracked():
        if path.suffix != ".py" or path.parts[0] == "tests":
            continue
        imported = {
            name
            for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8")))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        ours = {name for name in imported if name.split(".")[0] in ROOMS | {"wiring"}}
        if path.parts[0] == "dags":
            assert ours <= MAY_BE_IMPORTED_BY_DAGS, path
        else:
            assert not any(name.split(".")[0] == "airflow" for name in imported), path


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_shows_an_example_and_stands_in_the_readme(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*words, "--help"])
    assert shown.exit_code == 0
    assert "Example" in shown.output
    readme = (ROOT / "README.md").read_text("utf-8")
    assert (
        f"orderhub {' '.join(words)}" in readme
        or f"`{' '.join(words)}`" in readme
        or f"`{words[-1]}`" in readme
    )


def test_help_imports_nothing_that_does_work() -> None:
    script = (
        "import sys; from oms_core.cli.main import app; app(['--help'], standalone_mode=False); "
        "print({'sqlalchemy', 'pyarrow', 'duckdb', 'pydantic', 'numpy', 'httpx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("set()")


def test_a_group_imported_late_is_announced_with_its_own_help() -> None:
    announced: Any = typer.main.get_command(app)
    loaded: Any = typer.main.get_command(app)
    loaded.load()
    for name in loaded.modules:
        assert announced.commands[name].help == loaded.commands[name].help
        assert loaded.commands[name].commands


def test_every_source_and_every_declared_stream_is_described() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for source in registry.sources().values():
        assert f"`{source.name}`" in readme
        assert source.owner
        for stream in source.streams:
            assert stream.description or stream.record.__doc__, f"{source.name}.{stream.name}"


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_whole(name: str) -> None:
    """Declaration, twin whose answers are the recorded ones, staging with freshness, landing suites, conformance."""
    source = registry.source(name)
    assert (ROOT / "connectors" / "sandbox" / f"{name}.py").is_file()
    staged = ROOT / "dbt" / "models" / "staging" / name / f"_{name}__sources.yml"
    (landing,) = yaml.safe_load(staged.read_text("utf-8"))["sources"]
    assert landing["config"]["freshness"]["warn_after"]
    tables = {table["name"] for table in landing["tables"]}
    for stream in source.streams:
        assert tables & {f"{name}__{table}" for table in stream.tables}
        assert {f"landing.{name}.{table}" for table in stream.tables} == {
            landing_suite(source, table).name for table in stream.tables
        }
    test = (ROOT / "tests" / "connectors" / "sources" / f"test_{name}.py").read_text("utf-8")
    kit = "FileConformance" if source.reads_files else "Conformance"
    assert re.search(rf"^class Test\w+\(\w*{kit}\):", test, re.MULTILINE)


def test_what_a_source_takes_is_what_contributing_says() -> None:
    """Lines of declaration, then of all four parts: smallest, median, largest; within a twentieth."""
    parts = (
        "connectors/sources/{0}.py", "connectors/sandbox/{0}*.py", "dbt/models/staging/{0}/*",
        "tests/connectors/sources/test_{0}.py",
    )  # fmt: skip

    def lines(name: str, patterns: tuple[str, ...]) -> int:
        files = [path for pattern in patterns for path in ROOT.glob(pattern.format(name))]
        return sum(len(path.read_text("utf-8").splitlines()) for path in files)

    declared = {name: lines(name, parts[:1]) for name in SOURCES}
    whole = {name: lines(name, parts) for name in SOURCES}
    said = re.search(
        r"about (\S+) for the smallest \(`(\w+)`\), (\S+) for the median, (\S+) for the largest\s+\(`(\w+)`\); "
        r"with twin, staging and tests together about (\S+), (\S+) and (\S+)\.\s",
        (ROOT / "CONTRIBUTING.md").read_text("utf-8"),
    )
    assert said is not None
    smallest, named_smallest, middle, largest, named_largest, *together = said.groups()
    assert (named_smallest, named_largest) == (
        min(declared, key=declared.get),
        max(declared, key=declared.get),
    )
    numbers = [int(text.replace(",", "")) for text in (smallest, middle, largest, *together)]
    measured = [
        measure(sizes.values()) for sizes in (declared, whole) for measure in (min, statistics.median, max)
    ]
    assert numbers == pytest.approx(measured, rel=0.05)


def test_the_list_of_sources_is_the_projects() -> None:
    listed = ROOT.parent / "shared" / "sources.md"
    if not listed.is_file():
        pytest.skip("the project's list of source systems is not beside the checkout")
    rows = re.findall(r"^\| `(\w+)` \|", listed.read_text("utf-8"), re.MULTILINE)
    assert set(rows) == set(SOURCES) <= set(registry.sources())
