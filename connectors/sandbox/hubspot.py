"""HubSpot as the sandbox company uses it: people who buy online or hold a loyalty card, and business
customers.

Sales people and web forms fill it: some contacts exist twice, some were merged, names come in either script,
and what a person never gave is missing, null in the web and empty where somebody deleted it. Marketplace
buyers are not in it: the marketplace forbids it. Search works as HubSpot's does, with its filters, its sort
and its ceiling of 10,000.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox.credentials import Credentials
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.limit import RateLimit
from connectors.sandbox.notify import Change
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import MARKETPLACES, Channel, Customer, World

MAX_PAGE = 200
SEARCH_CEILING = 10_000
_COUNTRY = {"CN": ("China", "中国", "CN"), "GB": ("United Kingdom", "UK", "GB"), "DE": ("Germany", "Deutschland", "DE"),
            "FR": ("France", "FR"), "US": ("United States", "USA", "US"), "SG": ("Singapore", "SG"),
            "JP": ("Japan", "日本", "JP"), "ES": ("Spain", "España", "ES")}  # fmt: skip
_ALWAYS_SHOWN = {
    "contacts": ("createdate", "lastmodifieddate"),
    "companies": ("createdate", "hs_lastmodifieddate"),
}


@dataclass(frozen=True)
class _Stored:
    """One CRM object with all its properties; `truth_id` is the customer it shows."""

    id: str
    created_at: datetime
    modified_at: datetime
    properties: dict[str, str | None]
    truth_id: str


def _refuse(status: int, category: str, message: str, **more: Any) -> Response:
    body = {
        "status": "error",
        "message": message,
        "correlationId": str(uuid.uuid4()),
        "category": category,
        **more,
    }
    return JSONResponse(body, status_code=status)


def _slow_down(seconds: float) -> Response:
    body = {
        "status": "error",
        "message": "You have reached your secondly limit.",
        "errorType": "RATE_LIMIT",
        "correlationId": str(uuid.uuid4()),
        "category": "RATE_LIMITS",
        "policyName": "SECONDLY",
    }
    headers = {
        "X-HubSpot-RateLimit-Max": "5",
        "X-HubSpot-RateLimit-Remaining": "0",
        "X-HubSpot-RateLimit-Interval-Milliseconds": "1000",
    }
    return JSONResponse(body, status_code=429, headers=headers)


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Twin:
    """Serves `POST /crm/v3/objects/{contacts,companies}/search`."""

    name = "hubspot"
    rate_limit = RateLimit(limit=5, window=1.0, refuse=_slow_down)

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._world, self._dirt, self._credentials = world, dirt, credentials
        self._objects: dict[str, list[_Stored]] = {"contacts": [], "companies": []}
        self.deleted: set[str] = set()
        for customer, seen_at in self._known().items():
            self._enter(world.customers[customer], seen_at)
        for stored in self._objects.values():
            stored.sort(key=lambda item: (item.modified_at, item.id))

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/crm/v3/objects/{kind}/search", self._search, methods=["POST"]),
            Route("/crm/v3/objects/{kind}/batch/read", self._batch_read, methods=["POST"]),
            Route("/crm/v3/objects/{kind}", self._list),
        ]

    def changed(self, since: datetime) -> Iterable[Change]:
        """Contacts that were made or touched since then."""
        return [
            ("contact.propertyChange", item.id)
            for item in self._objects["contacts"]
            if item.modified_at >= since
        ]

    def truth(self) -> Iterable[Truth]:
        for kind, stored in self._objects.items():
            for item in stored:
                yield Truth("customer", f"hubspot:{kind}:{item.id}", item.truth_id)

    def env(self, base_url: str) -> dict[str, str]:
        token = f"pat-eu1-{self._credentials.secret('hubspot', 'token')}"
        return {"ORDERHUB_HUBSPOT_URL": base_url, "ORDERHUB_HUBSPOT_TOKEN": token}

    # --- what is in it
    # --------------------------------------------------------------------------------------------

    def _known(self) -> dict[str, datetime]:
        """Customers the CRM has, with the last time it heard of them."""
        found: dict[str, datetime] = {}
        for order in self._world.orders.values():
            if order.customer_id is None or order.channel in MARKETPLACES:
                continue
            has_card = self._world.customers[order.customer_id].loyalty_tier is not None
            if order.channel is not Channel.POS or has_card:
                heard = self._dirt.late(order.updated_at, f"order/{order.order_id}")
                heard = min(heard, self._world.now)
                found[order.customer_id] = max(heard, found.get(order.customer_id, heard))
        return found

    def _enter(self, customer: Customer, seen_at: datetime) -> None:
        dirt, key = self._dirt, customer.customer_id
        modified_at = max(seen_at, customer.created_at)
        company_id: str | None = None
        if customer.is_company:
            company_id = dirt.token(f"company/{key}", 11, "123456789")
            company = self._company(customer, f"company/{key}", modified_at)
            self._objects["companies"].append(
                _Stored(company_id, customer.created_at, modified_at, company, key)
            )
        for copy in range(dirt.copies(f"contact/{key}", 0.04)):
            place = f"contact/{key}/{copy}"
            contact_id = dirt.token(place, 12, "123456789")
            created_at = customer.created_at + timedelta(days=17 * copy, minutes=copy)
            changed_at = max(modified_at - timedelta(hours=3 * copy), created_at)
            properties = self._contact(customer, place, changed_at, company_id)
            self._objects["contacts"].append(_Stored(contact_id, created_at, changed_at, properties, key))

    def _contact(
        self, customer: Customer, key: str, modified_at: datetime, company_id: str | None
    ) -> dict[str, str | None]:
        dirt = self._dirt
        given, family = dirt.name_parts(customer, key, "both")
        consent = customer.marketing_consent
        properties = {
            "email": dirt.email(customer, key, 0.08),
            "firstname": given,
            "lastname": family,
            "company": dirt.company(customer, key, "both") if customer.is_company else None,
            "phone": dirt.phone(customer, key, 0.2),
            "hs_language": self._unknown_at_times(f"{key}/language", customer.language, 0.15),
            "associatedcompanyid": company_id,
            "tax_number": None,
            "loyalty_tier": customer.loyalty_tier,
            "customer_segment": self._unknown_at_times(f"{key}/segment", customer.segment, 0.1),
            "preference_tags": ";".join(customer.preference_tags) or None,
            "hs_email_optout": "false" if consent else self._unknown_at_times(f"{key}/optout", "true", 0.3),
            "hs_legal_basis": "Freely given consent from contact" if consent else None,
            "hs_merged_object_ids": self._merged_ids(key),
            "lastmodifieddate": _instant(modified_at),
            **self._address(customer, key, 0.35),
        }
        if dirt.is_invalid(key, 0.006):
            properties["hs_email_optout"] = "ask again"
        return self._deleted_at_times(key, properties)

    def _company(self, customer: Customer, key: str, modified_at: datetime) -> dict[str, str | None]:
        dirt = self._dirt
        domain = customer.email.split("@")[1] if customer.email else None
        properties = {
            "name": dirt.company(customer, key, "both"),
            "domain": self._unknown_at_times(f"{key}/domain", domain, 0.1),
            "phone": dirt.phone(customer, key, 0.3),
            "tax_number": dirt.tax_number(customer, key, 0.35),
            "customer_segment": customer.segment,
            "hs_merged_object_ids": None,
            "hs_lastmodifieddate": _instant(modified_at),
            **self._address(customer, key, 0.1),
        }
        return self._deleted_at_times(key, properties)

    def _address(self, customer: Customer, key: str, drop: float) -> dict[str, str | None]:
        if self._dirt.chance(f"{key}/no-address", drop):
            return dict.fromkeys(("address", "city", "state", "zip", "country"))
        typed = self._dirt.address(customer.address, key, "both")
        return {
            "address": typed.street,
            "city": typed.city,
            "state": typed.region,
            "zip": typed.postcode,
            "country": self._dirt.spelling(
                f"{key}/country", _COUNTRY[typed.country][0], _COUNTRY[typed.country][1:]
            ),
        }

    def _unknown_at_times(self, key: str, value: str | None, probability: float) -> str | None:
        return None if self._dirt.chance(key, probability) else value

    def _merged_ids(self, key: str) -> str | None:
        if not self._dirt.chance(f"{key}/merged", 0.03):
            return None
        count = self._dirt.number(f"{key}/merged", 1, 2)
        return ";".join(self._dirt.token(f"{key}/merged/{n}", 12, "123456789") for n in range(count))

    def _deleted_at_times(self, key: str, properties: dict[str, str | None]) -> dict[str, str | None]:
        """A property that was cleared is an empty text; one never set is missing."""
        return {
            name: "" if value is None and self._dirt.chance(f"{key}/cleared/{name}", 0.1) else value
            for name, value in properties.items()
        }

    # --- the protocol
    # ---------------------------------------------------------------------------------------------

    def _kept(self, kind: str) -> list[_Stored]:
        return [item for item in self._objects[kind] if item.id not in self.deleted]

    async def _batch_read(self, request: Request) -> Response:
        if not self._knows(request):
            return _refuse(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
        kind, asked = request.path_params["kind"], json.loads(await request.body())
        wanted = {str(item["id"]) for item in asked["inputs"]}
        names = [*asked.get("properties", ()), *_ALWAYS_SHOWN[kind]]
        found = [_shown(item, names) for item in self._kept(kind) if item.id in wanted]
        body: dict[str, Any] = {"status": "COMPLETE", "results": found}
        if len(found) < len(wanted):
            error = {
                "category": "OBJECT_NOT_FOUND",
                "message": "Could not get some objects",
                "status": "error",
            }
            body |= {"numErrors": 1, "errors": [error]}
        return JSONResponse(body, status_code=207 if "errors" in body else 200)

    async def _list(self, request: Request) -> Response:
        if not self._knows(request):
            return _refuse(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
        kind, asked = request.path_params["kind"], request.query_params
        limit, after = int(asked.get("limit", 10)), str(asked.get("after", ""))
        rows = sorted((item for item in self._kept(kind) if item.id > after), key=lambda item: item.id)
        page = rows[:limit]
        body: dict[str, Any] = {"results": [_shown(item, _ALWAYS_SHOWN[kind]) for item in page]}
        if len(rows) > limit:
            body["paging"] = {"next": {"after": page[-1].id}}
        return JSONResponse(body)

    def _knows(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        is_known = self._credentials.accepts("hubspot", "token", token.removeprefix("pat-eu1-"))
        return scheme == "Bearer" and token.startswith("pat-eu1-") and is_known

    async def _search(self, request: Request) -> Response:
        if not self._knows(request):
            return _refuse(
                401,
                "INVALID_AUTHENTICATION",
                "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more "
                "details at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
            )
        kind = request.path_params["kind"]
        if kind not in self._objects:
            return _refuse(400, "VALIDATION_ERROR", f"Unable to infer object type from: {kind}")
        try:
            asked = json.loads(await request.body())
            matching = [item for item in self._kept(kind) if _passes(item, asked.get("filterGroups") or [])]
            matching = _sorted(matching, asked.get("sorts") or [])
            limit, after = int(asked.get("limit", 10)), int(asked.get("after") or 0)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            return _refuse(400, "VALIDATION_ERROR", f"Invalid input JSON: {error}")
        if not 0 < limit <= MAX_PAGE:
            return _refuse(400, "VALIDATION_ERROR", f"limit must be between 1 and {MAX_PAGE}")
        if after + limit > SEARCH_CEILING:
            return _refuse(400, "VALIDATION_ERROR", "The paging limit of 10000 results has been exceeded")
        page = matching[after : after + limit]
        wanted = [*asked.get("properties", ()), *_ALWAYS_SHOWN[kind]]
        body: dict[str, Any] = {"total": len(matching), "results": [_shown(item, wanted) for item in page]}
        if after + limit < len(matching):
            following = str(after + limit)
            body["paging"] = {"next": {"after": following, "link": f"?after={following}"}}
        return JSONResponse(body)


def _shown(item: _Stored, wanted: Iterable[str]) -> dict[str, Any]:
    held = {**item.properties, "createdate": _instant(item.created_at)}
    properties: dict[str, str] = {"hs_object_id": item.id}
    for name in wanted:
        value = held.get(name)
        if value is not None:
            properties[name] = value
    return {
        "id": item.id,
        "properties": properties,
        "createdAt": _instant(item.created_at),
        "updatedAt": _instant(item.modified_at),
        "archived": False,
    }


def _milliseconds(text: str) -> int:
    if text.lstrip("-").isdigit():
        return int(text)
    return int(datetime.fromisoformat(text).timestamp() * 1000)


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "EQ": lambda held, given: bool(held == given),
    "NEQ": lambda held, given: bool(held != given),
    "GT": lambda held, given: bool(held > given),
    "GTE": lambda held, given: bool(held >= given),
    "LT": lambda held, given: bool(held < given),
    "LTE": lambda held, given: bool(held <= given),
}


def _passes(item: _Stored, groups: list[dict[str, Any]]) -> bool:
    """Groups are joined by OR, the filters of one by AND."""
    return not groups or any(all(_holds(item, one) for one in group["filters"]) for group in groups)


def _holds(item: _Stored, one: dict[str, Any]) -> bool:
    name, operator = str(one["propertyName"]), str(one["operator"])
    held = item.properties.get(name) or None
    if operator in ("HAS_PROPERTY", "NOT_HAS_PROPERTY"):
        return (held is not None) == (operator == "HAS_PROPERTY")
    if operator not in _COMPARE:
        raise ValueError(f"operator {operator} is not one of {', '.join(_COMPARE)}")
    if held is None:
        return operator == "NEQ"
    if name.endswith("modifieddate"):
        return _COMPARE[operator](_milliseconds(held), _milliseconds(str(one["value"])))
    return _COMPARE[operator](held.lower(), str(one["value"]).lower())


def _sorted(items: Sequence[_Stored], sorts: list[Any]) -> list[_Stored]:
    """HubSpot sorts by one property; ties keep the order of ids."""
    if len(sorts) > 1:
        raise ValueError("only one sort is supported")
    ordered = sorted(items, key=lambda item: item.id)
    for sort in sorts:
        name = sort["propertyName"] if isinstance(sort, dict) else str(sort).removeprefix("-")
        is_falling = (
            sort.get("direction") == "DESCENDING" if isinstance(sort, dict) else str(sort).startswith("-")
        )
        ordered.sort(key=lambda item: item.properties.get(name) or "", reverse=is_falling)
    return ordered
