"""Bad input while pulling: each fault is one clear sentence or one quarantined row; everything else goes on."""

from __future__ import annotations

import errno
import gzip
import json
import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors import client as client_room
from connectors import extract, quarantine, registry
from connectors import landing as landing_room
from connectors.check import check_source
from connectors.client import Client
from connectors.declare import (
    FatalError,
    Field,
    LinkHeader,
    NoAuth,
    OAuthRefresh,
    OffsetPages,
    RateLimit,
    Source,
)
from connectors.extract import PullResult, pull_source, pull_stream
from connectors.landing import Batch, Landing

Pull = Callable[..., dict[str, PullResult]]


def landed(landing: Landing, stream: str) -> list[dict[str, Any]]:
    """Rows of a stream in all visible batches."""
    files = [batch.files[stream] for batch in landing.batches() if stream in batch.files]
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def law_holds(landing: Landing) -> bool:
    """Whether pulled = landed + quarantined for every stream."""
    return all(count.pulled == count.landed + count.quarantined for count in landing.counts())


def with_stream(source: Source, **changes: Any) -> Source:
    """The shop with its items stream changed."""
    orders, items = source.streams
    return source.model_copy(update={"streams": (items.model_copy(update=changes), orders)})


# What the source does as a whole


@pytest.mark.parametrize(
    ("status", "word"), [(401, "ORDERHUB_SHOP_TOKEN"), (403, "not permitted"), (404, "rejected")]
)
def test_a_refusal_is_said_once_with_the_remedy(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing, status: int, word: str
) -> None:
    desk.routes["/orders"] = kit.Reply({"message": "who are you?"}, status)
    results = pull_shop()
    assert word in (results["orders"].error or "")
    assert "who are you?" in (results["orders"].error or "")
    assert len([path for path, _, _ in desk.seen if path == "/orders"]) == 1, "a refusal is not repeated"
    assert results["items"].error is None, "the other stream goes on"
    assert results["items"].landed == 1
    assert landing.cursor("shop", "orders") is None
    assert [batch.stream for batch in landing.batches()] == ["items"]


