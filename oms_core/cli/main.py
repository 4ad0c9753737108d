"""The `orderhub` command. Exit codes: 0 done, 1 something failed or is incomplete, 2 the call was wrong."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from oms_core.cli import diff, erase, finance, resolve, retain
from oms_core.cli.lazy import LazyGroup, lazy_group
from oms_core.cli.terminal import (
    AsJson,
    Home,
    Live,
    err,
    fail,
    instant,
    open_store,
    out,
    plain_errors,
    print_json,
    release_or_instant,
)
from oms_core.settings import Settings

# What does the work is imported by the command that needs it: it takes more than a second.
if TYPE_CHECKING:
    from connectors.extract import PullResult
    from oms_core.audit.row_proof import RowProof
    from oms_core.pipeline import UnifyResult

app = typer.Typer(
    name="orderhub",
    cls=LazyGroup,
    help="One order, one row, one truth: pull orders from every system, unify them, release them, explain them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
)
release_app = typer.Typer(help="What readers see: immutable releases.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Rows that could not land, with their reasons.", no_args_is_help=True)
sources_app = typer.Typer(help="Source systems and whether they answer.", no_args_is_help=True)
sandbox_app = typer.Typer(help="The sandbox company: simulated systems on loopback.", no_args_is_help=True)
app.add_typer(release_app, name="release")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(sources_app, name="sources")
app.add_typer(sandbox_app, name="sandbox")
lazy_group(app, "rules", "oms_core.cli.rules", "Survivorship: which source is believed for which value.")
lazy_group(
    app, "identity", "oms_core.cli.identity", "Who is who: the stewards' queue, decisions, histories, models."
)
app.command(epilog=resolve.EPILOG)(resolve.resolve)
app.command(epilog=diff.EPILOG)(diff.diff)
app.command(epilog=erase.EPILOG)(erase.erase)
app.command(epilog=retain.EPILOG)(retain.retain)
app.command(epilog=finance.RECONCILE_EPILOG)(finance.reconcile)
app.command(epilog=finance.CLOSE_EPILOG)(finance.close)
app.command(epilog=finance.RESTATEMENTS_EPILOG)(finance.restatements)
lazy_group(app, "feed", "oms_core.cli.feed", "What releases changed, in order, for services that follow.")
lazy_group(
    app,
    "export",
    "oms_core.cli.export",
    "Data contracts (ODCS), lineage (OpenLineage) and event logs (OCEL) for other tools.",
)
lazy_group(
    app, "inventory", "oms_core.cli.inventory", "Stock: what lies where, and what of it is free to promise."
)
lazy_group(
    app,
    "reservation",
    "oms_core.cli.inventory:reservations",
    "Reservations: who was promised what.",
)
lazy_group(app, "sourcing", "oms_core.cli.sourcing", "Sourcing: which node ships, why, and what if.")
lazy_group(app, "exceptions", "oms_core.cli.exceptions", "Orders that need a person, with a suggestion each.")
lazy_group(app, "flow", "oms_core.cli.flow", "Order flows as data, and where each order is in its own.")
lazy_group(app, "key", "oms_core.cli.keys", "Keys of one's own for the API, each of a role.")
lazy_group(
    app,
    "audit",
    "oms_core.cli.audit",
    "What changed anything, append-only and signed, and whether all of it still holds.",
)


class DifferenceLevel(StrEnum):
    """Whether documents of the sandbox company's systems differ from its orders."""

    NONE = "none"
    PLANTED = "planted"


class DirtLevel(StrEnum):
    """How much the sandbox company's systems distort the truth."""

    NONE = "none"
    NORMAL = "normal"
    HEAVY = "heavy"


def _pull_table(results: Sequence[PullResult]) -> Table:
    table = Table(title="Pulled", title_justify="left")
    for name, justify in (
        ("source", "left"), ("stream", "left"), ("pages", "right"), ("pulled", "right"), ("landed", "right"),
        ("quarantined", "right"), ("new or changed", "right"), ("seconds", "right"), ("", "left"),
    ):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for item in results:
        note = "[red]failed[/]" if item.error else "[yellow]fields changed[/]" if item.drift else ""
        table.add_row(
            item.source, item.stream, f"{item.pages:,}", f"{item.pulled:,}", f"{item.landed:,}",
            f"{item.quarantined:,}", f"{item.changed:,}", f"{item.seconds:.1f}", note,
        )  # fmt: skip
    return table


