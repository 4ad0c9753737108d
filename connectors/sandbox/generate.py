"""Make a world from a seed: who buys what, where, when, and what becomes of it.

Every entity draws from its own stream `random.Random("<seed>/<entity>/<number>")`, so that one more draw for a product
changes no order. Lives are simulated to their end and then cut at `now`: letting time pass (`advance`) reveals what
was going to happen to the orders that exist, and adds new ones, without changing the past.
"""

from __future__ import annotations

import math
import random
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from typing import TypeVar
from zoneinfo import ZoneInfo

from connectors.sandbox import vocabulary as words
from connectors.sandbox.world import (
    Address,
    Channel,
    Customer,
    Location,
    Lot,
    Order,
    OrderLine,
    Product,
    Return,
    Shipment,
    World,
)

DEFAULT_NOW = datetime(2026, 10, 31, tzinfo=UTC)
HISTORY = timedelta(days=120)
DEALERS = 12

T = TypeVar("T")

_CHANNELS = (
    (Channel.POS, 35),
    (Channel.AMAZON, 25),
    (Channel.SHOPIFY, 25),
    (Channel.B2B, 10),
    (Channel.DEALER, 5),
)
_COUNTRIES = {
    Channel.AMAZON: (("US", 38), ("GB", 25), ("DE", 18), ("FR", 8), ("ES", 6), ("JP", 5)),
    Channel.SHOPIFY: (("CN", 40), ("GB", 20), ("US", 12), ("DE", 8), ("FR", 8), ("JP", 6), ("SG", 6)),
    Channel.B2B: (("CN", 45), ("GB", 20), ("DE", 10), ("FR", 10), ("US", 10), ("SG", 5)),
    Channel.DEALER: (("CN", 50), ("GB", 20), ("DE", 10), ("US", 10), ("SG", 10)),
}
_NEW_CUSTOMER = {Channel.POS: 0.62, Channel.AMAZON: 0.68, Channel.SHOPIFY: 0.58, Channel.B2B: 0.28}
_FBA = {"US": "L12", "GB": "L13", "DE": "L14", "FR": "L14", "ES": "L14"}
_WAREHOUSE = {
    "CN": "L07",
    "JP": "L07",
    "SG": "L07",
    "GB": "L08",
    "DE": "L08",
    "FR": "L08",
    "ES": "L08",
    "US": "L09",
}
_DARK_STORE = {"Shanghai": "L10", "London": "L11"}
_COLD_LOCATIONS = frozenset(("L01", "L02", "L03", "L04", "L05", "L06", "L07", "L08", "L10", "L11"))
_CARRIERS = {
    "CN": ("sf_express", "zto"),
    "GB": ("royal_mail", "dpd"),
    "DE": ("dhl", "dpd"),
    "FR": ("colissimo", "dpd"),
    "US": ("ups", "usps", "fedex"),
    "JP": ("yamato", "dhl"),
    "SG": ("dhl", "sf_express"),
    "ES": ("correos", "dhl"),
}
_TRACKING = {
    "sf_express": "SF##############",
    "zto": "7#############",
    "royal_mail": "RM#########GB",
    "dpd": "1550##########",
    "dhl": "00340434##########",
    "colissimo": "6A###########",
    "ups": "1Z999AA1##########",
    "usps": "9400##################",
    "fedex": "7###########",
    "yamato": "4###########",
    "correos": "PQ#####################",
    "amazon": "TBA############",
}
_RETURN_REASONS = (
    ("damaged", 25),
    ("wrong_item", 15),
    ("not_as_described", 15),
    ("no_longer_needed", 30),
    ("allergic_reaction", 5),
    ("arrived_too_late", 10),
)
_PREFERENCES = (
    "fragrance_free",
    "vegan",
    "organic",
    "sensitive_skin",
    "anti_age",
    "gift_buyer",
    "lactose_free",
    "high_protein",
    "zero_waste",
    "sun_care",
)


def generate(seed: int, orders: int, now: datetime | None = None) -> World:
    """Return the world of one seed: about `orders` x 0.45 customers, 120 products, 14 locations.

    Args:
        seed: same seed, same world.
        orders: how many orders were placed in the 120 days before `now`.
        now: aware; nothing later than this instant is in the world. Default 2026-10-31T00:00:00Z.

    Amounts are exact in the minor unit of their currency (JPY has none). `Shipment.cost_amount` and the fees are in
    the order's currency, `Product.list_price` and `unit_cost` in CNY (`price_in` gives the price list of a currency).

    Raises:
        ValueError: `orders` is negative or `now` has no offset.
    """
    if orders < 0:
        raise ValueError(f"orders is {orders}; give 0 or more")
    until = DEFAULT_NOW if now is None else now
    if until.tzinfo is None:
        raise ValueError("now has no UTC offset; give an aware datetime")
    until = until.astimezone(UTC)
    return _build(seed, _spread(random.Random(f"{seed}/times"), orders, until - HISTORY, until), until)


def advance(world: World, orders: int, by: timedelta) -> World:
    """Return the same company `by` later, with `orders` new orders placed meanwhile.

    What was under way moves on: parcels arrive, invoices are paid, goods come back, orders are edited. The past stays.

    Raises:
        ValueError: `by` is not positive or `orders` is negative.
    """
    if by <= timedelta(0) or orders < 0:
        raise ValueError(
            f"cannot advance by {by} with {orders} orders; time must pass and orders be 0 or more"
        )
    now = world.now + by
    rng = random.Random(f"{world.seed}/times/{len(world.orders)}")
    past = [order.placed_at for order in world.orders.values()]
    return _build(world.seed, past + _spread(rng, orders, world.now, now), now)


