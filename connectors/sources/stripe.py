"""Stripe, the payment provider of the web shops: charges, refunds, every movement on the balance, payouts and disputes.

Protocol: REST with a secret key; lists are newest first and go on after the last id (`starting_after`, `has_more`); 429
without a documented budget beyond 100 requests a second. Amounts are whole minor units as Stripe counts them, beside a
lower-case currency. Lists filter by creation alone, so what changes later (a refunded charge, a payout on its way) is
read again for as long as it may change. What a payout pays is asked for payout by payout.

Source: https://docs.stripe.com/api
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from pydantic import ValidationInfo, field_validator, model_validator

from connectors.declare import (
    AliasPath,
    Ask,
    Bearer,
    Bounds,
    Child,
    ConnectorError,
    ControlTotal,
    Country,
    Currency,
    FatalError,
    Field,
    FloatQuantity,
    KeysetPages,
    Kind,
    Lookup,
    MinorAmount,
    Notice,
    RateLimit,
    Record,
    Source,
    Stream,
    ThrottledError,
    TimedSignature,
    UnixInstant,
    Webhook,
)

# Where Stripe's minor unit is not ISO 4217's. Source: https://docs.stripe.com/currencies (special cases)
_OTHER_DIGITS = {"ISK": 2, "UGX": 2, "MGA": 0}


class _Money(Record):
    """A record whose amounts are whole minor units of its `currency`, which stands before them."""

    @field_validator(
        "amount", "amount_captured", "amount_refunded", "fee", "net", mode="before", check_fields=False
    )
    @classmethod
    def _of_minor_units(cls, value: Any, info: ValidationInfo) -> Any:
        currency = info.data.get("currency")
        if value is None or currency is None or isinstance(value, bool) or not isinstance(value, int):
            return value if value is None else {"amount": value, "currency": currency}
        if currency in _OTHER_DIGITS:
            return Decimal(value).scaleb(-_OTHER_DIGITS[currency])
        return {"amount": value, "currency": currency}


class Charge(_Money):
    """One attempt to take money; a failed one is a charge, too."""

    charge_id: str = Field(validation_alias="id", min_length=1)
    payment_intent_id: str | None = Field(None, validation_alias="payment_intent")
    status: str = Field(description="succeeded, pending or failed")
    is_captured: bool | None = Field(None, validation_alias="captured")
    is_refunded: bool | None = Field(
        None, validation_alias="refunded", description="wholly; a part is in amount_refunded"
    )
    is_disputed: bool | None = Field(None, validation_alias="disputed")
    currency: Currency
    amount: MinorAmount = Field(ge=0)
    amount_captured: MinorAmount | None = Field(None, ge=0)
    amount_refunded: MinorAmount | None = Field(None, ge=0)
    balance_transaction_id: str | None = Field(None, validation_alias="balance_transaction")
    customer_id: str | None = Field(None, validation_alias="customer")
    description: str | None = None
    order_number: str | None = Field(
        None, validation_alias=AliasPath("metadata", "order_number"), description="as a shop wrote it"
    )
    order_code: str | None = Field(
        None,
        validation_alias=AliasPath("metadata", "orderCode"),
        description="as Vendure's plug-in writes it",
    )
    method: str | None = Field(None, validation_alias=AliasPath("payment_method_details", "type"))
    card_brand: str | None = Field(
        None, validation_alias=AliasPath("payment_method_details", "card", "brand")
    )
    billing_email: str | None = Field(None, validation_alias=AliasPath("billing_details", "email"))
    billing_name: str | None = Field(None, validation_alias=AliasPath("billing_details", "name"))
    billing_country: Country | None = Field(
        None, validation_alias=AliasPath("billing_details", "address", "country")
    )
    failure_code: str | None = None
    created_at: UnixInstant = Field(validation_alias="created")


class Refund(_Money):
    """Money given back for a charge."""

    refund_id: str = Field(validation_alias="id", min_length=1)
    charge_id: str | None = Field(None, validation_alias="charge")
    payment_intent_id: str | None = Field(None, validation_alias="payment_intent")
    status: str | None = Field(None, description="pending, requires_action, succeeded, failed or canceled")
    currency: Currency
    amount: MinorAmount = Field(ge=0)
    reason: str | None = None
    balance_transaction_id: str | None = Field(None, validation_alias="balance_transaction")
    created_at: UnixInstant = Field(validation_alias="created")


class BalanceTransaction(_Money):
    """One movement on the balance, signed from our side, in the currency of the balance: net = amount - fee."""

    balance_transaction_id: str = Field(validation_alias="id", min_length=1)
    transaction_type: str = Field(
        validation_alias="type", description="charge, refund, payout, stripe_fee, …"
    )
    reporting_category: str | None = None
    status: str | None = Field(None, description="pending or available")
    currency: Currency
    amount: MinorAmount
    fee: MinorAmount
    net: MinorAmount
    exchange_rate: FloatQuantity | None = Field(
        None, gt=0, description="from the currency of the charge, where the balance has another"
    )
    source_id: str | None = Field(None, validation_alias="source", description="charge, refund or payout")
    description: str | None = None
    available_on: UnixInstant
    created_at: UnixInstant = Field(validation_alias="created")


class FeeDetail(_Money):
    """A part of a balance transaction's fee."""

    fee_type: str | None = Field(
        None, validation_alias="type", description="stripe_fee, tax, application_fee"
    )
    currency: Currency
    amount: MinorAmount
    description: str | None = None


