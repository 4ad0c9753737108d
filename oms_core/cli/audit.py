"""`orderhub audit`: what changed anything, and whether everything still is what it was."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from oms_core import pipeline
from oms_core.audit import log
from oms_core.audit.checkpoint import Signer
from oms_core.cli.terminal import AsJson, Home, err, open_store, out, plain_errors, print_json
from oms_core.settings import Settings

app = typer.Typer(
    help="What changed anything, append-only and signed, and whether all of it still holds.",
    no_args_is_help=True,
)


@app.command("log", epilog="Example: `orderhub audit log --after 120 --limit 20`")
@plain_errors
def show_log(
    after: Annotated[int, typer.Option(help="Show entries after this one.")] = -1,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="Entries at most.")] = 50,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show what was logged, oldest first."""
    with open_store(Settings.from_environment(home)) as database, database.begin() as connection:
        entries = [entry.said for entry in log.read(connection, after, limit)]
    if as_json:
        print_json(entries)
        return
    table = Table("entry", "at", "what", "of", "by")
    for entry in entries:
        cells = (entry[name] for name in ("at", "kind", "subject", "actor"))
        table.add_row(str(entry["seq"]), *(escape(str(cell)) for cell in cells))
    out.print(table)


@app.command("verify", epilog="Example: `orderhub audit verify --checkpoints /mnt/elsewhere/orderhub`")
@plain_errors
def verify(
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            help="Folder of signed checkpoints; $ORDERHUB_CHECKPOINTS, else the one in the home.", exists=True
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(help="Verifier key the checkpoints must bear; this installation's by default."),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Recompute log, releases, landed batches and pages, and compare them with what was signed. Exit code 1 on any fault."""
    settings = Settings.from_environment(home)
    with open_store(settings) as database:
        verdict = pipeline.verify_all(
            settings,
            database,
            checkpoints,
            key,
            lambda said: None if as_json else err.print(f"[dim]· {escape(said)}[/]"),
        )
    if as_json:
        print_json({"holds": verdict.holds, **vars(verdict)})
    else:
        out.print(
            f"{verdict.entries:,} entries, {verdict.checkpoints:,} checkpoints, {verdict.releases:,} releases with "
            f"{verdict.rows:,} row versions, {verdict.batches:,} batches, {verdict.pages:,} pages"
        )
        for remark in verdict.remarks:
            out.print(f"[yellow]note:[/] {escape(remark)}", soft_wrap=True)
        for fault in verdict.faults:
            out.print(f"[bold red]fault:[/] {escape(fault)}", soft_wrap=True)
        out.print(
            "[green]everything holds[/]" if verdict.holds else f"[bold red]{len(verdict.faults)} faults[/]"
        )
    if not verdict.holds:
        raise typer.Exit(1)


@app.command("proof", epilog="Example: `orderhub audit proof 17 --json`")
@plain_errors
def proof(
    entry: Annotated[int, typer.Argument(help="Number of the entry, as `audit log` shows it.")],
    size: Annotated[
        int | None,
        typer.Option(help="Size of the log to prove it in, such as a checkpoint's; now by default."),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Prove that an entry stands in the log: its bytes, and the hashes from its leaf to the root (RFC 9162, 2.1.3)."""
    with open_store(Settings.from_environment(home)) as database, database.begin() as connection:
        found = log.prove(connection, entry, size)
        canonical = log.read(connection, entry - 1, 1)[0].canonical.decode()
    if as_json:
        print_json(
            {
                "entry": canonical,
                "leaf_index": found.seq,
                "tree_size": found.size,
                "root": base64.b64encode(found.root).decode(),
                "path": [base64.b64encode(step).decode() for step in found.path],
            }
        )
        return
    out.print(escape(canonical), soft_wrap=True)
    out.print(f"leaf {found.leaf.hex()}, entry {found.seq:,} of {found.size:,}")
    for step in found.path:
        out.print(f"  with {step.hex()}")
    out.print(f"root {found.root.hex()}: {'the proof holds' if found.holds() else 'the proof does NOT hold'}")


@app.command("checkpoint", epilog="Example: `orderhub audit checkpoint`")
@plain_errors
def checkpoint(home: Home = None) -> None:
    """Sign how the log is now, and print the checkpoint; every release does the same."""
    settings = Settings.from_environment(home)
    with open_store(settings) as database:
        path = pipeline.sign(settings, database)
    if path is None:
        out.print("the log is empty; there is nothing to sign")
    else:
        out.print(f"[dim]{escape(str(path))}[/]", soft_wrap=True)
        out.print(path.read_text(), markup=False, highlight=False, soft_wrap=True)


@app.command("key", epilog="Example: `orderhub audit key > orderhub.vkey`")
@plain_errors
def key(home: Home = None) -> None:
    """Print the verifier key that checkpoints bear; keep a copy where nobody who can reach the database can change it."""
    settings = Settings.from_environment(home)
    with open_store(settings) as database, database.begin() as connection:
        signer = Signer.open(settings.signing_key, log.origin(connection))
    typer.echo(signer.verifier.spelled())
