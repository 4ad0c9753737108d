"""EPCIS: identifiers in both spellings, GS1's own schemas and examples, what a repository refuses, pulls over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from pydantic import ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

import connectors.sources.epcis as declared
from connectors.client import Client
from connectors.conformance import Conformance
from connectors.declare import Bounds
from connectors.extract import PullResult
from connectors.landing import Landing
from connectors.sources.epcis import SOURCE, Event, check_digit, decode_events, flat_event, gs1_keys

_CONTRACTS = Path(__file__).resolve().parents[4] / "shared" / "contracts"
_EVENT = {
    "type": "ObjectEvent",
    "eventTime": "2026-09-01T08:00:00.000+08:00",
    "eventTimeZoneOffset": "+08:00",
    "recordTime": "2026-09-01T00:05:00.000Z",
    "action": "OBSERVE",
    "bizStep": "https://ref.gs1.org/cbv/BizStep-shipping",
}


class TestEpcis(Conformance):
    source = SOURCE
    page_limits = ("params.perPage",)
    page_size = 300
    orders = 3


@pytest.fixture(scope="session")
def schemas() -> tuple[Draft7Validator, Draft7Validator]:
    """GS1's schemas of answers and of queries; the latter refer to definitions that the former holds."""
    paths = [_CONTRACTS / f"epcis-{name}json-schema.json" for name in ("", "query-")]
    if not all(path.is_file() for path in paths):
        pytest.skip("GS1's EPCIS schemas are not beside the checkout")
    answers, queries = (json.loads(path.read_bytes()) for path in paths)
    event_type = {"type": "string", "enum": [f"{kind}Event" for kind in ("Object", "Aggregation", "Transaction",
                                                                          "Transformation", "Association")]}  # fmt: skip
    shared = {"definitions": {**answers["definitions"], "eventType": event_type}}

    def split_out(uri: str) -> Resource[Any]:
        return Resource(contents=shared, specification=DRAFT7)

    registry: Registry[Any] = Registry(retrieve=split_out)  # type: ignore[call-arg]
    return Draft7Validator(answers), Draft7Validator(queries, registry=registry)


def test_what_we_ask_and_what_we_are_told_keep_gs1s_schemas(
    schemas: tuple[Draft7Validator, Draft7Validator], serve: Any
) -> None:
    answers, queries = schemas
    stream = SOURCE.streams[0]
    since, until = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    ask = stream.pages.first(stream.ask(Bounds(since=since, until=until)))
    # How long a page is, is a parameter of the REST binding, not of the query.
    assert list(queries.iter_errors({k: v for k, v in ask.params.items() if k != "perPage"})) == []
    with serve("epcis", orders=60) as served:
        headers = {"Authorization": f"Bearer {served.env['ORDERHUB_EPCIS_TOKEN']}"}
        url = served.env["ORDERHUB_EPCIS_URL"] + "/events"
        body = httpx.get(url, headers=headers, params={**ask.params, "perPage": 1000}).json()
    kinds = {event["type"] for event in body["epcisBody"]["queryResults"]["resultsBody"]["eventList"]}
    assert kinds == {"ObjectEvent", "AggregationEvent", "TransformationEvent", "AssociationEvent"}
    assert list(answers.iter_errors(body)) == []


@pytest.mark.skipif(
    not (_CONTRACTS / "epcis-examples").is_dir(), reason="GS1's examples are not beside the checkout"
)
def test_every_published_example_is_read() -> None:
    files = sorted((_CONTRACTS / "epcis-examples").glob("*.jsonld"))
    counts = {child.name: 0 for child in SOURCE.streams[0].children}
    for file in files:
        for raw in decode_events(file.read_bytes())["epcisBody"]["eventList"]:
            Event.model_validate(raw)
            for child in SOURCE.streams[0].children:
                counts[child.name] += len([child.record.model_validate(row) for row in raw[child.path]])
    assert len(files) >= 5
    assert {name for name, count in counts.items() if count} == set(counts) - {"event_certificates"}