def price_in(product: Product, currency: str) -> Decimal:
    """Return the list price of one unit in a currency of the price list, tax excluded, in whole minor units."""
    if currency == product.currency:
        return product.list_price
    price = product.list_price * words.PRICE_LIST_RATE[currency]
    if words.MINOR_UNIT_DIGITS[currency] == 0:
        return price.quantize(Decimal("1E1")).quantize(Decimal(1))
    return price.quantize(Decimal("0.1")) - Decimal("0.01")


def minor_unit(currency: str) -> Decimal:
    """Return the smallest amount of a currency the company uses, such as Decimal("0.01")."""
    return Decimal(1).scaleb(-words.MINOR_UNIT_DIGITS[currency])


def gs1_check_digit(body: str) -> str:
    """Return the GS1 check digit of a code without one (GTIN, GLN, SSCC). Source: GS1 General Specifications 7.9."""
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(body)))
    return str(-total % 10)


def kilometres(here: Address, there: Address) -> float:
    """Return the great-circle distance, in km (haversine, mean Earth radius 6371.0088 km)."""
    lat1, lon1, lat2, lon2 = map(
        math.radians, (here.latitude, here.longitude, there.latitude, there.longitude)
    )
    chord = (
        math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * 6371.0088 * math.asin(math.sqrt(chord))


def _spread(rng: random.Random, count: int, start: datetime, end: datetime) -> list[datetime]:
    """Draw `count` instants in [start, end), ascending, whole seconds."""
    seconds = int((end - start).total_seconds())
    return [start + timedelta(seconds=s) for s in sorted(rng.randrange(seconds) for _ in range(count))]


def _fill(rng: random.Random, pattern: str) -> str:
    """Replace # with a digit and @ with a letter."""
    return "".join(
        str(rng.randrange(10)) if c == "#" else rng.choice("ABDEFGHJLNPQRSTUWXYZ") if c == "@" else c
        for c in pattern
    )


def _weighted(rng: random.Random, options: Sequence[tuple[T, int]]) -> T:
    return rng.choices([o for o, _ in options], [w for _, w in options])[0]


# --- places -------------------------------------------------------------------------------------------------------

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


def _locations(seed: int) -> dict[str, Location]:
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
            _fill(rng, place.postcode),
            country,
            round(place.latitude + rng.uniform(-0.05, 0.05), 5),
            round(place.longitude + rng.uniform(-0.05, 0.05), 5),
        )
        found[location_id] = Location(
            location_id, kind, name, name_zh, body + gs1_check_digit(body), code, address, zone
        )
    return found


# --- products -----------------------------------------------------------------------------------------------------


def _size_text(quantity: str, uom: str, pack: int, names: dict[str, str], times: str) -> str:
    size = f"{quantity}{'' if names is words.SIZE_ZH else ' '}{names[uom]}"
    return size if pack == 1 else f"{pack}{times}{size}"


def _products(seed: int) -> dict[str, Product]:
    found: dict[str, Product] = {}
    ids: dict[tuple[int, int], str] = {}
    prefixes = [
        f"69{random.Random(f'{seed}/brand/{b}').randrange(10, 100)}{b}{7 - b}"
        for b in range(len(words.BRANDS))
    ]
    for line_index, line in enumerate(words.PRODUCT_LINES):
        base = Decimal(line.sizes[0][0]) * (1000 if line.sizes[0][1] in ("LTR", "KGM") else 1)
        for size_index, (quantity, uom, pack) in enumerate(line.sizes):
            product_id = f"P{len(found) + 1:04d}"
            rng = random.Random(f"{seed}/product/{product_id}")
            content = Decimal(quantity) * (1000 if uom in ("LTR", "KGM") else 1)
            factor = Decimal(str(round(float(content / base) ** 0.8 * pack**0.95, 4)))
            price = (line.price * factor).quantize(Decimal(1)) if line.price > 40 else line.price * factor
            cost_share = (
                Decimal(rng.randrange(28, 45) if not line.cold_chain else rng.randrange(52, 68)) / 100
            )
            brand, brand_zh = words.BRANDS[line.brand]
            body = (
                ("1" if pack >= 4 else "0")
                + prefixes[line.brand]
                + f"{line_index + 10:02d}{size_index}{rng.randrange(1000):03d}"
            )
            total_ml = content * pack
            found[product_id] = Product(
                product_id=product_id,
                title=f"{brand} {line.title} {_size_text(quantity, uom, pack, words.SIZE_EN, ' × ')}",
                title_zh=f"{brand_zh} {line.title_zh} {_size_text(quantity, uom, pack, words.SIZE_ZH, '×')}",
                brand=brand,
                mpn=f"{''.join(w[0] for w in brand.split())}{line_index + 1:02d}-{quantity}{uom[0]}{'' if pack == 1 else f'X{pack}'}",
                gtin14=body + gs1_check_digit(body),
                category=line.category,
                size_qty=Decimal(quantity),
                size_uom=uom,
                pack_qty=pack,
                list_price=price.quantize(Decimal("0.01")),
                unit_cost=(price * cost_share).quantize(Decimal("0.01")),
                currency="CNY",
                weight_kg=(total_ml * Decimal("1.12") / 1000 + Decimal("0.03")).quantize(Decimal("0.001")),
                volume_m3=(total_ml * Decimal("1.7") / 1_000_000).quantize(Decimal("0.000001")),
                needs_cold_chain=line.cold_chain,
                origin_country=line.origin,
                shelf_life_days=line.shelf_life_days,
            )
            ids[line_index, size_index] = product_id
    for number, (title, title_zh, brand_index, category, parts) in enumerate(words.KITS, start=1):
        product_id = f"P{len(found) + 1:04d}"
        components = tuple((ids[line, size], count) for line, size, count in parts)
        brand, brand_zh = words.BRANDS[brand_index]
        body = (
            "0"
            + prefixes[brand_index]
            + f"99{number}{random.Random(f'{seed}/kit/{number}').randrange(1000):03d}"
        )
        inside = [(found[c], n) for c, n in components]
        found[product_id] = Product(
            product_id=product_id,
            title=f"{brand} {title}",
            title_zh=f"{brand_zh} {title_zh}",
            brand=brand,
            mpn=f"KIT-{number:03d}",
            gtin14=body + gs1_check_digit(body),
            category=category,
            size_qty=Decimal(sum(n for _, n in inside)),
            size_uom="C62",
            pack_qty=1,
            list_price=(sum((p.list_price * n for p, n in inside), Decimal(0)) * Decimal("0.85")).quantize(
                Decimal("0.01")
            ),
            unit_cost=sum((p.unit_cost * n for p, n in inside), Decimal(0)),
            currency="CNY",
            weight_kg=sum((p.weight_kg * n for p, n in inside), Decimal("0.080")),
            volume_m3=sum((p.volume_m3 * n for p, n in inside), Decimal("0.000400")),
            needs_cold_chain=False,
            origin_country=inside[0][0].origin_country,
            shelf_life_days=min(p.shelf_life_days or 10_000 for p, _ in inside),
            components=components,
        )
    return found


