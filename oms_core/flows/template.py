"""Fill in a notification's text: names in `${…}` become values, and nothing in a template is ever carried out."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oms_core.flows.definition import EventKind, Notification
from oms_core.flows.guard import ORDER_FACTS


class _Text(string.Template):
    idpattern = r"(?a:[a-z]+\.[a-z][a-z0-9_]*)"
    flags = re.NOFLAG  # names are written in lower case


@dataclass(frozen=True)
class Rendered:
    """A text ready to be sent; `missing` names what it asks for and nobody knows, and then it is not to be sent."""

    channel: str
    subject: str
    body: str
    missing: tuple[str, ...]


def fields(event: EventKind | None) -> frozenset[str]:
    """What a template may ask for."""
    data = () if event is None else event.data
    return frozenset([*(f"order.{name}" for name in ORDER_FACTS), *(f"event.{name}" for name in data)])


def faults(text: str, event: EventKind | None) -> list[str]:
    """What is wrong with a text: a lone `$`, or names nobody declared."""
    template = _Text(text)
    if not template.is_valid():
        return ["a `$` begins no name: write `${order.order_number}`, or `$$` for the sign"]
    known = fields(event)
    return [f"nobody knows {name!r}" for name in template.get_identifiers() if name not in known]


def render(notification: Notification, facts: Mapping[str, Any], data: Mapping[str, Any]) -> Rendered:
    """Fill a notification in with an order's facts and an event's data."""
    known = {f"order.{name}": value for name, value in facts.items()} | {
        f"event.{name}": value for name, value in data.items()
    }
    texts = [_Text(notification.subject), _Text(notification.body)]
    asked = dict.fromkeys(name for text in texts for name in text.get_identifiers())
    missing = tuple(name for name in asked if known.get(name) is None)
    subject, body = (
        text.safe_substitute({name: known[name] for name in asked if name not in missing}) for text in texts
    )
    return Rendered(notification.channel, subject, body, missing)