@pytest.mark.parametrize(
    ("uri", "keys"),
    [
        ("https://id.gs1.org/01/09506000134352/10/ABC%2F1?17=271231", {"gtin14": "09506000134352", "lot_number": "ABC/1"}),
        ("https://shop.example/some/01/9506000134352/21/42", {"gtin14": "09506000134352", "serial": "42"}),
        ("https://id.gs1.org/00/106141412345678908", {"sscc": "106141412345678908"}),
        ("https://id.gs1.org/414/0614141073467", {"gln": "0614141073467"}),
        ("https://id.gs1.org/8004/4000001111", {"giai": "4000001111"}),
        ("urn:epc:class:lgtin:4012345.012345.998877", {"gtin14": "04012345123456", "lot_number": "998877"}),
        ("urn:epc:id:sgtin:0614141.107346.2017", {"gtin14": "10614141073464", "serial": "2017"}),
        ("urn:epc:idpat:sgtin:0614141.107346.*", {"gtin14": "10614141073464"}),
        ("urn:epc:id:sscc:0614141.1234567890", {"sscc": "106141412345678908"}),
        ("urn:epc:id:sgln:0614141.07346.1234", {"gln": "0614141073467"}),
        ("urn:epc:id:gid:95100000.12345.400", {}),
        ("http://transaction.acme.example/po/12345678", {}),
        ("not an address", {}),
    ],
)  # fmt: skip
def test_identifiers_are_read_in_both_spellings(uri: str, keys: dict[str, str]) -> None:
    assert gs1_keys(uri) == keys


@given(
    st.text("0123456789", min_size=13, max_size=13),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20),
)
def test_a_lot_survives_the_way_through_its_address(body: str, lot: str) -> None:
    gtin = body + check_digit(body)
    uri = f"https://id.gs1.org/01/{gtin}/10/{quote(lot, safe='')}"
    assert gs1_keys(uri) == {"gtin14": gtin, "lot_number": lot}


@given(st.text(max_size=60))
def test_no_text_makes_an_identifier_fail(text: str) -> None:
    assert set(gs1_keys(text)) <= {"gtin14", "lot_number", "serial", "sscc", "gln", "giai"}
    gs1_keys(f"urn:epc:id:sgtin:{text}")
    gs1_keys(f"https://id.gs1.org/01/{text}")


def test_an_event_is_laid_out_flat() -> None:
    raw = {
        **_EVENT,
        "type": "AggregationEvent",
        "parentID": "https://id.gs1.org/00/106141412345678908",
        "childQuantityList": [{"epcClass": "https://id.gs1.org/01/09506000134352/10/L1", "quantity": 3}],
        "bizTransactionList": [
            {"type": "desadv", "bizTransaction": "urn:epcglobal:cbv:bt:0614141073467:WH%2FOUT%2F7"}
        ],
        "certificationInfo": "https://certificates.example/ecocert/1",
        "errorDeclaration": {"declarationTime": "2026-09-02T00:00:00Z", "reason": "incorrect_data"},
    }
    flat = flat_event(raw)
    event = Event.model_validate(flat)
    assert event.biz_step == "shipping"
    assert flat["certificates"] == [{"certificate_id": "https://certificates.example/ecocert/1"}]
    assert event.error_declared_at == datetime(2026, 9, 2, tzinfo=UTC)
    assert event.event_id.startswith("sha-256:")
    assert flat_event({**raw, "recordTime": None})["event_id"] == event.event_id
    assert [(row["role"], row["sscc"]) for row in flat["epcs"]] == [("parent", "106141412345678908")]
    assert [(row["role"], row["lot_number"]) for row in flat["quantities"]] == [("child", "L1")]
    assert [(row["number"], row["owner_gln"]) for row in flat["transactions"]] == [
        ("WH/OUT/7", "0614141073467")
    ]