class _Shelves:
    """What each location sells, how often, and from which lots."""

    def __init__(
        self, seed: int, products: dict[str, Product], locations: dict[str, Location], anchor: date
    ) -> None:
        self.products = products
        popularity = {
            p: 1.0 / (1 + random.Random(f"{seed}/popularity/{p}").randrange(60)) ** 0.6 for p in products
        }
        self.assortment: dict[str, list[str]] = {}
        self._cumulated: dict[str, list[float]] = {}
        self.lots: dict[tuple[str, str], list[Lot]] = {}
        self.used: dict[str, int] = {}
        self.reserved: dict[str, int] = {}
        for location_id in locations:
            sold = [p for p in products.values() if location_id in _COLD_LOCATIONS or not p.needs_cold_chain]
            if locations[location_id].kind == "dark_store":  # few things, mostly food
                sold = [p for i, p in enumerate(sold) if p.needs_cold_chain or i % 4 == 0]
            self.assortment[location_id] = [p.product_id for p in sold]
            self._cumulated[location_id] = list(accumulate(popularity[p.product_id] for p in sold))
            for product in sold:
                rng = random.Random(f"{seed}/lot/{product.product_id}/{location_id}")
                self.lots[product.product_id, location_id] = [
                    Lot(
                        lot_id=f"{product.product_id[1:]}{location_id}{rng.randrange(26, 27)}{'ABC'[n]}{rng.randrange(1000):03d}",
                        product_id=product.product_id,
                        location_id=location_id,
                        expires_on=None
                        if product.shelf_life_days is None
                        else anchor
                        + timedelta(days=math.ceil(product.shelf_life_days * rng.uniform(0.3, 1.0))),
                        on_hand_qty=Decimal(
                            rng.randrange(0, 60) if rng.random() < 0.2 else rng.randrange(40, 400)
                        ),
                        reserved_qty=Decimal(0),
                    )
                    for n in range(2 if product.needs_cold_chain else 1)
                ]

    def pick(self, rng: random.Random, location_id: str, count: int) -> list[Product]:
        """Choose `count` products (fewer when the same comes up twice), popular ones more often."""
        sold, cumulated = self.assortment[location_id], self._cumulated[location_id]
        chosen = dict.fromkeys(
            sold[bisect_left(cumulated, rng.random() * cumulated[-1])] for _ in range(count)
        )
        return [self.products[p] for p in chosen]

    def counted(self) -> dict[str, Lot]:
        """Every lot with what has left it replaced by deliveries of 100, less what is promised to open orders."""
        return {
            lot.lot_id: replace(
                lot,
                on_hand_qty=lot.on_hand_qty
                + (-self.used.get(lot.lot_id, 0) % 100)
                + self.reserved.get(lot.lot_id, 0),
                reserved_qty=Decimal(self.reserved.get(lot.lot_id, 0)),
            )
            for lots in self.lots.values()
            for lot in lots
        }


# --- customers ----------------------------------------------------------------------------------------------------


def _address(rng: random.Random, market: words.Market) -> Address:
    city = rng.choice(market.cities)
    street, _ = rng.choice(market.streets)
    number = rng.randrange(1, 400)
    flat = rng.random()
    if market.country == "CN":
        line = f"{number} {street}, Room {rng.randrange(1, 33)}{rng.randrange(1, 9):02d}"
    elif market.country == "JP":
        line = f"{rng.randrange(1, 8)}-{rng.randrange(1, 30)}-{rng.randrange(1, 30)} {street}"
    elif market.country in ("DE", "ES"):
        line = f"{street} {number}"
    elif market.country == "FR":
        line = f"{number} {street}"
    else:
        line = f"{number} {street}" + (f", Flat {rng.randrange(1, 40)}" if flat < 0.3 else "")
    return Address(
        line,
        city.name,
        city.region,
        _fill(rng, city.postcode),
        market.country,
        round(city.latitude + rng.uniform(-0.1, 0.1), 5),
        round(city.longitude + rng.uniform(-0.1, 0.1), 5),
    )