def _show_pull(results: Sequence[PullResult], as_json: bool) -> None:
    if as_json:
        print_json([vars(item) for item in results])
        return
    if results:
        out.print(_pull_table(results))
    else:
        out.print("nothing new in the inbox")
    for item in results:
        if item.error:
            err.print(
                f"[bold red]{item.source}.{item.stream}:[/] {escape(item.error)}",
                highlight=False,
                soft_wrap=True,
            )
        for remark in item.remarks:
            err.print(f"[yellow]{escape(remark)}[/]", highlight=False, soft_wrap=True)
        for stream, change in item.drift.items():
            words = [f"{kind} {', '.join(names)}" for kind, names in change.items() if names]
            err.print(
                f"[yellow]{item.source}.{stream}: fields {'; '.join(words)} since the last pull[/]",
                highlight=False,
            )


@app.command(
    epilog="Examples: `orderhub pull shopify tryton --since 2026-10-01`, `orderhub pull --hooks`, "
    "`orderhub pull tryton --sweep`, `orderhub pull stripe --since 2024-01-01 --until 2026-01-01 --every 30`"
)
@plain_errors
def pull(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Sources; every configured one by default.")
    ] = None,
    stream: Annotated[
        list[str] | None, typer.Option(help="Only these streams of the one source named.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Back-fill from this time (ISO 8601).")] = None,
    until: Annotated[str | None, typer.Option(help="Back-fill up to this time (ISO 8601).")] = None,
    full: Annotated[bool, typer.Option("--full", help="Ignore cursors and read everything again.")] = False,
    every: Annotated[
        float | None,
        typer.Option(help="Cut the back-fill into intervals of so many days, several at a time.", min=0.01),
    ] = None,
    parallel: Annotated[int, typer.Option(help="Intervals of one source at a time.", min=1, max=16)] = 4,
    bulk: Annotated[
        bool,
        typer.Option("--bulk", help="Read by the bulk operation of the source, streams that have one alone."),
    ] = False,
    hooks: Annotated[
        bool,
        typer.Option("--hooks", help="Only the records that notifications name; any pull brings them, too."),
    ] = False,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Also look for what was deleted: list all keys and compare.")
    ] = False,
    largest_loss: Annotated[
        float, typer.Option(help="Share of a stream that a sweep may find gone at once.", min=0.0, max=1.0)
    ] = 0.2,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Pull records from source systems into landing."""
    from oms_core import intake

    settings = Settings.from_environment(home)
    with Live(as_json) as live:
        results = intake.pull(
            settings,
            sources or (),
            streams=stream or None,
            since=instant(since, "--since"),
            until=instant(until, "--until"),
            full=full,
            every=None if every is None else timedelta(days=every),
            parallel=parallel,
            in_bulk=bulk,
            notified=hooks,
            sweeps=sweep,
            largest_loss=largest_loss,
            progress=live.rows,
        )
    _show_pull(results, as_json)
    if any(item.error for item in results):
        raise typer.Exit(1)


def _show_unify(result: UnifyResult, as_json: bool) -> None:
    if as_json:
        print_json(_unify_report(result))
        return
    for gate in result.gates:
        mark = "[green]passed[/]" if gate.passed else "[red]held back[/]"
        out.print(
            f"gate {gate.gate}: {mark}, {gate.judged:,} judged, {gate.rejected_rows:,} rows to quarantine"
        )
        for complaint in gate.complaints[:10]:
            out.print(f"  [yellow]{escape(complaint)}[/]", highlight=False)
    if result.conservation is not None:
        out.print("conservation law: [green]holds[/]" if result.conservation.holds else "[red]broken[/]")
    word = "released" if result.is_new else "unchanged, still release"
    out.print(f"{word} [bold]{result.release_id}[/]: {result.orders:,} orders, {result.orphans:,} orphans")


def _unify_report(result: UnifyResult) -> dict[str, Any]:
    return {
        "is_new": result.is_new,
        "release_id": result.release_id,
        "orders": result.orders,
        "orphans": result.orphans,
        "gates": {gate.gate: {"passed": gate.passed, "judged": gate.judged, "rejected_rows": gate.rejected_rows,
                              "complaints": gate.complaints} for gate in result.gates},
        "conservation": None if result.conservation is None else {
            "holds": result.conservation.holds, "faults": result.conservation.faults},
        "warnings": result.warnings,
        "seconds": result.seconds,
    }  # fmt: skip


@app.command(epilog="Example: `orderhub unify`")
@plain_errors
def unify(
    force: Annotated[bool, typer.Option("--force", help="Build even if nothing is new.")] = False,
    recheck_held: Annotated[
        bool, typer.Option("--recheck-held", help="Judge batches again that gate 1 held.")
    ] = False,
    largest_drop: Annotated[
        float | None,
        typer.Option(help="Share of orders a release may lose against the last one.", min=0.0, max=1.0),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Turn what has landed into the next release: gates, identity, facts, release."""
    from oms_core import pipeline

    with Live(as_json) as live:
        result = pipeline.unify(
            Settings.from_environment(home),
            force=force,
            recheck_held=recheck_held,
            largest_drop=largest_drop,
            say=live.say,
        )
    _show_unify(result, as_json)
    if not all(gate.passed for gate in result.gates):
        raise typer.Exit(1)


