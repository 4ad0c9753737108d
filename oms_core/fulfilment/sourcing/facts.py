"""What no source system tells of nodes and goods: hours, collections, contracts, hazards. A versioned document of people.

A field that is left out stays unknown, or stays as the release measures it.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from functools import cached_property
from importlib import resources
from typing import Annotated, Any

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from oms_core.fulfilment.sourcing.policy import Country, parse

Money = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
Hours = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeFacts(_Document):
    """What is known of a node; names and units as in `network.Node` and `network.Carrier`.

    Attributes:
        ships: whether it ships our orders. A third party's node does only where this says so.
    """

    ships: bool | None = None
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    country: Country | None = None
    time_zone: str | None = None
    hours: tuple[tuple[int, int, int], ...] | None = None
    collections: tuple[tuple[int, int], ...] | None = None
    handling_hours: Hours | None = None
    parcels_per_shift: Annotated[int, Field(ge=0)] | None = None
    lines_per_shift: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    parcel_pick_cost: Money | None = None
    unit_pick_cost: Money | None = None
    parcel_cost: Money | None = None
    cost_per_kg: Money | None = None
    cost_per_100_km: Money | None = None
    base_hours: Hours | None = None
    km_per_hour: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    co2e_kg_per_tkm: Hours | None = None
    parcel_co2e_kg: Hours | None = None
    temperature_classes: frozenset[Name] | None = None
    cold_chain_hours: Hours | None = None
    hazard_classes: frozenset[Name] = frozenset()
    clears_customs_to: frozenset[Country] | None = None


class GoodsFacts(_Document):
    """What is known of the SKUs of a category.

    Attributes:
        hazard_class: UN class; "" says that they are not hazardous.
    """

    hazard_class: Annotated[str, StringConstraints(max_length=20)] | None = None
    hs_code: Annotated[str, StringConstraints(pattern="^[0-9]{4,10}$")] | None = None


class Facts(_Document):
    """What people know and systems do not tell.

    Attributes:
        version: of the document; a decision names it beside the document's hash.
        every_node: holds for each node that does not say otherwise itself, nor by its kind.
        kinds: type of location, such as "store" -> what holds for each of them.
        nodes: any id of a location -> what is known of it.
        goods: category code -> what is known of its SKUs.
    """

    version: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    every_node: NodeFacts = NodeFacts()
    kinds: dict[Name, NodeFacts] = {}
    nodes: dict[Name, NodeFacts] = {}
    goods: dict[Name, GoodsFacts] = {}

    def of_node(self, kind: str | None, own: NodeFacts | None) -> NodeFacts:
        """What is known of a node: its own facts, else those of its kind, else those of every node, field by field."""
        known = self.every_node
        for said in (self.kinds.get(kind or ""), own):
            if said is not None:
                known = known.model_copy(update={name: getattr(said, name) for name in said.model_fields_set})
        return known

    @cached_property
    def sha256(self) -> str:
        """Hash of the document in canonical form."""
        document = _sorted(self.model_dump(mode="json", exclude_unset=True))
        return hashlib.sha256(rfc8785.dumps(document)).hexdigest()


def load(text: str | bytes) -> Facts:
    """Read facts from their JSON document.

    Raises:
        RequestError: "bad-facts"; the message says which field and why.
    """
    return parse(Facts, text, "facts")


def example() -> str:
    """Facts of the sandbox company, to start others from, as text."""
    return resources.files("oms_core.fulfilment.sourcing").joinpath("example_facts.json").read_text("utf-8")


def _sorted(value: Any) -> Any:
    """Sets come in any order; in the hash they stand in theirs."""
    if isinstance(value, dict):
        return {key: sorted(item) if key in _SETS and item else _sorted(item) for key, item in value.items()}
    return value


_SETS = ("temperature_classes", "hazard_classes", "clears_customs_to")
