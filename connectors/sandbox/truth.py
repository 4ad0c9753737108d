"""Which true thing each record of a twin is: read only by the scorer, never by a connector."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

Entity = Literal["customer", "sku", "location", "order"]


class Truth(NamedTuple):
    """One record and the true thing it shows.

    `record_id` is "<source>:<stream>:<source_key>", exactly as in the warehouse; `truth_id` is a key of the
    world (`Customer.customer_id`, `Product.product_id`, `Location.location_id`, `Order.order_id`).
    """

    entity: Entity
    record_id: str
    truth_id: str


def dump_lines(truths: Iterable[Truth]) -> Iterator[str]:
    """Yield one JSON object per line, ending in a newline."""
    for truth in truths:
        yield json.dumps(truth._asdict(), ensure_ascii=False) + "\n"


def load_lines(lines: Iterable[str]) -> Iterator[Truth]:
    """Read what `dump_lines` wrote; blank lines are passed over."""
    for line in lines:
        if line.strip():
            yield Truth(**json.loads(line))
