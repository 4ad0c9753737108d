"""`orderhub erase`: a person's data, on request."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from oms_core.cli.terminal import AsJson, Home, Live, out, plain_errors, print_json
from oms_core.settings import Settings

EPILOG = "Example: `orderhub erase CUS-2MHKGSRIXUW4R7JR --reason 'request 2026-118' --dry-run`"


@plain_errors
def erase(
    customer: Annotated[str, typer.Argument(help="Golden id, or any key of the customer in any system.")],
    reason: Annotated[str, typer.Option(help="Why; it is logged, so leave personal data out of it.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be erased; change nothing.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Erase a customer for good: pages as received, typed rows, released history, the key. Amounts and proofs stay."""
    from oms_core.erase import erase as run

    with Live(as_json) as live:
        done = run(Settings.from_environment(home), customer, reason, dry_run=dry_run, say=live.say)
    if as_json:
        print_json(vars(done))
        return
    table = Table("where", "rows", title="would be erased" if dry_run else "erased", title_justify="left")
    for name, count in done.rows.items():
        table.add_row(escape(name), f"{count:,}")
    table.add_row("pages as received", f"{done.pages:,}")
    out.print(f"[bold]{done.customer_id}[/], {len(done.records)} records: {escape(', '.join(done.records))}")
    out.print(table)
    if done.certificate is not None:
        out.print(f"release {done.release_id}; certificate: {escape(str(done.certificate))}", soft_wrap=True)
