"""Odoo's records as its API reads them: what every model has, links that carry a name, `search_read` over one model."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

Row = dict[str, Any]

_MODELS = (
    "res.partner", "product.product", "mrp.bom", "mrp.bom.line", "stock.warehouse", "stock.location", "stock.picking.type",
    "stock.lot", "stock.quant", "stock.picking", "stock.move", "stock.move.line", "pos.config", "pos.payment.method",
    "pos.session", "pos.order", "pos.order.line", "pos.payment",
)  # fmt: skip
_OF_SALE = {"pos.order.line": "order_id", "pos.payment": "pos_order_id"}


def written(at: datetime) -> str:
    """Odoo's naive UTC time, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


class Records:
    """The records of every model."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._tables: dict[str, dict[int, Row]] = {model: {} for model in _MODELS}

    def __contains__(self, model: str) -> bool:
        return model in self._tables

    def put(self, model: str, row_id: int, created_at: datetime, modified_at: datetime, **fields: Any) -> Row:
        """Write a record; None becomes Odoo's `false`."""
        row = {
            "id": row_id,
            "create_date": written(created_at),
            "write_date": written(max(created_at, min(modified_at, self._now))),
            **{name: False if value is None else value for name, value in fields.items()},
        }
        self._tables[model][row_id] = row
        return row

    def link(self, model: str, row_id: int | None) -> list[Any] | None:
        """A linked record as Odoo shows it: `[id, display name]`."""
        if row_id is None:
            return None
        row = self.row(model, row_id)
        return [row_id, row.get("complete_name") or titled(row)]

    def row(self, model: str, row_id: int) -> Row:
        """A record that is there."""
        return self._tables[model][row_id]

    def find(self, model: str, row_id: int) -> Row | None:
        """A record, if it is there."""
        return self._tables[model].get(row_id)

    def search(self, model: str, asked: dict[str, Any], deleted: Iterable[str]) -> list[Row]:
        """What `search_read` returns.

        Args:
            model: Odoo's name of it.
            asked: arguments of `search_read`.
            deleted: `<model>,<id>` of what was deleted. A sale that was paid cannot be; the others go with lines and payments.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: the arguments are none that Odoo knows.
        """
        gone = set(deleted)
        kept = {
            row_id: row for row_id, row in self._tables[model].items() if not self._is_gone(model, row, gone)
        }
        return _select(kept, asked)

    def _is_gone(self, model: str, row: Row, deleted: set[str]) -> bool:
        if model in _OF_SALE:
            return self._is_gone("pos.order", self.row("pos.order", row[_OF_SALE[model]][0]), deleted)
        is_kept = model == "pos.order" and row["state"] not in ("draft", "cancel")
        return not is_kept and f"{model},{row['id']}" in deleted


def titled(row: Row) -> str:
    """What a record is called where another names it: a product's code goes before its name."""
    return f"[{row['default_code']}] {row['name']}" if row.get("default_code") else str(row["name"])


_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def _select(table: dict[int, Row], asked: dict[str, Any]) -> list[Row]:
    """What `search_read` returns: domain clauses joined by AND, archived rows only with `active_test` false."""
    clauses = list(asked.get("domain", ()))
    if asked.get("context", {}).get("active_test", True) and not any(
        clause[0] == "active" for clause in clauses
    ):
        clauses.append(["active", "!=", False])
    rows = list(table.values())
    for name, compare, given in clauses:
        if compare not in _COMPARE:
            raise ValueError(f"operator {compare!r} is not one of {', '.join(_COMPARE)}")
        if name == "active" and rows and "active" not in rows[0]:
            continue
        rows = [row for row in rows if _COMPARE[compare](_comparable(row[name]), given)]
    for part in reversed([part.split() for part in asked.get("order", "id").split(",")]):
        rows.sort(key=lambda row, name=part[0]: row[name], reverse=part[1:] == ["desc"])  # type: ignore[misc]
    offset, limit = asked.get("offset", 0), asked.get("limit")
    rows = rows[offset:] if limit is None else rows[offset : offset + limit]
    wanted = asked.get("fields") or sorted({name for row in rows for name in row})
    return [{"id": row["id"], **{name: row[name] for name in wanted}} for row in rows]


def _comparable(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value
