"""The people and firms that buy, and who of them buys again."""

from __future__ import annotations

import random
import unicodedata
from datetime import datetime, timedelta

from connectors.sandbox import vocabulary as words
from connectors.sandbox.draw import fill, weighted
from connectors.sandbox.world import CHINESE_MARKETPLACES, MARKETPLACES, Address, Channel, Customer

DEALERS = 12

COUNTRIES = {
    Channel.AMAZON: (("US", 38), ("GB", 25), ("DE", 18), ("FR", 8), ("ES", 6), ("JP", 5)),
    Channel.SHOPIFY: (("CN", 40), ("GB", 20), ("US", 12), ("DE", 8), ("FR", 8), ("JP", 6), ("SG", 6)),
    **dict.fromkeys(CHINESE_MARKETPLACES, (("CN", 100),)),
    Channel.LAZADA: (("SG", 100),),
    Channel.VENDURE: (("GB", 40), ("DE", 30), ("FR", 20), ("ES", 10)),
    Channel.B2B: (("CN", 45), ("GB", 20), ("DE", 10), ("FR", 10), ("US", 10), ("SG", 5)),
    Channel.DEALER: (("CN", 50), ("GB", 20), ("DE", 10), ("US", 10), ("SG", 10)),
}
_NEW_CUSTOMER = {
    Channel.POS: 0.62,
    **dict.fromkeys(MARKETPLACES, 0.56),
    Channel.AMAZON: 0.68,
    Channel.SHOPIFY: 0.58,
    Channel.VENDURE: 0.58,
    Channel.B2B: 0.28,
}
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


class Customers:
    """Who has bought so far. A repeat buyer is drawn from past orders: who buys often buys more often."""

    def __init__(self, seed: int, start: datetime) -> None:
        self.seed = seed
        self.found: dict[str, Customer] = {}
        self._buyers: dict[tuple[bool, str], list[Customer]] = {}
        self.dealers: list[Customer] = []
        rng = random.Random(f"{seed}/dealers")
        for _ in range(DEALERS):
            country = weighted(rng, COUNTRIES[Channel.DEALER])
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
    address, phone = address_in(rng, market), fill(rng, market.mobile)
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
        loyalty_tier=weighted(rng, ((None, 50), ("silver", 30), ("gold", 15), ("platinum", 5))),
        segment=weighted(rng, (("mass", 55), ("premium", 25), ("young", 20))),
        preference_tags=tuple(sorted(rng.sample(_PREFERENCES, rng.randrange(0, 4)))),
        marketing_consent=rng.random() < 0.6,
        created_at=at - timedelta(seconds=rng.randrange(60, 86_400 * 300)),
    )


def _company(seed: int, number: int, country: str, at: datetime, is_dealer: bool) -> Customer:
    rng = random.Random(f"{seed}/customer/{number}")
    market = words.MARKETS[country]
    given, _ = rng.choice(market.given_names)
    surname, _ = rng.choice(market.family_names)
    address = address_in(rng, market)
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
        middle = rng.choice(("", f" {address.city}", f" {surname}"))
        name = f"{base}{middle} {rng.choice(words.COMPANY_FORMS[country])}"
        domain = f"{_ascii_letters(base)}{number % 97}.example"
    phone = fill(rng, market.mobile)
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


def address_in(rng: random.Random, market: words.Market) -> Address:
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
        fill(rng, city.postcode),
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

    Sources: GB 32100-2015 (CN unified social credit code), HMRC (GB VAT modulus 97), ISO 7064 MOD 11,10 (DE
        USt-IdNr.),
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
