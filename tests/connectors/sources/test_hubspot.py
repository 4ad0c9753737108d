"""HubSpot: our requests and the twin's answers against HubSpot's own contract, then pulls over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

import connectors.sandbox.hubspot as twin
import connectors.sources.hubspot as declared
from connectors.client import Client
from connectors.conformance import Conformance
from connectors.declare import Bounds, ProtocolError, Stream, TokenPages
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing
from connectors.sources.hubspot import SOURCE, Contact


class TestHubSpot(Conformance):
    source = SOURCE
    page_limits = ("json.limit",)


@pytest.mark.parametrize("stream", SOURCE.streams, ids=lambda stream: stream.name)
def test_requests_and_answers_keep_the_contract(
    stream: Stream, contract: Callable[..., Any], serve: Any
) -> None:
    # The published contract is of contacts; companies differ in nothing but the path.
    hubspot = contract("hubspot-contacts.json")
    bounds = Bounds(since=datetime(2026, 7, 1, tzinfo=UTC), until=datetime(2026, 11, 1, tzinfo=UTC))
    with serve("hubspot") as served, Client(SOURCE, served.env) as client:
        ask = stream.pages.first(stream.ask(bounds))
        body = client.send(stream, ask).body
        refused = httpx.post(served.env["ORDERHUB_HUBSPOT_URL"] + stream.path, json=ask.json_body)
    assert hubspot.faults("PublicObjectSearchRequest", ask.json_body) == []
    assert hubspot.faults("CollectionResponseWithTotalSimplePublicObject", body) == []
    assert body["results"]
    assert refused.status_code == 401
    assert hubspot.faults("Error", refused.json()) == []


def test_a_window_bounds_what_is_found(serve: Any) -> None:
    stream = SOURCE.stream("contacts")
    since, until = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
    with serve("hubspot") as served, Client(SOURCE, served.env) as client:
        body = client.send(stream, stream.ask(Bounds(since=since, until=until))).body
    times = [datetime.fromisoformat(item["properties"]["lastmodifieddate"]) for item in body["results"]]
    assert times
    assert min(times) >= since
    assert max(times) < until
    assert times == sorted(times)


def test_an_answer_longer_than_the_ceiling_is_read_whole(
    serve: Any, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twin, "SEARCH_CEILING", 20)
    monkeypatch.setattr(declared, "PAGE_SIZE", 10)
    pages = TokenPages(read="paging.next.after", write="json.after", ceiling=20)
    contacts = SOURCE.stream("contacts").model_copy(update={"pages": pages})
    narrow = SOURCE.model_copy(update={"streams": (contacts,), "limit": None})
    with serve("hubspot", orders=120) as served:
        [result] = pull_source(narrow, landing, served.env)
        shown = {truth.record_id for truth in served.sandbox.truths() if ":contacts:" in truth.record_id}
    assert result.error is None
    assert len(shown) > 20
    assert set(landing.values("hubspot", "contacts", "id")) == {record.rpartition(":")[2] for record in shown}


def test_asking_beyond_the_ceiling_is_an_error(serve: Any) -> None:
    stream = SOURCE.stream("contacts")
    with serve("hubspot") as served, Client(SOURCE, served.env) as client:
        with pytest.raises(ProtocolError, match="10000"):
            client.send(stream, stream.ask(Bounds()).put("json.after", "10000"))


def test_rows_that_break_the_rules_are_quarantined(
    serve: Any, pull: Callable[..., dict[str, PullResult]]
) -> None:
    with serve("hubspot", orders=1500, level="heavy") as served:
        results = pull("hubspot", served.env)
    assert results["contacts"].quarantined > 0
    assert results["contacts"].pulled == results["contacts"].landed + results["contacts"].quarantined


def test_unset_cleared_and_missing_properties_are_all_unknown() -> None:
    raw = {
        "id": "512",
        "archived": False,
        "createdAt": "2026-07-01T08:00:00.123Z",
        "updatedAt": "2026-07-02T08:00:00.123Z",
        "properties": {
            "email": "",
            "phone": None,
            "preference_tags": "vegan; fragrance_free;vegan",
            "hs_email_optout": "true",
            "hs_merged_object_ids": "17;5",
            "lastmodifieddate": "2026-07-02T08:00:00.123Z",
        },
    }
    contact = Contact.model_validate(raw)
    assert (contact.email, contact.phone, contact.city) == (None, None, None)
    assert contact.preference_tags == ["fragrance_free", "vegan"]
    assert contact.merged_object_ids == ["17", "5"]
    assert contact.is_email_optout is True
