"""`orderhub reconcile`, `orderhub close` and `orderhub restatements`: what finance closes a period with."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from oms_core.cli.terminal import AsJson, Home, fail, open_store, out, plain_errors, print_json
from oms_core.settings import Settings

if TYPE_CHECKING:
    from oms_core.finance.close import Plan

RECONCILE_EPILOG = "Example: `orderhub reconcile --period 2026-10`, `orderhub reconcile --period 2026-10 --cause unexplained`"
CLOSE_EPILOG = (
    "Example: `orderhub close 2026-09 --dry-run`, then "
    "`orderhub close 2026-09 --threshold 250 --by ann --reason 'September is done'`"
)
RESTATEMENTS_EPILOG = "Example: `orderhub restatements --period 2026-09`"

AsOf = Annotated[str | None, typer.Option(help="Release number or ISO 8601 time to read; now by default.")]
PeriodOption = Annotated[str, typer.Option("--period", help="Month, such as 2026-10.")]


@plain_errors
def reconcile(
    period: PeriodOption,
    cause: Annotated[str | None, typer.Option(help="Only differences of this cause.")] = None,
    limit: Annotated[int, typer.Option(help="Differences shown at most.", min=0)] = 50,
    as_of: AsOf = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Compare orders with payments, settlements, invoices, credit notes and receipts; show every difference with its cause."""
    from oms_core.finance.period import Period
    from oms_core.finance.reconciliation import reconcile as compare

    with open_store(Settings.from_environment(home)) as database:
        found = compare(database, Period.parse(period), cause=cause, as_of=as_of)
    if as_json:
        print_json(
            {
                "period": str(found.period),
                "release": found.release_id,
                "totals": [{**asdict(total), "is_explained": total.is_explained} for total in found.totals],
                "differences": found.differences,
            }
        )
        return
    table = Table(title=f"{found.period} in release {found.release_id}", title_justify="left")
    for name in ("what", "unit", "different", "left", "right", "unexplained"):
        table.add_column(name, justify="left" if name in ("what", "unit") else "right")
    for total in found.totals:
        different = total.counts["different"] + total.counts["not_compared"]
        table.add_row(
            f"{total.leg} {total.source_system}",
            total.unit,
            f"{different:,} of {sum(total.counts.values()):,}",
            f"{total.left:,.2f}",
            f"{total.right:,.2f}",
            f"{total.causes['unexplained']:,.2f}",
        )
    out.print(table)
    broken = [total for total in found.totals if not total.is_explained]
    out.print(
        "[green]once explained, both sides are equal to the cent[/]"
        if not broken
        else f"[bold red]{len(broken)} totals do not add up once explained[/]"
    )
    for row in found.differences[:limit]:
        out.print(_difference(row), soft_wrap=True)
    if len(found.differences) > limit:
        out.print(f"[dim]{len(found.differences) - limit:,} more differences; raise --limit[/]")
    if not found.differences:
        out.print("no differences" if cause is None else f"no differences with cause {cause}")


def _difference(row: dict[str, Any]) -> str:
    amount = "not comparable" if row["explained_amount"] is None else f"{row['explained_amount']:,.2f}"
    where = f", missing in {row['missing_in']}" if row["missing_in"] else ""
    records = f"{row['left_records']} beside {row['right_records'] or '[]'}"
    return (
        f"[bold]{row['cause']}[/] {amount} {row['currency'] or ''} {row['document']} of "
        f"{escape(row['order_number'] or 'no order')} in {row['source_system']}{where} [dim]{escape(records)}[/]"
    )