@pytest.mark.parametrize(
    ("content", "status", "what_to_do"),
    [
        ({"message": "unknown key"}, 401, "Check ORDERHUB_SHOP_TOKEN."),
        ({"message": "no access"}, 403, "Give our credential access to shop.items."),
        ({"message": "no such field"}, 400, "orderhub sources check shop compares"),
        ({"error": "maintenance"}, 200, "orderhub sources check shop compares"),
        (b"<!doctype html><title>Sign in</title>", 200, "pull again later"),
        ({"items": [{"id": "i1"}], "next": "same"}, 200, "orderhub sources check shop compares"),
        ({}, 429, "pull again later"),
        ({}, 503, "pull again later"),
    ],
    ids=["key", "permission", "rejected", "error body", "html", "endless", "too many", "down"],
)
def test_what_went_wrong_names_source_and_stream_and_what_to_do(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, monkeypatch: pytest.MonkeyPatch, content: Any, status: int,
    what_to_do: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(client_room, "MAX_ATTEMPTS", 2)
    desk.routes["/items"] = kit.Reply(content, status)
    results = pull_shop()
    error = results["items"].error or ""
    assert error.startswith("shop.items: ") and what_to_do in error, error
    assert results["orders"].error is None, "the other stream goes on"


def test_a_missing_secret_names_the_variable(pull_shop: Pull, desk: Any) -> None:
    results = pull_shop({"ORDERHUB_SHOP_TOKEN": ""})
    assert all("ORDERHUB_SHOP_TOKEN is not set" in (item.error or "") for item in results.values())
    assert desk.seen == []


@pytest.mark.parametrize("token", ["geheim‚nis", "two\nlines", "tab\there"])
def test_a_secret_that_no_header_can_carry_is_refused_without_showing_it(pull_shop: Pull, token: str) -> None:
    results = pull_shop({"ORDERHUB_SHOP_TOKEN": token})
    for item in results.values():
        assert "copy it again" in (item.error or "")
        assert token not in (item.error or "")


@pytest.mark.parametrize(
    "address", ["http://[::1", "ftp://127.0.0.1", "127.0.0.1:80", "http://127.0.0.1:port"]
)
def test_an_address_that_is_none_is_said_at_once(pull_shop: Pull, address: str) -> None:
    results = pull_shop({"ORDERHUB_SHOP_URL": address})
    assert all("ORDERHUB_SHOP_URL" in (item.error or "") for item in results.values())


def test_an_unreachable_host_is_said_after_some_tries(pull_shop: Pull, landing: Landing) -> None:
    results = pull_shop({"ORDERHUB_SHOP_URL": "http://127.0.0.1:9"})
    for item in results.values():
        assert "cannot reach http://127.0.0.1:9" in (item.error or "")
        assert "gave up after 6 attempts" in (item.error or "")
    assert landing.batches() == []


def test_a_server_that_never_answers_times_out(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_room, "MAX_ATTEMPTS", 1)
    desk.routes["/items"] = kit.Reply({"items": []}, drip=30)
    source = kit.SHOP.model_copy(update={"timeout_seconds": 0.1})
    assert "no answer within 0.1 s" in (pull_shop(source=source)["items"].error or "")


def test_a_server_that_drips_forever_is_cut_off(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_room, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(client_room, "MAX_ANSWER_SECONDS", 0.1)
    desk.routes["/items"] = kit.Reply(b" " * 10_000, drip=0.01)
    assert "has not ended" in (pull_shop()["items"].error or "")


def test_an_answer_larger_than_the_limit_is_refused(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_room, "MAX_ANSWER_BYTES", 2**20)
    # As compressed as it likes to be: what counts is what it unpacks to.
    bomb = gzip.compress(b'{"items": [' + b" " * 2**24 + b"]}")
    desk.routes["/items"] = kit.Reply(bomb, headers={"Content-Encoding": "gzip"})
    results = pull_shop()
    assert "larger than 1 MiB" in (results["items"].error or "")
    assert results["orders"].error is None


def test_a_redirect_is_not_followed(desk: Any, kit: SimpleNamespace, pull_shop: Pull) -> None:
    desk.routes["/items"] = kit.Reply({}, 302, {"Location": "http://elsewhere.example/items"})
    error = pull_shop()["items"].error or ""
    assert "redirected (302) to http://elsewhere.example/items" in error
    assert "set ORDERHUB_SHOP_URL" in error


@pytest.mark.parametrize(
    "target",
    [
        "http://elsewhere.example/items",
        "{base}0/items",
        "{base}.elsewhere.example/items",
        "{base}@elsewhere.example/",
        "http://[::1",
    ],
)
def test_a_next_page_on_another_host_is_refused(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing, target: str
) -> None:
    link = f'<{target.format(base=desk.url)}>; rel="next"'
    desk.routes["/items"] = kit.Reply({"items": [{"id": "i1"}]}, headers={"Link": link})
    results = pull_shop(source=with_stream(kit.SHOP, pages=LinkHeader()))
    assert "another host" in (results["items"].error or "")
    assert landed(landing, "items") == [], "nothing of a pull that failed is visible"


# Retries


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing, status: int
) -> None:
    desk.routes["/items"] = [
        kit.Reply({}, status),
        kit.Reply({}, status),
        kit.Reply({"items": [{"id": "i1"}]}),
    ]
    assert pull_shop()["items"].error is None
    assert len(landed(landing, "items")) == 1


def wait_asked_for(kit: SimpleNamespace, desk: Any, reply: Any) -> float:
    """Seconds a client sleeps before it repeats a request answered so."""
    waits: list[float] = []
    source = kit.SHOP.model_copy(update={"auth": NoAuth()})
    desk.routes["/items"] = [reply, kit.Reply({"items": []})]
    with Client(source, desk.env, sleep=waits.append) as client:
        client.send(source.streams[1], source.streams[1].ask(None))
    return max(waits)


def test_retry_after_is_heeded_as_seconds_and_as_a_date(desk: Any, kit: SimpleNamespace, quick: None) -> None:
    busy = {"status": 503}
    assert wait_asked_for(kit, desk, kit.Reply(headers={"Retry-After": "7"}, **busy)) == 7
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < wait_asked_for(kit, desk, kit.Reply(headers={"Retry-After": at}, **busy)) <= 90
    past = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    for odd in (past, "soon", "-5", "nan"):
        assert wait_asked_for(kit, desk, kit.Reply(headers={"Retry-After": odd}, **busy)) < 1, odd


@pytest.mark.parametrize("header", ["3600", "inf"])
def test_a_wait_that_is_too_long_is_said_instead_of_waited(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, header: str
) -> None:
    desk.routes["/items"] = kit.Reply({}, 429, {"Retry-After": header})
    results = pull_shop()
    assert "pull again then" in (results["items"].error or "")
    assert results["orders"].error is None


# Pages that are not what they should be


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<!doctype html><title>Sign in</title>", "is not what it should be"),
        (b'{"items": [{"id": "i1"}, {"id"', "is not what it should be"),
        (b"", "is not what it should be"),
        (b"\xff\xfe\x00\x00", "is not what it should be"),
        (b'{"items": [{"id": NaN}]}', "is not what it should be"),
        (b"[" * 5000, "is not what it should be"),
        (b'{"a": 12345678901234567890, "b": ' + b"[" * 100_000, "is not what it should be"),
        (b'{"items": {"id": "i1"}}', "expected a list at 'items'"),
        (b'{"error": "maintenance until noon"}', "maintenance until noon"),
        (b'{"errors": [{"message": "bad cursor"}]}', "bad cursor"),
        (b'"just a text"', "just a text"),
        (b"null", "no list at 'items'"),
        (b"[]", "no list at 'items'"),
    ],
)
def test_a_malformed_page_fails_its_stream_alone(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing, content: bytes, why: str
) -> None:
    desk.routes["/items"] = kit.Reply(content)
    results = pull_shop()
    assert why in (results["items"].error or ""), results["items"]
    assert results["orders"].error is None
    assert law_holds(landing)
    assert landed(landing, "items") == []


