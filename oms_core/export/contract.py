"""Data contracts of the released tables, one Open Data Contract Standard 3.1 document each.

The contract says what readers are promised: the columns and types as released (not as modelled), keys, relations and
the tests that hold at the gate. Nothing in it is written twice: descriptions and tests come from the dbt project, types
and versions from the release.

Source: https://bitol-io.github.io/open-data-contract-standard/v3.1.0/
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oms_core.export.project import Project
from oms_core.release.tables import RELEASED_TABLES, ReleasedTable

_NAMESPACE = uuid.UUID("5a0e2f0c-6f0f-5a8c-9d3c-0b7f6c0a7d11")
_LOGICAL_TYPES = {
    "text": "string",
    "boolean": "boolean",
    "smallint": "integer",
    "integer": "integer",
    "bigint": "integer",
    "date": "date",
    "timestamptz": "timestamp",
    "bytea": "string",
}
# Added by the release itself, after the mart's own columns.
_OWNED = {
    "row_hash": ("text", "SHA-256 of the row's values: the leaf that the release's seal is made of."),
    "release_id": ("bigint", "Release that brought this version of the row."),
}


def contract(
    project: Project, table: ReleasedTable, columns: Sequence[tuple[str, str]], release_id: int
) -> dict[str, Any]:
    """The contract of one released table.

    Args:
        project: the dbt project that built it.
        table: its declaration.
        columns: (name, PostgreSQL type) as released.
        release_id: the release the columns were read from; the contract's version is `1.<release>.0`.

    Returns:
        A document that serialises to JSON or YAML, valid against the standard's JSON schema 3.1.0.
    """
    model = project.model(table.name) or {}
    described = model.get("columns", {})
    tests = list(project.tests_of(model)) if model else []
    promised = [*columns, *((name, kind) for name, (kind, _) in _OWNED.items())]
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": str(uuid.uuid5(_NAMESPACE, table.name)),
        "name": table.name,
        "version": f"1.{release_id}.0",
        "status": "active",
        "domain": "orders",
        "dataProduct": "orderhub",
        "description": {
            "purpose": _sentence(model.get("description")) or f"Released table {table.name}.",
            "usage": (
                "Select from the view of the same name in the schema `released`; set `orderhub.as_of` to a release "
                "number to read an earlier release."
            ),
            "limitations": "A value that is unknown is null; no default stands in for it.",
        },
        "servers": [
            {
                "server": "operational",
                "type": "postgresql",
                "description": "The operational store, read as the role orderhub_reader.",
                "host": "see ORDERHUB_DATABASE_READER_URL",
                "port": 5432,
                "database": "orderhub",
                "schema": "released",
            }
        ],
        "schema": [
            {
                "name": table.name,
                "physicalName": table.name,
                "logicalType": "object",
                "physicalType": "view",
                "description": _sentence(model.get("description")) or f"Released table {table.name}.",
                "dataGranularityDescription": f"One row per {', '.join(table.key)} and release.",
                "properties": [_property(table, name, kind, described, tests) for name, kind in promised],
                "quality": list(_table_quality(table, tests)),
            }
        ],
        "customProperties": [{"property": "releaseId", "value": release_id}],
    }


def _property(
    table: ReleasedTable,
    name: str,
    kind: str,
    described: Mapping[str, Any],
    tests: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    ours = _OWNED.get(name)
    mine = [test for test in tests if test.get("column_name") == name]
    kinds = {_kind(test) for test in mine}
    constraints = {item["type"] for item in described.get(name, {}).get("constraints", ())}
    text = ours[1] if ours else _sentence(described.get(name, {}).get("description"))
    found: dict[str, Any] = {
        "name": name,
        "physicalName": name,
        "logicalType": "number" if kind.startswith("numeric") else _LOGICAL_TYPES.get(kind, "string"),
        "physicalType": kind,
        "required": bool(
            ours
            or name in table.key
            or kinds & {"not_null", "is_key"}
            or constraints & {"not_null", "primary_key"}
        ),
        **({"description": text} if text else {}),
    }
    if name in table.key:
        found |= {"primaryKey": True, "primaryKeyPosition": table.key.index(name) + 1}
    if table.key == (name,) or kinds & {"unique", "is_key"}:
        found["unique"] = True
    if name in table.personal:
        found["classification"] = "personal"
    relations = [
        {"type": "foreignKey", "to": f"{_target(test)}.{_arguments(test)['field']}"}
        for test in mine
        if _kind(test) == "relationships" and _target(test) in RELEASED_TABLES
    ]
    if relations:
        found["relationships"] = relations
    allowed = [_arguments(test)["values"] for test in mine if _kind(test) == "accepted_values"]
    if allowed:
        found["quality"] = [
            {
                "name": f"{name}_is_known",
                "description": f"{name} is one of the values listed.",
                "type": "library",
                "metric": "invalidValues",
                "arguments": {"validValues": list(values)},
                "mustBe": 0,
                "dimension": "conformity",
            }
            for values in allowed
        ]
    return found


def _table_quality(table: ReleasedTable, tests: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    yield {
        "name": "key_is_unique",
        "description": f"No two rows of a release share {', '.join(table.key)}.",
        "type": "library",
        "metric": "duplicateValues",
        "arguments": {"properties": list(table.key)},
        "mustBe": 0,
        "dimension": "uniqueness",
    }
    for test in tests:
        if test.get("column_name") is None:
            yield {
                "name": test["name"],
                "description": _sentence(test.get("description")) or f"dbt test {_kind(test)} holds.",
                "type": "custom",
                "engine": "dbt",
                "implementation": test["name"],
                "severity": str(test["config"]["severity"]).lower(),
            }


def _kind(test: Mapping[str, Any]) -> str:
    return str((test.get("test_metadata") or {}).get("name"))


def _arguments(test: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments: Mapping[str, Any] = test["test_metadata"]["kwargs"]
    return arguments


def _target(test: Mapping[str, Any]) -> str:
    """The table a relationships test points at."""
    others = [ref["name"] for ref in test["refs"] if f"'{ref['name']}'" in str(_arguments(test).get("to"))]
    return str(others[0]) if others else ""


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())
