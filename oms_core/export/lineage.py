"""Lineage of the last build as OpenLineage run events, down to which column came from which.

One run per model that was built, one per table that the release copied into the operational store. Column lineage
is read from the SQL that ran, not from declarations: what the warehouse was told is what is reported.

Source: https://openlineage.io/spec/2-0-2/OpenLineage.json
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope

from oms_core.export.project import Project

# {schema: {table: {column: type}}}, all in lower case.
Columns = Mapping[str, Mapping[str, Mapping[str, str]]]

_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACET = "https://openlineage.io/spec/facets/{0}.json#/$defs/{1}"
_RUNS = uuid.UUID("0b8f3a52-52ac-5e0e-8a53-1f1f3a8b7c40")
_DIALECTS = {"duckdb": "duckdb", "postgres": "postgres", "spark": "spark"}


@dataclass(frozen=True)
class Origin:
    """A column that a value came from. `subtype`: IDENTITY, TRANSFORMATION or AGGREGATION."""

    schema: str
    table: str
    column: str
    subtype: str


@dataclass(frozen=True)
class Untraced:
    """A model whose columns could not be followed, and why; its tables still are."""

    model: str
    reason: str


def column_origins(sql: str, dialect: str, columns: Columns) -> dict[str, list[Origin]]:
    """Follow each output column of a SELECT to the table columns its value is made of.

    Args:
        sql: one SELECT, with or without CTEs and set operations.
        dialect: duckdb, postgres or spark.
        columns: what each table holds; needed where the SQL says `*` or leaves a table's name out.

    Returns:
        {output column: origins sorted}, in output order; a constant has none.

    Raises:
        SqlglotError: the SQL cannot be read.
    """
    tree = qualify(
        sqlglot.parse_one(sql, dialect=dialect),
        dialect=dialect,
        schema={
            schema: {name: dict(held) for name, held in tables.items()} for schema, tables in columns.items()
        },
        validate_qualify_columns=False,
        quote_identifiers=False,
    )
    root = build_scope(tree)
    if root is None:
        raise SqlglotError("it is not a SELECT")
    trace = _Trace()
    return {name: trace.origins(root, at) for at, name in enumerate(_names(root))}


def _names(scope: Scope) -> list[str]:
    expression = scope.expression
    named: list[str] = expression.named_selects if isinstance(expression, exp.Query) else []
    return named


class _Trace:
    def __init__(self) -> None:
        self._known: dict[tuple[int, int], frozenset[Origin]] = {}

    def origins(self, scope: Scope, position: int) -> list[Origin]:
        """Where the value of one output position comes from."""
        return sorted(self._of(scope, position), key=lambda o: (o.schema, o.table, o.column, o.subtype))

    def _of(self, scope: Scope, position: int) -> frozenset[Origin]:
        key = (id(scope), position)
        if key not in self._known:
            self._known[key] = frozenset()  # a recursive CTE meets itself here, and has said all it can
            self._known[key] = self._follow(scope, position)
        return self._known[key]

    def _follow(self, scope: Scope, position: int) -> frozenset[Origin]:
        if scope.set_operation_scopes:
            sides = [self._of(side, position) for side in scope.set_operation_scopes]
            return frozenset().union(*sides)
        selected = scope.expression.selects if isinstance(scope.expression, exp.Query) else []
        if position >= len(selected):
            return frozenset()
        value = selected[position]
        inner = value.this if isinstance(value, exp.Alias) else value
        subtype = (
            "IDENTITY"
            if isinstance(inner, exp.Column)
            else "AGGREGATION"
            if inner.find(exp.AggFunc) is not None
            else "TRANSFORMATION"
        )
        found: set[Origin] = set()
        for column in inner.find_all(exp.Column):
            source = _source(scope, column.table)
            if isinstance(source, exp.Table):
                found.add(Origin(source.db.lower(), source.name.lower(), column.name.lower(), subtype))
            elif isinstance(source, Scope):
                names = [name.lower() for name in _names(source)]
                if column.name.lower() in names:
                    below = self._of(source, names.index(column.name.lower()))
                    found.update(_through(origin, subtype) for origin in below)
        return frozenset(found)


def _source(scope: Scope | None, name: str) -> object:
    """What a table name means here: in this scope, in a sub-query of it, or around it."""
    inside = scope
    while scope is not None:
        if name in scope.sources:
            return scope.sources[name]
        scope = scope.parent
    for below in inside.subquery_scopes if inside is not None else ():
        if name in below.sources:
            return below.sources[name]
    return None


def _through(origin: Origin, subtype: str) -> Origin:
    """An origin seen through one more step: the strongest change on the way names it."""
    strength = ("IDENTITY", "TRANSFORMATION", "AGGREGATION")
    strongest = max(origin.subtype, subtype, key=strength.index)
    return Origin(origin.schema, origin.table, origin.column, strongest)


def events(
    project: Project,
    columns: Columns,
    *,
    namespace: str,
    warehouse: str,
    store: str,
    producer: str,
    released: Sequence[str] = (),
    release_id: int | None = None,
    released_at: datetime | None = None,
) -> Iterator[dict[str, Any] | Untraced]:
    """Run events of the last build, in the order models stand in the project, then the release.

    Args:
        project: the dbt project as built.
        columns: what the warehouse holds.
        namespace: namespace of the jobs.
        warehouse: namespace of the warehouse's datasets, such as "postgres://host:5432".
        store: namespace of the released tables.
        producer: URI of the software that says so.
        released: tables of the release; none writes no release event.
        release_id, released_at: which release, published when.

    Yields:
        JSON-ready START and COMPLETE events, and an `Untraced` for each model whose columns could not be followed.
    """
    dialect = _DIALECTS.get(project.adapter, project.adapter)
    results = project.run_results()
    invocation = str(project.manifest["metadata"]["invocation_id"])
    built_at = str(project.manifest["metadata"]["generated_at"])
    for model in project.models():
        sql = project.compiled(model)
        schema, name = model["schema"], model.get("alias") or model["name"]
        held = columns.get(schema, {}).get(name)
        if sql is None or held is None:  # never built here: the company does not use the source
            continue
        try:
            origins = column_origins(sql, dialect, columns)
        except SqlglotError as error:
            origins = {}
            yield Untraced(model["name"], str(error).splitlines()[0])
        inputs = sorted(
            {(o.schema, o.table) for found in origins.values() for o in found} or _parents(project, model)
        )
        timing = [
            one for one in results.get(model["unique_id"], {}).get("timing", ()) if one.get("completed_at")
        ]
        yield from _run(
            producer,
            namespace,
            f"dbt.{model['name']}",
            run=f"{invocation}/{model['unique_id']}",
            started_at=min((one["started_at"] for one in timing), default=built_at),
            ended_at=max((one["completed_at"] for one in timing), default=built_at),
            inputs=[_dataset(warehouse, *one) for one in inputs],
            output=_dataset(
                warehouse,
                schema,
                name,
                producer=producer,
                held=held,
                described=model.get("columns", {}),
                origins={
                    column: [(warehouse, f"{o.schema}.{o.table}", o.column, o.subtype) for o in found]
                    for column, found in origins.items()
                },
            ),
            sql=sql,
        )
    marts = {model["name"]: model for model in project.models()}
    if release_id is None or released_at is None:
        return
    for table in released:
        mart = marts.get(table)
        if mart is None:
            continue
        held = columns.get(mart["schema"], {}).get(table, {})
        yield from _run(
            producer,
            namespace,
            f"release.{table}",
            run=f"release/{release_id}/{table}",
            started_at=_utc(released_at),
            ended_at=_utc(released_at),
            inputs=[_dataset(warehouse, mart["schema"], table)],
            output=_dataset(
                store,
                "released",
                table,
                producer=producer,
                held=held,
                described=mart.get("columns", {}),
                origins={
                    column: [(warehouse, f"{mart['schema']}.{table}", column, "IDENTITY")] for column in held
                },
            ),
            release_id=release_id,
        )


def _parents(project: Project, model: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Tables a model stands on, as dbt knows them."""
    nodes = [project.nodes.get(one) for one in model["depends_on"]["nodes"]]
    return {
        (node["schema"], node.get("alias") or node.get("identifier") or node["name"])
        for node in nodes
        if node is not None and node["config"].get("materialized") != "ephemeral"
    }


