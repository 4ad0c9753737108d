"""`orderhub key`: keys of one's own for the API, each of a role."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from sqlalchemy import select

from oms_core.api import keys
from oms_core.cli.terminal import AsJson, Home, fail, open_store, out, plain_errors, print_json
from oms_core.settings import Settings
from oms_core.store.tables import API_ROLES, api_keys

app = typer.Typer(help="Keys of one's own for the API, each of a role.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Whose; what is done with the key carries it.", show_default=False)]
Role = Annotated[str, typer.Option("--role", help=f"{', '.join(API_ROLES)}.", show_default=False)]


@app.command(
    epilog="Example: `orderhub key make storefront --role oms_service --tenant europe --scope orders:read --scope reservations:write`"
)
@plain_errors
def make(
    name: Name,
    role: Role,
    tenant: Annotated[
        str | None,
        typer.Option(help="Whose reservations an oms_service makes and sees.", show_default=False),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="What it opens of all that the role opens, such as orders:read; repeat it.",
            show_default="all",
        ),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once. A name has one key of a role at a time."""
    settings = Settings.from_environment(home)
    with open_store(settings) as database, database.begin() as connection:
        try:
            key = keys.make(connection, name, role=role, tenant=tenant, by=settings.actor, scopes=scope or ())
        except keys.KeyRefusedError as error:
            fail(str(error), 2)
    if as_json:
        print_json({"name": name, "role": role, "tenant": tenant, "scopes": scope, "key": key})
    else:
        out.print(f"key of {escape(name)}, shown this once: {key}", highlight=False, soft_wrap=True)


@app.command(epilog="Example: `orderhub key revoke storefront --role oms_service`")
@plain_errors
def revoke(name: Name, role: Role, home: Home = None, as_json: AsJson = False) -> None:
    """End a key: from now on it opens nothing."""
    settings = Settings.from_environment(home)
    with open_store(settings) as database, database.begin() as connection:
        try:
            keys.revoke(connection, name, role=role, by=settings.actor)
        except keys.KeyRefusedError as error:
            fail(str(error), 2)
    if as_json:
        print_json({"name": name, "role": role, "revoked": True})
    else:
        out.print(f"the key of {escape(name)} no longer opens anything")


@app.command("list", epilog="Example: `orderhub key list`")
@plain_errors
def list_keys(home: Home = None, as_json: AsJson = False) -> None:
    """Show the keys in force: whose, of which role, since when and by whom. Never the keys themselves."""
    settings = Settings.from_environment(home)
    shown = ("name", "role", "tenant", "scopes", "made_at", "made_by")
    columns = [api_keys.c[name] for name in shown]
    with open_store(settings) as database, database.begin() as connection:
        found = connection.execute(
            select(*columns).where(api_keys.c.revoked_at.is_(None)).order_by(api_keys.c.role, api_keys.c.name)
        ).all()
    if as_json:
        print_json([dict(row._mapping) for row in found])
        return
    table = Table("name", "role", "tenant", "scopes", "since", "made by")
    for row in found:
        table.add_row(
            escape(row.name), row.role, escape(row.tenant or ""), " ".join(row.scopes or ()),
            f"{row.made_at:%Y-%m-%d %H:%M}Z", escape(row.made_by),
        )  # fmt: skip
    out.print(table)
