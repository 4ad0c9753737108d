"""`orderhub resolve`: who is who in anybody's files, with nothing set up before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from oms_core.cli.terminal import AsJson, Live, err, fail, out, plain_errors, print_json

if TYPE_CHECKING:
    from oms_core.identity.linking.link import Links

EPILOG = (
    "Example: `orderhub resolve --entity customer --input crm.csv --input shop.csv --out pairs.csv` — "
    "`orderhub resolve --entity sku --input ours.csv --input theirs.parquet --map title=Bezeichnung --map mpn=Modell "
    "--truth known_pairs.csv`"
)
_SHOWN_COLUMNS = 12


@plain_errors
def resolve(
    entity: Annotated[str, typer.Option(help="What the records describe: customer, sku or location.")],
    input: Annotated[
        list[Path],
        typer.Option(
            help="CSV or Parquet file (.gz too). Once: find its duplicates. Twice: link the two files."
        ),
    ],
    id: Annotated[
        list[str] | None,
        typer.Option(
            help="Column that names each record, or row-number; twice if it differs between the files. Recognised by "
            "default.",
            show_default=False,
        ),
    ] = None,
    map: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CANONICAL=COLUMN",
            help="Say what a column is, such as email=Kontakt; other columns are recognised by name and content.",
        ),
    ] = None,
    one_to_one: Annotated[
        bool | None,
        typer.Option(
            "--one-to-one/--many-to-many",
            help="Whether a record has one partner at most. By default so where neither file has duplicates of its own.",
            show_default=False,
        ),
    ] = None,
    out_file: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Write left_id, right_id, probability, cluster_id; .csv, .csv.gz or .parquet."
        ),
    ] = None,
    clusters: Annotated[
        Path | None,
        typer.Option(help="Write file, id, cluster_id for every record; .csv, .csv.gz or .parquet."),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="File of true pairs (two id columns) or of id and cluster; prints precision, recall, F1 and B³."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Probability from which a pair counts. By default 0.5, where a wrong merge costs what a missed match "
            "costs.",
            min=0.0,
            max=1.0,
            show_default=False,
        ),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of the CSV files, such as shift_jis. Found out by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the records that mean one thing, in any CSV or Parquet files; no set-up, no state.

    Columns are recognised by name, in a dozen languages, and by content; what nobody recognises is compared by content.
    customer: given_name, surname, full_name, name, company_name, email, phone, tax_number, national_id, date_of_birth,
    marketplace_buyer_id. location: company_name (the name of the place), gln, location_code, latitude, longitude, phone, email,
    tax_number. Both: street, street_number, address_2, city, region, postcode, country. sku: title, brand, mpn, sku_code, gtin14,
    description, price, size_qty, size_uom, pack_qty.
    """
    from oms_core.identity.linking import files, recognise
    from oms_core.identity.linking.link import LinkError, link
    from oms_core.identity.linking.truth import TruthError

    kind = next((name for name in recognise.ENTITIES if name == entity), None)
    if kind is None:
        fail(f"--entity {entity!r}: choose {', '.join(recognise.ENTITIES)}", 2)
    for option, path in (("--out", out_file), ("--clusters", clusters)):
        if path is not None and not path.absolute().parent.is_dir():
            fail(f"{option} {path}: there is no folder {path.absolute().parent}; make it first", 2)
    try:
        with Live(as_json) as live:
            found = link(
                input,
                kind,
                ids=id or (),
                mapping=_mapping(map or ()),
                one_to_one=one_to_one,
                threshold=threshold,
                truth=truth,
                encoding=encoding,
                say=live.say,
            )
            for path, table in ((out_file, found.pairs), (clusters, found.clusters)):
                if path is not None:
                    live.say(f"writing {path}")
                    files.write(table, path)
    except (LinkError, recognise.ColumnError, TruthError) as error:
        fail(str(error), 2)
    except files.FileError as error:
        fail(str(error), 2 if error.is_call else 1)
    if as_json:
        print_json(report(found, entity))
    else:
        _show(out, found, out_file, clusters)


