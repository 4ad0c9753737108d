"""Paging: every page once, in every vendor's manner of handing out pages."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.declare import (
    Ask,
    KeysetPages,
    LinkHeader,
    OffsetPages,
    Pages,
    ProtocolError,
    SinglePage,
    TokenPages,
    dig,
)

QUICK = settings(max_examples=60, deadline=None, database=None)


def walk(pages: Pages, ask: Ask, answer: Any) -> list[int]:
    """Follow pages to the end; `answer(ask)` gives body, rows and headers."""
    found: list[int] = []
    following: Ask | None = pages.first(ask)
    for _ in range(1000):
        body, rows, headers = answer(following)
        found += rows
        following = pages.after(following, body, len(rows), headers)
        if following is None:
            return found
    raise AssertionError("paging does not end")


@QUICK
@given(st.integers(0, 40), st.integers(1, 7))
def test_every_row_comes_once_by_offset_token_key_and_link(count: int, size: int) -> None:
    rows = list(range(1, count + 1))

    def by_offset(ask: Ask) -> tuple[Any, list[int], dict[str, str]]:
        part = rows[ask.params["offset"] : ask.params["offset"] + ask.params["limit"]]
        return {}, part, {}

    def by_token(ask: Ask) -> tuple[Any, list[int], dict[str, str]]:
        start = int(dig(ask.json_body, "page.after") or 0)
        more = start + size < count
        return {"next": {"after": str(start + size) if more else None}}, rows[start : start + size], {}

    def by_key(ask: Ask) -> tuple[Any, list[int], dict[str, str]]:
        part = [row for row in rows if row > ask.json_body["domain"][0][2]][:size]
        return {"result": [{"id": row} for row in part]}, part, {}

    def by_link(ask: Ask) -> tuple[Any, list[int], dict[str, str]]:
        start = int(ask.path.rsplit("=")[-1]) if ask.path else 0
        link = f'<https://x.example/?a=1,2;b&at={start + size}>; rel="next", <https://x.example/>; rel=first'
        return {}, rows[start : start + size], {"link": link} if start + size < count else {}

    assert (
        walk(OffsetPages(offset="params.offset", limit="params.limit", size=size), Ask(), by_offset) == rows
    )
    assert (
        walk(TokenPages(read="next.after", write="json.page.after"), Ask(json_body={"q": 1}), by_token)
        == rows
    )
    keyset = KeysetPages(write="json.domain.0.2", rows="result", size=size)
    assert walk(keyset, Ask(json_body={"domain": [["id", ">", 0]]}), by_key) == rows
    assert walk(LinkHeader(), Ask(), by_link) == rows


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ('<https://x/2>; rel="next"', "https://x/2"),
        ("<https://x/2>; rel=next", "https://x/2"),
        ("<https://x/2>; rel='next'", "https://x/2"),
        ('<https://x/1>; rel="prev", <https://x/2>; title="a, b"; REL="next last"', "https://x/2"),
        ('<https://x/?ids=1,2;3>; rel="next"', "https://x/?ids=1,2;3"),
        ('<https://x/2>; rel="nextish"', None),
        ('<https://x/next>; rel="prev"', None),
        ("", None),
        ("nonsense", None),
    ],
)
def test_link_headers_as_servers_write_them(header: str, target: str | None) -> None:
    following = LinkHeader().after(Ask(headers={"a": "b"}), {}, 1, {"link": header})
    assert (following.path if following else None) == target


def test_a_token_may_need_a_flag_or_stand_alone() -> None:
    flagged = TokenPages(read="end", write="params.after", more="hasNext")
    assert flagged.after(Ask(), {"hasNext": False, "end": "x"}, 1, {}) is None
    with pytest.raises(ProtocolError, match="no token at 'end'"):
        flagged.after(Ask(), {"hasNext": True, "end": ""}, 1, {})
    alone = TokenPages(read="end", write="params.after", alone=True)
    following = alone.after(Ask(params={"since": "1"}), {"end": "x"}, 1, {})
    assert following is not None
    assert following.params == {"after": "x"}
    assert SinglePage().after(Ask(), {"next": "x"}, 99, {}) is None


def test_a_key_that_is_missing_is_said() -> None:
    with pytest.raises(ProtocolError, match="has no 'id' to go on from"):
        KeysetPages(write="params.after", size=1).after(Ask(), [{"name": "x"}], 1, {})


def test_requests_change_by_copy() -> None:
    ask = Ask(params={"a": 1}, json_body={"x": {"y": [1, 2]}})
    assert ask.put("json.x.y.1", 9).json_body == {"x": {"y": [1, 9]}}
    assert ask.put("json.new.deep", 1).json_body == {"x": {"y": [1, 2]}, "new": {"deep": 1}}
    assert ask.put("json.x", None).json_body == {}
    assert ask.put("params.a", None).params == {}
    assert ask == Ask(params={"a": 1}, json_body={"x": {"y": [1, 2]}})
    with pytest.raises(ProtocolError, match="starts with params or json"):
        ask.put("headers.x", 1)


def test_dig_flattens_lists_on_the_way() -> None:
    body = {"orders": [{"lines": [1, 2]}, {"lines": []}, {}, "text", {"lines": [3]}, {"lines": None}]}
    assert dig(body, "orders.lines") == [1, 2, 3]
    assert dig(body, "") is body
    for lost in ("none", "orders.lines.sku", "orders.none.deeper"):
        assert not dig(body, lost)


@QUICK
@given(st.integers(0, 40), st.integers(1, 7))
def test_a_total_ends_the_offset_where_rows_are_not_items(count: int, size: int) -> None:
    items = [[number] * (number % 3) for number in range(count)]  # an item holds no row, one or two

    def answer(ask: Ask) -> tuple[Any, list[int], dict[str, str]]:
        part = items[ask.params["skip"] : ask.params["skip"] + ask.params["take"]]
        return {"total": count}, [row for item in part for row in item], {}

    pages = OffsetPages(offset="params.skip", limit="params.take", size=size, total="total")
    assert walk(pages, Ask(), answer) == [row for item in items for row in item]
    with pytest.raises(ProtocolError, match="does not say at 'total' how many rows there are"):
        pages.after(pages.first(Ask()), {"total": None}, 0, {})
