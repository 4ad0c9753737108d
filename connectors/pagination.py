"""How a source hands out a long answer: one page after another.

A strategy is a frozen object: it sees the request that was sent and the answer that came, and gives the next request
or None. Places inside requests and answers are dotted paths: `params.cursor`, `json.variables.after`, `paging.next.after`.
"""

from __future__ import annotations

import re
from typing import Any, Protocol
from urllib.parse import urljoin

from pydantic import BaseModel, ConfigDict, Field

from connectors.errors import ProtocolError


class Ask(BaseModel):
    """One request, short of its base URL and credentials."""

    model_config = ConfigDict(frozen=True)

    params: dict[str, Any] = Field(default_factory=dict)
    json_body: Any = None
    headers: dict[str, str] = Field(default_factory=dict)
    path: str | None = None  # overrides the stream's path

    def at(self, place: str) -> Any:
        """Value at a dotted place, as `put` takes it; None where there is none."""
        area, *steps = place.split(".")
        node: Any = self.params if area == "params" else self.json_body
        for step in steps:
            if isinstance(node, list):
                node = node[int(step)] if step.isdigit() and int(step) < len(node) else None
            else:
                node = node.get(step) if isinstance(node, dict) else None
        return node

    def put(self, place: str, value: Any) -> Ask:
        """Return a copy with `value` at a dotted place (`params.x`, `json.a.b`, `json.params.2`); None removes it."""
        area, *steps = place.split(".")
        if area == "params":
            params = {key: old for key, old in self.params.items() if key != steps[0]}
            if value is not None:
                params[steps[0]] = value
            return self.model_copy(update={"params": params})
        if area == "json":
            return self.model_copy(update={"json_body": _put(self.json_body, steps, value)})
        raise ProtocolError(f"a page place starts with params or json, not {place!r}")


def _put(node: Any, steps: list[str], value: Any) -> Any:
    if not steps:
        return value
    head, *rest = steps
    if isinstance(node, list):
        position = int(head)
        return [*node[:position], _put(node[position], rest, value), *node[position + 1 :]]
    copy = dict(node or {})
    if value is None and not rest:
        copy.pop(head, None)
    else:
        copy[head] = _put(copy.get(head), rest, value)
    return copy


def dig(node: Any, path: str) -> Any:
    """Value at a dotted path, or None. A list on the way is flattened: `fulfillments.lines` gathers every line."""
    if not path:
        return node
    head, _, rest = path.partition(".")
    if isinstance(node, list):
        gathered: list[Any] = []
        for item in node:
            found = dig(item, path)
            gathered.extend(found if isinstance(found, list) else [] if found is None else [found])
        return gathered
    if not isinstance(node, dict):
        return None
    return dig(node.get(head), rest)


class Pages(Protocol):
    """A paging strategy. `ceiling`: rows after which the source refuses to page on, if it has one."""

    ceiling: int | None

    def first(self, ask: Ask) -> Ask:
        """The first request."""

    def after(self, ask: Ask, body: Any, row_count: int, headers: dict[str, str]) -> Ask | None:
        """The request for the next page, or None when the last page has come."""


class SinglePage(BaseModel):
    """Everything comes in one answer."""

    model_config = ConfigDict(frozen=True)
    ceiling: int | None = None

    def first(self, ask: Ask) -> Ask:
        return ask

    def after(self, ask: Ask, body: Any, row_count: int, headers: dict[str, str]) -> Ask | None:
        return None


class TokenPages(BaseModel):
    """The answer holds a token for the next page.

    Args:
        read: dotted path of the token in the answer.
        write: dotted place of the token in the next request.
        more: dotted path of a boolean that must be true to go on, where the token alone does not say it.
        done: dotted path of a boolean that is true on the last page, where the token alone does not say it.
        ceiling: rows after which the source refuses to page on (the extractor restarts from the last cursor).
        alone: the token replaces all query parameters (vendors that encode the query in the token).
    """

    model_config = ConfigDict(frozen=True)
    read: str
    write: str
    more: str | None = None
    done: str | None = None
    ceiling: int | None = None
    alone: bool = False

    def first(self, ask: Ask) -> Ask:
        return ask

    def after(self, ask: Ask, body: Any, row_count: int, headers: dict[str, str]) -> Ask | None:
        if self.more is not None and not dig(body, self.more):
            return None
        if self.done is not None and dig(body, self.done):
            return None
        token = dig(body, self.read)
        if token in (None, ""):
            if self.more is not None or self.done is not None:
                raise ProtocolError(f"the answer says there is more but has no token at {self.read!r}")
            return None
        if self.alone:
            ask = ask.model_copy(update={"params": {}})
        return ask.put(self.write, token)


