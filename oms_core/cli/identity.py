"""`orderhub identity`: what stewards look at and decide, and how a model becomes the one that scores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Connection, text

from oms_core import identification
from oms_core.api import keys
from oms_core.cli.terminal import (
    AsJson,
    Home,
    fail,
    instant,
    open_store,
    out,
    plain_errors,
    print_json,
)
from oms_core.identity import feed, lookup
from oms_core.identity.scoring.model import ModelError
from oms_core.identity.scoring.weights import weigher
from oms_core.identity.stewardship import activation, evidence, plain, show, steward
from oms_core.identity.stewardship.compare import compare
from oms_core.identity.stewardship.errors import (
    AmbiguousNameError,
    ConflictError,
    DecisionRefusedError,
    IdentityError,
    UnknownNameError,
)
from oms_core.identity.stewardship.evidence import Standing
from oms_core.identity.stewardship.queue import Link
from oms_core.identity.stewardship.steward import Happening
from oms_core.identity.stewardship.waterfall import bars, svg
from oms_core.identity.stewardship.worth import Worth, rank
from oms_core.settings import Settings
from oms_core.store.tables import ENTITIES
from oms_core.warehouse import open_warehouse, sole_writer

app = typer.Typer(help="Who is who: the stewards' queue, decisions, histories, models.", no_args_is_help=True)

EntityOption = Annotated[
    str | None, typer.Option("--entity", help="customer, sku, location or order; found out where it can be.")
]
By = Annotated[
    str | None,
    typer.Option(
        "--by", help="Who decides; ORDERHUB_STEWARD, else the user of the machine.", show_default=False
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why. Kept for good.", show_default=False)]
Seen = Annotated[
    int | None,
    typer.Option(
        "--seen", help="Version of the pair you looked at (show says it); none: no decision stood.", min=0
    ),
]
Left = Annotated[str | None, typer.Argument(help="Record id, golden id or number.", show_default=False)]
Right = Annotated[str | None, typer.Argument(help="The other one.", show_default=False)]
TaskNumber = Annotated[
    int | None, typer.Option("--task", help="Number of a task in the queue, instead of two names.", min=1)
]


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """Names that mean nothing are a wrong call (exit code 2); a refusal is an answer (exit code 1)."""
    try:
        yield
    except (
        UnknownNameError,
        AmbiguousNameError,
        DecisionRefusedError,
        ModelError,
        keys.KeyRefusedError,
        lookup.AmbiguousKeyError,
    ) as error:
        fail(str(error), 2)
    except ConflictError as error:
        fail(f"conflict: {error}")
    except IdentityError as error:
        fail(str(error))


@contextlib.contextmanager
def _looking(settings: Settings) -> Iterator[Connection]:
    """A transaction that cannot write."""
    with _said(), open_store(settings) as database, database.begin() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        yield connection


@contextlib.contextmanager
def _writing(settings: Settings) -> Iterator[Connection]:
    with _said(), open_store(settings) as database, database.begin() as connection:
        yield connection


def _pair(
    connection: Connection, left: str | None, right: str | None, entity: str | None, task: int | None
) -> tuple[steward.Named, steward.Named]:
    """The two records meant: by name, or by the number of a task."""
    if task is not None and left is None:
        found = evidence.tasks(connection, task_id=task, is_open=None)
        if not found:
            raise UnknownNameError(f"there is no task {task}")
        asked = found[0].task
        if asked.left is None or asked.right is None:
            raise DecisionRefusedError(
                f"task {task} is about {asked.golden_id} ({asked.kind}), not about two records: look at it with "
                f"`orderhub identity show {asked.golden_id}`"
            )
        return steward.pair(connection, asked.left, asked.right, asked.entity)
    if left is None or right is None or task is not None:
        raise DecisionRefusedError("name two records, or a task with --task, not both")
    return steward.pair(connection, left, right, entity)


@app.command("queue", epilog="Example: `orderhub identity queue --entity customer --limit 10`")
@plain_errors
def queue(
    entity: EntityOption = None,
    kind: Annotated[
        str | None,
        typer.Option(help="grey_zone, refused_evidence, decision_in_doubt or contradiction; all by default."),
    ] = None,
    closed: Annotated[
        bool, typer.Option("--closed", help="What was answered or has lost its cause.")
    ] = False,
    limit: Annotated[int, typer.Option(help="Tasks at most.", min=1)] = 20,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show what waits for a decision, what is worth most first: orders, open orders, revenue."""
    with _looking(Settings.from_environment(home)) as connection:
        if entity is not None and entity not in ENTITIES:
            raise UnknownNameError(f"no entity {entity!r}; there are {', '.join(ENTITIES)}")
        found = evidence.tasks(connection, entity, kind=kind, is_open=not closed)
        labels = _labels(connection, found)
    by_id = {item.id: item for item in found}
    ranked = [by_id[number] for number in rank({item.id: item.worth for item in found})][:limit]
    if as_json:
        print_json([plain.task(item) for item in ranked])
        return
    if not ranked:
        out.print("no task is closed" if closed else "nothing waits for a decision")
        return
    table = Table("task", "entity")
    table.add_column("about", overflow="fold", min_width=24)
    for name in ("why", "p", "orders", "open", "revenue"):
        table.add_column(name, overflow="fold")
    for item in ranked:
        about = "\n".join(
            f"{record}  {labels.get((item.task.entity, record), '')}".rstrip()
            for record in (item.task.left, item.task.right)
            if record is not None
        )
        about = about or f"{item.task.golden_id} {item.task.attribute or ''}".rstrip()
        table.add_row(
            str(item.id), item.task.entity, escape(about), escape(_why(item)),
            "" if item.task.probability is None else f"{item.task.probability:.3f}",
            f"{item.worth.orders:,}", f"{item.worth.open_orders:,}", _revenue(item.worth, "\n"),
        )  # fmt: skip
    out.print(table)
    if len(found) > len(ranked):
        out.print(f"{len(found) - len(ranked):,} more; raise --limit")


