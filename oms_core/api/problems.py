"""Every failure as problem+json (RFC 9457), with a type that programs can tell apart."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from starlette.exceptions import HTTPException
from starlette.routing import Route

from oms_core.api.models import Decision, Problem
from oms_core.api.scopes import ScopeError
from oms_core.audit.log import request_id
from oms_core.exceptions.errors import (
    DecidedError,
    ExceptionError,
    ResolutionError,
    UnknownExceptionError,
)
from oms_core.finance.period import FinanceError, UnknownPeriodError
from oms_core.flows import errors as flows
from oms_core.flows.errors import FlowError
from oms_core.fulfilment.errors import ForeignError, FulfilmentError, RefusedError, RequestError, UnknownError
from oms_core.identity.lookup import AmbiguousKeyError
from oms_core.identity.scoring.model import ModelError
from oms_core.identity.stewardship import plain
from oms_core.identity.stewardship.errors import (
    ActivationRefusedError,
    AmbiguousNameError,
    ConflictError,
    ContradictionError,
    DecisionRefusedError,
    UnknownNameError,
)
from oms_core.identity.stewardship.steward import Judged
from oms_core.store.errors import AmbiguousError, DatabaseUnavailableError, NotReleasedError

_log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
_STATUSES = {RequestError: 422, UnknownError: 404, ForeignError: 403, RefusedError: 409}
_KINDS = {
    401: "unauthorized",
    403: "forbidden",
    404: "no-such-route",
    405: "other-method",
    428: "version-needed",
    429: "too-many-requests",
}
_EXCEPTION_STATUSES = {ResolutionError: 422, UnknownExceptionError: 404, DecidedError: 409}
_FLOW_STATUSES = {
    flows.DocumentError: 422, flows.EventError: 422, flows.UnknownError: 404, flows.RoleError: 403, flows.ConflictError: 409,
}  # fmt: skip
_TITLES = {
    "no-such-route": "Nothing is at this address",
    "other-method": "The address takes other methods",
    "too-many-requests": "Too many requests",
    "not-released": "Not found in this release",
    "ambiguous-number": "The number belongs to several",
    "unavailable": "No answer from the database",
    "invalid-request": "The request is not understood",
    "unauthorized": "An API key is needed",
    "forbidden": "The key is of another role",
    "insufficient-scope": "The key lacks the scope",
    "unknown-name": "No record, golden id, task or decision has the name",
    "conflict": "Somebody decided first",
    "contradiction": "Standing decisions say the opposite",
    "version-needed": "Say which version was seen",
    "activation-refused": "The model may not be activated yet",
    "unknown-source": "Nobody of this name sends notifications here",
    "stale": "Signed too long ago",
    "fault": "The server failed",
    "unknown-sku": "No such SKU",
    "unknown-node": "No such node",
    "unknown-reservation": "No such reservation",
    "other-tenant": "The reservation is another tenant's",
    "insufficient-stock": "There is too little",
    "node-closed": "The node is closed",
    "key-reused": "The idempotency key was used for another request",
    "movement-reused": "The movement's id was used for another movement",
    "reservation-expired": "The reservation expired",
    "reservation-state": "The reservation is in another state",
    "cap-below-held": "The channel holds more already",
    "bad-request": "The request makes no sense",
    "unknown-exception": "There is no such exception",
    "unknown-resolution": "The kind has no such resolution",
    "already-decided": "Somebody decided first, or its cause is gone",
    "bad-flow": "The document is no flow, or has faults",
    "trap-state": "Orders would never leave",
    "precedence-taken": "Another flow has the precedence",
    "no-flow": "The order is in no such flow",
    "unknown-flow": "There is no such flow",
    "unknown-event": "The flow knows no such event",
    "event-from-the-future": "The event is from the future",
    "bad-instant": "The event is of no time there is",
    "bad-data": "The event carries what it may not",
    "approval-needed": "Only an approval tells this",
    "timeout-only": "Only a timeout tells this",
    "other-role": "Another role decides here",
    "nothing-to-approve": "Nothing waits for a decision",
    "revision-past": "The order has changed since",
    "bad-quantity": "The quantity makes no sense",
    "fractional-quantity": "What is counted comes whole",
    "other-unit": "The SKU is kept in another unit",
    "unit-needed": "The unit is needed",
    "bad-ttl": "The time to live makes no sense",
    "bad-date": "The date is past",
    "bad-movement": "The movement makes no sense",
    "not-held": "The reservation holds less",
    "other-expiry": "The lot is good until another day",
    "from-the-future": "The movement is from the future",
    "unknown-decision": "No such decision",
    "already-sourced": "The order is being carried out",
    "order-state": "The order is in another state",
    "nothing-to-ship": "Nothing of the order is to be sent",
    "unknown-destination": "Nobody knows where the order goes",
    "unknown-time": "Nobody knows when the order was placed",
    "unknown-tier": "The policy does not know the customer's tier",
    "other-currency": "Costs are in another currency",
    "bad-policy": "The document is no policy",
    "bad-weights": "The weights do not sum to 1",
    "unknown-parameter": "No such parameter",
    "unknown-constraint": "No such constraint",
    "bad-facts": "The document holds no facts",
    "version-reused": "Another document has the version",
    "reason-needed": "A reason is needed",
    "key-needed": "An idempotency key is needed",
    "no-orders": "There is nothing to replay",
    "no-currency": "Costs have no currency to be compared in",
    "bad-factor": "The factor makes no sense",
    "unknown-period": "Nothing was booked in the period",
    "books-refused": "The books refuse it",
}


def problem(
    request: Request,
    status: int,
    kind: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    """One problem answer.

    Args:
        kind: last part of the problem's type, one of the titles known here or an HTTP phrase.
        more: members beside the standard ones.
    """
    body = {
        "type": f"urn:orderhub:problem:{kind}",
        "title": _TITLES.get(kind, kind),
        "status": status,
        "detail": detail,
        "instance": request.url.path,
        "request_id": request_id.get(),
        **more,
    }
    return JSONResponse(jsonable_encoder(body), status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def failures(*statuses: int, **phrases: str) -> dict[int | str, dict[str, Any]]:
    """Answers that can go wrong in a documented way: 401, 422, 429, 500 and 503 always, others by status.

    Args:
        statuses: beside those.
        phrases: another description, as `_409="…"`.
    """
    known = {
        401: "An API key is needed",
        403: "The key is of another role",
        404: "Not found in this release",
        409: "The number belongs to several; `candidates` says where each can be read",
        413: "The body is too long",
        415: "The body is of another kind",
        422: "A parameter is not understood",
        428: "The version that was seen is not named",
        429: "Too many requests; Retry-After says when to go on",
        500: "The server failed; its log says why",
        503: "The database does not answer",
    } | {int(status.removeprefix("_")): phrase for status, phrase in phrases.items()}
    return {
        status: {"model": Problem, "description": known[status], "content": {MEDIA_TYPE: {}}}
        for status in sorted({401, 422, 429, 500, 503, *statuses})
    }


def install(app: FastAPI) -> None:
    """Answer every error of the app with a problem."""

    @app.exception_handler(NotReleasedError)
    def _not_released(request: Request, error: NotReleasedError) -> JSONResponse:
        return problem(request, 404, "not-released", str(error))

    @app.exception_handler(AmbiguousError)
    def _ambiguous(request: Request, error: AmbiguousError) -> JSONResponse:
        query = f"?{request.url.query}" if request.url.query else ""
        places = [f"/{error.entity}s/{candidate}{query}" for candidate in error.candidates]
        return problem(request, 409, "ambiguous-number", str(error), candidates=places)

    @app.exception_handler(UnknownNameError)
    def _unknown(request: Request, error: UnknownNameError) -> JSONResponse:
        return problem(request, 404, "unknown-name", str(error))

    @app.exception_handler(AmbiguousNameError)
    def _several(request: Request, error: AmbiguousNameError) -> JSONResponse:
        return problem(request, 409, "ambiguous-number", str(error), candidates=error.candidates)

    @app.exception_handler(AmbiguousKeyError)
    def _several_ids(request: Request, error: AmbiguousKeyError) -> JSONResponse:
        return problem(request, 409, "ambiguous-number", str(error))

    @app.exception_handler(ConflictError)
    def _conflict(request: Request, error: ConflictError) -> JSONResponse:
        standing = None if error.standing is None else _decision(error.standing)
        return problem(
            request, 409, "conflict", str(error), {"ETag": f'"{error.version}"'}, decision=standing, version=error.version
        )  # fmt: skip

    @app.exception_handler(ContradictionError)
    def _contradiction(request: Request, error: ContradictionError) -> JSONResponse:
        chain = [_decision(item) for item in error.chain]
        return problem(request, 409, "contradiction", str(error), chain=chain)

    @app.exception_handler(ActivationRefusedError)
    def _not_activated(request: Request, error: ActivationRefusedError) -> JSONResponse:
        return problem(request, 409, "activation-refused", str(error))

    @app.exception_handler(DecisionRefusedError)
    @app.exception_handler(ModelError)
    def _refused(request: Request, error: Exception) -> JSONResponse:
        return problem(request, 422, "invalid-request", str(error))

    @app.exception_handler(FulfilmentError)
    def _fulfilment(request: Request, error: FulfilmentError) -> JSONResponse:
        status = next(status for kind, status in _STATUSES.items() if isinstance(error, kind))
        return problem(request, status, error.code, str(error), **error.details)

    @app.exception_handler(UnknownPeriodError)
    def _unknown_period(request: Request, error: UnknownPeriodError) -> JSONResponse:
        return problem(request, 404, "unknown-period", str(error))

    @app.exception_handler(FinanceError)
    def _books(request: Request, error: FinanceError) -> JSONResponse:
        return problem(request, 409, "books-refused", str(error))

    @app.exception_handler(ExceptionError)
    def _exception(request: Request, error: ExceptionError) -> JSONResponse:
        status = next(status for kind, status in _EXCEPTION_STATUSES.items() if isinstance(error, kind))
        return problem(request, status, error.code, str(error), **error.details)

    @app.exception_handler(FlowError)
    def _flow(request: Request, error: FlowError) -> JSONResponse:
        status = next(status for kind, status in _FLOW_STATUSES.items() if isinstance(error, kind))
        return problem(request, status, error.code, str(error), **error.details)

    @app.exception_handler(DatabaseUnavailableError)
    @app.exception_handler(NoConnectionFree)
    def _unavailable(request: Request, error: Exception) -> JSONResponse:
        _log.error("%s: %s", request.url.path, error)
        detail = "the database does not answer, or all its connections are busy: try again shortly"
        return problem(request, 503, "unavailable", detail, {"Retry-After": "2"})

    @app.exception_handler(RequestValidationError)
    def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [{"at": list(e["loc"]), "message": e["msg"]} for e in error.errors()]
        detail = "; ".join(f"{'.'.join(map(str, e['at']))}: {e['message']}" for e in errors)
        return problem(request, 422, "invalid-request", detail, errors=errors)

    @app.exception_handler(HTTPException)
    def _http(request: Request, error: HTTPException) -> JSONResponse:
        kind = _KINDS.get(error.status_code, "invalid-request")
        if isinstance(error, ScopeError):
            kind = "insufficient-scope"
        if error.status_code == 405:  # one address may stand in several routes, and match a wider one
            routes = [route for route in app.routes if isinstance(route, Route)]
            matching = [route for route in routes if route.path_regex.match(request.url.path)]
            nearest = min(matching, key=lambda route: (len(route.param_convertors), -len(route.path))).path
            found = {m for route in matching if route.path == nearest for m in route.methods or ()}
            error.headers = {"Allow": ", ".join(sorted(found))}
        return problem(request, error.status_code, kind, str(error.detail), error.headers)

    @app.exception_handler(SQLAlchemyError)
    @app.exception_handler(Exception)
    def _fault(request: Request, error: Exception) -> JSONResponse:
        _log.error("%s failed", request.url.path, exc_info=error)
        return problem(request, 500, "fault", "the request failed for a reason that the server's log tells")


def _decision(item: Judged) -> dict[str, Any]:
    return Decision.model_validate(plain.decision(item)).model_dump(mode="json")
