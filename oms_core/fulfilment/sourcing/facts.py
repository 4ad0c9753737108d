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
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from oms_core.fulfilment.errors import RequestError
from oms_core.fulfilment.sourcing.network import check_week
from oms_core.fulfilment.sourcing.policy import Country, parse

Money = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
Hours = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeFacts(_Document):
    """What is known of a node, by its own id, its kind, or of every node."""

    ships: bool | None = Field(
        default=None,
        description="Whether it ships our orders. A third party's node does only where this says so.",
    )
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    country: Country | None = None
    time_zone: str | None = Field(
        default=None, description="IANA name; hours and collections are said in it."
    )
    hours: tuple[tuple[int, int, int], ...] | None = Field(
        default=None,
        description="When it works: weekday (Monday is 0), opens, closes, in minutes after midnight; closes may be 1440, "
        "and later is the next day's.",
        examples=[[[0, 480, 1080], [1, 480, 1080]]],
    )
    collections: tuple[tuple[int, int], ...] | None = Field(
        default=None,
        description="The carrier's cut-offs: weekday, and the minute after midnight by which a parcel must be ready.",
        examples=[[[0, 1020], [1, 1020]]],
    )
    handling_hours: Hours | None = Field(
        default=None,
        description="From the order reaching the open node to the parcel being ready; where hours or collections are not "
        "known, to the carrier having it.",
    )
    parcels_per_shift: Annotated[int, Field(ge=0)] | None = None
    lines_per_shift: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    parcel_pick_cost: Money | None = Field(
        default=None, description="In the reporting currency, as all money here."
    )
    unit_pick_cost: Money | None = None
    parcel_cost: Money | None = Field(
        default=None, description="The carrier's contract: what a parcel costs before its mass and way."
    )
    cost_per_kg: Money | None = None
    cost_per_100_km: Money | None = None
    base_hours: Hours | None = Field(
        default=None, description="A parcel travels base_hours + distance / km_per_hour."
    )
    km_per_hour: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    co2e_kg_per_tkm: Hours | None = Field(
        default=None, description="kg CO2e per tonne-kilometre, well to wheel."
    )
    parcel_co2e_kg: Hours | None = Field(default=None, description="kg CO2e of packing one parcel.")
    temperature_classes: frozenset[Name] | None = Field(
        default=None, description="What it can keep and send unbroken: ambient, chilled, frozen."
    )
    cold_chain_hours: Hours | None = Field(
        default=None, description="How long its packing keeps goods that are not ambient."
    )
    hazard_classes: frozenset[Name] = Field(
        default=frozenset(), description="UN classes of hazardous goods it may send, such as 3 or 9."
    )
    clears_customs_to: frozenset[Country] | None = Field(
        default=None, description="Countries beyond its customs union it may send to."
    )

    @model_validator(mode="after")
    def _have_a_week(self) -> NodeFacts:
        try:
            check_week("the node", self.time_zone, self.hours, self.collections)
        except RequestError as error:
            raise ValueError(str(error)) from error
        return self


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