@app.command(epilog="Example: `orderhub run --file exports/online_retail_2010.parquet`")
@plain_errors
def run(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Sources; every configured one by default.")
    ] = None,
    file: Annotated[
        list[Path] | None, typer.Option(help="Put a copy of this export into the inbox first.", exists=True)
    ] = None,
    mapping: Annotated[
        Path | None,
        typer.Option(help="Column mapping (TOML) for the exports, put into the inbox too.", exists=True),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Ignore cursors and read everything again.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Pull, then unify: the whole way from the source systems to a release."""
    from oms_core import intake, pipeline

    settings = Settings.from_environment(home)
    for path in [*(file or []), *([mapping] if mapping else [])]:
        intake.drop(settings, path)
    names = list(sources or (["file_drop"] if file else []))
    with pipeline.open_builder(settings) as builder:
        with Live(as_json) as live:
            results = intake.pull(settings, names, full=full, progress=live.rows, builder=builder)
        if not as_json:
            _show_pull(results, as_json=False)
        with Live(as_json) as live:
            result = pipeline.unify(settings, builder=builder, say=live.say)
    if as_json:
        print_json({"pull": [vars(item) for item in results], "unify": _unify_report(result)})
    else:
        _show_unify(result, as_json=False)
    if any(item.error for item in results) or not all(gate.passed for gate in result.gates):
        raise typer.Exit(1)


@app.command(epilog="Example: `orderhub demo --orders 500 --seed 3 --report demo.json`")
@plain_errors
def demo(
    orders: Annotated[int, typer.Option(help="Orders the sandbox company has.", min=1)] = 2000,
    seed: Annotated[int, typer.Option(help="Same seed, same company.")] = 7,
    dirt: Annotated[DirtLevel, typer.Option(help="How dirty the company's systems are.")] = DirtLevel.NORMAL,
    differences: Annotated[
        DifferenceLevel,
        typer.Option(help="Whether payments, invoices and receipts differ from the orders at times."),
    ] = DifferenceLevel.PLANTED,
    home: Home = None,
    report: Annotated[Path | None, typer.Option(help="Write the report as JSON, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the main job on the sandbox company and show how right the answer is."""
    from oms_core.demo import print_report, run_demo

    # Embedded defaults only: a demonstration must not reach a database or a source that somebody works with.
    base = Settings.from_environment(home).home
    values = {name: value for name, value in os.environ.items() if not name.startswith("ORDERHUB_")}
    # Another company, another home; the one most people run keeps its plain name.
    name = f"demo-{orders}-{seed}" + ("" if dirt is DirtLevel.NORMAL else f"-{dirt.value}")
    name += "" if differences is DifferenceLevel.PLANTED else "-agreed"
    settings = Settings(base if home is not None else base / name, values)
    with Live(as_json) as live:
        found = run_demo(
            settings,
            orders=orders,
            seed=seed,
            dirt=dirt.value,
            differences=differences.value,
            say=live.say,
            progress=live.rows,
        )
    if report is not None:
        report.write_text(json.dumps(found, indent=2, default=str))
    if as_json:
        print_json(found)
    else:
        print_report(out, found, settings)
    if not found["conservation"]["holds"] or found["errors"]:
        raise typer.Exit(1)


@release_app.command("list", epilog="Example: `orderhub release list --json`")
@plain_errors
def release_list(home: Home = None, as_json: AsJson = False) -> None:
    """List releases, newest first."""
    from oms_core.release.read import list_releases

    with open_store(Settings.from_environment(home)) as database:
        found = list_releases(database)
    if as_json:
        print_json([vars(item) for item in found])
        return
    table = Table("release", "published at (UTC)", "code", "orders", "sealed by")
    for item in found:
        table.add_row(
            str(item.release_id),
            f"{item.published_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
            item.code_version,
            f"{item.row_counts.get('fct_orders', 0):,}",
            item.merkle_root.hex()[:16],
        )
    out.print(table)


@app.command(epilog='Example: `orderhub query "select currency, sum(net_amount) from fct_orders group by 1"`')
@plain_errors
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the released tables.")],
    as_of: Annotated[
        str | None, typer.Option(help="Release number or ISO 8601 time to read; now by default.")
    ] = None,
    format: Annotated[str, typer.Option(help="table, csv or json.")] = "table",
    limit: Annotated[int, typer.Option(help="Rows at most.", min=1)] = 10_000,
    role: Annotated[
        str,
        typer.Option(
            "--as",
            envvar="ORDERHUB_ROLE",
            help="reader, or auditor: sees the audit log and the decisions, too, and persons masked.",
        ),
    ] = "reader",
    purpose: Annotated[
        str | None,
        typer.Option(help="What an auditor needs personal data for: lifts the mask, and is logged."),
    ] = None,
    home: Home = None,
) -> None:
    """Ask the released tables with SQL; read-only. `<table>_versions` and `<table>_changes` hold their history."""
    if format not in ("table", "csv", "json"):
        fail(f"--format {format!r}: choose table, csv or json", 2)
    if role not in ("reader", "auditor"):
        fail(f"--as {role!r}: choose reader or auditor", 2)
    if purpose is not None and role != "auditor":
        fail("--purpose lifts an auditor's mask: give it with --as auditor", 2)
    from oms_core.release.read import note_export, query_as_auditor
    from oms_core.release.read import query as ask

    settings = Settings.from_environment(home)
    with open_store(settings) as database:
        at = release_or_instant(as_of)
        if role == "auditor":
            answer = query_as_auditor(
                database, sql, actor=settings.actor, purpose=purpose, as_of=at, limit=limit
            )
        else:
            answer = ask(database, sql, as_of=at, limit=limit)
            note_export(database, actor=settings.actor, query=sql, answer=answer)
    if format == "json":
        print_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])
    elif format == "csv":
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows(answer.rows)
    else:
        table = Table(*answer.columns)
        for row in answer.rows:
            table.add_row(*("" if value is None else escape(str(value)) for value in row))
        out.print(table)
    if answer.is_cut:
        err.print(f"[yellow]only the first {limit:,} rows are shown; raise --limit for more[/]")