def _run(
    producer: str,
    namespace: str,
    job: str,
    *,
    run: str,
    started_at: str,
    ended_at: str,
    inputs: list[dict[str, Any]],
    output: dict[str, Any],
    sql: str | None = None,
    release_id: int | None = None,
) -> Iterator[dict[str, Any]]:
    """The START and the COMPLETE event of one run."""
    facets: dict[str, Any] = {
        "jobType": _facet(
            producer, "2-0-4/JobTypeJobFacet", processingType="BATCH", integration="DBT" if sql else "ORDERHUB",
            jobType="MODEL" if sql else "RELEASE",
        )
    }  # fmt: skip
    if sql is not None:
        facets["sql"] = _facet(producer, "1-1-0/SQLJobFacet", query=sql)
    if release_id is not None:
        output["facets"]["version"] = _facet(
            producer, "1-0-1/DatasetVersionDatasetFacet", datasetVersion=str(release_id)
        )
    common = {
        "producer": producer,
        "schemaURL": _EVENT,
        "run": {"runId": str(uuid.uuid5(_RUNS, run)), "facets": {}},
        "job": {"namespace": namespace, "name": job, "facets": facets},
    }
    yield {"eventType": "START", "eventTime": started_at, **common, "inputs": [], "outputs": []}
    yield {"eventType": "COMPLETE", "eventTime": ended_at, **common, "inputs": inputs, "outputs": [output]}


def _dataset(
    namespace: str,
    schema: str,
    table: str,
    *,
    producer: str = "",
    held: Mapping[str, str] | None = None,
    described: Mapping[str, Any] | None = None,
    origins: Mapping[str, Sequence[tuple[str, str, str, str]]] | None = None,
) -> dict[str, Any]:
    facets: dict[str, Any] = {}
    if held:
        fields = [
            {
                "name": name,
                "type": kind,
                **(
                    {"description": text}
                    if (text := (described or {}).get(name, {}).get("description"))
                    else {}
                ),
            }
            for name, kind in held.items()
        ]
        facets["schema"] = _facet(producer, "1-2-0/SchemaDatasetFacet", fields=fields)
    if origins:
        facets["columnLineage"] = _facet(
            producer,
            "1-2-0/ColumnLineageDatasetFacet",
            fields={
                column: {
                    "inputFields": [
                        {
                            "namespace": space,
                            "name": name,
                            "field": field,
                            "transformations": [{"type": "DIRECT", "subtype": subtype}],
                        }
                        for space, name, field, subtype in found
                    ]
                }
                for column, found in origins.items()
            },
        )
    return {"namespace": namespace, "name": f"{schema}.{table}", "facets": facets}


def _facet(producer: str, name: str, **values: Any) -> dict[str, Any]:
    return {
        "_producer": producer,
        "_schemaURL": _FACET.format(name, name.rpartition("/")[2]),
        **values,
    }


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
