"""The company's stores, warehouses, dark stores and the marketplace's fulfilment centres."""

from __future__ import annotations

import math
import random

from connectors.sandbox import vocabulary as words
from connectors.sandbox.catalog import gs1_check_digit
from connectors.sandbox.draw import fill
from connectors.sandbox.world import Address, Location, Order, World

_PLACES = (
    ("store", "Luna Jing'an", "露娜静安店", "SH1", "1788 Nanjing West Road", "CN", 0, "Asia/Shanghai"),
    ("store", "Luna Sanlitun", "露娜三里屯店", "BJ1", "19 Sanlitun Road", "CN", 1, "Asia/Shanghai"),
    ("store", "Luna Marylebone", None, "LON1", "84 Marylebone High Street", "GB", 0, "Europe/London"),
    ("store", "Luna Le Marais", None, "PAR1", "12 rue des Archives", "FR", 0, "Europe/Paris"),
    ("store", "Luna Ginza", "露娜銀座店", "TYO1", "4-6-1 Ginza", "JP", 0, "Asia/Tokyo"),
    ("store", "Luna SoHo", None, "NYC1", "113 Prince Street", "US", 0, "America/New_York"),
    (
        "warehouse",
        "Yangtze Delta Warehouse",
        "长三角中心仓",
        "WH-CN",
        "88 Xinghu Street",
        "CN",
        6,
        "Asia/Shanghai",
    ),
    ("warehouse", "Hamburg Warehouse", None, "WH-DE", "Am Sandtorkai 41", "DE", 2, "Europe/Berlin"),
    ("warehouse", "Newark Warehouse", None, "WH-US", "210 Port Street", "US", 0, "America/New_York"),
    (
        "dark_store",
        "Xuhui Dark Store",
        "徐汇前置仓",
        "DS-SH",
        "320 Tianyaoqiao Road",
        "CN",
        0,
        "Asia/Shanghai",
    ),
    ("dark_store", "Shoreditch Dark Store", None, "DS-LON", "7 Rivington Street", "GB", 0, "Europe/London"),
    (
        "third_party",
        "Amazon FBA US",
        None,
        "FBA-US",
        "24208 San Michele Road",
        "US",
        1,
        "America/Los_Angeles",
    ),
    ("third_party", "Amazon FBA UK", None, "FBA-UK", "Marston Gate", "GB", 1, "Europe/London"),
    ("third_party", "Amazon FBA DE", None, "FBA-DE", "Amazonstraße 1", "DE", 0, "Europe/Berlin"),
)

# Locations that can keep food cold.
COLD_LOCATIONS = frozenset(("L01", "L02", "L03", "L04", "L05", "L06", "L07", "L08", "L10", "L11"))
DARK_STORES = {"Shanghai": "L10", "London": "L11"}
# Country -> warehouse that sends what is ordered there.
WAREHOUSES = {
    "CN": "L07",
    "JP": "L07",
    "SG": "L07",
    "GB": "L08",
    "DE": "L08",
    "FR": "L08",
    "ES": "L08",
    "US": "L09",
}


def locations(seed: int) -> dict[str, Location]:
    found = {}
    for number, (kind, name, name_zh, code, street, country, city, zone) in enumerate(_PLACES, start=1):
        location_id = f"L{number:02d}"
        rng = random.Random(f"{seed}/location/{number}")
        body = f"69{rng.randrange(10**5):05d}{number:05d}"
        place = words.MARKETS[country].cities[city]
        address = Address(
            street,
            place.name,
            place.region,
            fill(rng, place.postcode),
            country,
            round(place.latitude + rng.uniform(-0.05, 0.05), 5),
            round(place.longitude + rng.uniform(-0.05, 0.05), 5),
        )
        found[location_id] = Location(
            location_id, kind, name, name_zh, body + gs1_check_digit(body), code, address, zone
        )
    return found


def till_of(place: Location) -> str:
    """Return the system whose till a store sells at: Square does not do business in mainland China."""
    return "odoo" if place.address.country == "CN" else "square"


def stores_at(world: World, system: str) -> dict[str, Location]:
    """Return the stores that sell at a system's tills, by id."""
    return {
        key: place
        for key, place in world.locations.items()
        if place.kind == "store" and till_of(place) == system
    }


def is_sold_at(world: World, order: Order, system: str) -> bool:
    """Return whether an order was rung up at a system's till."""
    store = order.selling_location_id
    return store is not None and till_of(world.locations[store]) == system


def transit_days(location_id: str, ship_to: Address, road_km: float) -> float:
    """Return the mean days from the first scan to the door: in its own city a dark store sends a courier."""
    return 0.15 if DARK_STORES.get(ship_to.city) == location_id else 0.6 + road_km / 900


def kilometres(here: Address, there: Address) -> float:
    """Return the great-circle distance, in km (haversine, mean Earth radius 6371.0088 km)."""
    lat1, lon1, lat2, lon2 = map(
        math.radians, (here.latitude, here.longitude, there.latitude, there.longitude)
    )
    chord = (
        math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * 6371.0088 * math.asin(math.sqrt(chord))