class OffsetPages(BaseModel):
    """Offset and limit; a page shorter than `size` is the last one.

    Args:
        offset, limit: dotted places of the two in the request.
        size: items per page.
        total: dotted path of the count of all items in the answer, where a page may be short, or a row is not an item.
        counts_rows: whether each item is one row, so that rows that do not come are noticed.
        overlap: items of a page that the next one repeats: so many may leave the pages already read, and hide none.
        ceiling: rows after which the source refuses to page on.
    """

    model_config = ConfigDict(frozen=True)
    offset: str
    limit: str
    size: int
    total: str | None = None
    counts_rows: bool = False
    overlap: int = 0
    ceiling: int | None = None

    def first(self, ask: Ask) -> Ask:
        return ask.put(self.offset, 0).put(self.limit, self.size)

    def after(self, ask: Ask, body: Any, row_count: int, headers: dict[str, str]) -> Ask | None:
        if self.total is None and row_count < self.size:
            return None
        area, *steps = self.offset.split(".")
        node: Any = ask.params if area == "params" else ask.json_body
        for step in steps:
            node = node[int(step)] if isinstance(node, list) else node[step]
        if self.total is not None and int(node) + self.size >= _counted(body, self.total):
            return None
        return ask.put(self.offset, int(node) + self.size - self.overlap)

    def told(self, body: Any) -> int | None:
        """How many rows the source has for the request; None where it does not say."""
        return _counted(body, self.total) if self.total is not None and self.counts_rows else None


# A target may hold commas and semicolons; they part links only outside the angle brackets.
_LINK = re.compile(r"<([^>]*)>([^<]*)")
_NEXT = re.compile(r"""rel\s*=\s*(?:next\b|"[^"]*\bnext\b[^"]*"|'[^']*\bnext\b[^']*')""", re.IGNORECASE)


class LinkHeader(BaseModel):
    """RFC 8288 `Link: <...>; rel="next"`."""

    model_config = ConfigDict(frozen=True)
    ceiling: int | None = None

    def first(self, ask: Ask) -> Ask:
        return ask

    def after(self, ask: Ask, body: Any, row_count: int, headers: dict[str, str]) -> Ask | None:
        for target, parameters in _LINK.findall(headers.get("link", "")):
            if _NEXT.search(parameters):
                return Ask(path=target.strip(), headers=ask.headers)
        return None


class NextLink(BaseModel):
    """The answer holds the address of the next page, whole or relative: OData's `@odata.nextLink`, `d.__next` before V4.

    Args:
        read: names to follow to the address, from the outermost; a name may hold dots.
        base: path that a relative address continues, such as the service's root; it ends in a slash.
    """

    model_config = ConfigDict(frozen=True)
    read: tuple[str, ...] = ("@odata.nextLink",)
    base: str = "/"
    ceiling: int | None = None

    def first(self, ask: Ask) -> Ask:
        return ask

    def after(self, ask: Ask, body: Any, row_count: int, headers: dict[str, str]) -> Ask | None:
        for name in self.read:
            body = body.get(name) if isinstance(body, dict) else None
        if not body:
            return None
        if not isinstance(body, str):
            raise ProtocolError(f"the next page's address at {'.'.join(self.read)} is {body!r}")
        return Ask(path=urljoin(self.base, body), headers=ask.headers)