@plain_errors
def close(
    period: Annotated[str, typer.Argument(help="Month, such as 2026-10.")],
    by: Annotated[str, typer.Option(help="Who closes.")] = "",
    reason: Annotated[str, typer.Option(help="Why, or with whose approval.")] = "",
    threshold: Annotated[
        str,
        typer.Option(help="Unexplained differences tolerated, without signs, in the reporting currency."),
    ] = "0",
    accept_negative_settlements: Annotated[
        bool, typer.Option("--accept-negative-settlements", help="Payouts that took money are right.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show what would be frozen and what speaks against it; close nothing."
        ),
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Close a period: freeze its figures as booked, with control totals; refused while residuals exceed the threshold."""
    from oms_core.finance.close import CloseRefusedError, plan
    from oms_core.finance.close import close as freeze
    from oms_core.finance.period import Period

    try:
        tolerated = Decimal(threshold)
    except InvalidOperation:
        tolerated = Decimal("NaN")
    if not tolerated.is_finite():
        fail(f"--threshold {threshold!r} is no amount, such as 250.00", 2)
    with open_store(Settings.from_environment(home)) as database:
        found = plan(
            database,
            Period.parse(period),
            threshold=tolerated,
            accept_negative_settlements=accept_negative_settlements,
        )
        if dry_run:
            _show_plan(found, as_json)
            if found.reasons:
                raise typer.Exit(1)
            return
        if found.reasons:
            raise CloseRefusedError(found.period, found.reasons, found.residuals)
        done = freeze(database, found, by=by, reason=reason, threshold=tolerated)
    if as_json:
        print_json({**asdict(done), "period": str(done.period)})
        return
    _show_balances(found)
    out.print(
        f"[bold]{done.period} is closed[/] with release {done.release_id} by {escape(done.closed_by)}; control totals "
        f"{done.digest[:16]}, audit entry {done.entry}"
    )


def _show_plan(found: Plan, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(found), "period": str(found.period), "can_close": not found.reasons})
        return
    _show_balances(found)
    for reason in found.reasons:
        out.print(f"[bold red]against it:[/] {escape(reason)}", soft_wrap=True)
    for residual in found.residuals:
        out.print(f"  {escape(residual.sentence)}", soft_wrap=True)
    if not found.reasons:
        out.print(f"{found.period} can be closed with release {found.release_id}; nothing was changed")


def _show_balances(found: Plan) -> None:
    table = Table(
        "account", "currency", "debit", "credit", "postings", title=str(found.period), title_justify="left"
    )
    for balance in found.balances:
        table.add_row(
            balance.account,
            balance.currency,
            f"{balance.debit:,.2f}",
            f"{balance.credit:,.2f}",
            f"{balance.postings:,}",
        )
    out.print(table)


@plain_errors
def restatements(
    period: PeriodOption,
    as_of: AsOf = None,
    limit: Annotated[int, typer.Option(help="Orders shown at most.", min=0)] = 50,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show what changed in a closed period since, beside what was booked: which accounts, which orders, and why."""
    from oms_core.finance.period import Period
    from oms_core.finance.restatement import restatements as find

    with open_store(Settings.from_environment(home)) as database:
        found = find(database, Period.parse(period), as_of=as_of, limit=limit)
    if as_json:
        accounts = [{**asdict(account), "change": account.change} for account in found.accounts]
        print_json({**asdict(found), "period": str(found.period), "accounts": accounts})
        return
    title = f"{found.period}: as booked in release {found.closed_with}, restated in release {found.as_of}"
    table = Table("account", "currency", "as booked", "restated", "change", title=title, title_justify="left")
    for account in found.accounts:
        table.add_row(
            account.account,
            account.currency,
            f"{account.as_booked:,.2f}",
            f"{account.restated:,.2f}",
            f"{account.change:+,.2f}",
        )
    out.print(table if found.order_count else f"{title}: nothing changed")
    for order in found.orders:
        out.print(
            f"[bold]{escape(order.order_number or order.order_id)}[/] in release "
            f"{', '.join(map(str, order.releases))}",
            soft_wrap=True,
        )
        for entry_type, account_number, currency, before, after in order.changes:
            out.print(
                f"    {entry_type} on {account_number}: {before:,.2f} → {after:,.2f} {currency}",
                soft_wrap=True,
            )
        for cause in order.causes:
            out.print(f"    [dim]because {escape(cause)}[/]", soft_wrap=True)
    if found.order_count > len(found.orders):
        out.print(f"[dim]{found.order_count - len(found.orders):,} more orders; raise --limit[/]")
