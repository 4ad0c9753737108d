"""Every list that grows is bounded and read page by page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CURSORS = {"after", "before", "offset"}
# Answers that hold lists and are one thing, shown whole: why each cannot outgrow an answer.
WHOLE = {
    "/availability": "nodes of one SKU: no more than the company has",
    "/customers/{number}": "one customer; the first 1000 orders, the rest by their numbers",
    "/exceptions/statistics": "kinds, of which there are seven",
    "/exceptions/{exception_id}": "one exception and what was decided about it",
    "/finance/periods/{period}/reconciliation": "totals: legs by source and currency",
    "/identity/lookup": "golden ids of one record: at most one of each entity",
    "/identity/pairs": "two records side by side",
    "/identity/{entity}/{golden_id}": "one golden record",
    "/inventory/{sku}": "one SKU wherever it lies",
    "/locations/{number}": "one location",
    "/orders/{number}": "one order with all that is needed to fulfil it",
    "/orders/{number}/flow": "the way of one order",
    "/reservations/{reservation_id}": "one reservation: at most 200 lines",
    "/skus/{number}": "one SKU wherever it lies",
    "/sourcing/decisions/{decision_id}": "one decision: nodes by parameter",
}


def test_every_list_is_bounded_and_has_a_cursor() -> None:
    # The document that another test holds equal to the app's.
    document = json.loads(Path(__file__).with_name("openapi.json").read_text("utf-8"))

    def found(schema: dict[str, Any]) -> dict[str, Any]:
        while "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
        return schema

    paged, whole = set(), set()
    for path, operations in document["paths"].items():
        if "get" not in operations:
            continue
        content = operations["get"]["responses"]["200"]["content"]
        if "application/json" not in content:  # a picture
            continue
        answer = found(content["application/json"]["schema"])
        if answer["type"] != "array" and not any(
            found(item).get("type") == "array" for item in answer.get("properties", {}).values()
        ):
            continue
        parameters = {item["name"]: item["schema"] for item in operations["get"].get("parameters", ())}
        if "limit" in parameters:
            assert "maximum" in parameters["limit"] and "default" in parameters["limit"], path
            assert parameters.keys() & CURSORS, path
            paged.add(path)
        else:
            whole.add(path)
    assert whole == set(WHOLE)
    assert {"/exceptions", "/changes", "/releases", "/identity/tasks", "/finance/{book}"} < paged
