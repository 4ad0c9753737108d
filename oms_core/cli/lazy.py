"""Groups of commands that are imported when one of them is called.

What the commands need takes more than a second to import; `orderhub --help` and a wrong word need none of it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup


class LazyGroup(TyperGroup):
    """A group some of whose sub-groups are names and help texts until they are called."""

    # Name of the sub-group -> module whose `app` it is, or module:attribute.
    modules: ClassVar[dict[str, str]] = {}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that was called, for good."""
        if args:
            self._load(args[0])
        return super().resolve_command(ctx, args)

    def load(self) -> None:
        """Import every sub-group."""
        for name in self.modules:
            self._load(name)

    def _load(self, name: str) -> None:
        module = self.modules.get(name)
        if module is not None:
            path, _, attribute = module.partition(":")
            group: Any = typer.main.get_group(getattr(import_module(path), attribute or "app"))
            group.name = name
            self.commands[name] = group


def lazy_group(app: typer.Typer, name: str, module: str, help: str) -> None:
    """Announce the sub-group `name` of an app whose class is `LazyGroup`."""
    LazyGroup.modules[name] = module
    app.add_typer(typer.Typer(help=help), name=name)