def _ascii_letters(text: str) -> str:
    table = str.maketrans({"ß": "ss", "ö": "oe", "ä": "ae", "ü": "u", "ı": "i", "ş": "s", "ø": "o"})
    plain = unicodedata.normalize("NFKD", text.lower().translate(table))
    return "".join(c for c in plain if c.isascii() and c.isalpha())


def tax_number(rng: random.Random, country: str) -> str:
    """Draw a tax number of a company, with valid check digits, as printed on an invoice.

    Sources: GB 32100-2015 (CN unified social credit code), HMRC (GB VAT modulus 97), ISO 7064 MOD 11,10 (DE USt-IdNr.),
    DGFiP (FR TVA key on a Luhn SIREN), IRS (US EIN prefixes), ACRA (SG UEN).
    """
    digits = [rng.randrange(10) for _ in range(9)]
    digits[0] = rng.randrange(1, 10)
    if country == "CN":
        alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
        body = "91310000" + "MA" + "".join(rng.choice(alphabet) for _ in range(7))
        total = sum(alphabet.index(c) * 3**i for i, c in enumerate(body))
        return body + alphabet[-total % 31]
    if country == "GB":
        total = sum(d * w for d, w in zip(digits[:7], range(8, 1, -1), strict=True))
        return f"GB{''.join(map(str, digits[:7]))}{97 - total % 97:02d}"
    if country == "DE":
        product = 10
        for digit in digits[:8]:
            product = 2 * ((digit + product - 1) % 10 + 1) % 11
        return f"DE{''.join(map(str, digits[:8]))}{(11 - product) % 10}"
    if country == "FR":
        luhn = sum(sum(divmod(d * (2 if i % 2 == 0 else 1), 10)) for i, d in enumerate(reversed(digits[:8])))
        siren = int("".join(map(str, digits[:8])) + str(-luhn % 10))
        return f"FR{(12 + 3 * (siren % 97)) % 97:02d}{siren:09d}"
    if country == "US":
        return f"{rng.choice(('13', '20', '36', '45', '82', '91'))}-{''.join(map(str, digits[:7]))}"
    if country == "SG":
        year = rng.randrange(1995, 2024)
        body = f"{year}{''.join(map(str, digits[:5]))}"
        total = sum(int(d) * w for d, w in zip(body, (10, 8, 6, 4, 9, 7, 5, 3, 1), strict=True))
        return body + "ZKCMDNERGWH"[total % 11]
    raise ValueError(f"no tax number form for companies in {country}; known: CN, GB, DE, FR, US, SG")


def _person(seed: int, number: int, country: str, at: datetime, family: Customer | None) -> Customer:
    rng = random.Random(f"{seed}/customer/{number}")
    market = words.MARKETS[country]
    given, given_zh = rng.choice(market.given_names)
    surname, surname_zh = rng.choice(market.family_names)
    if rng.random() < 0.12 and country in ("GB", "FR", "US"):  # mixed heritage
        other = rng.choice((words.CN, words.ES, words.DE))
        surname, surname_zh = rng.choice(other.family_names)[0], ""
    if country == "ES":
        surname = (
            f"{surname} {rng.choice(market.family_names)[0].split()[0]}" if " " not in surname else surname
        )
    address, phone = _address(rng, market), _fill(rng, market.mobile)
    if family is not None:
        surname, address = family.family_name, family.address
        surname_zh = next((zh for latin, zh in market.family_names if latin == surname), "")
        phone = (family.phone_e164 or phone) if rng.random() < 0.5 else phone
    if country in ("US", "CN"):  # an exchange code or operator digit that can exist
        prefix = {
            "US": "+1212" + str(rng.randrange(2, 9)),
            "CN": "+861" + rng.choice(("36", "38", "39", "50", "86")),
        }[country]
        if family is None or phone != family.phone_e164:
            phone = prefix + phone[len(prefix) :]
    han = country in ("CN", "JP") or (country == "SG" and rng.random() < 0.5)
    name_zh = f"{surname_zh}{given_zh}" if han and surname_zh and given_zh else None
    full = f"{given} {surname}" if country != "SG" else f"{surname} {given}"
    mailbox = rng.choice(("{g}.{f}{n}", "{g}{f}{n}", "{f}.{g}{n}", "{i}{f}{n}", "{g}_{n}{f}")).format(
        g=_ascii_letters(given),
        f=_ascii_letters(surname),
        i=_ascii_letters(given)[:1],
        n=rng.randrange(10, 10_000),
    )
    return Customer(
        customer_id=f"C{number:06d}",
        is_company=False,
        full_name=full,
        given_name=given,
        family_name=surname,
        company_name=None,
        name_zh=name_zh,
        email=f"{mailbox}@{rng.choice(market.mail_domains)}" if rng.random() < 0.95 else None,
        phone_e164=phone if rng.random() < 0.88 else None,
        tax_number=None,
        address=address,
        language=market.language,
        loyalty_tier=_weighted(rng, ((None, 50), ("silver", 30), ("gold", 15), ("platinum", 5))),
        segment=_weighted(rng, (("mass", 55), ("premium", 25), ("young", 20))),
        preference_tags=tuple(sorted(rng.sample(_PREFERENCES, rng.randrange(0, 4)))),
        marketing_consent=rng.random() < 0.6,
        created_at=at - timedelta(seconds=rng.randrange(60, 86_400 * 300)),
    )


