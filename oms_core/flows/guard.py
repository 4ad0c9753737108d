"""Guards in CEL, checked for names and types before they are ever asked.

Money is compared as a double: a decimal of at most 15 digits keeps its order as one. Guards compare, they do not add up.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from cel_expr_python import cel

from oms_core.flows.definition import EventKind, Flow, Kind
from oms_core.flows.errors import DocumentError

# What is known of an order when its flow begins, and the kind of each. `order.known` lists those that are.
ORDER_FACTS: Mapping[str, Kind] = {
    "order_number": "text",
    "order_type": "text",
    "channel": "text",
    "store_code": "text",
    "currency": "text",
    "net_amount": "number",
    "gross_amount": "number",
    "line_count": "whole",
    "unit_qty": "number",
    "needs_cold_chain": "flag",
    "has_bundle": "flag",
    "is_first_order": "flag",
    "customer_segment": "text",
    "loyalty_tier": "text",
    "service_level": "text",
    "fulfilled_by": "text",  # own, or third_party: another one's warehouse ships it
    "ship_to_country": "text",
}
_TYPES = {
    "text": cel.Type.STRING,
    "number": cel.Type.DOUBLE,
    "whole": cel.Type.INT,
    "flag": cel.Type.BOOL,
}
_TEXTS = cel.Type.List(cel.Type.STRING)


@dataclass(frozen=True)
class Verdict:
    """Whether a guard holds; `unknown` says what could not be told, and then it does not."""

    holds: bool
    unknown: str | None = None


class Guard:
    """One compiled guard."""

    def __init__(self, source: str, event: EventKind | None = None) -> None:
        """Compile a guard.

        Args:
            source: CEL.
            event: whose data it may ask; None: it is asked without an event.

        Raises:
            DocumentError: it is no CEL, asks what nobody declared, or is not true or false.
        """
        self.source = source
        environment = _environment(tuple(sorted((event or _NO_EVENT).data.items())), event is not None)
        try:
            self._program = environment.compile(source)
        except RuntimeError as error:
            raise DocumentError("bad-guard", _first_line(error)) from error
        if self._program.return_type() != cel.Type.BOOL:
            raise DocumentError("bad-guard", f"it is {self._program.return_type().name()}, not true or false")

    def ask(self, scope: Mapping[str, Any]) -> Verdict:
        """Ask it of values by name, as `scope` makes them."""
        value = self._program.eval(data=scope)
        if value.type() == cel.Type.BOOL:
            return Verdict(bool(value.plain_value()))
        return Verdict(False, _first_line(value.plain_value()))


def scope(
    facts: Mapping[str, Any],
    seen: list[str],
    event: EventKind | None = None,
    data: Mapping[str, Any] | None = None,
    source: str | None = None,
) -> dict[str, Any]:
    """The values a guard is asked of.

    Args:
        facts: of the order, by the names in `ORDER_FACTS`; what is unknown is None or left out.
        seen: kinds of the events so far, this one included.
        event, data: what may be told of the event, and what it carries.
        source: system that told it.
    """
    known = {name: value for name, value in facts.items() if value is not None and name in ORDER_FACTS}
    told = {name: value for name, value in (data or {}).items() if value is not None}
    kinds = {} if event is None else event.data
    values = {f"order.{name}": _plain(value, ORDER_FACTS[name]) for name, value in known.items()}
    # JSON does not tell 3.0 from 3: what a flow declares as a number may come as either.
    values |= {
        f"event.{name}": float(value) if kinds.get(name) == "number" else value
        for name, value in told.items()
    }
    values |= {"order.known": sorted(known), "event.known": sorted(told), "seen": seen}
    return values if source is None else values | {"event.source": source}


def compiled(flow: Flow) -> tuple[Guard | None, ...]:
    """The guards of a flow's transitions, in their order; `lint` says which of them cannot be compiled.

    Raises:
        DocumentError: one cannot.
    """
    return tuple(
        None if item.when is None else Guard(item.when, flow.events[item.on] if item.on else None)
        for item in flow.transitions
    )


def variables(event: EventKind | None) -> dict[str, Kind | None]:
    """What a guard may ask: name -> kind; None: a list of texts."""
    found: dict[str, Kind | None] = {f"order.{name}": kind for name, kind in ORDER_FACTS.items()}
    found |= {"order.known": None, "seen": None}
    if event is not None:
        found |= {f"event.{name}": kind for name, kind in event.data.items()}
        found |= {"event.source": "text", "event.known": None}
    return found


_NO_EVENT = EventKind(title="none")


@cache
def _environment(data: tuple[tuple[str, Kind], ...], has_event: bool) -> cel.Env:
    event = EventKind(title="any", data=dict(data)) if has_event else None
    asked = variables(event)
    return cel.NewEnv(
        variables={name: _TEXTS if kind is None else _TYPES[kind] for name, kind in asked.items()}
    )


def _plain(value: Any, kind: Kind) -> Any:
    return float(value) if kind == "number" else int(value) if kind == "whole" else value


def _first_line(error: object) -> str:
    words = str(error).replace("INVALID_ARGUMENT: ERROR: <input>:", "").splitlines()[0]
    return words.removesuffix(" (in container '')")
