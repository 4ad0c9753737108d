"""`orderhub export`: data contracts, lineage and event logs in the formats other tools read."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from oms_core.cli.terminal import Home, err, fail, open_store, out, plain_errors, release_or_instant
from oms_core.settings import Settings

app = typer.Typer(
    help="Data contracts (ODCS), lineage (OpenLineage) and event logs (OCEL) for other tools.",
    no_args_is_help=True,
)
_COLUMNS = (
    "select table_schema, table_name, column_name, lower(data_type) as data_type from information_schema.columns "
    "where table_schema not in ('information_schema', 'pg_catalog') order by table_schema, table_name, ordinal_position"
)
_PRODUCER = "urn:orderhub"

To = Annotated[Path, typer.Option("--out", help="Where to write; folders are made.")]


@app.command("contracts", epilog="Example: `orderhub export contracts --out contracts/`")
@plain_errors
def contracts(
    to: To,
    table: Annotated[
        list[str] | None, typer.Option(help="Only this released table; repeat for more.")
    ] = None,
    home: Home = None,
) -> None:
    """Write the data contract of each released table, as YAML of the Open Data Contract Standard 3.1."""
    import yaml

    from oms_core.export.contract import contract
    from oms_core.export.project import Project
    from oms_core.release.read import current_release, released_columns
    from oms_core.release.tables import declared

    settings = Settings.from_environment(home)
    with open_store(settings) as database:
        release = current_release(database)
        if release is None:
            fail("nothing was released yet: run `orderhub run` first")
        columns = released_columns(database, release.release_id)
    unknown = sorted(set(table or ()) - columns.keys())
    if unknown:
        fail(f"release {release.release_id} has no table {unknown[0]!r}; it has {', '.join(columns)}", 2)
    project = Project.of(settings.home)
    to.mkdir(parents=True, exist_ok=True)
    for name in table or columns:
        document = contract(project, declared(name), columns[name], release.release_id)
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
        (to / f"{name}.odcs.yaml").write_text(text, encoding="utf-8")
    out.print(f"{len(table or columns)} contracts of release {release.release_id} in {to}", soft_wrap=True)


@app.command("lineage", epilog="Example: `orderhub export lineage --out lineage.ndjson`")
@plain_errors
def lineage(
    to: To,
    namespace: Annotated[str, typer.Option(help="Namespace of the jobs.")] = "orderhub",
    home: Home = None,
) -> None:
    """Write OpenLineage run events of the last build, one JSON document a line, with column lineage."""
    from oms_core.export.lineage import Untraced, events
    from oms_core.export.project import Project
    from oms_core.release.read import current_release
    from oms_core.warehouse import open_warehouse

    settings = Settings.from_environment(home)
    project = Project.of(settings.home)
    warehouse = open_warehouse(settings.home, settings.warehouse_url)
    columns: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for row in warehouse.read(_COLUMNS).to_pylist():
        columns[row["table_schema"]][row["table_name"]][row["column_name"]] = row["data_type"]
    with open_store(settings) as database:
        release = current_release(database)
        store = f"postgres://{database.url.host or 'localhost'}:{database.url.port or 5432}"
    count = 0
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("w", encoding="utf-8") as file:
        for event in events(
            project,
            columns,
            namespace=namespace,
            warehouse=store if settings.warehouse_url else "duckdb://warehouse.duckdb",
            store=store,
            producer=_PRODUCER,
            released=sorted(release.row_counts) if release else (),
            release_id=release.release_id if release else None,
            released_at=release.published_at if release else None,
        ):
            if isinstance(event, Untraced):
                err.print(f"[yellow]the columns of {event.model} could not be followed: {event.reason}[/]")
                continue
            file.write(json.dumps(event, ensure_ascii=False) + "\n")
            count += 1
    out.print(f"{count:,} events in {to}", soft_wrap=True)


@app.command("events", epilog="Example: `orderhub export events --out orders.jsonocel --as-of 3`")
@plain_errors
def event_log(
    to: To,
    as_of: Annotated[
        str | None, typer.Option(help="Release number or ISO 8601 time; the current release by default.")
    ] = None,
    home: Home = None,
) -> None:
    """Write the order events of a release as an object-centric event log (OCEL 2.0 JSON); customers go by golden id, and it is logged."""
    from oms_core.export.ocel import write
    from oms_core.release.read import note_file, resolve

    wanted = release_or_instant(as_of)
    settings = Settings.from_environment(home)
    with open_store(settings) as database:
        release_id = None if wanted is None else resolve(database, wanted).release_id
        to.parent.mkdir(parents=True, exist_ok=True)
        part = to.with_name(to.name + ".part")
        try:
            with part.open("w", encoding="utf-8") as file:
                written = write(database, file, release_id)
            note_file(
                database,
                part,
                actor=settings.actor,
                form="OCEL 2.0",
                release_id=written.release_id,
                counts=written.objects,
            )
            part.replace(to)
        finally:
            part.unlink(missing_ok=True)
    shown = Table("kind", "type", "count")
    for kind, counts in (("object", written.objects), ("event", written.events)):
        for name, count in sorted(counts.items()):
            shown.add_row(kind, name, f"{count:,}")
    out.print(shown)
    out.print(f"release {written.release_id} in {to}", soft_wrap=True)
