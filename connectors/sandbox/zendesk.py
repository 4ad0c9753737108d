"""The service desk: people who ask where their parcel is, complain, or send goods back.

Whoever sends goods back has a ticket: the desk accepts the return once the goods are in and promises the money, with the
order number as the customer typed it. At times it promises more than finance pays back, forgets to write the return
down, or the customer writes twice and the second ticket is merged into the first. Buyers whom a marketplace serves
itself, and who bought over the counter, have no ticket.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox.amazon import reaches_order
from connectors.sandbox.catalog import minor_unit
from connectors.sandbox.credentials import Credentials
from connectors.sandbox.differences import Cause, Planted
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.limit import RateLimit
from connectors.sandbox.notify import Change
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Channel, Order, Return, World

AGENT = "desk@orderhub-sandbox.example"
EXPORT_PAGE = 1000
MAX_PAGE = 100
_CLOSED_AFTER = timedelta(days=4)
# The export leaves out what changed within the last minute, so that no page misses a change under way.
_SETTLED = timedelta(minutes=1)
_DIGITS = "0123456789"
_FIELDS = {
    "subject": ("Subject", "subject"),
    "status": ("Status", "status"),
    "order_number": ("Order number", "text"),
    "item_code": ("Item code", "text"),
    "return_reason": ("Return reason", "tagger"),
    "return_quantity": ("Quantity returned", "integer"),
    "amount_promised": ("Amount promised", "decimal"),
    "currency": ("Currency", "tagger"),
}
_SYSTEM_FIELDS = ("subject", "status")
_QUESTIONS = ("invoice", "change_address", "how_to_use", "stock", "dealer_price")
_LOCALES = {"en": "en-GB", "de": "de", "fr": "fr", "es": "es", "ja": "ja", "zh": "zh-cn"}

Row = dict[str, Any]


def tells_return(dirt: Dirt, order: Order, given: Return, now: datetime) -> bool:
    """Whether a ticket that can be read tells of a return, and which order it was of.

    Args:
        dirt: of this system.
        order, given: the return, and what it belongs to.
        now: the world's.
    """
    key = given.return_id
    has_desk = not (
        order.customer_id is None or order.channel is Channel.POS or order.is_fulfilled_by_marketplace
    )
    is_told = not dirt.chance(f"{key}/forgotten", 0.05) and not dirt.chance(f"{key}/no-number", 0.06)
    is_read = not dirt.is_invalid(key) and not dirt.is_invalid(f"{key}/status")
    return has_desk and is_told and is_read and given.refunded_at <= now


@dataclass
class _Ticket:
    """A ticket with its life so far; `steps` are (instant, status set), the first one its creation."""

    key: str
    id: int
    customer_id: str
    subject: str
    opened_at: datetime
    tags: list[str]
    values: dict[str, Any] = field(default_factory=dict)
    steps: list[tuple[datetime, str]] = field(default_factory=list)

    @property
    def updated_at(self) -> datetime:
        return self.steps[-1][0]


def _too_many(seconds: float) -> Response:
    body = {
        "error": "APIRateLimitExceeded",
        "description": "Number of allowed API requests per minute exceeded",
    }
    return JSONResponse(body, status_code=429, headers={"Retry-After": str(max(1, round(seconds)))})


def _limits(limit: int, remaining: int) -> Mapping[str, str]:
    return {"X-Rate-Limit": str(limit), "X-Rate-Limit-Remaining": str(remaining)}


def _invalid(title: str, detail: str) -> Response:
    body = {"errors": [{"code": "InvalidPaginationParameter", "title": title, "detail": detail}]}
    return JSONResponse(body, status_code=400)


def _seconds(at: datetime) -> int:
    return int(at.timestamp())


def _iso(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _token(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _read_token(text: str) -> str:
    """Raises ValueError when it is none of ours."""
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("not a cursor") from error


class Twin:
    """Serves users and ticket fields by cursor, and the incremental exports of tickets and ticket events."""

    name = "zendesk"
    # The limit of an account; the exports' own ten a minute would make every test wait.
    rate_limit = RateLimit(limit=700, window=60.0, refuse=_too_many, headers=_limits)

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._world, self._dirt, self._credentials = world, dirt, credentials
        self._field_ids = {name: int(dirt.token(f"field/{name}", 12, "123456789")) for name in _FIELDS}
        self.tickets: list[_Ticket] = []
        self._truth: list[Truth] = []
        self._promised: dict[str, Decimal] = {}  # by return: what a ticket that names its order promises
        for order in world.orders.values():
            self._about(order)
        self.tickets = [ticket for ticket in self.tickets if ticket.opened_at <= world.now]
        self._users: dict[str, int] = {}
        for ticket in self.tickets:
            self._users.setdefault(ticket.customer_id, self._id(f"user/{ticket.customer_id}"))

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/api/v2/users.json", self._guarded(self._list_users)),
            Route("/api/v2/users/show_many.json", self._guarded(self._show_users)),
            Route("/api/v2/tickets/show_many.json", self._guarded(self._show_tickets)),
            Route("/api/v2/ticket_fields.json", self._guarded(self._list_fields)),
            Route("/api/v2/incremental/tickets/cursor.json", self._guarded(self._export_tickets)),
            Route("/api/v2/incremental/ticket_events.json", self._guarded(self._export_events)),
        ]

    def differences(self) -> Iterable[Planted]:
        """What the desk promised otherwise than finance paid, and what was paid back while no ticket says so."""
        for order in self._world.orders.values():
            taken = {given.return_id: given.refund_amount for given in order.returns}
            promised = {key: self._promised[key] for key in taken if key in self._promised}
            if order.is_test or not promised:
                continue
            lost = {key for key in taken if not self._is_booked(order, key)}
            off = sum((promised[key] - taken[key] for key in promised.keys() - lost), Decimal(0))
            silent = sum((taken[key] for key in taken.keys() - promised.keys() - lost), Decimal(0))
            unpaid = sum((promised[key] for key in promised.keys() & lost), Decimal(0))
            for cause, amount in ((Cause.AMOUNT_MISMATCH, off), (Cause.MISSING, unpaid - silent)):
                if amount:
                    yield Planted(order.order_id, "finance", "refund", cause, amount, order.currency)

    def _is_booked(self, order: Order, return_id: str) -> bool:
        """Whether finance can tell for which order a refund was; Amazon's books name a shipment at times."""
        books = replace(self._dirt, system="amazon")
        return order.channel is not Channel.AMAZON or reaches_order(books, order, f"refund/{return_id}")

    def truth(self) -> Iterable[Truth]:
        yield from self._truth
        for customer_id, user_id in self._users.items():
            yield Truth("customer", f"zendesk:users:{user_id}", customer_id)

    def env(self, base_url: str) -> dict[str, str]:
        token = self._credentials.secret("zendesk", "token", 40)
        return {
            "ORDERHUB_ZENDESK_URL": base_url,
            "ORDERHUB_ZENDESK_USER": AGENT,
            "ORDERHUB_ZENDESK_TOKEN": token,
        }

    # --- what is in it --------------------------------------------------------------------------------------------

    def _id(self, key: str) -> int:
        return int(self._dirt.token(f"{key}/id", 13, "123456789"))

    def _about(self, order: Order) -> None:
        if order.customer_id is None or order.channel is Channel.POS or order.is_fulfilled_by_marketplace:
            return
        for given in order.returns:
            if not self._dirt.chance(f"{given.return_id}/forgotten", 0.05):
                self._return(order, given)
        self._late(order)
        self._question(order)

    def _return(self, order: Order, given: Return) -> None:
        dirt, key = self._dirt, given.return_id
        line = order.lines[given.line_number - 1]
        promised: Decimal = given.refund_amount
        if dirt.chance(f"{key}/generous", 0.2):  # finance keeps the restocking fee that the desk waived
            promised = (promised * Decimal("1.1")).quantize(minor_unit(order.currency))
        ticket = self._open(order, key, "return", given.refunded_at, ["return_request"])
        ticket.values |= {
            "item_code": dirt.code(self._world.products[line.product_id].mpn, f"{key}/item"),
            "return_reason": given.reason,
            "return_quantity": -given.quantity if dirt.is_invalid(key) else given.quantity,
            "amount_promised": str(promised),
            "currency": order.currency.lower(),
        }
        if tells_return(dirt, order, given, self._world.now):
            self._promised[key] = promised
        if dirt.chance(f"{key}/twice", 0.06):
            again_at = given.refunded_at + timedelta(minutes=dirt.number(f"{key}/twice", 5, 600))
            twin = self._open(
                order, f"{key}/twice", "return", again_at, ["return_request", "closed_by_merge"]
            )
            twin.values |= {name: ticket.values[name] for name in ("return_reason", "return_quantity")}
            merged_at = again_at + timedelta(minutes=20)
            twin.steps = [(again_at, "new"), (merged_at, "closed")]
            twin.steps = [step for step in twin.steps if step[0] <= self._world.now] or twin.steps[:1]

    def _late(self, order: Order) -> None:
        key = f"{order.order_id}/late"
        if order.promised_at is None or not self._dirt.chance(key, 0.4):
            return
        asked_at = order.promised_at + timedelta(hours=self._dirt.number(key, 2, 40))
        is_off = order.cancelled_at is not None and order.cancelled_at <= asked_at
        came = [shipment.delivered_at for shipment in order.shipments]
        is_here = bool(came) and all(at is not None and at <= asked_at for at in came)
        if not is_off and not is_here:
            self._open(order, key, "late", asked_at, ["where_is_my_order"])

    def _question(self, order: Order) -> None:
        key = f"{order.order_id}/question"
        if self._dirt.chance(key, 0.03):
            about = self._dirt.pick(key, _QUESTIONS)
            asked_at = order.placed_at + timedelta(minutes=self._dirt.number(key, 10, 4000))
            self._open(order, key, about, asked_at, [about])

    def _open(self, order: Order, key: str, about: str, at: datetime, tags: list[str]) -> _Ticket:
        dirt = self._dirt
        ticket = _Ticket(key, self._id(f"ticket/{key}"), order.customer_id or "", about, at, tags)
        typed = self._typed(order, key)
        if typed is not None:
            ticket.values["order_number"] = typed
            if at <= self._world.now:
                self._truth.append(Truth("order", f"zendesk:tickets:{ticket.id}", order.order_id))
        answered = at + timedelta(minutes=dirt.number(f"{key}/answered", 5, 1500))
        solved = answered + timedelta(minutes=dirt.number(f"{key}/solved", 30, 6000))
        steps = [(at, "new"), (answered, "pending"), (solved, "solved")]
        if dirt.chance(f"{key}/reopened", 0.07):
            steps.append((solved + timedelta(hours=5), "open"))
            steps.append((solved + timedelta(hours=dirt.number(f"{key}/again", 8, 60)), "solved"))
        steps.append((steps[-1][0] + _CLOSED_AFTER, "closed"))
        ticket.steps = [step for step in steps if step[0] <= self._world.now] or steps[:1]
        self.tickets.append(ticket)
        return ticket

    def _typed(self, order: Order, key: str) -> str | None:
        """The order number as the customer typed it into the form; none where the field was left empty."""
        dirt = self._dirt
        if dirt.chance(f"{key}/no-number", 0.06):
            return None
        number, booked = order.number, order.erp_number or order.sap_number
        is_trade = order.channel in (Channel.B2B, Channel.DEALER)
        # Business customers know the number on the confirmation; others at times copy it from the invoice.
        if booked is not None and (is_trade or dirt.chance(f"{key}/invoice-number", 0.08)):
            number = booked
        number = dirt.order_number(number, key)
        bare = number.removeprefix("#")
        return dirt.spelling(
            f"{key}/typed", number, (number, bare, f"Order {bare}", f" {number}", number.lower())
        )

    # --- how it is shown ------------------------------------------------------------------------------------------

    def _user_rows(self) -> list[Row]:
        agent = {
            "id": self._id("agent"),
            "name": "Service desk",
            "email": AGENT,
            "phone": None,
            "role": "agent",
            "locale": "en-GB",
            "created_at": "2024-02-01T08:00:00Z",
            "updated_at": "2024-02-01T08:00:00Z",
        }
        rows = [self._user_row(customer_id, user_id) for customer_id, user_id in self._users.items()]
        return sorted([agent, *rows], key=lambda row: int(row["id"]))

    def _user_row(self, customer_id: str, user_id: int) -> Row:
        dirt, customer = self._dirt, self._world.customers[customer_id]
        key = f"user/{customer_id}"
        first = min(ticket.opened_at for ticket in self.tickets if ticket.customer_id == customer_id)
        return {
            "id": user_id,
            "url": f"https://orderhub-sandbox.zendesk.example/api/v2/users/{user_id}.json",
            "name": dirt.name(customer, key, "both"),
            "email": dirt.email(customer, key, 0.12),
            "phone": dirt.phone(customer, key, 0.45),
            "role": "customer" if dirt.is_invalid(key) else "end-user",
            "locale": _LOCALES.get(customer.language, "en-GB"),
            "time_zone": "London",
            "suspended": False,
            "external_id": None,
            "organization_id": None,
            "created_at": _iso(first),
            "updated_at": _iso(first),
        }

    def _field_rows(self) -> list[Row]:
        rows: list[Row] = [
            {
                "id": self._field_ids[name],
                "type": kind,
                "title": title,
                "raw_title": title,
                "active": True,
                "removable": name not in _SYSTEM_FIELDS,
                "created_at": "2024-02-01T08:00:00Z",
                "updated_at": "2024-02-01T08:00:00Z",
            }
            for name, (title, kind) in _FIELDS.items()
        ]
        return sorted(rows, key=lambda row: int(row["id"]))

    def _ticket_row(self, ticket: _Ticket) -> Row:
        dirt, status = self._dirt, ticket.steps[-1][1]
        custom = [
            {"id": self._field_ids[name], "value": ticket.values.get(name)}
            for name in _FIELDS
            if name not in _SYSTEM_FIELDS
        ]
        return {
            "id": ticket.id,
            "url": f"https://orderhub-sandbox.zendesk.example/api/v2/tickets/{ticket.id}.json",
            "external_id": None,
            "via": {"channel": dirt.pick(f"{ticket.key}/via", ("web", "email", "chat", "api"))},
            "created_at": _iso(ticket.opened_at),
            "updated_at": _iso(ticket.updated_at),
            "generated_timestamp": _seconds(ticket.updated_at),
            "type": "task" if "return_request" in ticket.tags else "question",
            "subject": ticket.subject.replace("_", " "),
            "priority": dirt.pick(f"{ticket.key}/priority", (None, "normal", "high")),
            "status": "waiting" if dirt.is_invalid(f"{ticket.key}/status") else status,
            "requester_id": self._users[ticket.customer_id],
            "submitter_id": self._users[ticket.customer_id],
            "assignee_id": self._id("agent"),
            "organization_id": None,
            "tags": ticket.tags,
            "custom_fields": custom,
        }

    def _event_rows(self) -> list[tuple[int, Row]]:
        rows = []
        for ticket in self.tickets:
            before: str | None = None
            for number, (at, status) in enumerate(ticket.steps):
                key = f"{ticket.key}/event/{number}"
                change: Row = {"id": self._id(f"{key}/change"), "via": "Web form", "status": status}
                if before is None:
                    change["event_type"] = "Create"
                else:
                    change |= {"event_type": "Change", "previous_value": before}
                children = [change]
                if status in ("new", "pending"):
                    comment = {"id": self._id(f"{key}/comment"), "event_type": "Comment"}
                    children.append({**comment, "comment_present": True, "comment_public": True})
                rows.append(
                    (
                        _seconds(at),
                        {
                            "id": self._id(key),
                            "ticket_id": ticket.id,
                            "timestamp": _seconds(at),
                            "created_at": _iso(at),
                            "updater_id": self._users[ticket.customer_id]
                            if number == 0
                            else self._id("agent"),
                            "via": "Rule" if status == "closed" else "Web form",
                            "event_type": "Audit",
                            "child_events": children,
                        },
                    )
                )
                before = status
        return sorted(rows, key=lambda item: (item[0], item[1]["id"]))

    # --- the protocol ---------------------------------------------------------------------------------------------

    def _guarded(self, answer: Callable[[Request], Response]) -> Callable[[Request], Any]:
        async def guarded(request: Request) -> Response:
            if not self._knows(request.headers.get("authorization", "")):
                return JSONResponse({"error": "Couldn't authenticate you"}, status_code=401)
            return answer(request)

        return guarded

    def _knows(self, header: str) -> bool:
        scheme, _, encoded = header.partition(" ")
        try:
            user, _, token = _read_token(encoded).partition(":")
        except ValueError:
            return False
        is_agent = scheme == "Basic" and user == f"{AGENT}/token"
        return is_agent and self._credentials.accepts("zendesk", "token", token, 40)

    def _list_users(self, request: Request) -> Response:
        return _page(request, "users", self._user_rows())

    def _show_users(self, request: Request) -> Response:
        wanted = request.query_params["ids"].split(",")
        return JSONResponse({"users": [row for row in self._user_rows() if str(row["id"]) in wanted]})

    def _show_tickets(self, request: Request) -> Response:
        wanted = request.query_params["ids"].split(",")
        rows = [self._ticket_row(ticket) for ticket in self.tickets if str(ticket.id) in wanted]
        for row in rows:
            del row["generated_timestamp"]  # of the exports alone
        return JSONResponse({"tickets": rows})

    def changed(self, since: datetime) -> Iterable[Change]:
        """Tickets that were written or dealt with since then."""
        return [("ticket.updated", str(ticket.id)) for ticket in self.tickets if ticket.updated_at >= since]

    def _list_fields(self, request: Request) -> Response:
        return _page(request, "ticket_fields", self._field_rows())

    def _start(self, request: Request) -> int | Response:
        """The start of an export; Zendesk refuses one of the last minute."""
        given = request.query_params.get("start_time", "")
        if not given.isdigit():
            return JSONResponse(
                {"error": "Missing start_time", "description": "start_time is a required parameter"},
                status_code=400,
            )
        if int(given) > _seconds(self._world.now - _SETTLED):
            body = {
                "error": "StartTimeTooRecent",
                "description": "Too recent start_time. Use a start_time older than 60 seconds",
            }
            return JSONResponse(body, status_code=422)
        return int(given)

    def _export_tickets(self, request: Request) -> Response:
        after = (0, 0)
        if (cursor := request.query_params.get("cursor")) is not None:
            try:
                seconds, _, ticket_id = _read_token(cursor).partition("||")
                after = (int(seconds), int(ticket_id))
            except ValueError:
                return JSONResponse(
                    {"error": "InvalidValue", "description": "Invalid cursor"}, status_code=400
                )
        else:
            start = self._start(request)
            if isinstance(start, Response):
                return start
            after = (start, -1)
        settled = self._world.now - _SETTLED
        found = _changed(self.tickets, after, settled)
        shown = found[:EXPORT_PAGE]
        last = (_seconds(shown[-1].updated_at), shown[-1].id) if shown else after
        cursor = _token(f"{last[0]}||{last[1]}")
        url = str(request.url.replace(query=""))
        body = {
            "tickets": [self._ticket_row(ticket) for ticket in shown],
            "after_url": f"{url}?cursor={cursor}",
            "after_cursor": cursor,
            "before_url": None,
            "before_cursor": None,
            "end_of_stream": len(found) <= EXPORT_PAGE,
        }
        return JSONResponse(body)

    def _export_events(self, request: Request) -> Response:
        start = self._start(request)
        if isinstance(start, Response):
            return start
        settled = _seconds(self._world.now - _SETTLED)
        found = [item for item in self._event_rows() if start <= item[0] <= settled]
        shown = found[:EXPORT_PAGE]
        # A page ends with a whole second: its end is the next one's start.
        if len(found) > EXPORT_PAGE:
            shown = [item for item in found if item[0] <= shown[-1][0]]
        end = shown[-1][0] if shown else start
        url = str(request.url.replace(query=""))
        body = {
            "ticket_events": [row for _, row in shown],
            "next_page": f"{url}?start_time={end}",
            "count": len(shown),
            "end_time": end,
            "end_of_stream": len(shown) == len(found),
        }
        return JSONResponse(body)