def test_a_page_in_another_encoding_than_it_declares_is_said_and_nothing_of_it_is_guessed(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing
) -> None:
    # Half of the page is UTF-8, as declared; one title went through an old system.
    page = '{{"items": [{{"id": "i1", "title": "玫瑰"}}, {{"id": "i2", "title": "{}"}}]}}'.format
    title = "玫瑰面霜"
    content = page("?").encode().replace(b"?", title.encode("gbk"))
    desk.routes["/items"] = kit.Reply(content, headers={"Content-Type": "application/json; charset=utf-8"})
    results = pull_shop()
    error = results["items"].error or ""
    assert error.startswith("shop.items: ")
    assert "(application/json; charset=utf-8) is not what it should be" in error
    assert "UTF-8" in error, error
    assert landed(landing, "items") == [], "no letter is replaced, no row of the page is passed over"
    assert results["orders"].error is None and len(landed(landing, "orders")) == 1
    desk.routes["/items"] = kit.Reply(page(title).encode())
    assert pull_shop()["items"].landed == 2
    assert landed(landing, "items")[1]["title"] == title


def test_half_a_page_and_damaged_compression_are_tried_again(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing
) -> None:
    whole = kit.Reply({"items": [{"id": "i1"}]})
    packed = gzip.compress(whole.content)
    damaged = packed[:12] + b"\x00\xff\x00" + packed[15:]
    desk.routes["/items"] = [
        kit.Reply(whole.content, cut=9),
        kit.Reply(damaged, headers={"Content-Encoding": "gzip"}),
        kit.Reply(whole.content[:9]),
        whole,
    ]
    assert pull_shop()["items"].error is None
    assert [row["item_id"] for row in landed(landing, "items")] == ["i1"]


def test_a_fault_on_a_later_page_leaves_nothing_of_the_stream_visible(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing
) -> None:
    answers = {"": {"orders": [kit.order(1)], "next": "2"}, "2": {"message": "session expired"}}
    desk.routes["/orders"] = lambda query: kit.Reply(answers[query.get("page", "")])
    results = pull_shop()
    assert "session expired" in (results["orders"].error or "")
    assert results["orders"].pages == 2
    assert landed(landing, "orders") == landed(landing, "order_lines") == []
    assert landing.cursor("shop", "orders") is None, "the next pull asks for everything again"
    answers["2"] = {"orders": [kit.order(2)]}
    assert pull_shop()["orders"].landed == 6