class Payout(_Money):
    """Money on its way from the balance to the bank; negative where Stripe takes it."""

    payout_id: str = Field(validation_alias="id", min_length=1)
    status: str = Field(description="pending, in_transit, paid, canceled or failed")
    is_automatic: bool | None = Field(None, validation_alias="automatic")
    automatic_payout_id: str | None = Field(
        None, description="the id of an automatic one again: Stripe tells of these alone what they pay"
    )
    currency: Currency
    amount: MinorAmount
    balance_transaction_id: str | None = Field(None, validation_alias="balance_transaction")
    statement_descriptor: str | None = None
    bank_reference: str | None = Field(None, validation_alias=AliasPath("trace_id", "value"))
    failure_code: str | None = None
    arrives_on: UnixInstant = Field(validation_alias="arrival_date", description="midnight UTC of the day")
    created_at: UnixInstant = Field(validation_alias="created")

    @model_validator(mode="before")
    @classmethod
    def _automatic_apart(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {**data, "automatic_payout_id": data.get("id") if data.get("automatic") is True else None}
        return data


class PayoutTransaction(Record):
    """Which movements a payout pays."""

    payout_id: str = Field(min_length=1)
    balance_transaction_id: str = Field(validation_alias="id", min_length=1)


class Dispute(_Money):
    """A charge that a card holder questions."""

    dispute_id: str = Field(validation_alias="id", min_length=1)
    charge_id: str | None = Field(None, validation_alias="charge")
    status: str | None = Field(None, description="warning_closed, needs_response, won, lost, …")
    reason: str | None = None
    currency: Currency
    amount: MinorAmount
    created_at: UnixInstant = Field(validation_alias="created")


def _ask_created(bounds: Bounds) -> Ask:
    params = {}
    if bounds.since is not None:
        params["created[gte]"] = int(bounds.since.timestamp())
    if bounds.until is not None:
        params["created[lt]"] = int(bounds.until.timestamp())
    return Ask(params=params)


def _ask_payout(bounds: Bounds) -> Ask:
    return Ask(params={"payout": bounds.keys[0]})


def fault(body: Any) -> ConnectorError | None:
    """Find Stripe's `error` object in an answer."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return None
    message = (
        f"stripe: {error.get('type')} {error.get('code') or ''}: {error.get('message') or 'no message given'}"
    )
    return ThrottledError(message) if error.get("code") == "rate_limit" else FatalError(message)


def _list(
    name: str, record: type[Record], key: str, path: str, description: str, lag: int, **options: Any
) -> Stream:
    """A list by creation, newest first; what is younger than `lag` days may still change."""
    ask: Callable[[Bounds], Ask] = _ask_created
    return Stream(
        name=name,
        record=record,
        key=(key,),
        path=path,
        ask=ask,
        rows="data",
        pages=_PAGES,
        cursor="created_at",
        lag=timedelta(days=lag),
        lookup=Lookup(
            ask=lambda bounds: Ask(path=f"{path}/{quote(bounds.keys[0], safe='')}"), gone="deleted"
        ),
        kept="What was booked stays.",
        description=description,
        **options,
    )


_PAGES = KeysetPages(
    write="params.starting_after", rows="data", size=100, limit="params.limit", more="has_more"
)

WEBHOOK = Webhook(
    signature=TimedSignature(header="stripe-signature"),
    topic="type",
    delivery="id",
    notices=(
        # These two are charges by name alone.
        Notice(topic="charge.refund.*", streams=("refunds",), key="data.object.id"),
        Notice(topic="charge.dispute.*", streams=("disputes",), key="data.object.id"),
        Notice(topic="charge.*", streams=("charges",), key="data.object.id"),
        Notice(topic="refund.*", streams=("refunds",), key="data.object.id"),
        Notice(topic="payout.*", streams=("payouts",), key="data.object.id"),
        Notice(topic="balance.available", streams=("balance_transactions",)),
    ),
    documentation="https://docs.stripe.com/webhooks",
)

SOURCE = Source(
    name="stripe",
    title="Stripe",
    kind=Kind.PAYMENT,
    owner="finance",
    base_url="https://api.stripe.com",
    auth=Bearer(secret="KEY"),  # noqa: S106 - the name of a variable, not its value
    headers={"Stripe-Version": "2025-09-30.clover"},
    limit=RateLimit(requests=80, seconds=1.0),
    fault=fault,
    documentation="https://docs.stripe.com/api",
    webhook=WEBHOOK,
    streams=(
        _list(
            "charges", Charge, "charge_id", "/v1/charges",
            "Charges; refunds and disputes change them for months.", 90,
            control_totals=(ControlTotal(amount="amount", currency="currency"),),
        ),
        _list(
            "refunds", Refund, "refund_id", "/v1/refunds", "Refunds.", 30,
            control_totals=(ControlTotal(amount="amount", currency="currency"),),
        ),
        _list(
            "balance_transactions", BalanceTransaction, "balance_transaction_id", "/v1/balance_transactions",
            "Every movement on the balances, with its fee.", 14,
            control_totals=(ControlTotal(amount="net", currency="currency"),),
            children=(
                Child(
                    name="fee_details", path="fee_details", record=FeeDetail,
                    parent={"balance_transaction_id": "balance_transaction_id"},
                ),
            ),
        ),
        _list(
            "payouts", Payout, "payout_id", "/v1/payouts", "Payouts to the bank.", 14,
            control_totals=(ControlTotal(amount="amount", currency="currency"),),
        ),
        _list("disputes", Dispute, "dispute_id", "/v1/disputes", "Disputes and early warnings of them.", 120),
        Stream(
            name="payout_transactions",
            kept="What was booked stays.",
            record=PayoutTransaction,
            key=("payout_id", "balance_transaction_id"),
            path="/v1/balance_transactions",
            ask=_ask_payout,
            rows="data",
            pages=_PAGES,
            fan_out=("payouts", "automatic_payout_id"),
            fan_out_size=1,
            fan_out_changes=True,
            fan_out_field="payout_id",
            description="Which movements each automatic payout pays; who draws by hand draws a sum of no movements.",
        ),
    ),
)  # fmt: skip