@pytest.mark.parametrize("event", ["text", None, 7, []])
def test_what_is_no_event_is_refused_in_its_row(event: object) -> None:
    body = json.dumps({"epcisBody": {"queryResults": {"resultsBody": {"eventList": [event, _EVENT]}}}})
    broken, whole = decode_events(body.encode())["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
    with pytest.raises(ValidationError):
        Event.model_validate(broken)
    assert Event.model_validate(whole).biz_step == "shipping"


def test_a_sensor_that_reports_spans_keeps_its_extremes() -> None:
    meta = {
        "startTime": "2026-09-01T00:00:00Z",
        "endTime": "2026-09-01T02:00:00Z",
        "deviceID": "urn:epc:id:giai:4.1",
    }
    report = {"type": "Temperature", "minValue": 36.5, "maxValue": 41, "meanValue": 38.7, "uom": "FAH"}
    flat = flat_event({**_EVENT, "sensorElementList": [{"sensorMetadata": meta, "sensorReport": [report]}]})
    [row] = flat["sensor_reports"]
    read = declared.SensorReport.model_validate(row)
    assert (read.span_to, float(read.max_value or 0)) == (datetime(2026, 9, 1, 2, tzinfo=UTC), 41.0)


def test_pages_follow_the_link_header_and_hold_every_event_once(
    serve: Any,
    pull: Callable[..., dict[str, PullResult]],
    landing: Landing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(declared, "PAGE_SIZE", 150)
    with serve("epcis", orders=60) as served:
        result = pull("epcis", served.env)["events"]
        documents = {item.record_id for item in served.sandbox.truths() if item.entity == "order"}
    assert result.error is None
    assert result.pages > 3
    assert result.quarantined < result.landed / 100
    landed = {f"epcis:events:{key}" for key in landing.values("epcis", "events", "event_id")}
    assert len(documents - landed) <= result.quarantined
    for child in SOURCE.streams[0].children:
        assert landing.values("epcis", child.name, "event_id"), child.name


def test_refusals_are_problems_as_the_standard_names_them(serve: Any) -> None:
    with serve("epcis", orders=30) as served, Client(SOURCE, served.env):
        url = served.env["ORDERHUB_EPCIS_URL"] + "/events"
        headers = {"Authorization": f"Bearer {served.env['ORDERHUB_EPCIS_TOKEN']}"}
        anonymous = httpx.get(url)
        old = httpx.get(url, headers={**headers, "GS1-EPCIS-Max": "1.2.0"})
        newer = httpx.get(url, headers={**headers, "GS1-EPCIS-Min": "3.0.0"})
        refused = [
            httpx.get(url, headers=headers, params=params)
            for params in (
                {"GE_recordedTime": "2026-01-01T00:00:00Z"},
                {"GE_recordTime": "yesterday"},
                {"GE_recordTime": "2026-01-01T00:00:00"},
                {"perPage": 0},
                {"eventType": "QuantityEvent"},
                {"nextPageToken": "%%%"},
            )
        ]
        page = httpx.get(url, headers=headers, params={"eventType": "TransformationEvent", "perPage": 3})
    assert anonymous.status_code == 401
    assert anonymous.headers["content-type"].startswith("application/problem+json")
    assert anonymous.json()["type"] == "epcisException:SecurityException"
    assert {answer.status_code for answer in (old, newer)} == {406}
    assert old.json()["type"] == "epcisException:NotAcceptableException"
    assert {answer.status_code for answer in refused} == {400}
    assert {answer.json()["type"] for answer in refused} == {"epcisException:QueryParameterException"}
    assert 'rel="next"' in page.headers["Link"]
    assert page.headers["GS1-EPCIS-Version"].startswith("2.")
    events = page.json()["epcisBody"]["queryResults"]["resultsBody"]["eventList"]
    assert [event["type"] for event in events] == ["TransformationEvent"] * 3
