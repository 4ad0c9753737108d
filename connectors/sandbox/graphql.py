"""As much of GraphQL as the sandbox's systems need: one operation, variables, arguments, aliases, fragments, connections, cost.

Values are plain Python: a dict is an object (a callable in it is a field with arguments), a list is a list, and a
`Connection` is paged with `first` and `after`. Asking for a field that is not there is an error, as on a real server;
`... on Type` is read where the object's `__typename`, or one of its `__interfaces__`, is that type.

Source: https://spec.graphql.org/October2021/ and https://relay.dev/graphql/connections.htm
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(
    r'\s+|,|#[^\n]*|(\.\.\.|[!():=\[\]{}$]|"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|[_A-Za-z][_0-9A-Za-z]*)'
)


class GraphQLError(Exception):
    """The query is wrong; `code` is the extension code that goes with it."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Selection:
    """One field as asked for; `fields` is empty for a scalar. An inline fragment is named `...`, its alias is the type."""

    name: str
    alias: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    fields: Sequence[Selection] = ()


@dataclass(frozen=True)
class Variable:
    """A variable used as an argument."""

    name: str


@dataclass(frozen=True)
class Connection:
    """Rows handed out page by page."""

    rows: Sequence[Any]


@dataclass(frozen=True)
class Scalar:
    """A JSON value that is one scalar to GraphQL, handed out as it is."""

    value: Any


class _Parser:
    def __init__(self, document: str, operations: Sequence[str]) -> None:
        self._operations = operations
        self._tokens = [match.group(1) for match in self._scan(document) if match.group(1)]
        self._at = 0

    def _scan(self, document: str) -> list[re.Match[str]]:
        found, at = [], 0
        while at < len(document):
            match = _TOKEN.match(document, at)
            if match is None:
                raise GraphQLError(f"Unexpected character {document[at]!r} at {at}", "parseError")
            found.append(match)
            at = match.end()
        return found

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, wanted: str | None = None) -> str:
        token = self._peek()
        if not token or (wanted is not None and token != wanted):
            raise GraphQLError(
                f"syntax error, unexpected {token or 'end'}, expecting {wanted or 'more'}", "parseError"
            )
        self._at += 1
        return token

    def document(self) -> Sequence[Selection]:
        if self._peek() != "{":
            self._take(self._peek() if self._peek() in self._operations else self._operations[0])
            if self._peek() not in ("{", "("):
                self._take()
            if self._peek() == "(":
                while self._take() != ")":
                    pass
        return self._fields()

    def _fields(self) -> Sequence[Selection]:
        self._take("{")
        found = []
        while self._peek() != "}":
            found.append(self._field())
        self._take("}")
        return tuple(found)

    def _field(self) -> Selection:
        alias = name = self._take()
        if name == "...":
            self._take("on")
            return Selection(name, self._take(), fields=self._fields())
        if self._peek() == ":":
            self._take(":")
            name = self._take()
        arguments: dict[str, Any] = {}
        if self._peek() == "(":
            self._take("(")
            while self._peek() != ")":
                argument = self._take()
                self._take(":")
                arguments[argument] = self._value()
            self._take(")")
        return Selection(name, alias, arguments, self._fields() if self._peek() == "{" else ())

    def _value(self) -> Any:
        word = self._take()
        if word == "$":
            return Variable(self._take())
        if word == "[":
            items = []
            while self._peek() != "]":
                items.append(self._value())
            self._take("]")
            return items
        if word.startswith('"'):
            return word[1:-1].replace('\\"', '"')
        if word.lstrip("-").isdigit():
            return int(word)
        return {"true": True, "false": False, "null": None}.get(word, word)


def parse(document: str, operations: Sequence[str] = ("query",)) -> Sequence[Selection]:
    """Return the top fields of a document that holds one operation of the kinds given.

    Raises:
        GraphQLError: it is none.
    """
    return _Parser(document, operations).document()


def static_cost(fields: Sequence[Selection]) -> int:
    """Points a query may cost at most: 1 per object, 2 and `first` times its node per connection; scalars are free."""
    total = 0
    for selection in fields:
        if not selection.fields:
            continue
        if "first" in selection.arguments:
            nodes = [item for item in selection.fields if item.name in ("nodes", "edges")]
            total += 2 + int(selection.arguments["first"]) * sum(
                1 + static_cost(item.fields) for item in nodes
            )
        elif selection.name != "pageInfo":
            total += 1 + static_cost(selection.fields)
    return total


class Execution:
    """Runs one query over a root object; `cost` is what the answer really cost."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self._variables = variables
        self.cost = 0

    def run(self, fields: Sequence[Selection], value: Any, kind: str = "QueryRoot") -> Any:
        """Return the selected part of `value`.

        Raises:
            GraphQLError: a field does not exist or a connection is asked for without `first`.
        """
        if value is None or not fields:
            return value
        if isinstance(value, list):
            return [self.run(fields, item, kind) for item in value]
        if not isinstance(value, dict):
            raise GraphQLError(f"Selections can't be made on scalars (field {kind!r})", "selectionMismatch")
        self.cost += kind != "QueryRoot"
        found: dict[str, Any] = {}
        for selection in fields:
            if selection.name == "...":
                if selection.alias in (value.get("__typename"), *value.get("__interfaces__", ())):
                    found |= self.run(selection.fields, value, "QueryRoot")
                continue
            if selection.name not in value:
                message = f"Field '{selection.name}' doesn't exist on type '{kind}'"
                raise GraphQLError(message, "undefinedField")
            arguments = {name: self._resolve(item) for name, item in selection.arguments.items()}
            child = value[selection.name]
            if callable(child):
                child = child(arguments)
            if isinstance(child, Scalar):
                found[selection.alias] = child.value
            elif isinstance(child, Connection):
                found[selection.alias] = self._page(selection, child, arguments)
            elif isinstance(child, dict | list) and not selection.fields and not _is_scalar_list(child):
                raise GraphQLError(
                    f"Field must have selections (field '{selection.name}')", "selectionMismatch"
                )
            else:
                found[selection.alias] = self.run(selection.fields, child, selection.name)
        return found

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, Variable):
            return self._variables.get(value.name)
        return [self._resolve(item) for item in value] if isinstance(value, list) else value

    def _page(self, selection: Selection, connection: Connection, arguments: Mapping[str, Any]) -> Any:
        first, after = arguments.get("first"), arguments.get("after")
        if first is None or not 1 <= first <= 250:
            raise GraphQLError("you must provide one of first or last, from 1 to 250", "BAD_REQUEST")
        start = 0
        if after:
            try:
                start = int(base64.b64decode(after)) + 1
            except ValueError:
                raise GraphQLError(f"Invalid cursor {after!r}", "BAD_REQUEST") from None
        rows = connection.rows[start : start + first]
        end = base64.b64encode(str(start + len(rows) - 1).encode()).decode() if rows else None
        self.cost += 2
        page: dict[str, Any] = {}
        for part in selection.fields:
            match part.name:
                case "pageInfo":
                    info = {"hasNextPage": start + first < len(connection.rows), "endCursor": end}
                    page[part.alias] = {item.alias: info[item.name] for item in part.fields}
                case "nodes":
                    page[part.alias] = self.run(part.fields, list(rows), selection.name)
                case _:
                    message = f"Field '{part.name}' doesn't exist on type '{selection.name}'"
                    raise GraphQLError(message, "undefinedField")
        return page


def _is_scalar_list(value: Any) -> bool:
    return isinstance(value, list) and not any(isinstance(item, dict | list) for item in value)