def _company(seed: int, number: int, country: str, at: datetime, is_dealer: bool) -> Customer:
    rng = random.Random(f"{seed}/customer/{number}")
    market = words.MARKETS[country]
    given, _ = rng.choice(market.given_names)
    surname, _ = rng.choice(market.family_names)
    address = _address(rng, market)
    name_zh = None
    if country == "CN":
        stem, stem_zh = rng.choice(words.COMPANY_STEMS)
        trade, trade_zh = rng.choice(words.COMPANY_TRADES_CN)
        city = next(c for c in market.cities if c.name == address.city)
        name = f"{city.name} {stem} {trade} Co., Ltd."
        name_zh = f"{city.name_local}{stem_zh}{trade_zh}有限公司"
        domain = f"{stem}-{city.name}{number % 97}.example".lower()
    else:
        base = rng.choice(words.COMPANY_NAMES[country])
        name = f"{base}{rng.choice(('', ' ' + address.city, ' ' + surname))} {rng.choice(words.COMPANY_FORMS[country])}"
        domain = f"{_ascii_letters(base)}{number % 97}.example"
    phone = _fill(rng, market.mobile)
    if country == "US":
        phone = "+1212" + str(rng.randrange(2, 9)) + phone[6:]
    if country == "CN":
        phone = "+86138" + phone[6:]
    return Customer(
        customer_id=f"C{number:06d}",
        is_company=True,
        full_name=name,
        given_name=given,
        family_name=surname,
        company_name=name,
        name_zh=name_zh,
        email=f"{rng.choice(('orders', 'purchasing', 'info', _ascii_letters(given)))}@{domain}",
        phone_e164=phone,
        tax_number=tax_number(rng, country) if rng.random() < 0.9 else None,
        address=address,
        language=market.language,
        loyalty_tier=None,
        segment="dealer" if is_dealer else "business",
        preference_tags=(),
        marketing_consent=rng.random() < 0.3,
        created_at=at - timedelta(seconds=rng.randrange(86_400, 86_400 * 900)),
    )


class _Customers:
    """Who has bought so far. A repeat buyer is drawn from past orders, so those who buy often buy more often."""

    def __init__(self, seed: int, start: datetime) -> None:
        self.seed = seed
        self.found: dict[str, Customer] = {}
        self._buyers: dict[tuple[bool, str], list[Customer]] = {}
        self.dealers: list[Customer] = []
        rng = random.Random(f"{seed}/dealers")
        for _ in range(DEALERS):
            country = _weighted(rng, _COUNTRIES[Channel.DEALER])
            dealer = _company(seed, len(self.found) + 1, country, start, is_dealer=True)
            self.found[dealer.customer_id] = dealer
            self.dealers.append(dealer)

    def buyer(self, rng: random.Random, channel: Channel, country: str, at: datetime) -> Customer:
        """Return who places an order in a market: a known customer or a new one."""
        draw_new, draw_old, draw_family, draw_lead = rng.random(), rng.random(), rng.random(), rng.random()
        if channel is Channel.DEALER:
            return self.dealers[int(draw_old**2 * len(self.dealers))]
        is_company = channel is Channel.B2B
        past = self._buyers.setdefault((is_company, country), [])
        if past and draw_new >= _NEW_CUSTOMER[channel]:
            customer = past[int(draw_old * len(past))]
        else:
            kin = past[int(draw_old * len(past))] if past and draw_family < 0.08 else None
            customer = self._add(is_company, country, at, kin)
            if draw_lead < 0.04:  # asked, never bought: the CRM alone knows
                self._add(False, country, at, None)
        past.append(customer)
        return customer

    def _add(self, is_company: bool, country: str, at: datetime, kin: Customer | None) -> Customer:
        number = len(self.found) + 1
        if is_company:
            customer = _company(self.seed, number, country, at, is_dealer=False)
        else:
            customer = _person(self.seed, number, country, at, kin)
        self.found[customer.customer_id] = customer
        return customer


# --- orders -------------------------------------------------------------------------------------------------------


