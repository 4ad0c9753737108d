"""Zendesk: the two exports and cursor pagination, what the desk refuses and how, then pulls over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

import connectors.sandbox.zendesk as twin
from connectors.conformance import Conformance
from connectors.declare import Bounds, ProtocolError, TokenPages
from connectors.extract import PullResult
from connectors.landing import Landing
from connectors.sources.zendesk import SOURCE, CustomValue, Ticket

_TICKET = {
    "id": 35436,
    "status": "open",
    "created_at": "2026-10-20T22:55:29Z",
    "updated_at": "2026-10-21T10:38:52Z",
    "generated_timestamp": 1_792_600_000,
    "tags": ["return_request"],
    "via": {"channel": "web"},
}


class TestZendesk(Conformance):
    source = SOURCE
    page_limits = ("params.page[size]",)


def test_a_ticket_is_as_new_as_the_system_says() -> None:
    ticket = Ticket.model_validate(_TICKET)
    assert ticket.generated_at == datetime.fromtimestamp(1_792_600_000, UTC)
    assert ticket.via_channel == "web"
    asked_for_by_id = {name: value for name, value in _TICKET.items() if name != "generated_timestamp"}
    assert Ticket.model_validate(asked_for_by_id).generated_at is None


@pytest.mark.parametrize(
    ("value", "text"), [(3, "3"), (True, "true"), (["a", "b"], "a;b"), ([], None), ("", None), (None, None)]
)
def test_a_company_field_of_any_type_is_text(value: object, text: str | None) -> None:
    assert CustomValue.model_validate({"id": 7, "value": value}).value == text


def test_an_export_ends_where_it_says_so_and_not_before() -> None:
    pages = SOURCE.stream("tickets").pages
    assert isinstance(pages, TokenPages)
    first = SOURCE.stream("tickets").ask(Bounds())
    following = pages.after(first, {"after_cursor": "abc", "end_of_stream": False}, 1000, {})
    assert following is not None
    assert following.params == {"cursor": "abc"}
    assert pages.after(first, {"after_cursor": "abc", "end_of_stream": True}, 3, {}) is None
    with pytest.raises(ProtocolError, match="no token"):
        pages.after(first, {"after_cursor": None, "end_of_stream": False}, 1000, {})


def test_pages_of_every_kind_hold_everything_once(
    serve: Any,
    pull: Callable[..., dict[str, PullResult]],
    landing: Landing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(twin, "EXPORT_PAGE", 20)
    with serve("zendesk", orders=200) as served:
        results = pull("zendesk", served.env)
        truths = [truth.record_id for truth in served.sandbox.truths()]
    assert all(result.error is None for result in results.values())
    assert results["tickets"].pages > 1
    assert results["ticket_events"].pages > 1
    landed = {f"zendesk:tickets:{key}" for key in landing.values("zendesk", "tickets", "id")}
    landed |= {f"zendesk:users:{key}" for key in landing.values("zendesk", "users", "id")}
    missing = set(truths) - landed
    # What is not there was refused by its record model.
    assert len(missing) <= results["tickets"].quarantined + results["users"].quarantined
    assert sum(":tickets:" in key for key in truths) > 20


def test_refusals_are_zendesks(serve: Any) -> None:
    with serve("zendesk") as served:
        url, env = served.env["ORDERHUB_ZENDESK_URL"], served.env
        auth = (env["ORDERHUB_ZENDESK_USER"] + "/token", env["ORDERHUB_ZENDESK_TOKEN"])
        anonymous = httpx.get(f"{url}/api/v2/users.json")
        password = httpx.get(f"{url}/api/v2/users.json", auth=(env["ORDERHUB_ZENDESK_USER"], auth[1]))
        greedy = httpx.get(f"{url}/api/v2/users.json", auth=auth, params={"page[size]": 101})
        recent = httpx.get(
            f"{url}/api/v2/incremental/ticket_events.json",
            auth=auth,
            params={"start_time": int(served.sandbox.world.now.timestamp())},
        )
        strange = httpx.get(
            f"{url}/api/v2/incremental/tickets/cursor.json", auth=auth, params={"cursor": "%%"}
        )
        httpx.post(
            f"{served.url}/_sandbox/misbehave", json={"source": "zendesk", "fault": 429, "times": 1}
        ).raise_for_status()
        busy = httpx.get(f"{url}/api/v2/users.json", auth=auth)
        calm = httpx.get(f"{url}/api/v2/users.json", auth=auth, params={"page[size]": 5})
    assert (anonymous.status_code, password.status_code) == (401, 401)
    assert anonymous.json() == {"error": "Couldn't authenticate you"}
    assert (greedy.status_code, greedy.json()["errors"][0]["code"]) == (400, "InvalidPaginationParameter")
    assert (recent.status_code, recent.json()["error"]) == (422, "StartTimeTooRecent")
    assert strange.status_code == 400
    assert (busy.status_code, busy.json()["error"]) == (429, "APIRateLimitExceeded")
    assert int(busy.headers["Retry-After"]) >= 1
    assert calm.json()["meta"]["has_more"] is True
    assert "page[after]=" in calm.json()["links"]["next"]
    assert calm.headers["X-Rate-Limit"] == "700"


def test_rows_that_break_the_rules_are_quarantined(
    serve: Any, pull: Callable[..., dict[str, PullResult]]
) -> None:
    with serve("zendesk", orders=900) as served:
        results = pull("zendesk", served.env)
    assert results["tickets"].quarantined > 0
    assert all(result.pulled == result.landed + result.quarantined for result in results.values())
