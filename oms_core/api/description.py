"""The OpenAPI document, with what FastAPI cannot know of: roles, media types of failures, and headers that every route has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from oms_core.api import problems
from oms_core.api.access import PURPOSE, SECURITY_SCHEMES, Access
from oms_core.api.scopes import needed

_PROBLEM = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_REQUEST_ID = {
    "description": "Name of the request: the one sent, or a new one.",
    "schema": {"type": "string"},
}


def describe(app: FastAPI, access: Access) -> None:
    """Let the app's document tell of each route whom it lets in, as `x-roles` and `x-scope`, and how it fails."""
    document = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = document()
            described.setdefault("components", {})["securitySchemes"] = SECURITY_SCHEMES
            for route in app.routes:
                if isinstance(route, APIRoute) and route.include_in_schema:
                    for method in route.methods:
                        operation = described["paths"][route.path_format][method.lower()]
                        _complete(operation, method, route, access)
        return document()

    app.openapi = openapi  # type: ignore[method-assign]


def roles(route: APIRoute) -> tuple[str, ...] | None:
    """The roles that a route lets in; None where it asks nobody who they are."""
    found = [call.roles for call in _calls(route.dependant) if hasattr(call, "roles")]
    return tuple(dict.fromkeys(role for named in found for role in named)) if found else None


def _complete(operation: dict[str, Any], method: str, route: APIRoute, access: Access) -> None:
    allowed = roles(route)
    if allowed is not None:
        operation["x-roles"] = list(allowed)
        operation["x-scope"] = needed(method, route.path)
        operation["security"] = [{name: []} for name in SECURITY_SCHEMES]
    if any(call is access.reading for call in _calls(route.dependant)):
        operation.setdefault("parameters", []).append(PURPOSE)
    if allowed is not None:
        own = {"403": "The key is of another role, or lacks the scope", "414": "The address is too long"}
        if "requestBody" in operation:
            own |= {"400": "The body cannot be read", "413": "The body is too long"}
        for status, told in own.items():
            operation["responses"].setdefault(status, {"description": told, "content": _PROBLEM})
    for answer in operation["responses"].values():
        answer.setdefault("headers", {})["X-Request-Id"] = _REQUEST_ID
        if problems.MEDIA_TYPE in answer.get("content", {}) and "application/json" in answer["content"]:
            answer["content"][problems.MEDIA_TYPE] = answer["content"].pop("application/json")


def _calls(dependant: Dependant) -> Iterator[Any]:
    for asked in dependant.dependencies:
        yield asked.call
        yield from _calls(asked)