@quarantine_app.command("list", epilog="Example: `orderhub quarantine list --source square`")
@plain_errors
def quarantine_list(
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    stream: Annotated[str | None, typer.Option(help="Only of this stream.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show rows in quarantine with their reasons and ages."""
    from connectors import quarantine as room
    from connectors.landing import Landing

    with contextlib.closing(Landing(Settings.from_environment(home).landing)) as landing:
        rows = room.list_rows(landing, source, stream)
    if as_json:
        print_json([vars(row) for row in rows])
        return
    table = Table("id", "source", "stream", "age", "why", "page")
    for row in rows:
        table.add_row(
            str(row.quarantine_id), row.source, row.stream, f"{row.age_days:.1f} d", escape(row.error),
            f"{row.page_sha256[:10]}… row {row.row_index}",
        )  # fmt: skip
    out.print(table if rows else "quarantine is empty")


@quarantine_app.command("replay", epilog="Example: `orderhub quarantine replay square --dry-run`")
@plain_errors
def quarantine_replay(
    source: Annotated[str, typer.Argument(help="Source whose rows to try again.")],
    stream: Annotated[str | None, typer.Option(help="Only of this stream.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would land; change nothing.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Validate quarantined rows again with today's models and land those that pass."""
    from oms_core import intake

    results = intake.replay(Settings.from_environment(home), source, stream, dry_run=dry_run)
    if as_json:
        print_json([vars(item) for item in results])
        return
    for item in results:
        word = "would land" if dry_run else "landed"
        out.print(f"{item.source}.{item.stream}: {item.landed} of {item.tried} {word}")
        for reason, count in item.still_wrong.items():
            out.print(f"  {count} still wrong: {escape(reason)}", highlight=False)
    if not results:
        out.print("nothing to replay")


@sources_app.command("list", epilog="Example: `orderhub sources list`")
@plain_errors
def sources_list(home: Home = None, as_json: AsJson = False) -> None:
    """Show every declared source, its streams and what it needs."""
    from connectors import registry
    from oms_core import intake

    settings = Settings.from_environment(home)
    rows = [
        {
            "source": source.name,
            "title": source.title,
            "kind": source.kind.value,
            "streams": list(source.tables),
            "secrets": [f"ORDERHUB_{source.name.upper()}_{name}" for name in source.auth.secrets],
            "inbox": str(intake.inbox_of(source, settings)) if source.reads_files else None,
            "is_configured": intake.is_configured(source, settings),
        }
        for source in registry.sources().values()
    ]
    if as_json:
        print_json(rows)
        return
    table = Table("source", "kind", "streams", "needs", "configured")
    for row in rows:
        place = f"files in {row['inbox']}" if row["inbox"] else f"ORDERHUB_{str(row['source']).upper()}_URL"
        needs = "\n".join(row["secrets"]) or place  # type: ignore[arg-type]
        table.add_row(
            str(row["source"]), str(row["kind"]), ", ".join(row["streams"]), needs,  # type: ignore[arg-type]
            "[green]yes[/]" if row["is_configured"] else "no",
        )  # fmt: skip
    out.print(table)


@sources_app.command("check", epilog="Example: `orderhub sources check shopify`")
@plain_errors
def sources_check(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Sources; every configured one by default.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Ask each stream for its first page and compare it with the declaration; nothing lands.

    Exit code 1: a stream does not answer, a row does not fit, or no row has a field that is declared. Fields that are sent and
    not read are shown, and are no fault.
    """
    from connectors.check import check_source
    from oms_core import intake

    settings = Settings.from_environment(home)
    found = [
        result for source in intake.choose_sources(settings, sources or ()) if not source.reads_files
        for result in check_source(source, settings.values)
    ]  # fmt: skip
    if as_json:
        print_json([vars(item) for item in found])
    else:
        table = Table("source", "stream", "rows seen", "valid", "verdict")
        for item in found:
            verdict = f"[red]{escape(item.error)}[/]" if item.error else escape(item.verdict)
            table.add_row(item.source, item.stream, str(item.rows), str(item.valid), verdict)
        out.print(table)
    if any(item.differs for item in found):
        raise typer.Exit(1)


@sources_app.command(
    "new", epilog="Examples: `orderhub sources new order_desk --dry-run`, `orderhub sources new order_desk`"
)
@plain_errors
def sources_new(
    name: Annotated[str, typer.Argument(help="Name of the source, in lower snake case.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")
    ] = False,
) -> None:
    """Write what a new source needs into this checkout: declaration, twin, staging models and test, all of which work.

    Run it at the root of a checkout; nothing is overwritten. Make the vendor's protocol of it then, a part at a time.
    """
    from oms_core.cli.scaffold import ScaffoldError, scaffold

    checkout = Path.cwd()
    try:
        written = scaffold(name, checkout)
    except ScaffoldError as error:
        fail(str(error), 2)
    for path, content in written.items():
        verb = "change" if path.exists() else "write"
        if not dry_run:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, "utf-8")
        out.print(f"{verb} {path.relative_to(checkout)}", highlight=False)
    if dry_run:
        out.print("nothing is written yet")
    else:
        out.print(f"try it: pytest tests/connectors/sources/test_{name}.py", highlight=False)


@sources_app.command("hooks", epilog="Example: `orderhub sources hooks`")
@plain_errors
def sources_hooks(home: Home = None, as_json: AsJson = False) -> None:
    """Show what became of the notifications of sources, and which of them wait for a pull."""
    from connectors.landing import Landing
    from connectors.notification import tallies, waiting

    with contextlib.closing(Landing(Settings.from_environment(home).landing)) as landing:
        counted, left = tallies(landing), waiting(landing)
    if as_json:
        print_json({"outcomes": [vars(item) for item in counted], "waiting": [vars(item) for item in left]})
        return
    table = Table("source", "outcome", "count", "latest (UTC)")
    for item in counted:
        table.add_row(item.source, item.outcome, f"{item.count:,}", item.latest_at[:19].replace("T", " "))
    out.print(table)
    for waits in left:
        out.print(
            f"{waits.source} {waits.delivery}: received {waits.received_at[:19]}, waits"
            + (f": {escape(waits.error)}" if waits.error else ""),
            highlight=False,
            soft_wrap=True,
        )


@sandbox_app.command(
    "serve",
    epilog="Examples: `orderhub sandbox serve --orders 500 --port 8800`, or with trouble: "
    "`orderhub sandbox serve --misbehave drift --misbehave square:429:5`",
)
@plain_errors
def sandbox_serve(
    port: Annotated[int, typer.Option(help="Loopback port; 0 takes a free one.")] = 0,
    orders: Annotated[int, typer.Option(help="Orders the company has.", min=1)] = 2000,
    seed: Annotated[int, typer.Option(help="Same seed, same company.")] = 7,
    dirt: Annotated[DirtLevel, typer.Option(help="How dirty the company's systems are.")] = DirtLevel.NORMAL,
    differences: Annotated[
        DifferenceLevel,
        typer.Option(help="Whether payments, invoices and receipts differ from the orders at times."),
    ] = DifferenceLevel.PLANTED,
    misbehave: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SYSTEM:]TROUBLE[:TIMES]",
            help="Let a system, all by default, go wrong so many times, always by default: 429, 500, hang, reset, half_page, "
            "malformed, html, error_body, forbidden, expired_token, duplicated_page, shifting_page, clock_ahead, "
            "clock_behind, drift.",
        ),
    ] = None,
) -> None:
    """Serve the sandbox company until Ctrl-C; the first line printed holds the addresses and credentials."""
    from connectors.sandbox.__main__ import main

    company = ["--orders", str(orders), "--seed", str(seed), "--dirt", dirt.value]
    company += [word for asked in misbehave or () for word in ("--misbehave", asked)]
    raise typer.Exit(main(["--port", str(port), *company, "--differences", differences.value]))


@app.command(
    epilog="Example: `orderhub explain 1042 net_amount`, or `orderhub explain CUS-2MHKGSRIXUW4R7JR email`"
)
@plain_errors
def explain(
    number: Annotated[
        str,
        typer.Argument(
            help="Any number any system ever used for an order; or the id of a customer, SKU or location."
        ),
    ],
    attribute: Annotated[str | None, typer.Argument(help="One attribute; all by default.")] = None,
    as_of: Annotated[
        str | None, typer.Option(help="Release number or ISO 8601 time to read; now by default.")
    ] = None,
    with_proof: Annotated[
        bool, typer.Option("--proof", help="Prove that the row stands in the sealed release, hash by hash.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say where a value came from: rule, source, record, the bytes of the page as received, the seal of the release."""
    from connectors.landing import Landing
    from oms_core.audit.explain import explain as find
    from oms_core.audit.row_proof import prove_row
    from oms_core.release.read import resolve

    settings = Settings.from_environment(home)
    landing = Landing(settings.landing)
    with contextlib.closing(landing), open_store(settings) as database:
        wanted = release_or_instant(as_of)
        release_id = None if wanted is None else resolve(database, wanted).release_id
        found = find(database, number, attribute, read_page=landing.read_page, as_of=release_id)
        proof = None
        if with_proof:
            key = {f"{found.entity}_id": found.golden_id}
            with database.begin() as connection:
                proof = prove_row(connection, found.table, key, found.release_id)
    if as_json:
        told = {} if proof is None else {"proof": proof.told()}
        print_json({f"{found.entity}_id": found.golden_id, **asdict(found), **told})
        return
    out.print(
        f"[bold]{found.golden_id}[/] (asked: {escape(found.asked)}, found by {found.found_by}), release {found.release_id}"
    )
    out.print(f"records: {escape(', '.join(found.records))}", highlight=False)
    for value in found.values:
        out.print(f"\n[bold]{value.attribute}[/] = {escape(str(value.value))}", highlight=False)
        if not value.origins:
            out.print("  derived from other attributes, or unknown")
        for origin in value.origins:
            state = "[green]intact[/]" if origin.page.is_intact else "[bold red]changed or missing[/]"
            version = "" if origin.rule_version in (None, "shipped") else f", version {origin.rule_version}"
            contested = (
                "; [yellow]trusted sources tell otherwise, a steward is asked[/]"
                if origin.is_contested
                else ""
            )
            out.print(f"  ← rule {escape(origin.rule)}{version}{contested}", highlight=False)
            out.print(
                f"  ← {origin.source_system}.{origin.stream} record {escape(origin.record_key)}, batch {origin.batch_id}",
                highlight=False,
            )
            out.print(f"  ← page {origin.page_sha256} row {origin.row_index}: {state}", highlight=False)
            if origin.page.fault:
                out.print(f"     [red]{escape(origin.page.fault)}[/]", highlight=False)
            elif attribute is not None:
                out.print(f"     [dim]{escape(origin.page.excerpt)}[/]", highlight=False)
    if proof is not None:
        _show_proof(proof)


def _show_proof(proof: RowProof) -> None:
    state = "[green]the proof holds[/]" if proof.holds() else "[bold red]the proof does NOT hold[/]"
    for title, leaf, step, root in (
        (f"row of {proof.table}", proof.line, proof.in_table, json.loads(proof.table_entry)["merkle_root"]),
        (
            f"table in release {proof.release_id}",
            proof.table_entry,
            proof.in_release,
            proof.release_root.hex(),
        ),
    ):
        out.print(f"\n[bold]{title}[/], leaf {step.index:,} of {step.size:,}", highlight=False)
        out.print(f"  [dim]{escape(leaf)}[/]", highlight=False, soft_wrap=True)
        for beside in step.path:
            out.print(f"  with {beside.hex()}", highlight=False)
        out.print(f"  root {root}", highlight=False)
    told = (
        "a release older than the log"
        if proof.log_seq is None
        else f"log entry {proof.log_seq:,} tells this root"
    )
    out.print(f"{told}: {state}", highlight=False)


@app.command(epilog="Example: `orderhub serve --port 8000 --workers 4`")
@plain_errors
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; other than loopback needs ORDERHUB_API_KEY.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 1,
    home: Home = None,
) -> None:
    """Serve the released orders over HTTP, and take notifications of sources in; the documentation is at /docs.

    A process keeps nothing that another would need, so any number may answer, here and behind a balancer. Rate limits are of
    each process.
    """
    from oms_core import identification, intake
    from oms_core.api import serve as serving

    settings = Settings.from_environment(home)
    if workers > 1:
        with open_store(settings) as database:  # upgraded, and its server runs, before the first worker asks
            serving.application(database, host=host, values=settings.values)
            os.environ["ORDERHUB_HOME"] = str(settings.home)
            serving.run("oms_core.cli.worker:app", host=host, port=port, workers=workers, factory=True)
        return
    with open_store(settings) as database, intake.receiving(settings) as hear:
        serving.serve(
            database,
            host=host,
            port=port,
            values=settings.values,
            hear=hear,
            differ=identification.differing(settings),
        )


def main() -> None:
    """Entry point of the `orderhub` script."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # Errors of streams are shown with the results; the log would say them twice.
    logging.getLogger("connectors").setLevel(logging.CRITICAL)
    app()


if __name__ == "__main__":
    main()
