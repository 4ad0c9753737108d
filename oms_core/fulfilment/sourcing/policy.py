"""Weights and constraints of sourcing as a versioned document, validated on the way in."""

from __future__ import annotations

import hashlib
import json
import math
from functools import cached_property
from importlib import resources
from typing import Annotated, Any, TypeVar

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from oms_core.fulfilment.errors import RequestError
from oms_core.fulfilment.sourcing.constraints import CONSTRAINTS
from oms_core.fulfilment.sourcing.parameters import PARAMETERS

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Country = Annotated[str, Field(pattern="^[A-Z]{2}$")]
Model = TypeVar("Model", bound=BaseModel)
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Weight(_Document):
    """What a parameter counts: `weight` when its value is one `scale` (in the parameter's unit) from the best."""

    weight: Share
    scale: Positive


class Prior(_Document):
    """What is believed of a node without history: a failure rate, held as firmly as so many orders."""

    rate: Share
    orders: Positive


class Policy(_Document):
    """How orders are sourced.

    Attributes:
        version: of the document; a decision names it beside the document's hash.
        currency: ISO 4217, in which the scales of costs are said.
        parameters: all twelve, weights adding up to one.
        constraints: hard constraints in force, by name.
        customs_unions: name -> countries (ISO 3166-1 alpha-2) between which no customs are cleared; a country is in one.
        tiers: customer tier -> how often an hour late counts.
        most_parcels: an order is never split into more.
        longest_wait_hours: a node that is closed for longer is not asked.
        unfilled_score: what leaving an order unfilled costs in a batch.
        switch_gain: a plan made earlier is kept unless another one is better by more than this share of its score.
    """

    version: Annotated[str, Field(min_length=1, max_length=64)]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    parameters: dict[str, Weight]
    constraints: tuple[str, ...]
    customs_unions: dict[str, tuple[Country, ...]]
    tiers: Annotated[dict[str, Positive], Field(min_length=1)]
    most_parcels: Annotated[int, Field(ge=1, le=4)]
    longest_wait_hours: Annotated[float, Field(gt=0, le=168, allow_inf_nan=False)]
    reliability_prior: Prior
    unfilled_score: Positive
    switch_gain: Share

    @model_validator(mode="after")
    def _names_and_sum(self) -> Policy:
        unknown = sorted(set(self.parameters) - set(PARAMETERS))
        missing = sorted(set(PARAMETERS) - set(self.parameters))
        if unknown or missing:
            raise RequestError(
                "unknown-parameter",
                "policy: "
                + "; ".join(
                    [f"no such parameter: {', '.join(unknown)}"] * bool(unknown)
                    + [f"parameters left out: {', '.join(missing)}"] * bool(missing)
                ),
            )
        strange = sorted(set(self.constraints) - set(CONSTRAINTS))
        if strange:
            raise RequestError(
                "unknown-constraint",
                f"policy: no such constraint: {', '.join(strange)}; there are {', '.join(CONSTRAINTS)}",
            )
        united = [country for countries in self.customs_unions.values() for country in countries]
        if len(set(united)) < len(united):
            twice = sorted({country for country in united if united.count(country) > 1})
            raise RequestError("bad-policy", f"policy: in two customs unions: {', '.join(twice)}")
        total = math.fsum(item.weight for item in self.parameters.values())
        if not math.isclose(total, 1, abs_tol=1e-9):
            raise RequestError("bad-weights", f"policy: weights add up to {total:.6g}, not to 1")
        return self

    def customs_territory(self, country: str) -> str:
        """Countries from which nothing crosses a customs border on its way to a country, sorted, with commas between."""
        return self._territories.get(country, country)

    @cached_property
    def _territories(self) -> dict[str, str]:
        return {
            country: ",".join(sorted(countries))
            for countries in self.customs_unions.values()
            for country in countries
        }

    @cached_property
    def sha256(self) -> str:
        """Hash of the document in canonical form."""
        document = self.model_dump(mode="json") | {"constraints": sorted(self.constraints)}
        return hashlib.sha256(rfc8785.dumps(document)).hexdigest()


def load(text: str | bytes) -> Policy:
    """Read a policy from its JSON document.

    Raises:
        RequestError: it is no JSON, names something twice, or is no policy; the message says which field and why.
    """
    return parse(Policy, text, "policy")


def parse(model: type[Model], text: str | bytes, what: str) -> Model:
    """Read a document of people: JSON that names nothing twice and says only what the model knows.

    Args:
        what: "policy" or "facts", for the code ("bad-policy") and the message.

    Raises:
        RequestError: see `load`.
    """
    try:
        document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"bad-{what}", f"{what}: no JSON document: {error}") from error
    try:
        return model.model_validate_json(json.dumps(document))
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc']) or 'document'}: {fault['msg']}"
            for fault in error.errors()
        ]
        raise RequestError(f"bad-{what}", f"{what}: " + "; ".join(faults)) from error


def default() -> Policy:
    """The policy that is shipped."""
    return load(
        resources.files("oms_core.fulfilment.sourcing").joinpath("default_policy.json").read_text("utf-8")
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is said twice")
        found[name] = value
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")