class _Orders:
    """Simulates one order after the other; `numbers` counts what each channel and the ERP printed."""

    def __init__(
        self,
        seed: int,
        now: datetime,
        customers: _Customers,
        shelves: _Shelves,
        locations: dict[str, Location],
    ) -> None:
        self.seed = seed
        self.now = now
        self.customers = customers
        self.shelves = shelves
        self.locations = locations
        self.stores = [loc for loc in locations.values() if loc.kind == "store"]
        self.zones = {loc.location_id: ZoneInfo(loc.timezone) for loc in locations.values()}
        self.numbers: dict[str, int] = {}

    def _next(self, sequence: str) -> int:
        self.numbers[sequence] = self.numbers.get(sequence, 0) + 1
        return self.numbers[sequence]

    def _number(self, rng: random.Random, channel: Channel, store: Location | None, at: datetime) -> str:
        match channel:
            case Channel.POS:
                assert store is not None
                return f"{store.code}-{self._next(store.code):06d}"
            case Channel.AMAZON:
                return f"{rng.choice((112, 113, 114, 204, 302, 405))}-{rng.randrange(10**7):07d}-{self._next('amazon') + 1_000_000:07d}"
            case Channel.SHOPIFY:
                return f"#{1000 + self._next('shopify')}"
            case Channel.B2B:
                return f"B2B-{at.year}-{self._next('b2b'):05d}"
            case Channel.DEALER:
                return f"DL{at:%y%m}-{self._next('dealer'):04d}"

    def _open_store(self, rng: random.Random, at: datetime) -> Location | None:
        open_now = [s for s in self.stores if 9 <= at.astimezone(self.zones[s.location_id]).hour < 22]
        return open_now[rng.randrange(len(open_now))] if open_now else None

    def place(self, number: int, at: datetime) -> Order:
        """Simulate order `number` (from 1), placed at `at`, as far as the world's now."""
        rng = random.Random(f"{self.seed}/order/{number}")
        channel = _weighted(rng, _CHANNELS)
        store = self._open_store(rng, at) if channel is Channel.POS else None
        if channel is Channel.POS and store is None:
            channel = Channel.SHOPIFY
        if store is not None:
            home = store.address.country
            country = home if rng.random() < 0.88 else _weighted(rng, _COUNTRIES[Channel.SHOPIFY])
            customer = self.customers.buyer(rng, channel, country, at) if rng.random() < 0.55 else None
            market = words.MARKETS[home]
        else:
            customer = self.customers.buyer(rng, channel, _weighted(rng, _COUNTRIES[channel]), at)
            market = words.MARKETS[customer.address.country]
        is_delivered = store is None or (
            customer is not None and customer.address.country == market.country and rng.random() < 0.1
        )
        ship_to = None
        if customer is not None and is_delivered:
            ship_to = customer.address if rng.random() < 0.92 else _address(rng, market)
        is_fba = channel is Channel.AMAZON and market.country in _FBA and rng.random() < 0.65
        origin = self._origin(rng, channel, market, store, ship_to, is_fba)
        lines = self._lines(rng, channel, market, customer, ship_to, origin)

        unit = minor_unit(market.currency)
        gross = sum((line.list_amount for line in lines), Decimal(0) * unit)
        discount = sum((line.discount_amount for line in lines), Decimal(0) * unit)
        shipping = self._shipping_fee(rng, channel, market, gross - discount)
        net = gross - discount + shipping
        method, channel_fee, payment_fee = self._fees(rng, channel, market, net, unit)

        is_cancelled = rng.random() < (0.01 if store else 0.04)
        cancelled_at = (
            at + timedelta(seconds=rng.randrange(60, 300 if store else 86_400 * 2)) if is_cancelled else None
        )
        paid_at = reserved_at = promised_at = closed_at = None
        shipments: tuple[Shipment, ...] = ()
        if channel in (Channel.B2B, Channel.DEALER):
            pays_after = timedelta(days=rng.randrange(7, 45), seconds=rng.randrange(86_400))
        else:
            pays_after = timedelta(seconds=rng.randrange(5, 90) if store else rng.randrange(20, 3600))
        reserve_after = timedelta(seconds=rng.randrange(30, 7200))
        late_draw, edit_draw, return_draw, test_draw, erp_draw = (rng.random() for _ in range(5))
        if ship_to is not None:
            days = 4 if channel is Channel.AMAZON else 1 if origin in _DARK_STORE.values() else 6
            promised_at = (at + timedelta(days=days + 2 * (market.country in ("SG", "JP")))).replace(
                hour=20, minute=0, second=0
            )
        if not is_cancelled:
            paid_at = at + pays_after
            if ship_to is not None:
                reserved_at = at + reserve_after
                shipments = self._shipments(
                    rng, number, lines, origin, ship_to, market, reserved_at, unit, late_draw
                )
                arrivals = [s.delivered_at for s in shipments]
                sent = sum(q for s in shipments for _, q in s.lines)
                if sent == sum(line.quantity for line in lines) and None not in arrivals:
                    closed_at = max([a for a in arrivals if a] + [paid_at]) + timedelta(
                        seconds=rng.randrange(3600, 200_000)
                    )
            else:
                closed_at = paid_at + timedelta(seconds=rng.randrange(1, 40))
        got_at = (
            closed_at
            if store and ship_to is None
            else max((s.delivered_at for s in shipments if s.delivered_at), default=None)
        )
        returns: tuple[Return, ...] = ()
        if got_at is not None and paid_at is not None and return_draw < (0.05 if store else 0.09):
            returns = self._returns(rng, number, lines, shipments, max(got_at, paid_at), unit)
        edited_at = at + timedelta(seconds=rng.randrange(3600, 86_400 * 50)) if edit_draw < 0.06 else None
        is_test = channel in (Channel.SHOPIFY, Channel.POS) and test_draw < 0.02
        has_erp = not is_test and (
            channel in (Channel.B2B, Channel.DEALER)
            or (channel is Channel.SHOPIFY and erp_draw < 0.95)
            or (channel is Channel.AMAZON and not is_fba and erp_draw < 0.9)
        )
        order = Order(
            order_id=f"O{number:07d}",
            number=self._number(rng, channel, store, at),
            channel=channel,
            customer_id=customer.customer_id if customer else None,
            currency=market.currency,
            placed_at=at,
            updated_at=at,
            promised_at=promised_at,
            paid_at=paid_at,
            reserved_at=reserved_at,
            cancelled_at=cancelled_at,
            closed_at=closed_at,
            selling_location_id=store.location_id if store else None,
            lines=lines,
            gross_amount=gross,
            discount_amount=discount,
            shipping_amount=shipping,
            tax_amount=sum((line.tax_amount for line in lines), Decimal(0) * unit),
            net_amount=net,
            payment_method=method,
            channel_fee_amount=channel_fee,
            payment_fee_amount=payment_fee,
            ship_to=ship_to,
            shipments=shipments,
            returns=returns,
            is_test=is_test,
            is_fulfilled_by_marketplace=is_fba,
            erp_number=f"SO26-{1000 + self._next('erp')}" if has_erp else None,
        )
        order = _as_of(order, self.now, edited_at)
        self._draw_stock(order)
        return order

    def _origin(
        self,
        rng: random.Random,
        channel: Channel,
        market: words.Market,
        store: Location | None,
        ship_to: Address | None,
        is_fba: bool,
    ) -> str:
        if store is not None:
            return store.location_id
        if is_fba:
            return _FBA[market.country]
        if (
            channel is Channel.SHOPIFY
            and ship_to is not None
            and ship_to.city in _DARK_STORE
            and rng.random() < 0.6
        ):
            return _DARK_STORE[ship_to.city]
        return _WAREHOUSE[market.country]

    def _lines(
        self,
        rng: random.Random,
        channel: Channel,
        market: words.Market,
        customer: Customer | None,
        ship_to: Address | None,
        origin: str,
    ) -> tuple[OrderLine, ...]:
        wholesale = channel in (Channel.B2B, Channel.DEALER)
        products = self.shelves.pick(
            rng, origin, rng.randrange(3, 11) if wholesale else rng.choice((1, 1, 1, 2, 2, 3, 4, 6))
        )
        too_far = ship_to is not None and kilometres(self.locations[origin].address, ship_to) > 1500
        if too_far:  # chilled food does not travel that far
            products = [p for p in products if not p.needs_cold_chain] or [self.shelves.products["P0001"]]
        unit = minor_unit(market.currency)
        promotion = _weighted(rng, ((0, 66), (5, 8), (10, 14), (15, 6), (20, 4), (50, 2)))
        exempt = (
            wholesale
            and customer is not None
            and customer.tax_number is not None
            and market.currency == "EUR"
        )
        region = ship_to.region if ship_to else "NY"
        rate = Decimal(0) if exempt else words.US_SALES_TAX[region] if market.country == "US" else market.vat
        lines = []
        for line_number, product in enumerate(products, start=1):
            quantity = (
                rng.choice((6, 12, 12, 24, 24, 48, 96)) if wholesale else rng.choice((1, 1, 1, 1, 2, 2, 3))
            )
            price = price_in(product, market.currency)
            if wholesale:
                price = (price * (Decimal("0.6") if channel is Channel.DEALER else Decimal("0.72"))).quantize(
                    unit
                )
            amount = price * quantity
            percent = promotion if rng.random() < 0.8 else 0
            discount = (amount * percent / 100).quantize(unit)
            line_rate = (
                Decimal("0.08") if market.country == "JP" and product.category.startswith("FOOD") else rate
            )
            lots = self.shelves.lots.get((product.product_id, origin), [])
            lines.append(
                OrderLine(
                    line_number,
                    product.product_id,
                    quantity,
                    price,
                    amount,
                    discount,
                    ((amount - discount) * line_rate).quantize(unit),
                    rng.choice(lots).lot_id if lots else None,
                )
            )
        return tuple(lines)

    def _shipping_fee(
        self, rng: random.Random, channel: Channel, market: words.Market, goods: Decimal
    ) -> Decimal:
        unit = minor_unit(market.currency)
        base = (
            Decimal(60 if channel is Channel.B2B else 30) * words.PRICE_LIST_RATE[market.currency]
        ).quantize(unit)
        is_free = goods > base * 8 if channel is Channel.SHOPIFY else rng.random() < 0.7
        if channel in (Channel.POS, Channel.DEALER) or is_free:
            return Decimal(0) * unit
        return base

    def _fees(
        self, rng: random.Random, channel: Channel, market: words.Market, net: Decimal, unit: Decimal
    ) -> tuple[str, Decimal, Decimal]:
        """Return the payment method, the channel's fee and the payment provider's fee."""
        local = "alipay" if market.country == "CN" else "card"
        share, cut = Decimal(0), Decimal(0)
        match channel:
            case Channel.POS:
                method = rng.choice(
                    (local, "card", "cash", "wechat_pay" if market.country == "CN" else "card")
                )
                share = Decimal("0.0175") if method != "cash" else Decimal(0)
            case Channel.AMAZON:
                method, cut = "marketplace", Decimal("0.15")
            case Channel.SHOPIFY:
                method, share, cut = rng.choice((local, "card", "paypal")), Decimal("0.029"), Decimal("0.005")
            case Channel.B2B | Channel.DEALER:
                method = "invoice"
        return method, (net * cut).quantize(unit), (net * share).quantize(unit)

    def _shipments(
        self,
        rng: random.Random,
        number: int,
        lines: tuple[OrderLine, ...],
        origin: str,
        ship_to: Address,
        market: words.Market,
        reserved_at: datetime,
        unit: Decimal,
        late: float,
    ) -> tuple[Shipment, ...]:
        whole = [(line.line_number, line.quantity) for line in lines]
        units = sum(q for _, q in whole)
        parts = [whole]
        if units > 1 and rng.random() < 0.12:
            first, rest, room = [], [], rng.randrange(1, units)
            for line_number, quantity in whole:
                now_sent = min(quantity, room)
                room -= now_sent
                if now_sent:
                    first.append((line_number, now_sent))
                if quantity - now_sent:
                    rest.append((line_number, quantity - now_sent))
            parts = [first] if rng.random() < 0.15 else [first, rest]  # some rests are never sent
        found = []
        by_line = {line.line_number: self.shelves.products[line.product_id] for line in lines}
        start = reserved_at
        for index, part in enumerate(parts):
            place = origin
            if index and self.locations[origin].kind == "warehouse" and rng.random() < 0.4:
                cold = any(by_line[n].needs_cold_chain for n, _ in part)
                place = origin if cold else {"L07": "L08", "L08": "L07", "L09": "L08"}[origin]
            start += timedelta(days=index * rng.randrange(1, 5))
            picked = start + timedelta(seconds=rng.randrange(900, 40_000))
            packed = picked + timedelta(seconds=rng.randrange(120, 7200))
            dispatched = packed + timedelta(seconds=rng.randrange(600, 50_000))
            scanned = dispatched + timedelta(seconds=rng.randrange(300, 30_000))
            road = kilometres(self.locations[place].address, ship_to) * 1.27 + 1.5
            transit = 0.15 if place in _DARK_STORE.values() else 0.6 + road / 900
            transit *= rng.uniform(0.7, 1.3) * (3.5 if late < 0.09 else 1.0)
            delivered = None if rng.random() < 0.025 else scanned + timedelta(seconds=int(transit * 86_400))
            fba = self.locations[place].kind == "third_party"
            carrier = "amazon" if fba else rng.choice(_CARRIERS[market.country])
            weight = sum((by_line[n].weight_kg * q for n, q in part), Decimal("0.150"))
            cost = (
                weight * Decimal("1.8") + Decimal(str(round(road, 1))) * Decimal("0.01") + 8
            ) * words.PRICE_LIST_RATE[market.currency]
            found.append(
                Shipment(
                    shipment_id=f"O{number:07d}-S{index + 1}",
                    location_id=place,
                    carrier=carrier,
                    service="express"
                    if carrier in ("sf_express", "amazon", "yamato") or transit < 1
                    else "standard",
                    tracking_number=_fill(rng, _TRACKING[carrier]),
                    lines=tuple(part),
                    picked_at=picked,
                    packed_at=packed,
                    dispatched_at=dispatched,
                    first_scan_at=scanned,
                    delivered_at=delivered,
                    package_count=1 + int(weight // 15),
                    weight_kg=weight,
                    volume_m3=sum((by_line[n].volume_m3 * q for n, q in part), Decimal("0.000500")),
                    distance_km=Decimal(str(round(road, 1))),
                    cost_amount=cost.quantize(unit),
                )
            )
        return tuple(found)

    def _returns(
        self,
        rng: random.Random,
        number: int,
        lines: tuple[OrderLine, ...],
        shipments: tuple[Shipment, ...],
        got_at: datetime,
        unit: Decimal,
    ) -> tuple[Return, ...]:
        came = {line.line_number: line.quantity for line in lines}
        if shipments:
            came = dict.fromkeys(came, 0)
            for shipment in shipments:
                for line_number, quantity in shipment.lines:
                    came[line_number] += quantity if shipment.delivered_at else 0
        found: list[Return] = []
        for line in lines:
            if came[line.line_number] == 0 or (found and rng.random() > 0.25):
                continue
            quantity = rng.randrange(1, came[line.line_number] + 1)
            paid = (line.list_amount - line.discount_amount + line.tax_amount) * quantity / line.quantity
            if rng.random() < 0.15:  # restocking fee
                paid *= Decimal("0.9")
            received = got_at + timedelta(days=rng.randrange(2, 25), seconds=rng.randrange(86_400))
            refunded = received + timedelta(seconds=rng.randrange(600, 86_400 * 5))
            found.append(
                Return(
                    f"O{number:07d}-R{len(found) + 1}",
                    line.line_number,
                    quantity,
                    _weighted(rng, _RETURN_REASONS),
                    received,
                    refunded,
                    paid.quantize(unit, rounding="ROUND_DOWN"),
                )
            )
        return tuple(found)

    def _draw_stock(self, order: Order) -> None:
        if order.cancelled_at is not None:
            return
        gone: dict[int, int] = {}
        for shipment in order.shipments:
            for line_number, quantity in shipment.lines:
                gone[line_number] = gone.get(line_number, 0) + quantity
        for line in order.lines:
            if line.lot_id is None:
                continue
            taken = line.quantity if order.ship_to is None else gone.get(line.line_number, 0)
            self.shelves.used[line.lot_id] = self.shelves.used.get(line.lot_id, 0) + taken
            if order.reserved_at is not None and taken < line.quantity:
                held = self.shelves.reserved.get(line.lot_id, 0)
                self.shelves.reserved[line.lot_id] = held + line.quantity - taken


def _as_of(order: Order, now: datetime, edited_at: datetime | None) -> Order:
    """Cut an order's life at `now`: what lies later has not happened. A shipment is seen from its first scan on."""

    def seen(at: datetime | None) -> datetime | None:
        return at if at is not None and at <= now else None

    shipments = tuple(
        replace(s, delivered_at=seen(s.delivered_at)) for s in order.shipments if s.first_scan_at <= now
    )
    returns = tuple(r for r in order.returns if r.refunded_at <= now)
    moments: Iterable[datetime | None] = (
        order.placed_at,
        seen(order.paid_at),
        seen(order.reserved_at),
        seen(order.cancelled_at),
        seen(order.closed_at),
        seen(edited_at),
        *(s.first_scan_at for s in shipments),
        *(s.delivered_at for s in shipments),
        *(r.refunded_at for r in returns),
    )
    return replace(
        order,
        paid_at=seen(order.paid_at),
        reserved_at=seen(order.reserved_at),
        cancelled_at=seen(order.cancelled_at),
        closed_at=seen(order.closed_at),
        shipments=shipments,
        returns=returns,
        updated_at=max(m for m in moments if m is not None),
    )


def _build(seed: int, times: list[datetime], now: datetime) -> World:
    start = times[0] if times else now - HISTORY
    products, locations = _products(seed), _locations(seed)
    customers = _Customers(seed, start)
    shelves = _Shelves(seed, products, locations, (start + HISTORY).date())
    desk = _Orders(seed, now, customers, shelves, locations)
    orders = [desk.place(number, at) for number, at in enumerate(times, start=1)]
    return World(
        seed=seed,
        now=now,
        products=products,
        customers=customers.found,
        locations=locations,
        lots=shelves.counted(),
        orders={order.order_id: order for order in orders},
    )