class KeysetPages(BaseModel):
    """The next page starts after the last row's key: for sources that filter and sort by it.

    Unlike an offset it passes over no row when rows change, come or go while the pages are read. The declaration's
    `ask` puts a comparison such as `["id", ">", 0]` into the request, and sorts by the key.

    Args:
        write: dotted place of the comparison's value, such as `json.domain.0.2`.
        rows: dotted path of the rows in the answer.
        read: dotted path of the key in a row.
        size: rows per page; a shorter page is the last one.
        limit: dotted place of the page size in the request, if `ask` does not put it there.
        more: dotted path of a boolean that says whether a page follows, where the source says so.
    """

    model_config = ConfigDict(frozen=True)
    write: str
    rows: str = ""
    read: str = "id"
    size: int
    limit: str | None = None
    more: str | None = None
    ceiling: int | None = None

    def first(self, ask: Ask) -> Ask:
        return ask if self.limit is None else ask.put(self.limit, self.size)

    def after(self, ask: Ask, body: Any, row_count: int, headers: dict[str, str]) -> Ask | None:
        if (row_count < self.size) if self.more is None else (not dig(body, self.more)):
            return None
        if row_count == 0:
            raise ProtocolError("the answer says that a page follows, but it has no row to go on from")
        key = dig(dig(body, self.rows)[-1], self.read)
        if key is None:
            raise ProtocolError(f"the last row of the page has no {self.read!r} to go on from")
        return ask.put(self.write, key)


class NumberedPages(BaseModel):
    """Page numbers and a page size, for sources that say how many rows there are, or whether a page follows.

    Where the rows are sorted by change time, newest first, a row that changes while the pages are read leaves the
    window, and those behind it move up by one place: read forwards, one of them is passed over. With `count_size` the
    pages are counted first and read from the last to the first, so that at most a row comes twice.

    Args:
        page, limit: dotted places of the page number and the page size in the request.
        size: rows per page.
        first_page: number of the first page, 0 or 1.
        more: dotted path of a boolean that says whether a page follows; else a full page is followed by another.
        total: dotted path of the number of rows in the answer.
        count_size: page size, other than `size`, of the request that counts; rows that fit it are read by it. Needs
            `total`.
        marks: place -> value, put into the requests that follow the counting one (vendors that count on request alone).
        ceiling: rows after which the source refuses to page on; needs `total`. The extractor asks for less then: it
            halves the change window.
    """

    model_config = ConfigDict(frozen=True)
    page: str
    limit: str
    size: int
    first_page: int = 1
    more: str | None = None
    total: str | None = None
    count_size: int | None = None
    marks: dict[str, Any] = Field(default_factory=dict)
    ceiling: int | None = None

    def first(self, ask: Ask) -> Ask:
        return ask.put(self.limit, self.count_size or self.size).put(self.page, self.first_page)

    def overflows(self, body: Any) -> bool:
        """Whether the answer counts more rows than the source hands out."""
        return self.ceiling is not None and self._count(body) > self.ceiling

    def only_counts(self, ask: Ask, body: Any) -> bool:
        """Whether the rows of this answer come again: it was asked for to know the last page."""
        return (
            self.count_size is not None
            and int(_value_at(ask, self.limit)) == self.count_size
            and self._count(body) > self.count_size
        )

    def after(self, ask: Ask, body: Any, row_count: int, headers: dict[str, str]) -> Ask | None:
        number = int(_value_at(ask, self.page))
        if self.only_counts(ask, body):
            last = self.first_page + (self._count(body) - 1) // self.size
            ask = ask.put(self.limit, self.size).put(self.page, last)
            for place, value in self.marks.items():
                ask = ask.put(place, value)
            return ask
        if self.count_size is not None:
            return None if number == self.first_page else ask.put(self.page, number - 1)
        if not (dig(body, self.more) if self.more is not None else row_count >= self.size):
            return None
        return ask.put(self.page, number + 1)

    def told(self, body: Any) -> int | None:
        """How many rows the source has for the request; None where it does not say."""
        return _counted(body, self.total) if self.total is not None else None

    def _count(self, body: Any) -> int:
        return _counted(body, self.total or "")


def _counted(body: Any, path: str) -> int:
    counted = dig(body, path)
    if isinstance(counted, bool) or not isinstance(counted, int | str) or not str(counted).isdigit():
        raise ProtocolError(
            f"the answer does not say at {path!r} how many rows there are, but {str(counted)[:80]!r}"
        )
    return int(counted)


def _value_at(ask: Ask, place: str) -> Any:
    area, _, rest = place.partition(".")
    return dig(ask.params if area == "params" else ask.json_body, rest)
