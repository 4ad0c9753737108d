"""Which location records are one place: cases as data, and laws that hold for any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms_core.identity import places, rewrite
from oms_core.identity.cluster import cluster
from oms_core.release.read import query
from oms_core.store.postgres import Database

QUICK = settings(max_examples=100, deadline=None, database=None)

JINGAN = {"country": "CN", "latitude": 31.2234, "longitude": 121.4489}
PARK = {"street": "Logistikallee 5", "postcode": "20457", "country": "DE"}


def at(record_id: str, **fields: Any) -> dict[str, Any]:
    """A location record; record ids read `<system>:<stream>:<key>`."""
    return {"record_id": record_id, "source_system": record_id.split(":")[0], **fields}


def north(fields: dict[str, Any], metres: float) -> dict[str, Any]:
    """The same, so many metres further north."""
    return {**fields, "latitude": fields["latitude"] + metres / 111_195}


def partition(*rows: dict[str, Any]) -> set[frozenset[str]]:
    found = cluster(
        [row["record_id"] for row in rows],
        places.edges(rows),
        veto=places.veto(rows),
        agree=places.agreements(rows),
    )
    return set(found.clusters)


ONE = {
    "one name, 60 m apart, no address": [
        at("erp:l:1", location_name="Luna Jing'an", **JINGAN), at("pos:l:2", location_name="Luna Jingan Store", **north(JINGAN, 60)),
    ],
    "one GLN in two spellings": [
        at("erp:l:1", gln="4012345000009"), at("pos:l:2", gln="40 12345 00000 9"),
    ],
    "a store that moved: its GLN goes with it": [
        at("erp:l:1", gln="4012345000009", location_name="Luna Marylebone", street="84 High Street", postcode="W1U 4QP"),
        at("pos:l:2", gln="4012345000009", location_name="Luna Mayfair", street="3 Bond Street", postcode="W1S 1RJ"),
    ],
    "a store that moved: code and name go with it": [
        at("erp:l:1", location_code="LON1", location_name="Luna London", country="GB", latitude=51.52, longitude=-0.15),
        at("pos:l:2", location_code="lon 1", location_name="Luna, London", country="GB", latitude=51.47, longitude=-0.03),
    ],
    "a store with another name at its old place": [
        at("erp:l:1", location_code="LON1", location_name="Moonlight", street="84 High Street", postcode="W1U 4QP"),
        at("pos:l:2", location_code="LON1", location_name="Luna Marylebone", street="84 High St", postcode="W1U4QP"),
    ],
    "one address, spelled twice": [
        at("erp:l:1", street="1788 Nanjing West Road", postcode="200040", country="CN"),
        at("pos:l:2", street="1788 NANJING WEST RD.", postcode="2000 40", country="CN"),
    ],
    "one Chinese address, with and without its district": [
        at("erp:l:1", street="南京西路1788号", postcode="200040"),
        at("pos:l:2", street="上海市静安区南京西路１７８８号", postcode="200040"),
    ],
    "one house number 120 m apart, in two scripts": [
        at("erp:l:1", street="南京西路1788号", **JINGAN),
        at("pos:l:2", street="1788 Nanjing West Road", **north(JINGAN, 120)),
    ],
    "one house number, postcode and name, in two scripts": [
        at("erp:l:1", location_name="Luna Jing'an", street="1788 Nanjing West Road", postcode="200040", country="CN"),
        at("pos:l:2", location_name="露娜静安店", street="南京西路1788号", postcode="200040", latitude=31.2234, longitude=121.4489),
    ],
    "one name of which each system has one": [
        at("erp:l:1", location_name="Hamburg Warehouse", country="DE"),
        at("wms:l:2", location_name="HAMBURG  warehouse ", country="DE"),
    ],
    "one name, with a slip in number and postcode": [
        at("erp:l:1", location_name="Delta Warehouse", street="88 Xinghu Street", postcode="210042", country="CN"),
        at("wms:l:2", location_name="Delta Warehouse", street="83 XINGHU ST", postcode="210063", country="CN"),
    ],
    "two shops of a mall, each told by two systems": [
        at("erp:l:1", location_name="Luna", location_code="S1", street="1 Mall Road", postcode="10115"),
        at("pos:l:1", location_name="Luna Store", street="1 Mall Road", postcode="10115"),
    ],
}  # fmt: skip

APART = {
    "one name, 60 m apart, two doors": [
        at("erp:l:1", location_name="Luna Jing'an", street="12 Nanjing Road", **JINGAN),
        at("pos:l:2", location_name="Luna Jing'an", street="90 Nanjing Road", **{**north(JINGAN, 60), "country": "SG"}),
    ],
    "two names, 60 m apart": [
        at("erp:l:1", location_name="Luna Jing'an", **JINGAN), at("pos:l:2", location_name="Seagull Depot", **north(JINGAN, 60)),
    ],
    "two GLNs at one address": [
        at("erp:l:1", gln="4012345000009", **PARK), at("pos:l:2", gln="4012345000016", **PARK),
    ],
    "a recycled code: another place, another name": [
        at("erp:l:1", location_code="SH1", location_name="Pudong Store", country="CN", latitude=31.22, longitude=121.54),
        at("pos:l:2", location_code="SH1", location_name="Sanlitun Store", country="CN", latitude=39.93, longitude=116.45),
    ],
    "a recycled code without positions": [
        at("erp:l:1", location_code="SH1", location_name="Pudong", street="9 Century Avenue", postcode="200120"),
        at("pos:l:2", location_code="SH1", location_name="Sanlitun", street="19 Sanlitun Road", postcode="100027"),
    ],
    "a shared name, far apart": [
        at("erp:l:1", location_name="Outlet", country="DE", latitude=53.55, longitude=9.99),
        at("pos:l:2", location_name="Outlet", country="DE", latitude=48.14, longitude=11.58),
    ],
    "a shared name in two countries": [
        at("erp:l:1", location_name="Outlet", country="DE"), at("pos:l:2", location_name="Outlet", country="FR"),
    ],
    "one house number in two streets near each other": [
        at("erp:l:1", street="12 Prince Street", **JINGAN), at("pos:l:2", street="12 Mulberry Lane", **north(JINGAN, 90)),
    ],
    "one house number and postcode in two scripts, two names": [
        at("erp:l:1", location_name="Luna Jing'an", street="1788 Nanjing West Road", postcode="200040"),
        at("pos:l:2", location_name="海鸥外滩店", street="中山东一路1788号", postcode="200040"),
    ],
    "one house number 400 m apart": [
        at("erp:l:1", street="南京西路1788号", **JINGAN), at("pos:l:2", street="1788 Nanjing West Road", **north(JINGAN, 400)),
    ],
    "a virtual stock at the warehouse's address": [
        at("erp:l:1", location_type="warehouse", **PARK), at("wms:l:2", location_type="virtual", **PARK),
    ],
    "a virtual stock under the warehouse's code": [
        at("erp:l:1", location_type="warehouse", location_code="WH1"),
        at("wms:l:2", location_name="WH1 in transit", location_code="WH1"),
    ],
    "a 3PL's node in our warehouse": [
        at("erp:l:1", location_type="warehouse", **PARK), at("tpl:l:2", location_type="third_party", **PARK),
    ],
    "two 3PLs in one park": [
        at("tpl:l:1", location_type="third_party", location_name="Swiftship Hamburg", **PARK),
        at("tqz:l:2", location_type="third_party", location_name="Cargonaut", **PARK),
    ],
    "two 3PLs that say who they are": [
        at("tpl:l:1", location_type="third_party", operator_name="Swiftship", **PARK),
        at("tqz:l:2", location_type="third_party", operator_name="Cargonaut", **PARK),
    ],
    "two codes in one system at one address": [
        at("erp:l:1", location_code="WH-A", **PARK), at("erp:l:2", location_code="WH-B", **PARK),
    ],
    "a street without a postcode": [at("erp:l:1", street="1 Main St"), at("pos:l:2", street="1 Main St")],
    "positions of nowhere": [
        at("erp:l:1", street="5 Main St", latitude=0, longitude=0), at("pos:l:2", street="5 Main St", latitude=0, longitude=0),
    ],
    "a mistyped GLN": [at("erp:l:1", gln="4012345000001"), at("pos:l:2", gln="4012345000001")],
}  # fmt: skip


@pytest.mark.parametrize("rows", ONE.values(), ids=ONE)
def test_one_place(rows: list[dict[str, Any]]) -> None:
    assert partition(*rows) == {frozenset(row["record_id"] for row in rows)}


@pytest.mark.parametrize("rows", APART.values(), ids=APART)
def test_two_places(rows: list[dict[str, Any]]) -> None:
    assert len(partition(*rows)) == 2


def test_a_code_or_gln_says_that_a_3pls_node_is_ours_after_all() -> None:
    ours = at("erp:l:1", location_type="warehouse", location_code="FBA-US", **PARK)
    theirs = at("tpl:l:2", location_type="third_party", location_code="FBA-US", **PARK)
    assert len(partition(ours, theirs)) == 1


def test_a_mall_says_nothing_about_who_is_in_it() -> None:
    mall = {"street": "1 Mall Road", "postcode": "10115"}
    luna, sole = (
        at("erp:l:1", location_name="Luna", location_code="S1", **mall),
        at("erp:l:2", location_name="Sole Shoes", location_code="S2", **mall),
    )
    till = at("pos:l:9", location_name="Luna Store", **mall)
    assert partition(luna, sole, till) == {frozenset({"erp:l:1", "pos:l:9"}), frozenset({"erp:l:2"})}


def test_virtual_and_physical_do_not_meet_through_a_record_that_does_not_say() -> None:
    rows = [
        at("erp:l:1", location_type="warehouse", location_code="WH1"),
        at("pos:l:2", location_code="WH1"),
        at("wms:l:3", location_type="virtual", location_code="WH1"),
    ]
    assert all({"erp:l:1", "wms:l:3"} - group for group in partition(*rows))


def test_a_name_that_one_system_has_twice_is_no_name() -> None:
    rows = [
        at("erp:l:1", location_name="Main store", location_code="A", country="DE"),
        at("erp:l:2", location_name="Main store", location_code="B", country="DE"),
        at("pos:l:3", location_name="Main store", country="DE"),
    ]
    assert len(partition(*rows)) == 3


LUNA = {"location_name": "Luna Marylebone", "street": "84 High Street", "postcode": "W1U 4QP", "gln": None}


@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        ({"street": "3 Bond Street", "postcode": "W1S 1RJ"}, False),  # it moved
        ({"location_name": "Moonlight"}, False),  # it was renamed
        (
            {"location_name": "Sole Shoes", "street": "3 Bond Street", "postcode": "W1S 1RJ"},
            True,
        ),  # recycled in place
    ],
)
def test_a_record_of_a_store_that_moves_stays_and_a_recycled_one_leaves(
    change: dict[str, Any], is_another: bool
) -> None:
    before, after = (
        rewrite.identifying("location", at("erp:l:1", **row)) for row in (LUNA, {**LUNA, **change})
    )
    assert (rewrite.rewritten("location", before, after) is not None) == is_another


def test_the_address_of_a_store_that_moved_is_dated_by_releases(
    database: Database, publish_small: Callable[..., Any]
) -> None:
    for street in ("84 High Street", "3 Bond Street"):
        publish_small(database, dim_locations=[{"location_id": "LOC-A", "street": street}])
    for release, street in ((1, "84 High Street"), (2, "3 Bond Street")):
        answer = query(database, "select location_id, street from dim_locations", as_of=release)
        assert answer.rows == (("LOC-A", street),)


def test_distance_is_that_of_a_great_circle() -> None:
    paris, london = (
        places.read(at("a:l:1", latitude=48.8566, longitude=2.3522)),
        places.read(at("a:l:2", latitude=51.5074, longitude=-0.1278)),
    )
    assert places.metres(paris, london) == pytest.approx(343_556, abs=50)
    assert places.metres(paris, places.read(at("a:l:3"))) is None


SOME = st.builds(
    at,
    st.sampled_from([f"{system}:l:{key}" for system in ("erp", "pos", "wms") for key in range(4)]),
    location_name=st.none() | st.sampled_from(["Luna", "Luna Store", "露娜店", "Outlet", "in transit"]),
    location_type=st.none() | st.sampled_from(["store", "warehouse", "third_party", "virtual"]),
    location_code=st.none() | st.sampled_from(["S1", "S2"]),
    gln=st.none() | st.sampled_from(["4012345000009", "4012345000016"]),
    street=st.none() | st.sampled_from(["1 High St", "1 High Street", "2 Low Road"]),
    postcode=st.none() | st.sampled_from(["10115", "20457"]),
    country=st.none() | st.sampled_from(["DE", "CN"]),
    latitude=st.none() | st.floats(-90, 90),
    longitude=st.none() | st.floats(-180, 180),
)


@QUICK
@given(st.lists(SOME, max_size=9, unique_by=lambda row: row["record_id"]), st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter_and_what_must_stay_apart_does(
    rows: list[dict[str, Any]], shuffle: Any
) -> None:
    found = partition(*rows)
    mixed = list(rows)
    shuffle.shuffle(mixed)
    assert partition(*mixed) == found
    read = {row["record_id"]: places.read(row) for row in rows}
    for group in found:
        members = [read[record] for record in group]
        assert len({place.gln for place in members} - {None}) <= 1
        assert not {"virtual"} < {place.role for place in members} - {None}
        for system in {place.source_system for place in members}:
            assert len({place.code for place in members if place.source_system == system} - {None}) <= 1