def _mapping(words: list[str] | tuple[str, ...]) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for word in words:
        canonical, separator, column = word.partition("=")
        if not separator or not canonical.strip() or not column.strip():
            fail(f"--map {word!r}: write canonical=column, such as email=Kontakt", 2)
        if canonical.strip() in mapping:
            fail(f"--map: {canonical.strip()} is given twice; give it one column", 2)
        mapping[canonical.strip()] = column.strip()
    return mapping


def report(found: Links, entity: str) -> dict[str, Any]:
    """The summary for a machine."""
    return {
        "entity": entity,
        "inputs": [
            {
                "file": str(source.path),
                "format": source.format,
                "records": source.records,
                "id_column": source.id_column,
                "columns": {column.name: column.canonical for column in source.columns},
                "left_out": dict(source.left_out),
                "notes": list(source.notes),
            }
            for source in found.sources
        ],
        "records": found.clusters.num_rows,
        "pairs": found.pairs.num_rows,
        "clusters": found.entities,
        "linked_records": found.linked_records,
        "threshold": found.threshold,
        "one_to_one": found.one_to_one,
        "notes": list(found.notes),
        "accuracy": None
        if found.accuracy is None
        else {
            name: {"precision": score.precision, "recall": score.recall, "f1": score.f1}
            for name, score in (("pairwise", found.accuracy.pairwise), ("b_cubed", found.accuracy.b_cubed))
        },
        "seconds": found.seconds,
    }


def _show(console: Console, found: Links, out_file: Path | None, clusters: Path | None) -> None:
    for source in found.sources:
        named = f"id {source.id_column}" if source.id_column is not None else "id by row number"
        console.print(
            f"[bold]{escape(str(source.path))}[/]: {source.records:,} records, {source.format}, {escape(named)}",
            highlight=False,
            soft_wrap=True,
        )
        known = [f"{column.canonical} ← {column.name}" for column in source.columns if column.canonical]
        others = [column.name for column in source.columns if not column.canonical]
        for title, names in (
            ("taken as", known),
            ("by content", others),
            ("left out", [f"{name} ({why})" for name, why in source.left_out]),
        ):
            if names:
                more = f", and {len(names) - _SHOWN_COLUMNS} more" if len(names) > _SHOWN_COLUMNS else ""
                console.print(
                    f"  {title}: {escape(', '.join(names[:_SHOWN_COLUMNS]))}{more}",
                    highlight=False,
                    soft_wrap=True,
                )
        for note in source.notes:
            console.print(f"  [yellow]{escape(note)}[/]", highlight=False, soft_wrap=True)
    for note in found.notes:
        console.print(f"[yellow]{escape(note)}[/]", highlight=False, soft_wrap=True)
    console.print(
        f"[bold]{found.pairs.num_rows:,} pairs[/] at probability ≥ {found.threshold:g}; {found.clusters.num_rows:,} records "
        f"are {found.entities:,} clusters, {found.linked_records:,} records have a partner",
        highlight=False,
        soft_wrap=True,
    )
    if found.accuracy is not None:
        table = Table("against the truth", "precision", "recall", "F1")
        for name, score in (("pairwise", found.accuracy.pairwise), ("B³", found.accuracy.b_cubed)):
            table.add_row(name, f"{score.precision:.4f}", f"{score.recall:.4f}", f"{score.f1:.4f}")
        console.print(table)
    steps = ", ".join(f"{name} {seconds:.1f}" for name, seconds in found.seconds.items())
    console.print(f"{sum(found.seconds.values()):.1f} s ({steps})", highlight=False, soft_wrap=True)
    for path, what in ((out_file, "pairs"), (clusters, "every record's cluster")):
        if path is not None:
            console.print(f"{what} in {escape(str(path))}", highlight=False, soft_wrap=True)
    if out_file is None and clusters is None:
        err.print(
            "[dim]nothing was written: --out FILE writes the pairs, --clusters FILE every record's cluster[/]"
        )
