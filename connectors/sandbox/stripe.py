"""Stripe as the sandbox company's web shops use it: card payments, refunds, a balance per currency, daily payouts.

Money comes onto the balance of its currency, or, where the account has none, is exchanged into US dollars; two business
days later it is available, and every business day what is available is paid out, if it is more than was given back.
Stripe keeps its fee of each charge and, once a month, one for its fraud filter.

What is dirty here: order numbers behind words, mistyped, in the description alone or nowhere; attempts that failed before
the one that took the money; early warnings that came to nothing. Practice orders are not here: they use test keys.

Source: https://docs.stripe.com/api
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cached_property
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox import vocabulary as words
from connectors.sandbox.credentials import Credentials
from connectors.sandbox.differences import Cause, Differences, Planted
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.ecb_fx import is_business_day, reference_rates
from connectors.sandbox.limit import RateLimit
from connectors.sandbox.notify import Change
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Channel, Order, World

Json = dict[str, Any]
Handler = Callable[[Request], Awaitable[Response]]

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_BALANCES = ("EUR", "GBP", "JPY", "USD")
# What Stripe keeps of the rate when it exchanges.
_EXCHANGE_SHARE = Decimal("0.98")
_SHOP = "Luna Botanica"
_MOST_ROWS = 100


def _error(kind: str, message: str, **more: str) -> Json:
    return {"error": {"message": message, "type": kind, **more}}


def _refuse(wait: float) -> Response:
    message = (
        "Request rate limit exceeded. Learn more about rate limits here https://stripe.com/docs/rate-limits."
    )
    return JSONResponse(
        _error("invalid_request_error", message, code="rate_limit"),
        status_code=429,
        headers={"Stripe-Should-Retry": "true", "Stripe-Rate-Limited-Reason": "global-rate"},
    )


def _minor(amount: Decimal, currency: str) -> int:
    return int(amount.scaleb(words.MINOR_UNIT_DIGITS[currency]))


def _unix(at: datetime) -> int:
    return int(at.timestamp())


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _next_business_day(day: date) -> date:
    day += timedelta(days=1)
    while not is_business_day(day):
        day += timedelta(days=1)
    return day


def takes(order: Order) -> bool:
    """Whether an order was paid through Stripe."""
    return (
        order.channel in (Channel.SHOPIFY, Channel.VENDURE)
        and order.payment_method == "card"
        and order.paid_at is not None
        and not order.is_test
    )


class _InvalidRequestError(Exception):
    """A request Stripe answers with 400."""

    def __init__(self, message: str, **more: str) -> None:
        super().__init__(message)
        self.body = _error("invalid_request_error", message, **more)


class Twin:
    """Stripe over one world."""

    name = "stripe"
    rate_limit = RateLimit(limit=100, window=1.0, refuse=_refuse)

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._world = world
        self._dirt = dirt
        self._credentials = credentials
        self._paid = [order for order in world.orders.values() if takes(order)]

    def _key(self) -> str:
        return "sk_test_" + self._credentials.secret("stripe", "KEY")

    def env(self, base_url: str) -> dict[str, str]:
        return {"ORDERHUB_STRIPE_URL": base_url, "ORDERHUB_STRIPE_KEY": self._key()}

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/v1/charges", self._list(lambda asked: self._charges)),
            Route("/v1/refunds", self._list(lambda asked: self._refunds)),
            Route("/v1/balance_transactions", self._list(self._movements)),
            Route("/v1/payouts", self._list(lambda asked: self._payouts)),
            Route("/v1/disputes", self._list(lambda asked: self._disputes)),
            *(
                Route(f"/v1/{name}/{{id}}", self._retrieve(rows))
                for name, rows in (
                    ("charges", lambda: self._charges),
                    ("refunds", lambda: self._refunds),
                    ("payouts", lambda: self._payouts),
                    ("disputes", lambda: self._disputes),
                    ("balance_transactions", lambda: self._movements({})),
                )
            ),
        ]

    def differences(self) -> Iterable[Planted]:
        """What was charged twice, captured in part or never booked; what names no order, or hangs on what cannot be read."""
        listed = Differences(self._world, self._dirt)
        for order in self._paid:
            amount, cause = order.total_amount, self._cause(order)
            match cause:
                case Cause.DUPLICATE:
                    listed.plant("payment", order, cause, -amount)
                    listed.plant("settlement", order, cause, -amount)
                case Cause.UNEXPLAINED:
                    listed.plant("payment", order, cause, amount - self._captured(order))
                    listed.plant("settlement", order, cause, amount - self._captured(order))
                case Cause.MISSING:
                    listed.plant("settlement", order, cause, amount)
            if self._reaches_order(order):
                continue
            if not self._dirt.is_invalid(f"charge/{order.order_id}"):
                listed.astray("payment", f"stripe:charges:{self._charge_id(order)}", order, amount)
            movement = f"stripe:balance_transactions:{self._id('txn', order.order_id)}"
            listed.astray("settlement", movement, order, amount)
            for taken in order.returns:
                refund = f"stripe:refunds:{self._id('re', taken.return_id)}"
                listed.astray("refund", refund, order, taken.refund_amount)
        return listed.listed

    def _reaches_order(self, order: Order) -> bool:
        key = f"charge/{order.order_id}"
        return not self._dirt.is_invalid(key) and not self._is_nameless(key)

    def _cause(self, order: Order) -> Cause | None:
        """How the order's charge differs, if it does: what nobody reads, or was given back since, is left alone."""
        if not self._reaches_order(order) or order.returns:
            return None
        differences = Differences(self._world, self._dirt)
        cause = differences.draw("payment", order)
        # What a charge lacks is missing in the books of the balance; a charge nobody has is none of Stripe's.
        return cause if cause is not Cause.MISSING or differences.is_overdue("settlement", order) else None

    def _captured(self, order: Order) -> Decimal:
        """What was taken of the authorised amount."""
        short = Decimal(0)
        if self._cause(order) is Cause.UNEXPLAINED:
            key = f"charge/{order.order_id}"
            short = Differences(self._world, self._dirt).part(key, order.total_amount, order.currency)
        return order.total_amount - short

    def truth(self) -> Iterable[Truth]:
        for order in self._paid:
            yield Truth("order", f"stripe:charges:{self._charge_id(order)}", order.order_id)
            if self._cause(order) is Cause.DUPLICATE:
                yield Truth("order", f"stripe:charges:{self._again_id(order)}", order.order_id)
            if self._has_failed_attempt(order):
                yield Truth("order", f"stripe:charges:{self._failed_id(order)}", order.order_id)

    def changed(self, since: datetime) -> Iterable[Change]:
        """Charges that were made since then."""
        return [("charge.succeeded", row["id"]) for row in self._charges if row["created"] >= _unix(since)]

    # --- ids ----------------------------------------------------------------------------------------------

    def _id(self, prefix: str, key: str) -> str:
        return f"{prefix}_{self._dirt.token(f'{prefix}/{key}', 24, _ALPHABET)}"

    def _charge_id(self, order: Order) -> str:
        return self._id("ch", order.order_id)

    def _again_id(self, order: Order) -> str:
        return self._id("ch", f"{order.order_id}/again")

    def _failed_id(self, order: Order) -> str:
        return self._id("ch", f"{order.order_id}/failed")

    def _has_failed_attempt(self, order: Order) -> bool:
        return self._dirt.chance(f"failed/{order.order_id}", 0.04)

    # --- charges and refunds ------------------------------------------------------------------------------

    @cached_property
    def _charges(self) -> list[Json]:
        rows = []
        for order in self._paid:
            assert order.paid_at is not None
            row = self._charge(order, order.paid_at)
            rows.append(row)
            if self._cause(order) is Cause.DUPLICATE:
                rows.append(
                    row
                    | {
                        "id": self._again_id(order), "payment_intent": self._id("pi", f"{order.order_id}/again"),
                        "balance_transaction": self._id("txn", f"{order.order_id}/again"),
                    }
                )  # fmt: skip
            if self._has_failed_attempt(order):
                rows.append(
                    row
                    | {
                        "id": self._failed_id(order), "amount_captured": 0, "amount_refunded": 0, "captured": False,
                        "paid": False, "refunded": False, "status": "failed", "balance_transaction": None,
                        "failure_code": "card_declined", "failure_message": "Your card was declined.",
                        "created": _unix(max(order.placed_at, order.paid_at - timedelta(minutes=2))),
                    }
                )  # fmt: skip
        return _newest_first(rows)

    def _charge(self, order: Order, at: datetime) -> Json:
        key = f"charge/{order.order_id}"
        customer = self._world.customers[str(order.customer_id)]
        amount, captured = (
            _minor(each, order.currency) for each in (order.total_amount, self._captured(order))
        )
        movement = None if self._cause(order) is Cause.MISSING else self._id("txn", order.order_id)
        refunded = sum(_minor(taken.refund_amount, order.currency) for taken in order.returns)
        row: Json = {
            "id": self._charge_id(order), "object": "charge", "amount": amount, "amount_captured": captured,
            "amount_refunded": refunded, "balance_transaction": movement,
            "billing_details": {
                "address": {"city": None, "country": customer.address.country, "line1": None, "postal_code": None},
                "email": self._dirt.email(customer, key), "name": self._dirt.name(customer, key), "phone": None,
            },
            "captured": True, "created": _unix(at), "currency": order.currency.lower(), "customer": None,
            "description": None, "disputed": False, "failure_code": None, "failure_message": None, "livemode": False,
            "metadata": {}, "paid": True, "payment_intent": self._id("pi", order.order_id),
            "payment_method_details": {
                "card": {
                    "brand": self._dirt.pick(f"{key}/brand", ("visa", "mastercard", "amex")),
                    "last4": self._dirt.token(f"{key}/last4", 4, "0123456789"),
                },
                "type": "card",
            },
            "refunded": refunded >= captured, "status": "succeeded",
        }  # fmt: skip
        self._name_order(row, order, key)
        if self._dirt.is_invalid(key):
            row["currency"] = "rmb"
        return row

    def _is_nameless(self, key: str) -> bool:
        return self._dirt.chance(f"{key}/nameless", 0.01)

    def _name_order(self, row: Json, order: Order, key: str) -> None:
        """Write the order's number as the shops' plug-ins do, or as they fail to."""
        number = self._dirt.order_number(order.number, key)
        if self._is_nameless(key):
            row["description"] = f"{_SHOP} payment"
            return
        row["description"] = self._dirt.pick(
            f"{key}/description", (f"{_SHOP} - Order {number}", f"Order {number}", f"Payment for {number}")
        )
        if not self._dirt.chance(f"{key}/description-alone", 0.05):
            field = "orderCode" if order.channel is Channel.VENDURE else "order_number"
            prefixed = self._dirt.chance(f"{key}/prefixed", 0.06)
            row["metadata"] = {field: f"Order {number}" if prefixed else number}

    @cached_property
    def _refunds(self) -> list[Json]:
        rows: list[Json] = [
            {
                "id": self._id("re", taken.return_id), "object": "refund",
                "amount": _minor(taken.refund_amount, order.currency),
                "balance_transaction": self._id("txn", taken.return_id), "charge": self._charge_id(order),
                "created": _unix(taken.refunded_at), "currency": order.currency.lower(), "metadata": {},
                "payment_intent": self._id("pi", order.order_id), "reason": "requested_by_customer",
                "receipt_number": None, "status": "succeeded",
            }
            for order in self._paid
            for taken in order.returns
        ]  # fmt: skip
        return _newest_first(rows)

    @cached_property
    def _disputes(self) -> list[Json]:
        """Early warnings alone: they move no money."""
        rows = []
        for order in self._paid:
            assert order.paid_at is not None
            at = order.paid_at + timedelta(days=6)
            if at <= self._world.now and self._dirt.chance(f"dispute/{order.order_id}", 0.01):
                rows.append(
                    {
                        "id": self._id("du", order.order_id), "object": "dispute",
                        "amount": _minor(order.total_amount, order.currency),
                        "balance_transactions": [], "charge": self._charge_id(order), "created": _unix(at),
                        "currency": order.currency.lower(), "is_charge_refundable": True, "metadata": {},
                        "reason": "general", "status": "warning_closed",
                    }
                )  # fmt: skip
        return _newest_first(rows)

    # --- the balances -------------------------------------------------------------------------------------

    @cached_property
    def _rates(self) -> dict[date, dict[str, Decimal]]:
        return reference_rates(self._world)

    def _exchange_rate(self, currency: str, at: datetime) -> Decimal | None:
        """US dollars for one unit of a currency that has no balance, six digits."""
        if currency in _BALANCES:
            return None
        day = max((day for day in self._rates if day < at.date()), default=min(self._rates))
        rate = self._rates[day]["USD"] / self._rates[day][currency] * _EXCHANGE_SHARE
        return rate.quantize(Decimal("0.000001"), rounding=ROUND_HALF_EVEN)

    def _booked(
        self, key: str, kind: str, source: str, amount: Decimal, fee: Decimal, currency: str, at: datetime,
        available: datetime, rate: Decimal | None,
    ) -> Json:  # fmt: skip
        balance = currency if rate is None else "USD"
        unit = Decimal(1).scaleb(-words.MINOR_UNIT_DIGITS[balance])
        moved, kept = (
            _minor((value if rate is None else value * rate).quantize(unit, ROUND_HALF_EVEN), balance)
            for value in (amount, fee)
        )
        details = {
            "amount": kept, "application": None, "currency": balance.lower(), "description": "Stripe processing fees",
            "type": "stripe_fee",
        }  # fmt: skip
        return {
            "id": self._id("txn", key), "object": "balance_transaction", "amount": moved, "available_on": _unix(available),
            "created": _unix(at), "currency": balance.lower(), "description": None,
            "exchange_rate": None if rate is None else float(rate), "fee": kept, "fee_details": [details] if kept else [],
            "net": moved - kept, "reporting_category": "fee" if kind == "stripe_fee" else kind, "source": source,
            "status": "available" if available <= self._world.now else "pending", "type": kind,
        }  # fmt: skip

    @cached_property
    def _earned(self) -> list[Json]:
        """Every movement but payouts, oldest first."""
        rows: list[Json] = []
        for order in self._paid:
            assert order.paid_at is not None
            rate = self._exchange_rate(order.currency, order.paid_at)
            ready = _midnight(_next_business_day(_next_business_day(order.paid_at.date())))
            cause = self._cause(order)
            charges = [] if cause is Cause.MISSING else [(order.order_id, self._charge_id(order))]
            if cause is Cause.DUPLICATE:
                charges.append((f"{order.order_id}/again", self._again_id(order)))
            rows += [
                self._booked(
                    key, "charge", charge_id, self._captured(order), order.payment_fee_amount, order.currency,
                    order.paid_at, ready, rate,
                )
                for key, charge_id in charges
            ]  # fmt: skip
            rows += [
                self._booked(
                    taken.return_id, "refund", self._id("re", taken.return_id), -taken.refund_amount, Decimal(0),
                    order.currency, taken.refunded_at, taken.refunded_at,
                    self._exchange_rate(order.currency, taken.refunded_at),
                )
                for taken in order.returns
            ]  # fmt: skip
        rows += self._monthly_fees(min((row["created"] for row in rows), default=_unix(self._world.now)))
        return sorted(rows, key=lambda row: (row["created"], row["id"]))

    def _monthly_fees(self, first: int) -> list[Json]:
        rows: list[Json] = []
        month = datetime.fromtimestamp(first, UTC).date().replace(day=1)
        while True:
            month = (month + timedelta(days=32)).replace(day=1)
            at = _midnight(month) + timedelta(hours=1)
            if at > self._world.now:
                return rows
            row = self._booked(
                f"radar/{month}", "stripe_fee", "", Decimal("-4.00"), Decimal(0), "EUR", at, at, None
            )
            rows.append(row | {"source": None, "description": f"Radar ({month - timedelta(days=1):%Y-%m})"})

    @cached_property
    def _paid_out(self) -> list[tuple[Json, list[Json]]]:
        """Every payout with the movements it pays, oldest first."""
        if not self._earned:
            return []
        found: list[tuple[Json, list[Json]]] = []
        waiting: dict[str, list[Json]] = {}
        coming = sorted(self._earned, key=lambda row: (row["available_on"], row["id"]))
        day = datetime.fromtimestamp(coming[0]["available_on"], UTC).date() - timedelta(days=1)
        while True:
            day = _next_business_day(day)
            at = _midnight(day) + timedelta(hours=3)
            if at > self._world.now:
                return found
            while coming and coming[0]["available_on"] <= _unix(at):
                row = coming.pop(0)
                waiting.setdefault(row["currency"], []).append(row)
            for currency in sorted(waiting):
                total = sum(row["net"] for row in waiting[currency])
                if total > 0:
                    found.append((self._payout(day, at, currency, total), waiting.pop(currency)))

    def _payout(self, day: date, at: datetime, currency: str, amount: int) -> Json:
        key = f"payout/{day}/{currency}"
        arrival = _midnight(_next_business_day(day))
        has_arrived = arrival + timedelta(hours=6) <= self._world.now
        trace = self._dirt.token(f"{key}/trace", 12, "0123456789") if has_arrived else None
        return {
            "id": self._id("po", key), "object": "payout", "amount": amount, "arrival_date": _unix(arrival),
            "automatic": True, "balance_transaction": self._id("txn", key), "created": _unix(at), "currency": currency,
            "description": "STRIPE PAYOUT", "failure_code": None, "method": "standard",
            "statement_descriptor": "STRIPE PAYOUT", "status": "paid" if has_arrived else "in_transit",
            "trace_id": {"status": "supported" if has_arrived else "pending", "value": trace}, "type": "bank_account",
        }  # fmt: skip

    @cached_property
    def _payouts(self) -> list[Json]:
        return _newest_first([payout for payout, _ in self._paid_out])

    @staticmethod
    def _leaving(payout: Json) -> Json:
        """The movement by which a payout leaves the balance."""
        return {
            "id": payout["balance_transaction"], "object": "balance_transaction", "amount": -payout["amount"],
            "available_on": payout["arrival_date"], "created": payout["created"], "currency": payout["currency"],
            "description": "STRIPE PAYOUT", "exchange_rate": None, "fee": 0, "fee_details": [],
            "net": -payout["amount"], "reporting_category": "payout", "source": payout["id"], "status": "available",
            "type": "payout",
        }  # fmt: skip

    def _movements(self, asked: Json) -> list[Json]:
        if "payout" not in asked:
            return _newest_first([*self._earned, *(self._leaving(payout) for payout, _ in self._paid_out)])
        for payout, rows in self._paid_out:
            if payout["id"] == asked["payout"]:
                if not payout["automatic"]:
                    raise _InvalidRequestError(
                        "Balance transaction history can only be filtered on automatic transfers, not manual.",
                        param="payout",
                    )
                return [self._leaving(payout), *_newest_first(rows)]
        raise _InvalidRequestError(
            f"No such payout: '{asked['payout']}'", code="resource_missing", param="payout"
        )

    # --- the protocol -------------------------------------------------------------------------------------

    def _retrieve(self, rows: Callable[[], list[Json]]) -> Handler:
        async def answer(request: Request) -> Response:
            if request.headers.get("authorization") != f"Bearer {self._key()}":
                return JSONResponse(
                    _error("invalid_request_error", "Invalid API Key provided"), status_code=401
                )
            wanted = request.path_params["id"]
            found = next((row for row in rows() if row["id"] == wanted), None)
            if found is None:
                refused = _error(
                    "invalid_request_error", f"No such object: '{wanted}'", code="resource_missing"
                )
                return JSONResponse(refused, status_code=404)
            return JSONResponse(found)

        return answer

    def _list(self, rows_of: Callable[[Json], list[Json]]) -> Handler:
        """Check the key, cut one page, and turn faults into Stripe's error object."""

        async def answer(request: Request) -> Response:
            scheme, _, key = request.headers.get("authorization", "").partition(" ")
            if scheme != "Bearer" or not key:
                message = "You did not provide an API key. You need to provide your API key in the Authorization header."
                return JSONResponse(_error("invalid_request_error", message), status_code=401)
            if key != self._key():
                message = f"Invalid API Key provided: {key[:8]}{'*' * max(0, len(key) - 12)}{key[-4:]}"
                return JSONResponse(_error("invalid_request_error", message), status_code=401)
            try:
                asked = dict(request.query_params)
                return JSONResponse(
                    {"object": "list", "url": request.url.path, **_page(rows_of(asked), asked)},
                    headers={"Request-Id": "req_" + self._dirt.token(str(request.url.query), 14, _ALPHABET)},
                )
            except _InvalidRequestError as error:
                return JSONResponse(error.body, status_code=400)

        return answer


