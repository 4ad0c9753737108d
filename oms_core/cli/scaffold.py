"""What a new source needs, written into a checkout: a small source that works, for a person to make into the real one."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

_TEMPLATES = files("oms_core.cli") / "source_template"
_STAGING = "dbt/models/staging/{name}"
_WRITTEN = {
    "source.py": "connectors/sources/{name}.py",
    "twin.py": "connectors/sandbox/{name}.py",
    "sources.yml": f"{_STAGING}/_{{name}}__sources.yml",
    "models.yml": f"{_STAGING}/_{{name}}__models.yml",
    "stg_orders.sql": f"{_STAGING}/stg_{{name}}__orders.sql",
    "stg_order_lines.sql": f"{_STAGING}/stg_{{name}}__order_lines.sql",
    "order_records.sql": f"{_STAGING}/{{name}}__order_records.sql",
    "order_lines.sql": f"{_STAGING}/{{name}}__order_lines.sql",
    "test.py": "tests/connectors/sources/test_{name}.py",
    "answer.json": "tests/connectors/sources/answers/{name}/orders.json",
}
_ENTITIES = ("order_records", "order_lines")
_PROJECT, _SYSTEMS, _README = "dbt/dbt_project.yml", "dbt/seeds/source_systems.csv", "README.md"
_LONGEST_NAME = 24  # PostgreSQL keeps 63 letters of a table's name


class ScaffoldError(Exception):
    """A source cannot be scaffolded so, or here."""


def scaffold(name: str, checkout: Path) -> dict[Path, str]:
    """Say what a new source takes: path -> whole content, of new files and of changed ones. Nothing is written.

    Args:
        name: lower snake case; of the source, its modules and its models.
        checkout: root of a checkout.

    Raises:
        ScaffoldError: the name is not one or is taken, or this is no checkout.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise ScaffoldError(
            f"{name!r} is no name for a source: write it like order_desk, and not as a word of Python"
        )
    if len(name) > _LONGEST_NAME:
        raise ScaffoldError(
            f"{name!r} is longer than {_LONGEST_NAME} letters; its tables would not fit PostgreSQL"
        )
    missing = [path for path in (_PROJECT, _SYSTEMS, _README) if not (checkout / path).is_file()]
    if missing:
        raise ScaffoldError(
            f"{checkout} is no checkout of orderhub: it has no {missing[0]}. Go into one, and call again"
        )
    new = {template: checkout / path.format(name=name) for template, path in _WRITTEN.items()}
    taken = [path for path in new.values() if path.exists()]
    if taken:
        raise ScaffoldError(
            f"{name!r} is taken: {taken[0].relative_to(checkout)} exists, and nothing is overwritten"
        )
    words = name.split("_")
    values = {
        "name": name,
        "env": name.upper(),
        "title": " ".join(words).capitalize(),
        "class_name": "".join(word.capitalize() for word in words),
    }
    written = {
        path: Template((_TEMPLATES / f"{template}.txt").read_text("utf-8")).substitute(values)
        for template, path in new.items()
    }
    for path, change in ((_PROJECT, _fed), (_SYSTEMS, _ranked), (_README, _listed)):
        written[checkout / path] = change((checkout / path).read_text("utf-8"), name)
    return written


def _fed(project: str, name: str) -> str:
    """The dbt project with the source among those that feed its entities."""
    for entity in _ENTITIES:
        line = _found(rf"^    {entity}: \[(.+)\]$", project, f"{_PROJECT} lists no sources of {entity}")
        sources = ", ".join(sorted([*line[1].split(", "), name]))
        project = project.replace(line[0], f"    {entity}: [{sources}]")
    return project


def _ranked(systems: str, name: str) -> str:
    """The list of systems with the source behind the other marketplaces."""
    *_, last = re.finditer(r"^\w+,marketplace,(\d+)$", systems, re.MULTILINE)
    return f"{systems[: last.end()]}\n{name},marketplace,{int(last[1]) + 1}{systems[last.end() :]}"


def _listed(readme: str, name: str) -> str:
    """The README with the source at the end of its table of sources."""
    table = _found(
        r"^\| source \| kind \| protocol \|\n(\|.*\n)+", readme, f"{_README} has no table of sources"
    )
    row = f"| `{name}` | marketplace | REST, bearer token, tokens of pages |\n"
    return f"{readme[: table.end()]}{row}{readme[table.end() :]}"


def _found(pattern: str, text: str, otherwise: str) -> re.Match[str]:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise ScaffoldError(f"{otherwise}; this checkout is not as it should be")
    return found
