"""Windows over change time: cut, split where they overflow, ended by the source's own clock."""

from __future__ import annotations

import email.utils
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.declare import Ask, Bounds, Field, Instant, Kind, NumberedPages, Record, Source, Stream
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing
from connectors.pagination import dig

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
START = NOW - timedelta(days=2)


class Item(Record):
    """One row of the shop under test."""

    item_id: str = Field(validation_alias="id")
    changed_at: Instant = Field(validation_alias="at")


class Note(Record):
    """What the shop says about one item."""

    item_id: str = Field(validation_alias="id")


def _ask(bounds: Bounds) -> Ask:
    assert bounds.since is not None and bounds.until is not None
    return Ask(
        params={"from": bounds.since.timestamp(), "to": bounds.until.timestamp(), "first": bounds.is_first}
    )


def _source(**options: Any) -> Source:
    pages = NumberedPages(
        page="params.page",
        limit="params.size",
        size=4,
        total="total",
        count_size=3,
        ceiling=options.pop("ceiling", None),
    )
    lag = options.pop("lag", timedelta(minutes=10))
    items = Stream(
        name="items", record=Item, key=("item_id",), path="/items", ask=_ask, rows="rows", pages=pages,
        cursor="changed_at", window=timedelta(hours=1), first_window=timedelta(days=1), window_is_cursor=True, lag=lag,
    )  # fmt: skip
    notes = Stream(
        name="notes", record=Note, key=("item_id",), path="/notes", rows="rows", fan_out=("items", "item_id"),
        fan_out_size=50, fan_out_changes=True, ask=lambda bounds: Ask(params={"ids": ",".join(bounds.keys)}),
    )  # fmt: skip
    return Source(name="shop", title="Shop", kind=Kind.POS, owner="tests", streams=(items, notes))


class Shop:
    """Rows by change time, newest first; a row that changes moves to the front. Its clock stands still at `now`."""

    def __init__(self, rows: dict[str, datetime]) -> None:
        self.rows = rows
        self.now = NOW
        self.asked: list[dict[str, str]] = []
        self.touch_on_page: int | None = None

    def answer(self, path: str, asked: dict[str, str]) -> dict[str, Any]:
        if path == "/notes":
            return {"rows": [{"id": key} for key in asked["ids"].split(",")]}
        self.asked.append(asked)
        size, page = int(asked["size"]), int(asked["page"])
        if page == self.touch_on_page:
            self.touch_on_page = None
            oldest = min(self.rows, key=lambda key: (self.rows[key], key))
            self.rows[oldest] = self.now + timedelta(seconds=1)
        inside = [
            (at, key)
            for key, at in self.rows.items()
            if float(asked["from"]) <= at.timestamp() <= float(asked["to"])
        ]
        inside.sort(reverse=True)
        shown = inside[(page - 1) * size : page * size]
        return {"total": len(inside), "rows": [{"id": key, "at": at.isoformat()} for at, key in shown]}


@contextmanager
def _serve(shop: Shop) -> Iterator[dict[str, str]]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = json.dumps(
                shop.answer(parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()})
            ).encode()
            self.send_response_only(200)
            self.send_header("Date", email.utils.format_datetime(shop.now, usegmt=True))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        yield {"ORDERHUB_SHOP_URL": address, "ORDERHUB_SHOP_SINCE": START.isoformat()}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _pull(source: Source, landing: Landing, values: dict[str, str]) -> dict[str, PullResult]:
    results = {result.stream: result for result in pull_source(source, landing, values)}
    assert [result.error for result in results.values()] == [None] * len(results)
    return results


def _spread(count: int, seconds: float) -> dict[str, datetime]:
    return {f"i{number:03d}": START + timedelta(seconds=seconds * number) for number in range(count)}


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    opened = Landing(tmp_path)
    yield opened
    opened.close()


def test_windows_end_by_the_clock_of_the_source_and_the_next_pull_goes_on_there(landing: Landing) -> None:
    shop, source = Shop(_spread(20, 7000)), _source()
    with _serve(shop) as values:
        first = _pull(source, landing, values)
        assert first["items"].changed == 20
        assert first["notes"].pulled == 20
        assert {row["first"] for row in shop.asked} == {"true"}
        assert max(float(row["to"]) for row in shop.asked) <= (NOW + timedelta(days=1)).timestamp()
        cursor = landing.cursor("shop", "items")
        assert cursor is not None and abs(cursor - NOW) < timedelta(minutes=1)

        shop.asked.clear()
        shop.now = NOW + timedelta(hours=2)
        shop.rows["i003"] = NOW + timedelta(hours=1)
        second = _pull(source, landing, values)
        assert second["items"].changed == 1
        # Only what came since the notes were pulled is asked for again.
        assert second["notes"].pulled == 1
        assert {row["first"] for row in shop.asked} == {"false"}
        assert len({row["from"] for row in shop.asked}) == 3