def _newest_first(rows: list[Json]) -> list[Json]:
    return sorted(rows, key=lambda row: (row["created"], row["id"]), reverse=True)


def _page(rows: list[Json], asked: Json) -> Json:
    """Cut the page that follows `starting_after`, of rows created within the bounds."""
    limit = _whole(asked, "limit", 10)
    if not 1 <= limit <= _MOST_ROWS:
        raise _InvalidRequestError("This value must be between 1 and 100.", param="limit")
    least, below = _whole(asked, "created[gte]", 0), _whole(asked, "created[lt]", 2**62)
    start = 0
    if "starting_after" in asked:
        # The object is found whatever the filter is, and the page begins behind it.
        places = [place for place, row in enumerate(rows) if row["id"] == asked["starting_after"]]
        if not places:
            raise _InvalidRequestError(
                f"No such object: '{asked['starting_after']}'",
                code="resource_missing",
                param="starting_after",
            )
        start = places[0] + 1
    left = [row for row in rows[start:] if least <= row["created"] < below]
    return {"has_more": len(left) > limit, "data": left[:limit]}


def _whole(asked: Json, name: str, default: int) -> int:
    text = asked.get(name, str(default))
    if not text.isdigit():
        raise _InvalidRequestError(f"Invalid integer: {text}", param=name.partition("[")[0])
    return int(text)