def test_pages_that_never_end_are_noticed(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.routes["/items"] = kit.Reply({"items": [{"id": "i1"}], "next": "same"})
    assert "paging does not advance" in (pull_shop()["items"].error or "")
    circle = {"": "a", "a": "b", "b": "a"}
    desk.routes["/items"] = lambda query: kit.Reply({"items": [], "next": circle[query.get("page", "")]})
    assert "paging does not advance" in (pull_shop()["items"].error or "")
    count = iter(range(1000))
    desk.routes["/items"] = lambda query: kit.Reply({"items": [{"id": "i1"}], "next": str(next(count))})
    assert "bring the same rows; paging does not advance" in (pull_shop()["items"].error or "")
    paged = with_stream(kit.SHOP, pages=OffsetPages(offset="params.offset", limit="params.limit", size=1))
    desk.routes["/items"] = kit.Reply({"items": [{"id": "i1"}]})
    assert "pages 1 to 4 bring the same rows" in (pull_shop(source=paged)["items"].error or "")
    monkeypatch.setattr(extract, "MAX_PAGES", 20)
    desk.routes["/items"] = lambda query: kit.Reply(
        {"items": [{"id": str(next(count))}], "next": str(next(count))}
    )
    assert "paging does not end" in (pull_shop()["items"].error or "")


def test_a_page_that_a_cache_answers_again_costs_no_row(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing
) -> None:
    pages = [kit.Reply({"items": [{"id": name}], "next": name}) for name in ("a", "b")]
    last = kit.Reply({"items": [{"id": "c"}]})
    desk.routes["/items"] = [pages[0], pages[0], pages[1], last]
    assert pull_shop()["items"].error is None
    assert [row["item_id"] for row in landed(landing, "items")] == ["a", "b", "c"]
    # A source that really sends a page twice is believed the second time.
    again = kit.Reply({"items": [{"id": "a"}], "next": "z"})
    desk.routes["/items"] = [pages[0], again, again, last]
    assert pull_shop()["items"].error is None


# Token endpoints


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ({"body": {"error": "invalid_grant"}, "status": 400}, "Check the client id"),
        ({"body": {}, "status": 302}, "Check the client id"),
        ({"body": b"<html>", "status": 200}, "holds no token"),
        ({"body": {"token": "x"}, "status": 200}, "holds no token"),
        ({"body": [], "status": 200}, "holds no token"),
        ({"body": {}, "status": 503}, "the token endpoint failed (503)"),
    ],
)
def test_a_token_endpoint_that_fails_is_said_plainly(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, reply: dict[str, Any], why: str
) -> None:
    source = kit.SHOP.model_copy(update={"auth": OAuthRefresh(token_url="/token")})
    desk.routes["/token"] = kit.Reply(**reply)
    names = ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN")
    results = pull_shop({f"ORDERHUB_SHOP_{name}": "x" for name in names}, source=source)
    assert all(why in (item.error or "") for item in results.values()), results


def test_an_expired_token_is_renewed_and_a_forbidden_stream_is_not_mistaken_for_it(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull
) -> None:
    source = kit.SHOP.model_copy(update={"auth": OAuthRefresh(token_url="/token")})
    desk.routes["/token"] = kit.Reply({"access_token": "t", "expires_in": 3600})
    desk.routes["/orders"] = [
        kit.Reply({"message": "token expired"}, 403),
        kit.Reply({"orders": [kit.order()]}),
    ]
    desk.routes["/items"] = kit.Reply({"message": "no access to items"}, 403)
    names = ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN")
    results = pull_shop({f"ORDERHUB_SHOP_{name}": "x" for name in names}, source=source)
    assert results["orders"].error is None
    assert "no access to items" in (results["items"].error or "")


