"""Evidence that two location records are one place: GLN, codes, address, distance and name; and what keeps two apart.

A place is one site in one role. A store that moved stays one location, and its address is dated by the releases; a code
that a closed store passed on to another store at another place leads to two. What exists only in the books (goods in
transit, a mobile till) is never the same as what stands somewhere. A 3PL's node is not the warehouse it stands in.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

from rapidfuzz import fuzz
from rapidfuzz.distance import OSA
from stdnum import ean

from oms_core.identity import normalise
from oms_core.identity.cluster import Edge

Row = Mapping[str, Any]

NEAR_M = 150.0  # what lies between the gate and the door of one site, and between two geocoders
FAR_M = 2_000.0  # no geocoder that knows the street errs this much
EARTH_M = 6_371_008.8  # mean radius

_ALIKE = 70.0  # share of common words, of 100
_MOST_PAIRED = 50
_MOST_NEAR = 500
_SHORTEST_CODE, _SHORTEST_NAME = 3, 6
_CELL = 0.002  # degrees of latitude, 222 m: wider than NEAR_M
_VIRTUAL = re.compile(
    r"\b(virtual|in.transit|transit|drop.?ship\w*|lost|scrap|scrapped)\b|虚拟|在途|报废", re.IGNORECASE
)
# Words that say what kind of place it is, not which.
_KINDS = {
    "store", "shop", "warehouse", "wh", "dc", "depot", "dark", "centre", "center", "the", "and", "dian", "cang", "men",
    "fulfilment", "fulfillment", "logistics", "hub", "site", "location",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """What a location record says, in normal form; None where it says nothing.

    Attributes:
        gln: with a valid check digit; a mistyped one identifies nothing.
        name: words that tell which place it is, spelled in Latin letters.
        is_han: whether the name is written in Chinese signs.
        role: virtual, third_party or own.
        operator: who runs a node that is not our own.
        street: the street line without its numbers and spaces.
        latitude, longitude: degrees.
    """

    record_id: str
    source_system: str
    gln: str | None
    code: str | None
    name: tuple[str, ...]
    is_han: bool
    role: str | None
    operator: str | None
    street: str | None
    number: str | None
    postcode: str | None
    country: str | None
    latitude: float | None
    longitude: float | None


def read(row: Row) -> Place:
    """Read a row of `int_location_records`; columns beyond record_id and source_system may be missing."""
    name = row.get("location_name")
    latitude, longitude = row.get("latitude"), row.get("longitude")
    has_position = latitude is not None and longitude is not None and (latitude, longitude) != (0, 0)
    return Place(
        row["record_id"],
        row["source_system"],
        gln(row.get("gln")),
        normalise.code(row.get("location_code")),
        words(name),
        normalise.is_han(name),
        _role(row.get("location_type"), name),
        normalise.code(row.get("operator_name")),
        _street(row.get("street")),
        normalise.house_number(row.get("street")),
        normalise.code(row.get("postcode")),
        normalise.code(row.get("country")),
        float(latitude) if has_position and latitude is not None else None,
        float(longitude) if has_position and longitude is not None else None,
    )


def gln(value: str | None) -> str | None:
    """GS1 Global Location Number: 13 digits with a valid check digit."""
    digits = normalise.code(value)
    return digits if digits is not None and len(digits) == 13 and ean.is_valid(digits) else None


def words(value: str | None) -> tuple[str, ...]:
    """Sorted words of a name that tell which place it is, Chinese as it sounds; all its words where none does."""
    found = set(re.findall(r"[a-z0-9]+", normalise.folded(value) or ""))
    return tuple(sorted(found - _KINDS)) or tuple(sorted(found))


def _street(value: str | None) -> str | None:
    """A street line in the script it is written in, without numbers and spaces."""
    text = normalise.plain(value)
    if text is None:
        return None
    known = normalise.simplified(text) if normalise.is_han(text) else normalise.folded(text) or ""
    return re.sub(r"[\d\W_]+", "", known) or None


def _role(kind: str | None, name: str | None) -> str | None:
    if kind == "virtual" or (name is not None and _VIRTUAL.search(name)):
        return "virtual"
    if kind == "third_party":
        return kind
    return None if kind is None else "own"


def metres(left: Place, right: Place) -> float | None:
    """Great-circle distance in metres (haversine, mean radius of the Earth); None where a position is unknown."""
    if left.latitude is None or left.longitude is None or right.latitude is None or right.longitude is None:
        return None
    one, two = math.radians(left.latitude), math.radians(right.latitude)
    across = math.radians(right.longitude - left.longitude)
    half = math.sin((two - one) / 2) ** 2 + math.cos(one) * math.cos(two) * math.sin(across / 2) ** 2
    return 2 * EARTH_M * math.asin(min(1.0, math.sqrt(half)))


def edges(rows: Sequence[Row]) -> list[Edge]:
    """Evidence among location records, strongest first: GLN 1, code 2, address and distance 3, name with country or distance 4,
    name and shortened code 4."""
    places = [read(row) for row in rows]
    shared = _shared_sites(places)
    found: list[Edge] = []
    found += _pairs(_by(places, lambda place: place.gln), "gln", 1, lambda left, right: True)
    found += _pairs(_by(places, lambda place: place.code), "location_code", 2, _one_code)

    def one_door(left: Place, right: Place) -> bool:
        if not _one_role(left, right):
            return False
        return not (_site(left) in shared or _site(right) in shared) or alike(left, right) is True

    found += _pairs(
        _by(places, _site),
        "street+postcode",
        3,
        lambda left, right: _fits_street(left, right) and one_door(left, right),
    )
    found += [
        Edge(3, min(left.record_id, right.record_id), max(left.record_id, right.record_id), "number+distance")
        for left, right in _near(places, lambda place: [place.number] if place.number else [])
        if _one_street(left, right) is not False and one_door(left, right)
    ]
    found += [
        Edge(4, min(left.record_id, right.record_id), max(left.record_id, right.record_id), "name+distance")
        for left, right in _near(places, lambda place: place.name)
        if alike(left, right) is True and _one_role(left, right) and not is_next_door(left, right)
    ]
    found += _pairs(_names(places), "name+country", 4, lambda left, right: not is_elsewhere(left, right))
    return found + _abbreviated(places)


def veto(rows: Sequence[Row]) -> Callable[[str, str], str | None]:
    """Contradictions between two location records that no evidence but a steward's outweighs."""
    known = {row["record_id"]: read(row) for row in rows}

    def refuse(left: str, right: str) -> str | None:
        one, two = known[left], known[right]
        if one.gln and two.gln and one.gln != two.gln:
            return "their GLNs differ"
        if _nature(one) and _nature(two) and _nature(one) != _nature(two):
            return "one is virtual, the other stands somewhere"
        if one.source_system == two.source_system and one.code and two.code and one.code != two.code:
            return "one system gives them two codes"
        return None

    return refuse