@pytest.mark.parametrize(("since", "starts"), [(None, -72), (-24, -24), (24, 0)])
def test_an_increment_overlaps_no_further_than_the_first_pull_reached(
    landing: Landing, since: int | None, starts: int
) -> None:
    shop, source = Shop(_spread(20, 7000)), _source(lag=timedelta(days=3))
    with _serve(shop) as values:
        _pull(source, landing, values)
        cursor = landing.cursor("shop", "items")
        assert cursor is not None
        del values["ORDERHUB_SHOP_SINCE"]
        if since is not None:
            values["ORDERHUB_SHOP_SINCE"] = (cursor + timedelta(hours=since)).isoformat()
        shop.asked.clear()
        shop.now = NOW + timedelta(days=2)
        _pull(source, landing, values)
    asked_from = min(float(row["from"]) for row in shop.asked)
    assert asked_from == (cursor + timedelta(hours=starts)).timestamp()


def test_a_window_that_holds_too_much_is_halved_and_nothing_is_read_of_it(landing: Landing) -> None:
    shop = Shop(_spread(90, 60))
    with _serve(shop) as values:
        assert _pull(_source(ceiling=10), landing, values)["items"].pulled == 90 + _shared_bounds(shop)
    assert len({row["from"] for row in shop.asked}) > 9


def _shared_bounds(shop: Shop) -> int:
    """Rows that lie on the bound of two windows come with both."""
    starts = {float(row["from"]) for row in shop.asked} - {START.timestamp()}
    return sum(at.timestamp() in starts for at in shop.rows.values())


def test_more_rows_in_one_second_than_the_source_hands_out_is_said(landing: Landing) -> None:
    shop = Shop({f"i{number}": START + timedelta(hours=1) for number in range(12)})
    with _serve(shop) as values:
        result = pull_source(_source(ceiling=10), landing, values)[0]
    assert "more than 10 rows within one second" in (result.error or "")


def test_no_row_is_passed_over_when_one_changes_while_the_pages_are_read(landing: Landing) -> None:
    shop, source = Shop(_spread(19, 60)), _source()
    everything = set(shop.rows)
    shop.touch_on_page = 3
    with _serve(shop) as values:
        _pull(source, landing, values)
        assert everything - set(landing.values("shop", "items", "item_id")) <= {"i000"}
        shop.now = NOW + timedelta(minutes=1)
        _pull(source, landing, values)
    assert set(landing.values("shop", "items", "item_id")) == everything


@settings(max_examples=60, deadline=None, database=None)
@given(st.integers(0, 40), st.integers(1, 7), st.booleans())
def test_numbered_pages_hand_out_every_row_once(count: int, size: int, is_counted: bool) -> None:
    rows = list(range(count))
    pages = NumberedPages(
        page="json.page.no", limit="json.page.size", size=size, first_page=0, total="n",
        more=None if is_counted else "more", count_size=size + 1 if is_counted else None, marks={"json.quick": True},
    )  # fmt: skip
    found: list[int] = []
    ask: Ask | None = pages.first(Ask(json_body={"page": {}}))
    while ask is not None:
        number, limit = dig(ask.json_body, "page.no"), dig(ask.json_body, "page.size")
        part = rows[number * limit : (number + 1) * limit]
        body = {"n": count, "more": (number + 1) * limit < count}
        if not pages.only_counts(ask, body):
            found += part
        ask = pages.after(ask, body, len(part), {})
    assert sorted(found) == rows


def test_a_start_that_is_no_time_is_refused(landing: Landing) -> None:
    values = {"ORDERHUB_SHOP_URL": "http://127.0.0.1:9", "ORDERHUB_SHOP_SINCE": "yesterday"}
    assert "ORDERHUB_SHOP_SINCE 'yesterday' is not a time" in (
        pull_source(_source(), landing, values)[0].error or ""
    )