# Rows that are not what they should be


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"currency": "XXL"}, "currency: Value error, unknown currency 'XXL'"),
        ({"currency": "€"}, "unknown currency"),
        ({"currency": None}, "currency: Input should be a valid string"),
        ({"total": "12,50"}, "total: Input should be a valid decimal"),
        ({"total": "1e20"}, "total: Decimal input should have no more than"),
        ({"total": 0.00001}, "total: Decimal input should have no more than 4 decimal places"),
        ({"total": "NaN"}, "total: Input should be a finite number"),
        ({"total": {"amount": 5}}, "total:"),
        ({"updated_at": "2026-02-30T10:00:00Z"}, "updated_at:"),
        ({"updated_at": "2026-03-01T10:00:00"}, "updated_at: Input should have timezone info"),
        ({"updated_at": 1772330000}, "a bare number is not a time"),
        ({"updated_at": "46082.4"}, "a bare number is not a time"),
        ({"updated_at": "9999-12-31T23:59:59-12:00"}, "outside the calendar"),
        ({"id": None}, "id: Input should be a valid string"),
        ({"id": ""}, "id: String should have at least 1 character"),
        ({"id": ["o1"]}, "id: Input should be a valid string"),
        ({"note": "a\u0000b"}, "NUL"),
        ({"count": 2**63}, "fits no column"),
        ({"count": -(2**63) - 1}, "fits no column"),
        ({"count": "many"}, "count: Input should be a valid integer"),
        ({"count": 1.5}, "count: Input should be a valid integer"),
    ],
)
def test_a_bad_row_waits_in_quarantine_with_its_reason(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing, changes: dict[str, Any], why: str
) -> None:
    bad = kit.order(2, **changes)
    content = json.dumps({"orders": [kit.order(1), bad, kit.order(3)]}).encode()
    desk.routes["/orders"] = kit.Reply(content)
    result = pull_shop()["orders"]
    assert (result.error, result.landed, result.quarantined) == (None, 6, 1)
    assert {row["order_id"] for row in landed(landing, "orders")} == {"o1", "o3"}
    assert {row["order_id"] for row in landed(landing, "order_lines")} == {"o1", "o3"}
    (row,) = quarantine.list_rows(landing, "shop")
    assert why in row.error, row.error
    assert row.row_index == 1
    assert json.loads(landing.read_page(row.page_sha256))["orders"][row.row_index] == bad
    assert json.loads(row.payload) == bad
    assert law_holds(landing)


@pytest.mark.parametrize("row", [None, 7, "text", [], {}, [{"id": "i1"}]])
def test_a_row_that_is_no_object_waits_in_quarantine(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing, row: Any
) -> None:
    desk.routes["/items"] = kit.Reply({"items": [row, {"id": "i2"}]})
    result = pull_shop()["items"]
    assert (result.landed, result.quarantined) == (1, 1)
    assert law_holds(landing)


def test_a_bad_child_waits_alone_tied_to_its_parent(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing
) -> None:
    lines = [{"sku": "A", "qty": "1"}, {"sku": "B", "qty": -1}, {"sku": "", "qty": "x"}, "no line"]
    desk.routes["/orders"] = kit.Reply(
        {"orders": [kit.order(1, lines=lines), kit.order(2, lines={"sku": "C", "qty": 1})]}
    )
    result = pull_shop()["orders"]
    assert (result.landed, result.quarantined) == (4, 3)
    rows = quarantine.list_rows(landing, stream="order_lines")
    assert [(row.row_index, row.child_index) for row in rows] == [(0, 1), (0, 2), (0, 3)]
    assert "greater than or equal to 0" in rows[0].error
    parents = {row["order_id"]: row["_record_hash"] for row in landed(landing, "orders")}
    assert all(json.loads(row.parent or "") == {"hash": parents["o1"], "order_id": "o1"} for row in rows)
    assert law_holds(landing)


def test_duplicate_keys_land_as_they_came_and_count_once_as_news(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing
) -> None:
    desk.routes["/orders"] = kit.Reply(
        {"orders": [kit.order(1, note="a"), kit.order(1, note="b"), kit.order(1, note="a")]}
    )
    assert pull_shop()["orders"].landed == 9
    assert [row["note"] for row in landed(landing, "orders")] == ["a", "b", "a"]
    assert pull_shop()["orders"].changed == 0, "both versions are known"
    assert law_holds(landing)


def test_numbers_come_as_texts_and_as_numbers_and_stay_exact(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing
) -> None:
    rows = [
        b'{"id": 9007199254740993, "updated_at": "2026-03-01T10:00:00Z", "total": "99999999999999.9999"}',
        b'{"id": 12345678901234567890123, "updated_at": "2026-03-01T10:00:00Z", "total": 12345678901234.5678}',
        b'{"id": "007", "updated_at": "2026-03-01T10:00:00Z", "total": 19.9, "count": "12"}',
        b'{"id": 9223372036854775807, "updated_at": "2026-03-01T10:00:00Z", "total": 1e3, "count": 9223372036854775807}',
    ]
    desk.routes["/orders"] = kit.Reply(b'{"orders": [' + b",".join(rows) + b"]}")
    assert pull_shop()["orders"].quarantined == 0
    found = {row["order_id"]: (str(row["total_amount"]), row["count"]) for row in landed(landing, "orders")}
    assert found == {
        "9007199254740993": ("99999999999999.9999", None),
        "12345678901234567890123": ("12345678901234.5678", None),
        "007": ("19.9000", 12),
        "9223372036854775807": ("1000.0000", 2**63 - 1),
    }


