"""Locations of files: what `places` knows of GLNs, codes, addresses and distances, beside what a trained model says."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from oms_core.identity import places
from oms_core.identity.cluster import Edge
from oms_core.identity.places import Place

Positions = npt.NDArray[np.int64]

# Chance that two records are one place given the evidence, by its strength: GLN, code, address, name.
_CHANCE = {1: 0.9999, 2: 0.99, 3: 0.97, 4: 0.9}
_TEXTS = ("gln", "location_code", "location_type", "operator_name", "postcode", "country")


class Sites:
    """The locations of one or two files, by position.

    One file says nothing about whose lists it was put together from, so that two codes in it may be one place's, and one address
    joins only names that may be one. Each of two files is one list: what it has under two codes are two places.
    """

    def __init__(self, table: pa.Table, *, linking: bool) -> None:
        """Read the columns that `recognise` found; those that are missing say nothing."""
        self._linking = linking
        columns = {name: table[name].to_pylist() for name in table.column_names}

        def of(name: str, position: int) -> Any:
            return columns[name][position] if name in columns else None

        self._rows = []
        for position in range(table.num_rows):
            street = " ".join(filter(None, (of("street", position), of("street_number", position)))) or None
            self._rows.append(
                {
                    "record_id": f"{position:09d}",
                    "source_system": of("source_system", position) if linking else str(position),
                    "location_name": of("company_name", position),
                    "street": street,
                    "latitude": _degrees(of("latitude", position), 90),
                    "longitude": _degrees(of("longitude", position), 180),
                    **{name: of(name, position) for name in _TEXTS},
                }
            )
        self._places = [places.read(row) for row in self._rows]
        self._refuse = places.veto(self._rows)

    def pairs(self) -> tuple[Positions, Positions, npt.NDArray[np.float64]]:
        """Pairs that evidence joins: positions left < right, and the chance that the two are one."""
        kinds = set() if self._linking else _kinds(self._places)
        found: dict[tuple[int, int], float] = {}
        for edge in places.edges(self._rows):
            left, right = int(edge.left), int(edge.right)
            if self._refuse(edge.left, edge.right) is None and self._holds(edge, kinds):
                found[left, right] = max(_CHANCE[edge.strength], found.get((left, right), 0.0))
        pairs = sorted(found)
        listed = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
        return listed[:, 0], listed[:, 1], np.asarray([found[pair] for pair in pairs], dtype=np.float64)

    def _holds(self, edge: Edge, kinds: set[tuple[str, ...]]) -> bool:
        if self._linking:
            return True
        left, right = self._places[int(edge.left)], self._places[int(edge.right)]
        if edge.strength == 3:
            return places.alike(left, right) is not False
        return edge.rule != "name+country" or left.name not in kinds

    def differ(self, left: int, right: int) -> bool:
        """Whether two records cannot be one place, whatever a model makes of them: other GLNs, far apart, two addresses."""
        one, other = self._places[left], self._places[right]
        refused = self._refuse(one.record_id, other.record_id)
        return refused is not None or places.is_elsewhere(one, other)


def _kinds(found: list[Place]) -> set[tuple[str, ...]]:
    """Names that records of two spots bear: what kind of place it is, not which."""
    first: dict[tuple[tuple[str, ...], str | None], Place] = {}
    kinds: dict[tuple[str, ...], int] = defaultdict(int)
    for place in found:
        if place.name:
            kinds[place.name] += places.is_elsewhere(
                first.setdefault((place.name, place.country), place), place
            )
    return {name for name, count in kinds.items() if count}


def _degrees(value: Any, most: int) -> float | None:
    """A coordinate as a number; None where it is none, or beyond what there is."""
    try:
        number = float(str(value).replace(",", "."))
    except ValueError:
        return None
    return number if abs(number) <= most else None