def _changed(tickets: Iterable[_Ticket], after: tuple[int, int], until: datetime) -> list[_Ticket]:
    """Tickets changed behind a place (second, id), up to an instant, in the order of their changes."""
    found = {
        (_seconds(ticket.updated_at), ticket.id): ticket for ticket in tickets if ticket.updated_at <= until
    }
    return [found[place] for place in sorted(found) if place > after]


def _page(request: Request, name: str, rows: list[Row]) -> Response:
    """One page of rows in the order of their ids, as cursor pagination shows it."""
    try:
        size = int(request.query_params.get("page[size]", MAX_PAGE))
        after = request.query_params.get("page[after]")
        start = 0 if after is None else int(_read_token(after))
    except ValueError:
        return _invalid("Invalid attribute", "page[size] is a number up to 100, page[after] a cursor of ours")
    if not 0 < size <= MAX_PAGE:
        return _invalid("Invalid attribute", f"page[size] must be between 1 and {MAX_PAGE}")
    place = next((n for n, row in enumerate(rows) if int(row["id"]) > start), len(rows)) if after else 0
    shown = rows[place : place + size]
    has_more = place + size < len(rows)
    cursor = _token(str(shown[-1]["id"])) if shown else None
    url = request.url.replace(query="")
    body = {
        name: shown,
        "meta": {"has_more": has_more, "after_cursor": cursor, "before_cursor": after},
        "links": {
            "prev": None,
            "next": f"{url}?page[after]={cursor}&page[size]={size}" if has_more else None,
        },
    }
    return JSONResponse(body)