def test_half_an_emoji_costs_one_row_not_the_page(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing
) -> None:
    desk.routes["/items"] = kit.Reply(
        b'{"items": [{"id": "i1", "title": "cut \\ud83d"}, {"id": "i2", "title": "\\ud83d\\ude00"}]}'
    )
    result = pull_shop()["items"]
    assert (result.error, result.landed, result.quarantined) == (None, 1, 1)
    assert landed(landing, "items")[0]["title"] == "\U0001f600"
    (row,) = quarantine.list_rows(landing)
    assert "surrogates not allowed" in row.error


def test_nothing_at_all_is_an_empty_batch(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing
) -> None:
    desk.routes = {"/orders": kit.Reply({"orders": []}), "/items": kit.Reply({})}
    results = pull_shop()
    assert [item.error for item in results.values()] == [None, None]
    assert [(count.pulled, count.landed) for count in landing.counts()] == [(0, 0)] * 3


@pytest.mark.parametrize("lost", ["orders", "order_lines"])
def test_a_row_lost_between_page_and_landing_breaks_the_law(
    desk: Any,
    kit: SimpleNamespace,
    pull_shop: Pull,
    landing: Landing,
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
) -> None:
    desk.routes["/orders"] = kit.Reply({"orders": [kit.order(1), kit.order(2)]})
    keep = Batch._keep

    def careless(batch: Batch, name: str, rows: pa.RecordBatch) -> None:
        keep(batch, name, rows.slice(1) if name == lost else rows)

    monkeypatch.setattr(Batch, "_keep", careless)
    result = pull_shop()["orders"]
    assert result.error is None
    assert result.pulled > result.landed + result.quarantined
    (count,) = (count for count in landing.counts() if count.stream == lost)
    assert count.pulled - count.landed - count.quarantined == 1