def agreements(rows: Sequence[Row]) -> dict[str, dict[str, str]]:
    """What one location can have only one of, also through records that do not say: GLN, nature, code in each system."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for place in map(read, rows):
        for name, value in (
            ("GLN", place.gln),
            ("nature", _nature(place)),
            (f"{place.source_system} code", place.code),
        ):
            if value is not None:
                found[name][place.record_id] = value
    return dict(found)


def alike(left: Place, right: Place) -> bool | None:
    """Whether two names name one place; None where a name is missing, or scripts differ and the sounds do not tell."""
    if not left.name or not right.name:
        return None
    if fuzz.token_set_ratio(" ".join(left.name), " ".join(right.name)) >= _ALIKE:
        return True
    shorter, longer = sorted(("".join(left.name), "".join(right.name)), key=len)
    if fuzz.ratio(shorter, longer) >= _ALIKE or (len(shorter) >= 5 and shorter in longer):
        return True
    return None if left.is_han != right.is_han else False


def is_elsewhere(left: Place, right: Place) -> bool:
    """Whether two records are clearly about two spots: far apart or, without positions, of two addresses."""
    apart = metres(left, right)
    if apart is not None:
        return apart > FAR_M
    if left.country and right.country and left.country != right.country:
        return True
    # People miswrite a number or a postcode; of two addresses nothing fits.
    return bool(
        left.postcode
        and right.postcode
        and left.postcode != right.postcode
        and left.number != right.number
        and _one_street(left, right) is False
    )


def _one_code(left: Place, right: Place) -> bool:
    """A code goes with the store that moves, or is renamed; at another place and under another name it was recycled."""
    return not (is_elsewhere(left, right) and alike(left, right) is not True)


def _one_role(left: Place, right: Place) -> bool:
    """An address is shared by our warehouse and the 3PL's node in it, and by two 3PLs in one park."""
    if left.role and right.role and left.role != right.role:
        return False
    if left.operator and right.operator and left.operator != right.operator:
        return False
    return not (left.role == right.role == "third_party" and alike(left, right) is False)


def _nature(place: Place) -> str | None:
    return None if place.role is None else "virtual" if place.role == "virtual" else "physical"


def _site(place: Place) -> tuple[str, str] | None:
    """House number, else street, with the postcode: which street it is, is compared apart, since spellings differ."""
    door = place.number or place.street
    return (door, place.postcode) if door and place.postcode else None


def _one_street(left: Place, right: Place) -> bool | None:
    """Whether two street names are one; None where one is missing or only one is Chinese."""
    if not left.street or not right.street or normalise.is_han(left.street) != normalise.is_han(right.street):
        return None
    return fuzz.partial_ratio(left.street, right.street) >= _ALIKE


def _fits_street(left: Place, right: Place) -> bool:
    """Whether two addresses of one number and postcode are one; where scripts differ, the names speak for the streets."""
    is_one = _one_street(left, right)
    return alike(left, right) is True if is_one is None else is_one


def _shared_sites(places: Iterable[Place]) -> set[tuple[str, str]]:
    """Addresses at which one system has two places: a mall or a business park says nothing about who is in it."""
    told: dict[tuple[tuple[str, str], str], set[Hashable]] = defaultdict(set)
    for place in places:
        site = _site(place)
        if site is not None:
            told[site, place.source_system].add(place.code or place.gln or place.name)
    return {site for (site, _), found in told.items() if len(found) > 1}