_LABELS = ("title", "company_name", "full_name", "location_name", "order_number")


def _labels(connection: Connection, tasks: Sequence[Standing]) -> dict[tuple[str, str], str]:
    """What people call the records that tasks are about, by entity and record id."""
    found = {}
    for entity in {item.task.entity for item in tasks}:
        named = {
            record
            for item in tasks
            for record in (item.task.left, item.task.right)
            if record is not None and item.task.entity == entity
        }
        for record in evidence.records(connection, entity, named).values():
            words = next((str(record.fields[name]) for name in _LABELS if name in record.fields), "")
            found[entity, record.record_id] = words
    return found


def _why(item: Standing) -> str:
    told = item.task.evidence
    words = item.task.kind.replace("_", " ")
    if "reason" in told:
        words = f"{told.get('rule', '')}, but {told['reason']}"
    return words + (f"\n→ {item.outcome}" if item.outcome else "")


def _revenue(worth: Worth, between: str = ", ") -> str:
    return between.join(
        f"{amount:,.2f} {currency}" for currency, (_, amount) in sorted(worth.revenue.items())
    )


@app.command("show", epilog="Example: `orderhub identity show shopify:customers:71 CUS-4F… --plot link.svg`")
@plain_errors
def show_command(
    left: Left = None,
    right: Right = None,
    entity: EntityOption = None,
    task: TaskNumber = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write the waterfall of the weights to this SVG file.", dir_okay=False)
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Explain a link field by field and what a decision would do; of one golden id, its records and why each is there."""
    with _looking(Settings.from_environment(home)) as connection:
        if left is not None and right is None and task is None:
            if plot is not None:
                raise DecisionRefusedError("--plot draws the weights between two records: name both")
            golden = _golden(connection, left, entity)
            if as_json:
                print_json(plain.golden(golden))
            else:
                _print_golden(golden)
            return
        view = show.pair_view(connection, *_pair(connection, left, right, entity, task), weigher(connection))
    if plot is not None:
        if not view.steps:
            fail(f"nothing scores {view.entity} records, so there are no weights to draw")
        title = f"{view.left.record_id} and {view.right.record_id}"
        plot.write_text(svg(view.steps, title), encoding="utf-8")
    if as_json:
        print_json(plain.pair(view))
        return
    _print_pair(view)
    if plot is not None:
        out.print(f"weights drawn in {plot}", highlight=False)


def _golden(connection: Connection, name: str, entity: str | None) -> show.GoldenView:
    """The view of a golden id, one that is retired included, or of the id that a record or number is now."""
    for kind in ENTITIES if entity is None else (entity,):
        if steward.born(connection, kind, name) is not None:
            return show.golden_view(connection, kind, name)
    found = steward.one(connection, name, entity)
    return show.golden_view(connection, found.entity, found.golden_id)


def _print_pair(view: show.PairView) -> None:
    state = f"one, [bold]{view.left.golden_id}[/]" if view.is_one else "two"
    out.print(f"[bold]{view.entity}[/]: now {state}; version {view.version}", highlight=False)
    for named in view.named:
        if named.asked != named.record_id:
            out.print(
                f"  {escape(named.asked)} ({named.found_by}) stands for {escape(named.record_id)}",
                highlight=False,
            )
    table = Table("field", escape(view.left.record_id), escape(view.right.record_id), "")
    marks = {"equal": "[green]=[/]", "alike": "[green]≈[/]", "different": "[red]≠[/]", "unknown": "[dim]?[/]"}
    table.add_row("golden id", view.left.golden_id or "", view.right.golden_id or "", "")
    for field in view.fields:
        table.add_row(field.name, _cell(field.left), _cell(field.right), marks[field.verdict])
    table.add_row(
        "orders (open)",
        *(f"{item.worth.orders} ({item.worth.open_orders})" for item in (view.left, view.right)),
        "",
    )
    table.add_row("revenue", _revenue(view.left.worth), _revenue(view.right.worth), "")
    out.print(table)
    _print_links("evidence between the two", view.links)
    _print_links("connected through", view.path)
    if not view.links and not view.path:
        out.print("no rule joins the two directly")
    for reason in view.contradictions:
        out.print(f"against: {escape(reason)}", highlight=False)
    if view.steps:
        out.print("weights of the score (bits; █ for, ▒ against):")
        for line in bars(view.steps):
            out.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    for item in view.decisions:
        out.print(f"{escape(str(item))}", highlight=False, soft_wrap=True)
    for task in view.tasks:
        out.print(f"task {task.id} ({task.task.kind}): {task.outcome or 'open'}", highlight=False)
    out.print("what a decision would do:")
    for blast in view.blasts:
        out.print(f"  {escape(str(blast))}", highlight=False, soft_wrap=True)
    _print_history(view.events[-10:])


def _cell(value: object) -> str:
    return "" if value is None else escape(str(value))


def _print_links(title: str, links: Sequence[Link]) -> None:
    if links:
        out.print(f"{title}:")
    for link in links:
        sure = "" if link.probability is None else f" p={link.probability:.4f}"
        refused = f" [yellow]not followed: {escape(link.refused)}[/]" if link.refused else ""
        out.print(
            f"  {escape(link.rule)}{sure}: {escape(link.left)} – {escape(link.right)}{refused}",
            highlight=False,
            soft_wrap=True,
        )


def _print_golden(view: show.GoldenView) -> None:
    if view.asked != view.golden_id:
        out.print(f"{view.asked} is retired; it leads to [bold]{view.golden_id}[/]", highlight=False)
    revenue = _revenue(view.worth) or "no revenue"
    out.print(
        f"[bold]{view.golden_id}[/] ({view.entity}), born {view.born_at:%Y-%m-%d %H:%M}Z from {escape(view.born_from)}; "
        f"{view.worth.orders:,} orders ({view.worth.open_orders:,} open), {revenue}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    table = Table("record", "since (UTC)", "rule", "held by", "values")
    for member in view.members:
        held = "\n".join(
            f"{link.rule} – {link.right if link.left == member.record.record_id else link.left}"
            for link in member.links[:5]
        )
        values = ", ".join(
            f"{name}: {value}" for name, value in member.record.fields.items() if name != "source_system"
        )
        since = "" if member.since is None else f"{member.since:%Y-%m-%d %H:%M}"
        table.add_row(
            escape(member.record.record_id),
            since,
            escape(member.record.rule or ""),
            escape(held),
            escape(values),
        )
    out.print(table)
    for item in view.decisions:
        out.print(escape(str(item)), highlight=False, soft_wrap=True)
    for task in view.tasks:
        out.print(f"task {task.id} ({task.task.kind}): {task.outcome or 'open'}", highlight=False)
    _print_history(view.history[-10:])


def _print_history(entries: Sequence[Happening]) -> None:
    if entries:
        out.print("history (UTC):")
    for item in entries:
        who = f" by {item.by}" if item.by else ""
        out.print(
            f"  {item.at:%Y-%m-%d %H:%M:%S} {item.kind}{escape(who)}: {escape(item.what)}",
            highlight=False,
            soft_wrap=True,
        )


def _judging(judgement: str, meaning: str, example: str) -> None:
    """Add a command that judges a pair."""

    @app.command(judgement, help=meaning, epilog=f"Example: `orderhub identity {judgement} {example}`")
    @plain_errors
    def judge(
        reason: Reason,
        left: Left = None,
        right: Right = None,
        by: By = None,
        entity: EntityOption = None,
        seen: Seen = None,
        task: TaskNumber = None,
        home: Home = None,
        as_json: AsJson = False,
    ) -> None:
        settings = Settings.from_environment(home)
        with _writing(settings) as connection:
            ours, theirs = _pair(connection, left, right, entity, task)
            made = steward.decide(
                connection, ours.entity, ours.record_id, theirs.record_id, judgement,
                by=steward.steward_name(by, settings.values), reason=reason, seen=seen,
            )  # fmt: skip
            version = steward.version(steward.history(connection, made.entity, made.left, made.right))
        if as_json:
            print_json({**plain.decision(made), "version": version})
            return
        out.print(escape(str(made)), highlight=False, soft_wrap=True)
        for named in (ours, theirs):
            if named.asked != named.record_id:
                out.print(
                    f"  {escape(named.asked)} ({named.found_by}) stood for {escape(named.record_id)}",
                    highlight=False,
                )
        out.print(
            f"in force from the next run on (orderhub unify); version {version} of the pair", highlight=False
        )


_judging(
    "same",
    "Judge two records to be one. Outranks every score and survives every run, until it is withdrawn.",
    'shopify:customers:71 tryton:parties:9 --reason "called them"',
)
_judging(
    "different",
    "Judge two records to be two; they never meet again, not through others either, until it is withdrawn.",
    '--task 12 --reason "father and son"',
)
_judging(
    "unsure",
    "Say that it cannot be told: no score joins the pair, and it is asked again only when its evidence changes.",
    '--task 12 --reason "asked the shop, no answer yet"',
)


@app.command("withdraw", epilog='Example: `orderhub identity withdraw 17 --reason "it was another Ann Lee"`')
@plain_errors
def withdraw(
    decision: Annotated[
        str, typer.Argument(help="Number of the decision, or the one record.", show_default=False)
    ],
    reason: Reason,
    other: Annotated[str | None, typer.Argument(help="The other record.", show_default=False)] = None,
    by: By = None,
    entity: EntityOption = None,
    seen: Seen = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Take a decision back. It stays in the history; what it had answered comes back into the queue."""
    settings = Settings.from_environment(home)
    with _writing(settings) as connection:
        number = _standing(connection, decision, other, entity)
        gone = steward.withdraw(
            connection, number, by=steward.steward_name(by, settings.values), reason=reason, seen=seen
        )
    if as_json:
        print_json(plain.decision(gone))
    else:
        out.print(escape(str(gone)), highlight=False, soft_wrap=True)


def _standing(connection: Connection, decision: str, other: str | None, entity: str | None) -> int:
    """Number of the decision meant: as given, or the one that stands between two records."""
    if other is None:
        if not decision.isdecimal():
            raise DecisionRefusedError(
                f"{decision!r} is not the number of a decision: give one, or two records"
            )
        return int(decision)
    kind, left, right = steward.pair_ever(connection, decision, other, entity)
    standing = steward.in_force(steward.history(connection, kind, left, right))
    if standing is None:
        raise UnknownNameError(f"no decision stands between {left} and {right}")
    return standing.id


@app.command("history", epilog="Example: `orderhub identity history CUS-4FQ…`")
@plain_errors
def history(
    left: Annotated[str, typer.Argument(help="Golden id, record id or number.", show_default=False)],
    right: Right = None,
    entity: EntityOption = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Tell everything that ever happened to a golden id, a record, or between two records. Nothing is ever deleted."""
    with _looking(Settings.from_environment(home)) as connection:
        entries, version = steward.history_of(connection, left, right, entity)
    if as_json:
        print_json({"history": [plain.happening(item) for item in entries], "version": version})
        return
    if not entries:
        out.print("nothing happened yet")
    _print_history(entries)
    if version is not None:
        out.print(f"version {version} of the pair")


@app.command("events", epilog="Example: `orderhub identity events --after 1200 --json`")
@plain_errors
def events(
    after: Annotated[int, typer.Option(help="Number of the last event you know.", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="Events at most.", min=1, max=feed.MOST_EVENTS)] = 100,
    entity: EntityOption = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Follow what happens to golden ids, in order: born, merged, split, moved, retired and more."""
    with _looking(Settings.from_environment(home)) as connection:
        found = feed.read_events(connection, after, limit, entity)
    if as_json:
        print_json([vars(item) for item in found])
        return
    table = Table("seq", "at (UTC)", "entity", "kind", "golden id", "record", "other id", "reason")
    for item in found:
        table.add_row(
            str(item.seq), f"{item.at:%Y-%m-%d %H:%M:%S}", item.entity, item.kind, item.golden_id,
            escape(item.record_id or ""), item.other_id or "", escape(item.reason or ""),
        )  # fmt: skip
    out.print(table if found else f"nothing happened after event {after}")


@app.command(
    "lookup", epilog="Example: `orderhub identity lookup shopify:customers:71 --at 2026-10-31T00:00:00Z`"
)
@plain_errors
def lookup_command(
    record: Annotated[
        str, typer.Argument(help="Record id, source:stream:key, or source:key.", show_default=False)
    ],
    at: Annotated[str | None, typer.Option(help="At this time (ISO 8601); now by default.")] = None,
    entity: EntityOption = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say which golden id a source record had at a time, and where that id leads now."""
    when = instant(at, "--at")
    if ":" not in record:
        fail(f"{record!r} names no source: write source:key, or the record id source:stream:key", 2)
    with _looking(Settings.from_environment(home)) as connection:
        found = lookup.find(connection, record, when, entity)
        if not found:
            raise UnknownNameError(
                f"{record} had no golden id {'now' if when is None else f'at {when.isoformat()}'}"
            )
    if as_json:
        print_json([vars(item) for item in found])
        return
    for item in found:
        leads = "" if item.current_id == item.golden_id else f", now {item.current_id or 'retired'}"
        out.print(f"{item.entity} {item.golden_id}{leads}", highlight=False)


@app.command("train", epilog="Example: `orderhub identity train customer-2026-11.json`")
@plain_errors
def train(
    out_file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where the model goes.", show_default=False)
    ],
    home: Home = None,
) -> None:
    """Learn a customer model from the records at hand, without labels; `diff` then says what it would change."""
    if out_file.exists():
        fail(f"{out_file} exists: a model is never overwritten, name another file", 2)
    settings = Settings.from_environment(home)
    warehouse = open_warehouse(settings.home, settings.warehouse_url)
    with sole_writer(settings.home):
        model = identification.train_customers(warehouse, version=out_file.stem)
    model.save(out_file)
    out.print(
        f"customer model [bold]{escape(model.version)}[/] ({model.sha256[:12]}), {escape(model.trained_on)}: "
        f"see what it would change with `orderhub identity diff --model {escape(str(out_file))}`",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


@app.command("diff", epilog="Example: `orderhub identity diff --model customer-7.json`")
@plain_errors
def diff(
    model: Annotated[
        str, typer.Option("--model", help="JSON file of a model, or its version.", show_default=False)
    ],
    entity: EntityOption = None,
    by: By = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Report what a model would change, before it is activated: ids moved, merged and split, orders and revenue touched."""
    settings = Settings.from_environment(home)
    warehouse = open_warehouse(settings.home, settings.warehouse_url)
    with sole_writer(settings.home), _writing(settings) as connection:
        candidate = activation.find_model(connection, entity, model)
        seen = identification.preview(warehouse, connection, candidate)
        found = compare(seen.before, seen.after, seen.worth)
        report = activation.keep_report(
            connection,
            candidate.entity,
            candidate,
            found.as_json(),
            by=steward.steward_name(by, settings.values),
        )
    if as_json:
        print_json(vars(report))
        return
    out.print(
        f"{candidate.entity} model [bold]{escape(candidate.version)}[/] ({candidate.sha256[:12]}) against identity as it is:",
        highlight=False,
    )
    _print_comparison(report.report)
    out.print(
        f"activate it with: orderhub identity activate {escape(model)} --entity {candidate.entity} --reason …",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def _print_comparison(report: Mapping[str, Any]) -> None:
    touched = report["touched"]
    revenue = (
        ", ".join(f"{amount} {currency}" for currency, amount in touched["revenue"].items()) or "no revenue"
    )
    out.print(
        f"  {report['records_moved']:,} of {report['records']:,} records move; {report['ids_merged']:,} ids merge, "
        f"{report['ids_split']:,} split, {report['ids_born']:,} are born, {report['ids_retired']:,} retire",
        highlight=False,
    )
    out.print(
        f"  touched: {touched['orders']:,} orders ({touched['open_orders']:,} open), {revenue}",
        highlight=False,
    )
    for item in report["examples"]["merged"][:5]:
        out.print(f"  merges: {item['golden_id']} into {', '.join(item['into'])}", highlight=False)
    for item in report["examples"]["split"][:5]:
        out.print(f"  splits: {', '.join(item['off'])} off {item['golden_id']}", highlight=False)
    for item in report["examples"]["moved"][:5]:
        out.print(
            f"  moves: {escape(item['record_id'])} from {item['from']} to {item['to']}", highlight=False
        )


@app.command(
    "activate",
    epilog='Example: `orderhub identity activate customer-7.json --reason "12 ids move, all checked"`',
)
@plain_errors
def activate(
    model: Annotated[str, typer.Argument(help="JSON file of a model, or its version.", show_default=False)],
    reason: Reason,
    entity: EntityOption = None,
    by: By = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Let a model score from the next run on; refused until a report says what it would change now."""
    settings = Settings.from_environment(home)
    with _writing(settings) as connection:
        candidate = activation.find_model(connection, entity, model)
        made = activation.activate(
            connection,
            candidate.entity,
            candidate,
            by=steward.steward_name(by, settings.values),
            reason=reason,
        )
    if as_json:
        print_json(vars(made))
    else:
        out.print(
            f"{made.entity} model {escape(made.version)} ({made.sha256[:12]}) scores from the next run on, says {escape(made.by)}",
            highlight=False,
        )


@app.command("models", epilog="Example: `orderhub identity models`")
@plain_errors
def models(entity: EntityOption = None, home: Home = None, as_json: AsJson = False) -> None:
    """Show every activation; the last of an entity is in force, and the model that ships where there is none."""
    with _looking(Settings.from_environment(home)) as connection:
        found = activation.activations(connection, entity)
    if as_json:
        print_json([vars(item) for item in found])
        return
    table = Table("entity", "version", "SHA-256", "activated at (UTC)", "by", "reason")
    for item in found:
        table.add_row(
            item.entity, escape(item.version), item.sha256[:12], f"{item.at:%Y-%m-%d %H:%M}", escape(item.by), escape(item.reason)
        )  # fmt: skip
    out.print(table if found else "no model was activated: the models that ship score")


@app.command("key", epilog="Example: `orderhub identity key mia`")
@plain_errors
def key(
    name: Annotated[
        str,
        typer.Argument(help="The steward's name; decisions made with the key carry it.", show_default=False),
    ],
    revoke: Annotated[bool, typer.Option("--revoke", help="End the key instead.")] = False,
    by: By = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a steward's key for the API and show it, this once. A name has one key at a time."""
    settings = Settings.from_environment(home)
    who = steward.steward_name(by, settings.values)
    with _writing(settings) as connection:
        if revoke:
            keys.revoke(connection, name, role=keys.STEWARD, by=who)
        else:
            secret = keys.make(connection, name, role=keys.STEWARD, by=who)
    if revoke:
        print_json({"name": name, "revoked": True}) if as_json else out.print(
            f"the key of {escape(name)} no longer opens anything"
        )
    elif as_json:
        print_json({"name": name, "key": secret})
    else:
        out.print(f"key of {escape(name)}, shown this once: {secret}", highlight=False, soft_wrap=True)
