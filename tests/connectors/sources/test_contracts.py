"""Every request we send keeps the vendor's own contract, and every record a contract shows by example is read.

Of Amazon, Square and HubSpot; EPCIS has schemas instead of operations (`test_epcis.py`). Requests are those of each stream:
all of it, a window, the next page, records by key, and all keys there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from jsonschema import Draft4Validator, FormatChecker

from connectors.declare import Ask, Bounds, Stream
from connectors.pagination import dig
from connectors.registry import source

_SINCE, _UNTIL = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 7, 2, tzinfo=UTC)
_KEYS = ("key-1",)
# Which contract a stream's path stands in; Amazon publishes none of its finances here, HubSpot none of companies.
_FILES = {
    ("amazon", "orders"): "amazon-orders-2026-01-01.json",
    ("amazon", "inventory_summaries"): "amazon-fba-inventory.json",
    ("hubspot", "contacts"): "hubspot-contacts.json",
    **{("square", stream.name): "square.json" for stream in source("square").streams},
}
_STREAMS = sorted(_FILES)
# By which keys of an answer Square shows a stream's records; of catalogue objects their type tells.
_SHOWN = {
    "location": "locations", "locations": "locations", "customer": "customers", "customers": "customers",
    "order": "orders", "orders": "orders", "payment": "payments", "payments": "payments", "refund": "refunds",
    "refunds": "refunds", "counts": "inventory_counts",
}  # fmt: skip
_CATALOG = {"ITEM": "catalog_items", "CATEGORY": "catalog_categories"}
# Examples that are no record we could be sent: a price without an order, and orders with their times left out.
_NOT_READ = {"CalculateOrderResponse", "BatchRetrieveOrdersResponse"}


@pytest.mark.parametrize(("name", "stream_name"), _STREAMS, ids=[".".join(item) for item in _STREAMS])
def test_every_request_keeps_the_contract(name: str, stream_name: str, contract: Callable[..., Any]) -> None:
    document = contract(_FILES[name, stream_name]).document
    stream = source(name).stream(stream_name)
    asked = list(_requests(stream))
    assert len(asked) >= 3
    for kind, method, path, ask in asked:
        assert _faults(document, method, path, ask) == [], kind


@pytest.mark.parametrize("schema", ["SearchOrdersRequest", "SearchCustomersRequest"])
def test_a_request_that_breaks_the_contract_is_found(schema: str, contract: Callable[..., Any]) -> None:
    document = contract("square.json").document
    path = "/v2/orders/search" if schema == "SearchOrdersRequest" else "/v2/customers/search"
    assert _faults(document, "POST", path, Ask(json_body={"limit": "many"})) != []
    assert _faults(document, "POST", path, Ask(params={"page": 2}, json_body={})) != []
    assert _faults(document, "PATCH", path, Ask()) != []


def test_every_example_of_square_is_read(contract: Callable[..., Any]) -> None:
    read, streams = 0, {stream.name: stream for stream in source("square").streams}
    not_read = set()
    for name, schema in contract("square.json").document["components"]["schemas"].items():
        for stream_name, row in _shown(schema.get("example")) if name.endswith("Response") else ():
            if name in _NOT_READ:
                not_read.add(name)
            else:
                read += 1
                _read(streams[stream_name], row)
    assert read >= 40
    assert not_read == _NOT_READ


def test_every_example_of_amazon_is_read(contract: Callable[..., Any]) -> None:
    paths = contract("amazon-orders-2026-01-01.json").document["paths"]
    shown = [
        operations["get"]["responses"]["200"]["examples"]["application/json"] for operations in paths.values()
    ]
    orders = [order for body in shown for order in body.get("orders", [body.get("order")])]
    assert len(orders) == 2
    for order in orders:
        _read(source("amazon").stream("orders"), order)


def test_every_example_of_hubspot_is_read(contract: Callable[..., Any]) -> None:
    schemas = contract("hubspot-contacts.json").document["components"]["schemas"]
    # The one object and the one page that are shown with values. The object has none of a contact's own properties, which
    # we ask for by name: the one that no contact is without is added.
    stream, shown = source("hubspot").stream("contacts"), schemas["SimplePublicObject"]["example"]
    _read(stream, {**shown, "properties": {**shown["properties"], "lastmodifieddate": shown["updatedAt"]}})
    page = {"paging": {"next": schemas["NextPage"]["example"]}, "results": [{}]}
    assert "NTI1Cg%3D%3D" in repr(stream.pages.after(stream.ask(Bounds(since=_SINCE)), page, 1, {}))


def _requests(stream: Stream) -> Iterator[tuple[str, str, str, Ask]]:
    """What is sent for a stream: a name, method, path and request."""
    for kind, bounds in (
        ("all", Bounds(keys=_KEYS)),
        ("since", Bounds(since=_SINCE, keys=_KEYS)),
        ("window", Bounds(since=_SINCE, until=_UNTIL, keys=_KEYS)),
    ):
        ask = stream.pages.first(stream.ask(bounds))
        yield kind, stream.method, ask.path or stream.path, ask
        read = getattr(stream.pages, "read", None)
        if read is not None:
            following = stream.pages.after(ask, _nested(read, "a-token"), 1, {})
            assert following is not None
            yield f"{kind}, next page", stream.method, following.path or stream.path, following
    if stream.lookup is not None:
        ask = stream.lookup.ask(Bounds(keys=_KEYS))
        path = ask.path or stream.lookup.path or stream.path
        yield "by key", stream.lookup.method or stream.method, path, ask
    if stream.sweep is not None:
        sweep = stream.sweep
        method, path = sweep.method or stream.method, sweep.ask.path or sweep.path or stream.path
        yield "all keys", method, path, sweep.pages.first(sweep.ask)


def _nested(path: str, value: str) -> Any:
    head, _, rest = path.partition(".")
    return {head: _nested(rest, value) if rest else value}


def _faults(document: Any, method: str, path: str, ask: Ask) -> list[str]:
    """What is wrong with a request, by an OpenAPI 3 or Swagger 2 document; empty when nothing is."""
    for template, operations in document["paths"].items():
        if re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", template), path) and method.lower() in operations:
            operation = operations[method.lower()]
            break
    else:
        return [f"there is no {method} {path}"]
    found = [_resolved(document, item) for item in operation.get("parameters", ())]
    known = {item["name"]: item for item in found if item["in"] == "query"}
    faults = [f"{name} is not known" for name in ask.params if name not in known]
    faults += [
        f"{name} is missing"
        for name, item in known.items()
        if item.get("required") and name not in ask.params
    ]
    for name, value in ask.params.items():
        if name in known:
            faults += _wrong(
                document, known[name].get("schema", known[name]), _typed(known[name], value), name
            )
    if "requestBody" in operation:
        content = _resolved(document, operation["requestBody"])["content"]["application/json"]
        faults += _wrong(document, content["schema"], ask.json_body, "body")
    elif ask.json_body is not None:
        faults.append("a body is not known")
    return faults


def _resolved(document: Any, node: Any) -> Any:
    while "$ref" in node:
        target = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def _typed(parameter: Any, value: Any) -> Any:
    """A query value as what its parameter says it is."""
    schema = parameter.get("schema", parameter)
    match schema.get("type"):
        case "array":
            return value if isinstance(value, list) else str(value).split(",")
        case "integer" if str(value).isdigit():
            return int(value)
        case "boolean" if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
    return value


def _wrong(document: Any, schema: Any, value: Any, place: str) -> list[str]:
    checked = {key: part for key, part in schema.items() if key not in ("required", "in", "name")} if (
        isinstance(schema.get("required"), bool)
    ) else schema  # fmt: skip
    whole = {
        **checked,
        "components": document.get("components", {}),
        "definitions": document.get("definitions", {}),
    }
    validator = Draft4Validator(whole, format_checker=FormatChecker())
    return [f"{place}: {error.message}" for error in validator.iter_errors(value)]


def _shown(example: Any) -> Iterator[tuple[str, Any]]:
    """Records of our streams in an answer that is shown as an example: stream, row."""
    for key, value in (example or {}).items():
        for row in value if isinstance(value, list) else [value]:
            if key in _SHOWN:
                yield _SHOWN[key], row
            elif isinstance(row, dict) and row.get("type") in _CATALOG:
                yield _CATALOG[row["type"]], row


def _read(stream: Stream, row: Any) -> None:
    stream.record.model_validate(row)
    for child in stream.children:
        for part in dig(row, child.path) or ():
            child.record.model_validate(part)
