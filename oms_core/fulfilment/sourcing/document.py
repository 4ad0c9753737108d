"""A day as a JSON document: nodes, shelves and orders, with the fields of the dataclasses in `network`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import ClassVar

from pydantic import TypeAdapter, ValidationError

from oms_core.fulfilment.errors import RequestError
from oms_core.fulfilment.sourcing.network import Network, Node, Order, Shelf


@dataclass(frozen=True)
class Day:
    """Orders, and where they could have come from as the day began."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    nodes: tuple[Node, ...]
    shelves: tuple[Shelf, ...]
    orders: tuple[Order, ...]

    def network(self) -> Network:
        """Nodes and shelves, checked. Raises what `Network.of` raises."""
        return Network.of(self.nodes, self.shelves)


_DAY = TypeAdapter(Day)


def load_day(text: str | bytes) -> Day:
    """Read a day.

    Raises:
        RequestError: it is no JSON or no day; the message says which fields and why.
    """
    try:
        return _DAY.validate_json(text)
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc']) or 'document'}: {fault['msg']}"
            for fault in error.errors()
        ]
        shown = "; ".join(faults[:5]) + (f"; and {len(faults) - 5} more" if len(faults) > 5 else "")
        raise RequestError("bad-document", f"day: {shown}") from error


def dump_day(day: Day) -> str:
    """The day as JSON, as `load_day` reads it."""
    return _DAY.dump_json(day, exclude_defaults=True).decode()


def example() -> str:
    """A small day to start from, as text."""
    return resources.files("oms_core.fulfilment.sourcing").joinpath("example_day.json").read_text("utf-8")