def test_a_full_disk_fails_the_pull_and_shows_nothing_of_it(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.routes["/orders"] = kit.Reply({"orders": [kit.order(1), kit.order(2)]})

    def full(path: Any, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(landing_room, "_write_durably", full)
        result = pull_shop()["orders"]
    assert result.error is not None and "No space left on device" in result.error
    assert landing.batches() == []
    assert pull_shop()["orders"].error is None


# A bad row that comes again


def test_a_bad_row_that_comes_again_waits_once(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing
) -> None:
    bad = kit.order(2, total="much", updated_at="2026-03-01T11:00:00+08:00")
    child = kit.order(3, lines=[{"sku": "", "qty": "1"}])
    desk.routes["/orders"] = kit.Reply({"orders": [kit.order(1), bad, child]})
    for _ in range(3):
        assert pull_shop()["orders"].quarantined == 2
        assert law_holds(landing)
    waiting = quarantine.list_rows(landing)
    assert sorted((row.stream, row.seen) for row in waiting) == [("order_lines", 3), ("orders", 3)]
    # Another content is another row, also of the same order.
    desk.routes["/orders"] = kit.Reply({"orders": [{**bad, "note": "changed"}]})
    pull_shop()
    assert sorted(row.seen for row in quarantine.list_rows(landing)) == [1, 3, 3]
    assert law_holds(landing)


def test_a_bad_row_judged_by_another_model_is_another_row_and_a_replay_answers_one(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing
) -> None:
    desk.routes["/items"] = kit.Reply({"items": [{"id": ""}]})
    pull_shop()
    pull_shop()

    class Item(kit.Item):  # type: ignore[misc,name-defined]
        note: str | None = None

    stricter = with_stream(kit.SHOP, record=Item)
    pull_shop(source=stricter)
    assert [row.seen for row in quarantine.list_rows(landing)] == [2, 1]

    class Free(kit.Item):  # type: ignore[misc,name-defined]
        item_id: str = Field(validation_alias="id")

    mended = with_stream(kit.SHOP, record=Free)
    (done,) = quarantine.replay(landing, mended, quarantine.list_rows(landing)[:1])
    assert done.landed == 1
    assert law_holds(landing)
    assert [row.seen for row in quarantine.list_rows(landing)] == [1]


def test_what_went_wrong_says_what_to_do_about_it(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_room, "MAX_ATTEMPTS", 1)
    desk.routes["/orders"] = kit.Reply({}, 401)
    desk.routes["/items"] = kit.Reply({}, 503)
    refused, down = pull_shop()["orders"], pull_shop()["items"]
    assert (refused.error_kind, refused.is_retryable) == ("fatal", False)
    assert (down.error_kind, down.is_retryable) == ("retryable", True)
    (missing, _) = pull_shop({"ORDERHUB_SHOP_TOKEN": ""}).values()
    assert (missing.error_kind, missing.is_retryable) == ("fatal", False)


def test_what_nobody_foresaw_stops_one_stream_alone(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing
) -> None:
    def broken(bounds: object) -> Any:
        raise RuntimeError("a bug of ours")

    results = pull_shop(source=with_stream(kit.SHOP, ask=broken))
    assert "RuntimeError: a bug of ours" in (results["items"].error or "")
    assert results["orders"].error is None
    assert law_holds(landing)


ODD_BODIES: list[Any] = [
    None, [], {}, "text", 0, [None], {"errors": "x"}, {"errors": {}}, {"errors": [None]}, {"errors": ["x"]}, {"error": None},
    {"error": []}, {"error": {"code": None}}, {"error": 5}, {"data": None}, {"data": []}, {"payload": []}, {"payload": None},
    {"payload": {"inventorySummaries": 5}}, {"result": None}, {"result": {"__class__": "Decimal"}},
    {"result": {"__class__": "datetime", "year": 1}}, {"result": {"__class__": "Decimal", "decimal": "x"}},
    {"results": {}}, {"paging": None}, {"extensions": []}, {"status": "error", "message": "no"},
]  # fmt: skip


@pytest.mark.parametrize(
    "name", [name for name, source in registry.sources().items() if not source.reads_files]
)
def test_no_declared_source_stumbles_over_an_odd_answer(
    name: str, desk: Any, kit: SimpleNamespace, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = registry.source(name).model_copy(update={"auth": NoAuth(), "limit": None})
    monkeypatch.setattr(client_room, "MAX_ATTEMPTS", 1)
    env = {f"ORDERHUB_{name.upper()}_URL": desk.url}
    stream = next(stream for stream in source.streams if stream.fan_out is None)
    until = datetime(2026, 3, 1, tzinfo=UTC)
    for body in ODD_BODIES:
        desk.routes = defaultdict(lambda body=body: kit.Reply(body))  # type: ignore[misc]
        with Client(source, env, sleep=lambda _: None) as client:
            result = pull_stream(source, stream, landing, client, until - timedelta(days=1), until)
        assert "nobody foresaw" not in (result.error or ""), body
        assert result.landed == 0


# Checking a source, and many at once


def test_a_check_says_what_differs_and_lands_nothing(
    desk: Any, kit: SimpleNamespace, landing: Landing
) -> None:
    desk.routes["/orders"] = kit.Reply({"orders": [kit.order(1, currency="?", colour="red")]})
    desk.routes["/items"] = kit.Reply({"message": "no"}, 403)
    orders, items = check_source(kit.SHOP, desk.env)
    assert "unknown currency" in orders.verdict
    assert "sent but not read: colour" in orders.verdict
    assert "not permitted" in (items.error or "")
    assert landing.batches() == []


def test_a_check_tells_required_from_optional_and_looks_into_objects(
    desk: Any, kit: SimpleNamespace, landing: Landing
) -> None:
    rows = [
        {"id": "o1", "currency": "EUR", "buyer": {"mail": "x", "tier": 3}},
        kit.order(2, updated_at="soon"),
    ]
    desk.routes["/orders"] = kit.Reply({"orders": rows})
    orders, items = check_source(kit.SHOP, desk.env)
    assert orders.differs and not items.differs
    assert orders.valid == 0 and "updated_at: Field required" in (orders.first_fault or "")
    assert orders.unread == ("buyer",)
    assert orders.absent == ("count", "note")
    desk.routes["/orders"] = kit.Reply({"orders": rows[:1]})
    orders, _ = check_source(kit.SHOP, desk.env)
    assert orders.missing == ("updated_at",)
    assert "required but absent: updated_at" in orders.verdict


def test_a_field_that_comes_within_an_object_or_goes_with_every_row_is_drift(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull
) -> None:
    desk.routes["/items"] = kit.Reply({"items": [{"id": "i1", "title": "a", "box": {"kg": 1, "cm": 2}}]})
    assert pull_shop()["items"].drift == {}
    desk.routes["/items"] = kit.Reply({"items": [{"id": "", "box": {"kg": 1, "colour": "red"}}]})
    result = pull_shop()["items"]
    assert result.quarantined == 1, "what does not land is looked at, too"
    assert result.drift == {"items": {"added": ["box.colour"], "removed": ["box.cm", "title"]}}


def test_one_source_failing_keeps_no_other_from_landing(
    desk: Any, kit: SimpleNamespace, landing: Landing, quick: None
) -> None:
    broken = kit.SHOP.model_copy(update={"name": "other"})
    failed = pull_source(
        broken, landing, {"ORDERHUB_OTHER_URL": "http://127.0.0.1:9", "ORDERHUB_OTHER_TOKEN": "x"}
    )
    fine = pull_source(kit.SHOP, landing, desk.env)
    assert all(item.error for item in failed)
    assert not any(item.error for item in fine)


def test_a_stream_that_fans_out_over_nothing_says_what_to_pull_first(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull
) -> None:
    source = with_stream(kit.SHOP, fan_out=("orders", "order_id"))
    results = pull_shop(source=source)
    assert "pull orders first" in (results["items"].error or "")
    assert results["orders"].error is None
    assert pull_shop(source=source)["items"].error is None


def test_the_client_of_a_stream_keeps_the_budget_of_its_source(
    desk: Any, kit: SimpleNamespace, landing: Landing
) -> None:
    def sleep(seconds: float) -> None:
        raise FatalError(f"would wait {seconds:.0f} s")

    source = kit.SHOP.model_copy(update={"limit": RateLimit(requests=2, seconds=3600)})
    with Client(source, desk.env, sleep=sleep) as client:
        assert [pull_stream(source, stream, landing, client).error for stream in source.streams] == [
            None,
            None,
        ]
        third = pull_stream(source, source.streams[0], landing, client)
    assert "would wait 1" in (third.error or ""), "the third request has to wait for half an hour"


def test_a_page_lands_while_the_source_makes_the_next(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing
) -> None:
    landed = threading.Event()
    was_landed = []

    def answer(query: dict[str, str]) -> Any:
        if "page" not in query:
            return kit.Reply({"orders": [kit.order(1)], "next": "2"})
        was_landed.append(landed.wait(5))
        return kit.Reply({"orders": [kit.order(2)], "next": None})

    desk.routes["/orders"] = answer
    result = pull_shop(streams=["orders"], progress=lambda *_: landed.set())["orders"]
    assert (result.error, result.landed) == (None, 6)
    assert was_landed == [True]


def test_a_page_lands_once_when_the_next_has_to_be_asked_for_again(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull
) -> None:
    seen = []
    desk.routes["/orders"] = [
        kit.Reply({"orders": [kit.order(1)], "next": "2"}),
        kit.Reply(status=503),
        kit.Reply({"orders": [kit.order(2)], "next": None}, cut=5),
        kit.Reply({"orders": [kit.order(2)], "next": None}),
    ]
    result = pull_shop(streams=["orders"], progress=lambda *told: seen.append(told))["orders"]
    assert (result.error, result.pulled, result.landed) == (None, 6, 6)
    assert seen == [("shop", "orders", 1), ("shop", "orders", 2)]


def test_a_page_that_cannot_land_fails_its_stream_while_the_next_is_on_its_way(
    desk: Any, kit: SimpleNamespace, pull_shop: Pull, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    desk.routes["/orders"] = [
        kit.Reply({"orders": [kit.order(1)], "next": "2"}),
        kit.Reply({"orders": [kit.order(2)], "next": None}),
    ]
    with monkeypatch.context() as patch:
        patch.setattr(Batch, "_keep", fail)
        result = pull_shop(streams=["orders"])["orders"]
    assert result.error is not None
    assert "No space left on device" in result.error
    assert landing.batches() == []
    assert pull_shop(streams=["items"])["items"].error is None