def _names(places: Iterable[Place]) -> dict[Hashable, list[Place]]:
    """Places by name and country; a name that one system has twice in a country is a kind of place, not a place."""
    groups = _by(places, lambda place: (place.name, place.country) if place.name else None)
    found = {}
    for key, group in groups.items():
        told: dict[str, set[Hashable]] = defaultdict(set)
        for place in group:
            told[place.source_system].add(place.code or place.gln or _site(place) or place.record_id)
        if all(len(names) == 1 for names in told.values()):
            found[key] = group
    return found


def _abbreviated(places: Sequence[Place]) -> list[Edge]:
    """A code shortened to what a system has room for, beside a name with one slip: DSLN "Shoredotch" and DS-LON "Shoreditch".

    Only where no other place could be meant, and the code as it stands is nowhere the code of another.
    """
    systems: dict[str, set[str]] = defaultdict(set)
    longer: dict[tuple[str, str, str], list[Place]] = defaultdict(list)
    for place in places:
        if place.code is not None:
            systems[place.code].add(place.source_system)
            for key in _slip_keys(place):
                longer[key].append(place)
    found = []
    for place in places:
        if (
            place.code is None
            or len(place.code) < _SHORTEST_CODE
            or systems[place.code] != {place.source_system}
        ):
            continue
        near = [longer[key] for key in _slip_keys(place)]
        meant = {
            other.record_id: other
            for group in near
            if len(group) <= _MOST_NEAR
            for other in group
            if other.code is not None
            and other.source_system != place.source_system
            and len(other.code) > len(place.code)
            and _is_within(place.code, other.code)
            and _one_slip(place, other)
            and not is_elsewhere(place, other)
        }
        if len({other.code for other in meant.values()}) == 1:
            for record in meant:
                left, right = sorted((place.record_id, record))
                found.append(Edge(4, left, right, "name+shortened code"))
    return found


def _slip_keys(place: Place) -> list[tuple[str, str, str]]:
    """First sign of the code with both ends of the name, one of which a slip of the fingers leaves as it is."""
    name = " ".join(place.name)
    return (
        [] if place.code is None else [(place.code[0], "head", name[:2]), (place.code[0], "tail", name[-2:])]
    )


def _is_within(short: str, long: str) -> bool:
    """Whether the signs of one code stand in the other, in order."""
    rest = iter(long)
    return all(sign in rest for sign in short)


def _one_slip(left: Place, right: Place) -> bool:
    """Whether two names are one with a slip of the fingers at most."""
    one, other = " ".join(left.name), " ".join(right.name)
    return min(len(one), len(other)) >= _SHORTEST_NAME and OSA.distance(one, other, score_cutoff=1) <= 1


def is_next_door(left: Place, right: Place) -> bool:
    """Whether two addresses are two doors, however near."""
    return (
        bool(left.number and right.number and left.number != right.number)
        or _one_street(left, right) is False
    )


def _near(places: Iterable[Place], signs: Callable[[Place], Iterable[str]]) -> Iterator[tuple[Place, Place]]:
    """Pairs that have one of these signs in common, within NEAR_M of each other; each pair once."""
    cells: dict[tuple[str, int], list[Place]] = defaultdict(list)
    for place in places:
        if place.latitude is not None and place.longitude is not None:
            for sign in signs(place):
                cells[sign, math.floor(place.latitude / _CELL)].append(place)
    seen: set[tuple[str, str]] = set()
    for (sign, cell), group in cells.items():
        above = cells.get((sign, cell + 1), [])
        pairs: Iterable[tuple[Place, Place]] = combinations(group, 2)
        if len(group) > _MOST_NEAR or len(above) > _MOST_NEAR:
            # Such a crowd has one made-up position: along a chain, as elsewhere.
            above, pairs = [], pairwise(sorted(group, key=lambda place: place.record_id))
        for left, right in [*pairs, *((left, right) for left in group for right in above)]:
            apart = metres(left, right)
            if apart is not None and apart <= NEAR_M and (left.record_id, right.record_id) not in seen:
                seen.add((left.record_id, right.record_id))
                yield left, right


def _by(places: Iterable[Place], value: Callable[[Place], Hashable | None]) -> dict[Hashable, list[Place]]:
    groups: dict[Hashable, list[Place]] = defaultdict(list)
    for place in places:
        key = value(place)
        if key is not None:
            groups[key].append(place)
    return groups


def _pairs(
    groups: Mapping[Hashable, Sequence[Place]],
    rule: str,
    strength: int,
    holds: Callable[[Place, Place], bool],
) -> list[Edge]:
    """Edges between the places of each group for which the evidence holds; along a chain where they are very many."""
    found = []
    for group in groups.values():
        ordered = sorted(group, key=lambda place: place.record_id)
        pairs = combinations(ordered, 2) if len(ordered) <= _MOST_PAIRED else pairwise(ordered)
        found += [
            Edge(strength, left.record_id, right.record_id, rule)
            for left, right in pairs
            if left.record_id != right.record_id and holds(left, right)
        ]
    return found
