"""`orderhub retain`: let go what is older than the rules allow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from oms_core.cli.terminal import AsJson, Home, Live, out, plain_errors, print_json
from oms_core.settings import Settings

EPILOG = "Example: `orderhub retain`, then `orderhub retain --apply`"


@plain_errors
def retain(
    apply: Annotated[
        bool, typer.Option("--apply", help="Let it go; without, only say what would go.")
    ] = False,
    rules: Annotated[
        Path | None, typer.Option(help="CSV of rules; those of dbt/seeds/retention_rules.csv by default.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Let go pages, superseded rows' personal texts and quarantined rows older than the retention rules; facts stay as they are."""
    from oms_core.retain import RULES
    from oms_core.retain import retain as run

    with Live(as_json) as live:
        done = run(Settings.from_environment(home), rules=rules or RULES, apply=apply, say=live.say)
    touched = [{**rule.model_dump(), "touched": count} for rule, count in done.found.by_rule.items()]
    if as_json:
        print_json(
            {
                "applied": done.entry is not None,
                "rules_sha256": done.rules_sha256,
                "rules": touched,
                "pages": len(done.found.pages),
                "certificate": done.certificate,
                "log_entry": done.entry,
            }
        )
        return
    table = Table("source", "stream", "part", "days", "touched", "reason", title_justify="left",
                  title="let go" if done.entry is not None else "would be let go")  # fmt: skip
    for line in touched:
        table.add_row(
            *(
                escape(str(line[name]))
                for name in ("source_system", "stream", "part", "keep_days", "touched", "reason")
            )
        )
    out.print(table if touched else "nothing is older than the rules allow")
    if done.certificate is not None:
        out.print(f"log entry {done.entry}; certificate: {escape(str(done.certificate))}", soft_wrap=True)
