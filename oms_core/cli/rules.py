"""`orderhub rules`: which source is believed for which value, and how a steward changes that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from oms_core.cli.terminal import AsJson, Home, open_store, out, plain_errors, print_json
from oms_core.errors import CallError
from oms_core.identity.golden import rules as room
from oms_core.identity.golden.survivorship import InForce, RuleError, in_force
from oms_core.settings import Settings
from oms_core.warehouse import open_warehouse

app = typer.Typer(help="Survivorship: which source is believed for which value.", no_args_is_help=True)

By = Annotated[str, typer.Option("--by", help="Who sets it.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why.", show_default=False)]


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """A rule that cannot be is a wrong call."""
    try:
        yield
    except RuleError as error:
        raise CallError(str(error)) from error


def _lines(rules: Sequence[InForce]) -> list[dict[str, Any]]:
    """One line per group, and one per attribute whose rule is another than its group's."""
    lines: dict[tuple[str, str, str], dict[str, Any]] = {}
    for item in rules:
        line = lines.setdefault(
            (item.entity, item.unit.group, item.named_by),
            {
                "entity": item.entity,
                "attribute_group": item.unit.group,
                "attributes": [],
                "named_by": item.named_by,
                "rule": item.rule,
                "order": list(item.sources),
                "must_agree": [],
                "version": item.version,
            },
        )
        line["attributes"] += item.unit.attributes
        line["must_agree"] += item.must_agree
    return list(lines.values())


@app.command("show", epilog="Example: `orderhub rules show customer`")
@plain_errors
def show(
    entity: Annotated[
        str | None, typer.Argument(help="customer, sku, location or order; all by default.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show the rules in force: what ships, overridden by what stewards set."""
    with _said():
        wanted = room.entities(entity)
    with open_store(Settings.from_environment(home)) as database, database.begin() as connection:
        lines = _lines([item for item in room.effective(connection) if item.entity in wanted])
    if as_json:
        print_json(lines)
        return
    table = Table("entity", "group", "attributes", "rule", "believed in this order", "must agree", "version")
    for line in lines:
        table.add_row(
            line["entity"],
            line["attribute_group"]
            if line["named_by"] == line["attribute_group"]
            else f"  {line['named_by']}",
            ", ".join(line["attributes"]),
            line["rule"],
            ", ".join(line["order"]),
            ", ".join(line["must_agree"]),
            line["version"],
        )
    out.print(table)


@app.command(
    "set",
    epilog="Example: `orderhub rules set customer email --order erp,crm,shopify --by ann --reason 'billing knows best' "
    "--dry-run`",
)
@plain_errors
def set_(
    entity: Annotated[str, typer.Argument(help="customer, sku, location or order.")],
    name: Annotated[str, typer.Argument(help="Attribute group, or one attribute.", metavar="GROUP")],
    by: By,
    reason: Reason,
    rule: Annotated[
        str | None, typer.Option(help="source_priority, most_recent, most_frequent or most_complete.")
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(help="Kinds of system and single systems, most trusted first, with commas between."),
    ] = None,
    must_agree: Annotated[
        bool | None,
        typer.Option("--must-agree/--may-differ", help="Whether sources that differ raise a task."),
    ] = None,
    replaces: Annotated[
        str | None, typer.Option(help="Version you saw; refuse if another one holds meanwhile.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show which surviving values would change; set nothing.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Set a rule; what is not given stays as it is. It holds from the next unify on."""
    settings = Settings.from_environment(home)
    sources = None if order is None else [word for part in order.split(",") if (word := part.strip())]
    with _said(), open_store(settings) as database:
        with database.begin() as connection:
            standing = room.standing(connection)
            wanted = room.propose(entity, name, standing, rule=rule, order=sources, must_agree=must_agree)
            if not dry_run:
                done = room.set_rule(connection, wanted, by=by, reason=reason, replaces=replaces)
        if dry_run:
            from oms_core.identity.golden.preview import preview

            ships = room.shipped()
            changes = preview(
                open_warehouse(settings.home, settings.warehouse_url),
                settings.home,
                in_force(ships, standing),
                in_force(ships, [*standing, wanted]),
            )
            _show_changes([asdict(change) for change in changes], as_json)
            return
    if as_json:
        print_json(asdict(done))
        return
    out.print(
        f"version [bold]{done.version}[/]: {_sentence(asdict(done))}; it holds from the next orderhub unify on"
    )


def _show_changes(changes: Sequence[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json({"changes": changes})
        return
    if not changes:
        out.print("no surviving value would change")
    for change in changes:
        out.print(f"[bold]{change['attribute']}[/]: {change['count']:,} would change", highlight=False)
        for example in change["examples"]:
            before, after = (
                "unknown" if example[side] is None else escape(str(example[side]))
                for side in ("before", "after")
            )
            out.print(f"  {example['golden_id']}  {before} → {after}", highlight=False, soft_wrap=True)


def _sentence(rule: dict[str, Any]) -> str:
    parts = [f"{rule['entity']} {rule['name']}"]
    if rule["rule"] is not None:
        parts.append(f"{rule['rule']} of {', '.join(rule['sources'])}")
    if rule["must_agree"] is not None:
        parts.append("sources must agree" if rule["must_agree"] else "sources may differ")
    return escape("; ".join(parts))


@app.command("withdraw", epilog="Example: `orderhub rules withdraw 3 --by ann --reason 'it was a test'`")
@plain_errors
def withdraw(
    version: Annotated[int, typer.Argument(help="Version of the rule; orderhub rules history lists them.")],
    by: By,
    reason: Reason,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw a rule: what held before it holds again, in the end what ships."""
    with _said(), open_store(Settings.from_environment(home)) as database, database.begin() as connection:
        done = room.withdraw(connection, version, by=by, reason=reason)
        holds = room.holding(connection, done.rule.entity, done.rule.name)
    if as_json:
        print_json({**asdict(done), "holds_now": holds})
        return
    now = "what ships" if holds == "shipped" else f"version {holds}"
    out.print(
        f"version {version} is withdrawn; for {done.rule.entity} {done.rule.name} {now} holds from the next unify on"
    )


@app.command("history", epilog="Example: `orderhub rules history customer`")
@plain_errors
def history(
    entity: Annotated[
        str | None, typer.Argument(help="customer, sku, location or order; all by default.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show every rule stewards ever set: who, when, why, and what became of it."""
    with _said():
        room.entities(entity)
    with open_store(Settings.from_environment(home)) as database, database.begin() as connection:
        found = room.history(connection, entity)
    if as_json:
        print_json([asdict(item) for item in found])
        return
    table = Table("version", "rule", "set by", "at (UTC)", "reason", "withdrawn")
    for item in found:
        gone = ""
        if item.withdrawn_at is not None:
            gone = f"{item.withdrawn_by}, {item.withdrawn_at:%Y-%m-%d %H:%M}: {item.withdrawn_reason}"
        table.add_row(
            str(item.version), _sentence(asdict(item.rule)), escape(item.rule.set_by or ""),
            f"{item.rule.set_at:%Y-%m-%d %H:%M}", escape(item.rule.reason or ""), escape(gone),
        )  # fmt: skip
    out.print(table if found else "nobody set a rule yet: what ships holds")
