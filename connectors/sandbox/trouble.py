"""What a system of the sandbox can be told to do wrong, and what that does to a page of it.

Pages are changed without knowing whose they are: the rows of an answer in JSON are its outermost list of objects.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

TROUBLES = {
    "429": "refuses, in the vendor's words: too many requests",
    "500": "fails, with a short body in JSON",
    "hang": "takes the request and never answers",
    "reset": "resets the connection instead of answering",
    "half_page": "breaks the connection off in the middle of the page",
    "malformed": "answers half of the page as if it were all of it",
    "html": "answers 200 with a page in HTML, as a proxy does during maintenance",
    "error_body": "answers 200 with an error in the body",
    "forbidden": "refuses this one request: 403",
    "expired_token": "no longer knows the token, session or key that came with the request",
    "duplicated_page": "answers a page that holds its rows twice",
    "shifting_page": "goes on working between two pages: orders come and change",
    "clock_ahead": "has a clock that is eight hours ahead",
    "clock_behind": "has a clock that is eight hours behind",
    "drift": "sends a new field, one field less, and another type in each third row",
}
CLOCK_ERRORS = {"clock_ahead": timedelta(hours=8), "clock_behind": timedelta(hours=-8)}
ALWAYS = 1_000_000  # times
NEW_FIELD = "sandbox_new_field"

Json = dict[str, Any]
_FEWEST_FIELDS = 3  # smaller objects are values, such as money
_WIDE = 10


def rows_of(body: Any) -> list[Json]:
    """The outermost list of objects in an answer, itself and not a copy; empty when there is none.

    A wide object is a record of its own, not an envelope: the lists in it are no rows.
    """
    level = [body]
    while level:
        for node in level:
            if isinstance(node, list) and node and all(isinstance(item, dict) for item in node):
                return node
        level = [
            value
            for node in level
            if isinstance(node, dict) and len(node) < _WIDE
            for value in node.values()
            if isinstance(value, dict | list)
        ]
    return []


def double(body: Any) -> bool:
    """Repeat the rows of an answer in place; return whether it has any."""
    rows = rows_of(body)
    rows.extend(rows[:])
    return bool(rows)


def drift(body: Any) -> bool:
    """Change the shape of an answer's rows in place; return whether it has any.

    Every row, and every object in it, gets a new field and loses its last plain one; of each third row every text but the
    first field is wrapped in an object. Ids stay: pages are asked for by them.
    """
    rows = rows_of(body)
    for number, item in enumerate(rows, start=1):
        row = item["node"] if isinstance(item.get("node"), dict) else item
        _reshape(row, is_retyped=number % 3 == 0)
    return bool(rows)


def _reshape(row: Json, *, is_retyped: bool) -> None:
    for value in row.values():
        for node in value if isinstance(value, list) else [value]:
            # An object that names its class is a value, too: a date in Tryton's JSON.
            if isinstance(node, dict) and len(node) >= _FEWEST_FIELDS and "__class__" not in node:
                _reshape(node, is_retyped=False)
    _, *plain = [
        name for name, value in row.items() if not isinstance(value, dict | list) and name != "id"
    ] or [""]
    if plain:
        del row[plain.pop()]
    if is_retyped:
        row.update({name: {"value": row[name]} for name in plain if isinstance(row[name], str)})
    row[NEW_FIELD] = "new"
